"""What the pixels of an exposure have gathered, in memory or in a file of the result: see `kernels.Sums`.

A keeper of sums gives rows with `rows`, and takes those of a group that is being made with `put`, in any
number of threads.
"""

import os
import shutil
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from astropy.io import fits

from hotfit.errors import HotfitError
from hotfit.imagefile import ImageFile, empty, fold, word_sum
from hotfit.rawio import opened, read_at

IMAGES = {"mean": "PRIMARY", "square": "SQUARE", "moment": "MOMENT", "high": "HIGH"}
"""The HDU of each of the sums; `mean` and `high` are in adu, `square` in adu**2, `moment` in adu s."""

FLOAT32 = np.dtype(np.float32)


class HeldSums:
    """Sums in memory."""

    def __init__(self, shape: tuple[int, int]):
        self.shape = shape
        self._arrays = np.empty((len(IMAGES), *shape), FLOAT32)

    def put(self, first: int, band: np.ndarray) -> None:
        """Take sums (4, pixels) of whole rows from row `first` on."""
        rows = band.reshape(len(IMAGES), -1, self.shape[1])
        self._arrays[:, first : first + rows.shape[1]] = rows

    def rows(self, first: int, last: int, out: np.ndarray) -> None:
        """Write the sums of the rows `first` to `last` (exclusive) into `out`, (4, pixels) float32."""
        out[:] = self._arrays[:, first:last].reshape(len(IMAGES), -1)

    def look(self, runs: Sequence[tuple[int, int]], out: np.ndarray) -> None:
        """Write the sums of the rows `first` to `last` (exclusive) of each run into `out`, (4, pixels)."""
        chosen = [self._arrays[:, first:last] for first, last in runs]
        np.concatenate(chosen, axis=1, out=out.reshape(len(IMAGES), -1, self.shape[1]))

    def finish(self) -> "HeldSums":
        """What reads them, once all rows are there: themselves."""
        return self

    def forget(self) -> None:
        """There is nothing to forget."""

    def check(self) -> None:
        """Nothing can happen to memory."""

    def write(self, path: Path) -> "FiledSums":
        """The same sums in a new file."""
        with SumsFile(path, self.shape) as file:
            file.put(0, self._arrays.reshape(len(IMAGES), -1))
            return file.finish()


class SumsFile:
    """A file of sums that is being made."""

    def __init__(self, path: Path, shape: tuple[int, int]):
        self.path, self.shape = path, shape
        self._hdus = [fits.PrimaryHDU(empty(shape, FLOAT32))]
        self._hdus += [fits.ImageHDU(empty(shape, FLOAT32), name=name) for name in list(IMAGES.values())[1:]]
        self._hdus[0].header["IMAGETYP"] = ("dark sums", "of one exposure group, see state.fits")
        self._file = ImageFile(path, self._hdus)

    def put(self, first: int, band: np.ndarray) -> None:
        """Take sums (4, pixels) of whole rows from row `first` on; every row once."""
        for name, values in zip(IMAGES.values(), band, strict=True):
            self._file.write(name, first, values)

    def finish(self) -> "FiledSums":
        """Write the headers, close the file, and give what reads it."""
        self._file.finish(self._hdus, [])
        self.close()
        places = [self._file.places[name].data for name in IMAGES.values()]
        return FiledSums(self.path, self.shape, places, [self._file.sums[name] for name in IMAGES.values()])

    def close(self) -> None:
        """Close the file; nothing can be put any more."""
        self._file.close()

    def __enter__(self) -> "SumsFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FiledSums:
    """Sums in a file of a result, which are checked against its checksums while their rows are read.

    Parameters
    ----------
    path : Path
    shape : tuple of int
        Rows and columns.
    places, data_sums : sequence of 4 int
        Where the images begin in the file, in bytes, and their DATASUM.

    Raises
    ------
    HotfitError
        If there is no such file, or it is cut short.
    """

    def __init__(self, path: Path, shape: tuple[int, int], places, data_sums):
        self.path, self.shape, self._lock = path, shape, threading.Lock()
        self.places, self.data_sums = tuple(places), tuple(data_sums)
        self._seen = [(0, 0)] * len(IMAGES)
        try:
            size = path.stat().st_size
        except OSError as error:
            raise damaged(path, error) from error
        needed = max(self.places) + shape[0] * shape[1] * FLOAT32.itemsize
        if size < needed:
            raise damaged(path, f"it is cut short, {size} bytes of {needed}")

    def rows(self, first: int, last: int, out: np.ndarray) -> None:
        """Write the sums of the rows `first` to `last` (exclusive) into `out`, (4, pixels) float32.

        Each row of `out` is contiguous.
        """
        begin, pixels = first * self.shape[1] * FLOAT32.itemsize, (last - first) * self.shape[1]
        try:
            with opened(self.path) as descriptor:
                for image, (row, place) in enumerate(zip(out, self.places, strict=True)):
                    read_at(descriptor, row.view(np.uint8), place + begin)
                    part = word_sum(row.view(np.uint8), 0)
                    with self._lock:
                        seen, total = self._seen[image]
                        self._seen[image] = seen + pixels, fold(total + part)
                    if sys.byteorder == "little":
                        row.byteswap(inplace=True)
        except OSError as error:
            raise damaged(self.path, error) from error

    def look(self, runs: Sequence[tuple[int, int]], out: np.ndarray) -> None:
        """Write the sums of some runs of rows into `out`, (4, pixels) float32, unchecked."""
        wide, filled = self.shape[1] * FLOAT32.itemsize, 0
        try:
            with opened(self.path) as descriptor:
                for first, last in runs:
                    for row, place in zip(out, self.places, strict=True):
                        part = row[filled : filled + (last - first) * self.shape[1]]
                        read_at(descriptor, part.view(np.uint8), place + first * wide)
                    filled += part.size
        except OSError as error:
            raise damaged(self.path, error) from error
        if sys.byteorder == "little":
            for row in out:
                row.byteswap(inplace=True)

    def forget(self) -> None:
        """Let the rows that are read from now on be the first."""
        self._seen = [(0, 0)] * len(IMAGES)

    def check(self) -> None:
        """Raise HotfitError if the rows, each read once since `forget`, are not as written."""
        for expected, (pixels, found) in zip(self.data_sums, self._seen, strict=True):
            if pixels != self.shape[0] * self.shape[1] or found != expected:
                raise damaged(self.path, "its checksum differs")

    def write(self, path: Path) -> "FiledSums":
        """The same file under another name."""
        if path != self.path:
            same_file(self.path, path)
        return FiledSums(path, self.shape, self.places, self.data_sums)


def same_file(path: Path, other: Path) -> None:
    """Make `other` a second name of a file that is never changed, or a copy where there are no such names."""
    with suppress(OSError):
        os.link(path, other)
        return
    shutil.copyfile(path, other)


def damaged(path: Path, reason) -> HotfitError:
    """The error for a file of a state that cannot be used."""
    words = " ".join(str(getattr(reason, "strerror", None) or reason).split())
    return HotfitError(
        f"{path}: cannot be used for updates ({words}); fit again with updatable (--updatable)"
    )
