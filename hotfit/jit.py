"""The one jit policy, and a cache of compiled code that no damage, full disk or missing home can break."""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256

import numba
from numba.core import event
from numba.core.caching import FunctionCache, IndexDataCacheFile

POLICY = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
"""Serial, without the GIL, numpy's division. A product and a sum may become one instruction, and nothing else
may be reordered: NaN stays NaN."""

jit = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **POLICY)
"""For what only kernels call: the wrappers for Python would take longer to compile than the functions."""


def entry(function):
    """Compile what Python calls, cached where a cache can be kept: with it is all that it calls."""
    compiled = numba.njit(**POLICY)(function)
    if not numba.config.DISABLE_JIT:
        with suppress(RuntimeError):  # a read-only install without a home has no place for the cache
            compiled._cache = Cache(function)
    return compiled


class Cache(FunctionCache):
    """numba's cache of compiled code. What goes wrong in it costs the time to compile, and nothing else."""

    def __init__(self, function):
        super().__init__(function)
        if self.cache_path.startswith("~"):  # a user without a home: numba would make a folder of that name
            raise RuntimeError("no home for a cache")
        stamp = (self._impl.locator.get_source_stamp(), repr(POLICY))
        self._cache_file = Sealed(self.cache_path, self._impl.filename_base, stamp)

    def load_overload(self, *key):
        try:
            return super().load_overload(*key)
        except Exception:  # a damaged file raises whatever its bytes happen to say
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, *code):
        with suppress(OSError):  # a full disk, or a folder that is gone
            super().save_overload(*code)


class Sealed(IndexDataCacheFile):
    """numba's files with a digest: LLVM crashes the process on damaged code instead of refusing it."""

    def save(self, key, data):
        code = self._dump(data)
        super().save(key, (sha256(code).digest(), code))

    def load(self, key):
        sealed = super().load(key)
        if sealed is None:
            return None
        digest, code = sealed
        if sha256(code).digest() != digest:
            raise ValueError("damaged")
        return pickle.loads(code)


@contextmanager
def when_compiling(tell: Callable[[bool], None]) -> Iterator[None]:
    """Call `tell` once, as soon as something is not in the cache; it gets whether it will be kept there."""

    class Ear(event.Listener):
        told = False

        def on_start(self, heard):
            if not self.told:
                self.told = True
                tell(heard.data["dispatcher"].stats.cache_path is not None)

        def on_end(self, heard):
            pass

    with event.install_listener("numba:compile", Ear()):
        yield
