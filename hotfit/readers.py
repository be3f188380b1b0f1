"""Rows of one stored image as native counts: the only place that touches pixel bytes."""

import bz2
import gzip
import math
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from hotfit.rawio import opened, read_at

UINT16 = np.dtype(np.uint16)
FLOAT32 = np.dtype(np.float32)

STORED = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
SIGN_BIT = 0x8000
GZIP_MAGIC = b"\x1f\x8b"
CHUNK = 1 << 20

MOST_COUNTS = 1e9
"""No detector counts so far: beyond, a number is damaged or stands for a missing sample."""


@dataclass(frozen=True)
class Coding:
    """How stored numbers become counts: ``zero + scale * stored``, missing where stored is `blank`."""

    stored: np.dtype
    scale: float = 1.0
    zero: float = 0.0
    blank: int | None = None

    @property
    def trivial(self) -> bool:
        """Whether the stored numbers are the counts."""
        return self.scale == 1 and self.zero == 0 and self.blank is None

    @property
    def sign_flipped(self) -> bool:
        """Whether these are unsigned 16-bit counts stored the FITS way, as signed minus 32768."""
        plain = self.scale == 1 and self.zero == SIGN_BIT and self.blank is None
        return plain and self.stored.kind == "i" and self.stored.itemsize == 2

    @property
    def native(self) -> np.dtype:
        """The type of the decoded counts: uint16 where it holds them exactly, else float32."""
        unsigned = self.trivial and self.stored.kind == "u" and self.stored.itemsize <= 2
        return UINT16 if unsigned or self.sign_flipped else FLOAT32

    def decode(self, raw: np.ndarray, out: np.ndarray) -> None:
        """Write the counts of `raw` (stored numbers, any byte order) into `out` (uint16 or float32)."""
        if self.sign_flipped:
            unsigned = raw.view(raw.dtype.str.replace("i", "u"))
            np.bitwise_xor(unsigned, SIGN_BIT, out=out, casting="unsafe", dtype=UINT16)
            return
        with np.errstate(over="ignore", invalid="ignore"):
            out[...] = raw if self.trivial else self._scaled(raw)
            if raw.dtype.itemsize > 2 or not self.trivial:
                out[np.abs(out) > MOST_COUNTS] = math.nan

    def _scaled(self, raw: np.ndarray) -> np.ndarray:
        counts = raw.astype(np.float64)
        counts *= self.scale
        counts += self.zero
        if self.blank is not None:
            counts[raw == self.blank] = math.nan
        return counts


@dataclass(frozen=True)
class FileRows:
    """Rows of an uncompressed image in a file, opened anew by each call: thread safe, no handle kept."""

    path: Path
    offset: int
    columns: int
    coding: Coding

    def read(self, first: int, last: int, out: np.ndarray) -> None:
        """Write rows `first` to `last` (exclusive) into `out`, (last - first, columns)."""
        self.read_runs([(first, last)], out)

    def read_runs(self, runs: Sequence[tuple[int, int]], out: np.ndarray) -> None:
        """Write rows `first` to `last` (exclusive) of each run into `out`, one run after the other."""
        row, filled = self.columns * self.coding.stored.itemsize, 0
        with opened(self.path) as descriptor:
            for first, last in runs:
                raw = np.empty((last - first, self.columns), self.coding.stored)
                read_at(descriptor, raw.reshape(-1).view(np.uint8), self.offset + first * row)
                self.coding.decode(raw, out[filled : filled + last - first])
                filled += last - first

    def mapped(self) -> np.ndarray:
        """The stored numbers from the first pixel to the end of the file, mapped into memory, read-only."""
        count = (self.path.stat().st_size - self.offset) // self.coding.stored.itemsize
        return np.memmap(self.path, self.coding.stored, "r", self.offset, count)


@dataclass(frozen=True, eq=False)
class ArrayRows:
    """Rows of an image in memory; `mask` (bool, same shape, True = missing) or None."""

    data: np.ndarray
    coding: Coding
    mask: np.ndarray | None = None

    def read(self, first: int, last: int, out: np.ndarray) -> None:
        """Write rows `first` to `last` (exclusive) into `out`, (last - first, columns)."""
        self.coding.decode(self.data[first:last], out)
        if self.mask is not None:
            out[self.mask[first:last]] = math.nan


@dataclass(frozen=True, eq=False)
class MaskedRows:
    """Rows of an image whose samples are missing where another image, its mask, is not 0."""

    image: "Rows"
    mask: "Rows"

    @property
    def coding(self) -> Coding:
        """Missing samples need a type that holds NaN."""
        return Coding(FLOAT32)

    def read(self, first: int, last: int, out: np.ndarray) -> None:
        """Write rows `first` to `last` (exclusive) into `out`, (last - first, columns)."""
        counts = np.empty(out.shape, self.image.coding.native)
        mask = np.empty(out.shape, self.mask.coding.native)
        self.image.read(first, last, counts)
        self.mask.read(first, last, mask)
        out[...] = counts
        out[mask != 0] = math.nan


@dataclass(frozen=True)
class PackedFile:
    """An image in a file that is compressed as a whole, in HDU `hdu`; None: the primary, of which the header
    alone is known until it is unpacked."""

    path: Path
    hdu: int | None = None


@dataclass(frozen=True)
class TiledImage:
    """A tile-compressed image: it has no rows to read until it is unpacked into a file."""

    path: Path
    hdu: int
    shape: tuple[int, int]
    coding: Coding

    def unpack(self, target: Path) -> FileRows:
        """Write the counts to file `target`, native uint16 or float32, and return the reader of its rows."""
        check_hcompress(self.path, self.hdu)
        with fits.open(self.path, memmap=False, do_not_scale_image_data=True) as hdus:
            raw = hdus[self.hdu].data.reshape(self.shape)
        counts = np.empty(self.shape, self.coding.native)
        self.coding.decode(raw, counts)
        counts.tofile(target)
        return FileRows(target, 0, self.shape[1], Coding(counts.dtype))


def check_hcompress(path: Path, index: int) -> None:
    """Raise ValueError if a tile promises another size than it has: the C code would write where it says."""
    with fits.open(path, memmap=False, disable_image_compression=True) as hdus:
        header = hdus[index].header
        if not str(header["ZCMPTYPE"]).startswith("HCOMPRESS"):
            return
        largest = math.prod(header.get(f"ZTILE{axis + 1}", 1) for axis in range(header["ZNAXIS"]))
        for tile in hdus[index].data["COMPRESSED_DATA"]:
            sides = np.frombuffer(bytes(tile[2:10]), ">i4").astype(int)
            if tile.size and not (sides.size == 2 and (sides > 0).all() and sides.prod() <= largest):
                raise ValueError("a compressed tile has a size of its own")


class Scratch:
    """A temporary folder, made when first asked for and removed with its owner."""

    def __init__(self) -> None:
        self._remove: Callable[[], object] = lambda: None
        self._folder: Path | None = None
        self._files = 0
        self._plain: dict[Path, Path] = {}

    def new(self) -> Path:
        """Return the path of a file that does not exist yet."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="hotfit-"))
            self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._files += 1
        return self._folder / f"{self._files}.raw"

    def plain(self, path: Path) -> Path:
        """Return gzip or bzip2 file `path` as a file that is not compressed, unpacked but once."""
        if path not in self._plain:
            target = self.new()
            with decompressed(path) as packed, target.open("wb") as out:
                shutil.copyfileobj(packed, out, CHUNK)
            self._plain[path] = target
        return self._plain[path]

    def __reduce__(self) -> tuple:
        """A copy for another process begins with a folder of its own."""
        return Scratch, ()

    def close(self) -> None:
        """Remove the folder; harmless when repeated."""
        self._remove()
        self._plain.clear()


def runs(rows: np.ndarray, longest: int) -> list[tuple[int, int]]:
    """Neighbouring rows as (first, last + 1), at most `longest` of them at once."""
    neighbours = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    parts = (run[start : start + longest] for run in neighbours for start in range(0, run.size, longest))
    return [(int(part[0]), int(part[-1]) + 1) for part in parts]


def read_runs(reader: "Rows", runs: Sequence[tuple[int, int]], out: np.ndarray) -> None:
    """Write rows `first` to `last` (exclusive) of each run into `out`, one run after the other."""
    if isinstance(reader, FileRows):  # opens its file but once
        reader.read_runs(runs, out)
        return
    filled = 0
    for first, last in runs:
        reader.read(first, last, out[filled : filled + last - first])
        filled += last - first


def decompressed(path: Path) -> gzip.GzipFile | bz2.BZ2File:
    """Open a gzip or bzip2 file for reading what is in it."""
    with path.open("rb") as file:
        magic = file.read(2)
    return gzip.open(path) if magic == GZIP_MAGIC else bz2.open(path)


Rows = FileRows | ArrayRows | MaskedRows
"""Readers whose rows can be read."""

Packed = PackedFile | TiledImage
"""What must be unpacked before there are rows to read."""
