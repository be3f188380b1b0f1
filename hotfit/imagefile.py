"""A FITS file whose images are written by bands of rows, from any thread, and can be read back meanwhile.

astropy makes the headers; the bytes of the images go to their places at native speed, and what DATASUM says
of them is added up on the way.
"""

import threading
from collections.abc import Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits

from hotfit.rawio import read_at, write_at

FITS_BLOCK = 2880

CHECKSUM_CARDS = 2
"""CHECKSUM and DATASUM."""

WORD = 0xFFFFFFFF
"""The largest 32-bit word: checksums are sums modulo this."""

NOT_IN_CHECKSUMS = b":;<=>?@[\\]^_`"
"""What lies between digits, capitals and small letters."""


class Place(NamedTuple):
    """Where one image is in the file."""

    header: int  # offset in bytes
    data: int  # offset in bytes
    shape: tuple[int, int]
    dtype: np.dtype  # native type of the image, unsigned types included


class ImageFile:
    """A FITS file that is being made.

    Parameters
    ----------
    path : Path
        Must not exist.
    images : sequence of PrimaryHDU and ImageHDU
        Their headers must be as long as they can get; of the data shape and type alone count, see `empty`.
    """

    def __init__(self, path: Path, images: Sequence):
        self.places, self.sums, self._lock, self._path = {}, {}, threading.Lock(), path
        offset = 0
        for hdu in images:
            data = offset + padded(len(hdu.header.tostring(padding=False)) + 80 * CHECKSUM_CARDS)
            self.places[hdu.name] = Place(offset, data, hdu.data.shape, hdu.data.dtype.newbyteorder("="))
            self.sums[hdu.name] = 0
            offset = data + padded(hdu.data.nbytes)
        self.end = offset
        self._file = path.open("x+b", buffering=0)
        try:
            self._file.truncate(self.end)
        except OSError:
            self._file.close()
            raise

    def write(self, name: str, first: int, rows: np.ndarray) -> None:
        """Write rows of an image, from row `first` on, in the type of the image; every row once."""
        place = self.places[name]
        stored = big_endian(rows, place.dtype).reshape(-1).view(np.uint8)
        start = first * place.shape[1] * place.dtype.itemsize
        write_at(self._file.fileno(), stored, place.data + start)
        part = word_sum(stored, start)
        with self._lock:
            self.sums[name] = fold(self.sums[name] + part)

    def read(self, name: str, first: int, last: int) -> np.ndarray:
        """Rows `first` to `last` (exclusive) of an image as they were written, (pixels,), native."""
        place = self.places[name]
        row = place.shape[1] * place.dtype.itemsize
        stored = np.empty((last - first) * place.shape[1], place.dtype.newbyteorder(">"))
        read_at(self._file.fileno(), stored.view(np.uint8), place.data + first * row)
        return native(stored, place.dtype)

    def pick(self, name: str, index: np.ndarray) -> np.ndarray:
        """Values (pixels,) of an image at some pixels, counted row by row, as they were written, native."""
        place = self.places[name]
        pixels = place.shape[0] * place.shape[1]
        try:
            stored = np.memmap(self._path, place.dtype.newbyteorder(">"), "r", place.data, pixels)
        except OSError:  # some network drives map no files
            return self.read(name, 0, place.shape[0])[index]
        return native(stored[index], place.dtype)

    def finish(self, images: Sequence, tables: Sequence) -> None:
        """Write the headers of the images as they are in the end, and the tables behind them."""
        now = datetime.now().isoformat(timespec="seconds")
        for hdu in images:
            place, header = self.places[hdu.name], hdu.header.copy()
            text = with_checksum(header, self.sums[hdu.name], now, place.data - place.header)
            write_at(self._file.fileno(), np.frombuffer(text, np.uint8), place.header)
        stream = BytesIO()
        fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(stream, checksum=True)
        tail = stream.getbuffer()[FITS_BLOCK:]  # without the primary HDU that every file begins with
        write_at(self._file.fileno(), np.frombuffer(tail, np.uint8), self.end)

    def close(self) -> None:
        """Close the file; nothing can be written or read afterwards."""
        self._file.close()

    def __enter__(self) -> "ImageFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def empty(shape: tuple[int, int], dtype) -> np.ndarray:
    """What stands for an image whose data are to come: it has shape and type, and takes no memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)


# --- bytes of images


def big_endian(values, dtype) -> np.ndarray:
    """Values as FITS stores an image of `dtype`: unsigned integers of several bytes as signed ones."""
    values = np.ascontiguousarray(values, dtype)
    return flipped(values, dtype).astype(dtype.newbyteorder(">"))


def native(stored, dtype) -> np.ndarray:
    """The values of what `big_endian` made."""
    return flipped(stored.astype(dtype), dtype)


def flipped(values, dtype) -> np.ndarray:
    """Unsigned integers of several bytes with the sign bit turned, as by BZERO; others as they are."""
    if dtype.kind == "u" and dtype.itemsize > 1:
        return values ^ dtype.type(1 << (8 * dtype.itemsize - 1))
    return values


# --- checksums


def word_sum(stored, start: int) -> int:
    """Sum of the 32-bit words of some bytes (uint8) that begin `start` bytes after the first word."""
    whole = stored.size // 4 * 4
    total = int(stored[:whole].view(">u4").sum(dtype=np.uint64))
    total += int.from_bytes(bytes(stored[whole:]).ljust(4, b"\0"), "big")
    turn = 8 * (start % 4)  # bytes that stand further right in their words
    return fold(fold(total) << (32 - turn)) if turn else fold(total)


def fold(total: int) -> int:
    """A sum of 32-bit words in one, by adding what is carried; only that of zeros is 0."""
    while total > WORD:
        total = (total & WORD) + (total >> 32)
    return total


def with_checksum(header: fits.Header, data_sum: int, now: str, size: int) -> bytes:
    """The header with DATASUM and CHECKSUM as astropy writes them, in `size` bytes."""
    header["CHECKSUM"] = "0" * 16, f"HDU checksum updated {now}"
    header["DATASUM"] = str(data_sum), f"data unit checksum updated {now}"
    missing = size - padded(len(header.tostring(padding=False)))
    if missing < 0:
        raise ValueError("a header is longer than the room that was left for it")
    for _ in range(missing // 80):
        header.append()
    text = header.tostring().encode("ascii")
    header["CHECKSUM"] = encoded(WORD - fold(word_sum(np.frombuffer(text, np.uint8), 0) + data_sum))
    return header.tostring().encode("ascii")


def encoded(word: int) -> str:
    """A 32-bit word in the ASCII encoding of FITS checksums (FITS standard 4.0, appendix J)."""
    columns = []
    for byte in word.to_bytes(4, "big"):
        quarters = [byte // 4 + ord("0") + (byte % 4 if index == 0 else 0) for index in range(4)]
        while any(quarter in NOT_IN_CHECKSUMS for quarter in quarters):
            for one in (0, 2):
                if quarters[one] in NOT_IN_CHECKSUMS or quarters[one + 1] in NOT_IN_CHECKSUMS:
                    quarters[one] += 1
                    quarters[one + 1] -= 1
        columns.append(quarters)
    text = "".join(chr(columns[byte][quarter]) for quarter in range(4) for byte in range(4))
    return text[-1] + text[:-1]


def padded(size: int) -> int:
    """Bytes of the FITS blocks that hold so many."""
    return -(-size // FITS_BLOCK) * FITS_BLOCK
