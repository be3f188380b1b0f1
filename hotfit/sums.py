"""What the pixels of an exposure have gathered, in memory or in a file of the result: see `kernels.Sums`.

A keeper of sums gives rows with `rows`, and takes those of a group that is being made with `put`, in any
number of threads. Files are named after what is in them: results that share sums share the file, and where
one result replaces another, a file of that name is still the same or gone.
"""

import os
import secrets
import shutil
import sys
import threading
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import numpy as np
from astropy.io import fits

from hotfit.errors import HotfitError
from hotfit.imagefile import ImageFile, empty
from hotfit.rawio import opened, read_at

IMAGES = {"mean": "PRIMARY", "square": "SQUARE", "moment": "MOMENT", "high": "HIGH"}
"""The HDU of each of the sums; `mean` and `high` are in adu, `square` in adu**2, `moment` in adu s."""

FLOAT32 = np.dtype(np.float32)

SUMS_FILE = "sums_{}.fits"

LOOKED_AT = 500_000
"""Pixels that show the terms and the noise of frames well enough,"""

STRIPE = 8
"""in stripes of so many rows."""


def stripes(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """First and last row (exclusive) of evenly spaced stripes with about `LOOKED_AT` pixels."""
    rows, columns = shape
    every = max(STRIPE, STRIPE * rows * columns // LOOKED_AT)
    return [(first, min(first + STRIPE, rows)) for first in range(0, rows, every)]


class Checks:
    """Sums over the words of the images by `kernels.weighted_sum`, added up while rows pass in any order.

    There is one for each image, and one for its stripes.
    """

    def __init__(self, shape: tuple[int, int]):
        self.columns, self.missing, self.stripes = shape[1], shape[0] * shape[1], stripes(shape)
        self.values, self._lock = [0] * (2 * len(IMAGES)), threading.Lock()

    def add(self, first: int, band) -> None:
        """Count rows of pixels (4, pixels) float32, native, from row `first` on."""
        whole, striped = weighted(band, first * self.columns), [0] * len(IMAGES)
        last = first + band[0].size // self.columns
        for begin, end in self.stripes:
            begin, end = max(begin, first), min(end, last)
            if begin < end:
                part = slice((begin - first) * self.columns, (end - first) * self.columns)
                striped = added(striped, weighted([values[part] for values in band], begin * self.columns))
        with self._lock:
            self.values = added(self.values, [*whole, *striped])
            self.missing -= band[0].size

    def found(self) -> tuple[int, ...] | None:
        """What was added up; None if it was not of all pixels, each once."""
        return None if self.missing else tuple(self.values)


def added(some: list[int], others: list[int]) -> list[int]:
    """The sums of pairs of weighted sums."""
    return [(one + other) % 2**64 for one, other in zip(some, others, strict=True)]


def weighted(band, first: int) -> list[int]:
    """The weighted sum of each of some images (pixels,), which begin at pixel `first`."""
    from hotfit import kernels  # and with it the compiler

    return [int(kernels.weighted_sum(values.view(np.uint32), first)) for values in band]


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

    def look(self, out: np.ndarray) -> None:
        """Write the sums of the stripes into `out`, (4, pixels)."""
        chosen = [self._arrays[:, first:last] for first, last in stripes(self.shape)]
        np.concatenate(chosen, axis=1, out=out.reshape(len(IMAGES), -1, self.shape[1]))

    def finish(self) -> "HeldSums":
        """What reads them, once all rows are there: themselves."""
        return self

    def forget(self) -> None:
        """There is nothing to forget."""

    def check(self) -> None:
        """Nothing can happen to memory."""

    def write(self, directory: Path) -> "FiledSums":
        """The same sums in a new file."""
        with SumsFile(directory, self.shape) as file:
            file.put(0, self._arrays.reshape(len(IMAGES), -1))
            return file.finish()


class SumsFile:
    """A file of sums that is being made; it gets its name in the end."""

    def __init__(self, directory: Path, shape: tuple[int, int]):
        self.path, self.shape, self._checks = directory / f"{secrets.token_hex(8)}.part", shape, Checks(shape)
        self._hdus = [fits.PrimaryHDU(empty(shape, FLOAT32))]
        self._hdus += [fits.ImageHDU(empty(shape, FLOAT32), name=name) for name in list(IMAGES.values())[1:]]
        self._hdus[0].header["IMAGETYP"] = ("dark sums", "of one exposure group, see state.fits")
        self._file = ImageFile(self.path, self._hdus)

    def put(self, first: int, band: np.ndarray) -> None:
        """Take sums (4, pixels) of whole rows from row `first` on; every row once."""
        for name, values in zip(IMAGES.values(), band, strict=True):
            self._file.write(name, first, values)
        self._checks.add(first, band)

    def finish(self) -> "FiledSums":
        """Write the headers, close the file, and give what reads it."""
        self._file.finish(self._hdus, [])
        self.close()
        checks = self._checks.found()
        digest = blake2b(repr((self.shape, checks)).encode(), digest_size=8).hexdigest()
        path = self.path.replace(self.path.with_name(SUMS_FILE.format(digest)))
        return FiledSums(path, self.shape, [self._file.places[name].data for name in IMAGES.values()], checks)

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
    places, checks : sequence of int
        Where the images begin in the file, in bytes, and what `Checks` finds in them.

    Raises
    ------
    HotfitError
        If there is no such file, or it is cut short.
    """

    def __init__(self, path: Path, shape: tuple[int, int], places, checks):
        self.path, self.shape, self._seen = path, shape, Checks(shape)
        self.places, self.checks = tuple(places), tuple(checks)
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
        try:
            with opened(self.path) as descriptor:
                self._fill(descriptor, first, out)
        except OSError as error:
            raise damaged(self.path, error) from error
        self._seen.add(first, out)

    def look(self, out: np.ndarray) -> None:
        """Write the sums of the stripes into `out`, (4, pixels) float32."""
        filled, seen = 0, [0] * len(IMAGES)
        try:
            with opened(self.path) as descriptor:
                for first, last in stripes(self.shape):
                    size = (last - first) * self.shape[1]
                    part = [row[filled : filled + size] for row in out]
                    self._fill(descriptor, first, part)
                    seen = added(seen, weighted(part, first * self.shape[1]))
                    filled += size
        except OSError as error:
            raise damaged(self.path, error) from error
        if tuple(seen) != self.checks[len(IMAGES) :]:
            raise damaged(self.path, "its checksum differs")

    def _fill(self, descriptor: int, first: int, out) -> None:
        """Read rows of the images from row `first` on into `out`, a contiguous row of pixels for each."""
        begin = first * self.shape[1] * FLOAT32.itemsize
        for row, place in zip(out, self.places, strict=True):
            read_at(descriptor, row.view(np.uint8), place + begin)
            if sys.byteorder == "little":
                row.byteswap(inplace=True)

    def forget(self) -> None:
        """Let the rows that are read from now on be the first."""
        self._seen = Checks(self.shape)

    def check(self) -> None:
        """Raise HotfitError if the rows, each read once since `forget`, are not as written."""
        if self._seen.found() != self.checks:
            raise damaged(self.path, "its checksum differs")

    def write(self, directory: Path) -> "FiledSums":
        """The same file in another directory, or in its own."""
        path = directory / self.path.name
        if path != self.path:
            same_file(self.path, path)
        return FiledSums(path, self.shape, self.places, self.checks)


def same_file(path: Path, other: Path) -> None:
    """Make `other` a second name of a file that is never changed, or a copy where there are no such names."""
    if other.exists():  # exposures that have gathered the same share a file
        return
    try:
        with suppress(OSError):
            os.link(path, other)
            return
        shutil.copyfile(path, other)
    except FileNotFoundError as error:
        raise damaged(path, error) from error


def damaged(path: Path, reason) -> HotfitError:
    """The error for a file of a state that cannot be used."""
    words = " ".join(str(getattr(reason, "strerror", None) or reason).split())
    return HotfitError(
        f"{path}: cannot be used for updates ({words}); fit again with updatable (--updatable)"
    )
