"""A fit whose maps are written as they are made: in memory are its flags alone."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hotfit.curves import Curves
from hotfit.findings import Findings, untested
from hotfit.hdus import images_of
from hotfit.imagefile import ImageFile
from hotfit.maps import TYPES, Block, Sample, Typical, stride, typical
from hotfit.outputs import HDU_NAMES, NOTHING, Extras, complete
from hotfit.places import MAP_FILE
from hotfit.sums import SumsFile


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class FiledFit(Findings):
    """A fit whose maps are in a file.

    Attributes
    ----------
    typical : Typical
        Medians over evenly thinned pixels.
    file : ImageFile
        dark_current.fits, open only while the result is written.
    """

    typical: Typical
    file: ImageFile

    def values_at(self, y, x, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Values (pixels,) of maps at some pixels."""
        index = np.ravel_multi_index((y, x), self.dq.shape)
        return {name: self.file.pick(HDU_NAMES[name], index) for name in names}

    def map_rows(self, name: str, first: int, last: int) -> np.ndarray:
        """Rows `first` to `last` (exclusive) of a map."""
        return self.file.read(HDU_NAMES[name], first, last).reshape(last - first, -1)


class FiledMaps:
    """Keeper of maps, see `hotfit.maps`, in a directory that is empty or can be made.

    Parameters
    ----------
    directory : path
    draft : Findings
        What is known before the fit; its `dq` becomes that of the result.
    extras : Extras
        What is written beside the maps.
    """

    def __init__(self, directory, draft: Findings, extras: Extras = NOTHING):
        self.extras = extras
        self.directory, self.dq, self.shape = Path(directory), draft.dq, draft.dq.shape
        self.directory.mkdir(exist_ok=True)
        longest = replace(draft, notes=(*draft.notes, *untested(draft)))
        self.file = ImageFile(self.directory / MAP_FILE, images_of(longest))
        size = -(-self.dq.size // stride(self.dq.size))
        self._of_thread, self._stack = threading.local(), ExitStack()
        self._sample = Sample(*(np.empty(size, TYPES[name]) for name in Sample._fields))

    def band(self, first: int, last: int) -> dict[str, np.ndarray]:
        """Arrays (pixels,) by the names of `TYPES` for rows `first` to `last` (exclusive), to be filled.

        A thread gets the same ones again and again, but for `dq`, which is filled in place.
        """
        pixels, held = (last - first) * self.shape[1], getattr(self._of_thread, "arrays", None)
        if held is None or held["rate"].size < pixels:
            held = {name: np.empty(pixels, dtype) for name, dtype in TYPES.items() if name != "dq"}
            self._of_thread.arrays = held
        maps = {name: array[:pixels] for name, array in held.items()}
        return maps | {"dq": self.dq[first:last].reshape(-1)}

    def put(self, first: int, band: dict[str, np.ndarray]) -> None:
        """Write a band that is filled, which begins at row `first`."""
        begin, step = first * self.shape[1], stride(self.dq.size)
        for name, array in self._sample._asdict().items():
            picked = band[name][-begin % step :: step]
            at = -(-begin // step)
            array[at : at + picked.size] = picked
        for attribute, name in HDU_NAMES.items():
            self.file.write(name, first, band[attribute])

    def rows(self, first: int, last: int) -> Block:
        """Rows `first` to `last` (exclusive), read back; `dq` is a view."""
        maps = {name: HDU_NAMES[name] for name in Block._fields if name != "dq"}
        values = {name: self.file.read(hdu, first, last) for name, hdu in maps.items()}
        return Block(**values, dq=self.dq[first:last].reshape(-1))

    def sample(self) -> Sample:
        """Evenly thinned pixels, gathered from the bands."""
        return self._sample

    def new_sums(self) -> SumsFile:
        """A keeper of the sums of an exposure, in a file of its own."""
        return self._stack.enter_context(SumsFile(self.directory, self.shape))

    def finish(self, findings: Findings, trace: Callable[[Findings], Curves]) -> FiledFit:
        """Write the flags, the curves that `trace` takes and all other files; the fit without its maps."""
        fit = FiledFit(**vars(findings), typical=typical(self._sample), file=self.file)
        fit = replace(fit, curves=trace(fit))
        complete(fit, self.file, self.directory, self.extras)
        return fit

    def __enter__(self) -> "FiledMaps":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self.file.close()


@contextmanager
def filing(directory, extras: Extras = NOTHING) -> Iterator[Callable[[Findings], FiledMaps]]:
    """Give what makes the keeper of maps in a directory; its file is closed in the end."""
    with ExitStack() as stack:

        def keep(draft):
            return stack.enter_context(FiledMaps(directory, draft, extras))

        yield keep
