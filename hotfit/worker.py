"""What a worker of a cluster does: fits one detector at a time, out of sight until its result is whole.

A worker may be killed, and its order be run again by another; it may also be given up for dead while it works
on. Each time an order is run it therefore writes into a directory of its own, beside that of the results, and
moves it there in the end. What killed workers leave is removed with the workshop, see `places.py`.
"""

import os
import secrets
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import hotfit
from hotfit.darks import Roll
from hotfit.errors import HotfitError
from hotfit.places import MAP_FILE
from hotfit.recipe import Recipe, fit_into
from hotfit.wording import frame_terms_of

ONE_AT_A_TIME = threading.Lock()
"""Held while a detector is fitted, which takes all threads of the worker and the memory of one fit."""

END_BYTES = 1 << 14
"""Of a file, at either end, by which it is known."""

STOPPED: set[str] = set()
"""Runs whose orders need not be finished."""


class Seen(NamedTuple):
    """A file as the client sees it: a worker must see the same."""

    path: Path
    size: int
    ends: str  # digest of its first and last bytes: a header has the time, and the last rows have noise

    @classmethod
    def of(cls, path: Path) -> "Seen":
        """As this process sees it; raises OSError if it does not."""
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            ends = blake2b(digest_size=8)
            for place in (0, max(0, size - END_BYTES)):
                stream.seek(place)
                ends.update(stream.read(END_BYTES))
        return cls(path, size, ends.hexdigest())


class Order(NamedTuple):
    """What a worker is told to fit: names and options, no pixels."""

    run: str
    label: str
    roll: Roll
    files: tuple[Seen, ...]
    made: Path
    output: str
    recipe: Recipe
    version: str
    deaths: int = 0  # of workers that had it


class Outcome(NamedTuple):
    """What a worker tells of a detector: its summary, the terms of its frames, and where it was fitted."""

    facts: dict
    terms: tuple[str, ...]
    host: str
    seconds: float


def fit_order(order: Order) -> Outcome:
    """Fit one detector with all threads of this worker, and put its result in place.

    Raises
    ------
    HotfitError
        The message names this host.
    """
    from distributed import get_worker

    threads = order.recipe.workers or get_worker().state.nthreads
    with ONE_AT_A_TIME, naming(order):
        begun = perf_counter()
        check_sight(order)
        draft = order.made.with_name(f"{order.label}.{secrets.token_hex(4)}.draft")
        try:
            with order.roll.open(own=True) as darks:
                recipe = replace(order.recipe, workers=threads)
                fit = fit_into(draft, darks, recipe, lambda *_: check_wanted(order))
            check_wanted(order)
            move(draft, order.made / order.label)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        host, seconds = socket.gethostname(), perf_counter() - begun
        return Outcome(fit.summary(), tuple(frame_terms_of(fit)), host, seconds)


@contextmanager
def naming(order: Order) -> Iterator[None]:
    """Say which detector failed, and on which host."""
    host, image = socket.gethostname(), f"image {order.label}: " * bool(order.label)
    try:
        yield
    except HotfitError as error:
        raise HotfitError(f"{image}{error} (worker on {host})") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise HotfitError(
            f"{image}{order.output}: cannot be written ({reason}); give a directory with room that every "
            f"worker may write (worker on {host})"
        ) from None
    except MemoryError:
        raise HotfitError(f"{image}out of memory: give a smaller --memory (worker on {host})") from None


def check_sight(order: Order) -> None:
    """Refuse an order whose files or output this host does not see as the client does."""
    if order.version != hotfit.__version__:
        raise HotfitError(f"hotfit {order.version} is needed here, and {hotfit.__version__} is installed")
    if not order.made.is_dir():
        raise HotfitError(
            f"{order.output}: cannot be seen from here; give one that every worker sees under its name"
        )
    for file in order.files:
        try:
            found = Seen.of(file.path)
        except OSError as error:
            raise HotfitError(
                f"{file.path}: cannot be read from here ({error.strerror}); every worker must see the files "
                "under the same names"
            ) from None
        if found != file:
            sizes = f"of {found.size} bytes instead of {file.size}"
            other = sizes if found.size != file.size else "of other content"
            raise HotfitError(
                f"{file.path}: is another file here, {other}; every worker must see the same files"
            )
    check_wanted(order)


def check_wanted(order: Order) -> None:
    """Give up an order whose run has ended."""
    if order.run in STOPPED:
        raise HotfitError("the run was stopped")


def stop(run: str) -> None:
    """Let the orders of a run end early on this worker."""
    STOPPED.add(run)


def move(draft: Path, place: Path) -> None:
    """Put a whole result in its place, unless another worker has done so: it is the same."""
    with suppress(OSError):
        place.rmdir()  # the place of an only detector is there already, and empty
    try:
        draft.rename(place)
    except OSError:
        if not (place / MAP_FILE).exists():
            raise
