"""Which images a FITS file holds, and where and how their numbers are stored; the data are not touched."""

import math
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits

from hotfit.errors import HotfitError
from hotfit.headers import Headers
from hotfit.readers import GZIP_MAGIC, STORED, Coding, FileRows, MaskedRows, PackedRows, Rows, TiledImage

SCALING = (("BSCALE", 1.0), ("BZERO", 0.0))

ALL = "all"

COMPANIONS = frozenset({"MASK", "UNCERT", "DQ", "ERR", "ERROR", "VAR", "VARIANCE", "WEIGHT"})
"""Extensions that describe an image and are none themselves."""

MOST_SQUEEZED = 2000
"""No compression of counts is stronger than this: a header that says more is damaged."""


@dataclass(frozen=True)
class FileImage:
    """One image of a file: HDU index, header of its own, shape, and the reader of its rows."""

    index: int
    label: str
    header: fits.Header
    shape: tuple[int, int]
    reader: Rows | PackedRows | TiledImage


def is_packed(path: Path, name: str) -> bool:
    """Return whether the whole file is gzip or bzip2; refuse what is not FITS at all."""
    try:
        with path.open("rb") as file:
            magic = file.read(6)
    except FileNotFoundError:
        raise HotfitError(f"{name}: no such file; check the name and the folder") from None
    except OSError as error:
        raise HotfitError(f"{name}: cannot be opened ({error.strerror}); check its permissions") from error
    if not magic:
        raise HotfitError(f"{name}: is an empty file; copy it again or leave it out")
    if magic.startswith((GZIP_MAGIC, b"BZh")):
        return True
    if magic != b"SIMPLE":
        raise HotfitError(f"{name}: is not a FITS file, whatever its name says; leave it out")
    return False


def images_of(hdus: fits.HDUList, path: Path, ext: int | str | None, name: str) -> list[FileImage]:
    """Return the image that `ext` names, the first if it is None, or every one if it is "all".

    Raises
    ------
    HotfitError
        There is none, it is cut short, or is not one 2-D image of counts.
    """
    packed = is_packed(path, name)
    indices = all_images(hdus, name) if ext == ALL else [image_index(hdus, ext, name)]
    mask = None if ext is not None or _costly(hdus, packed) else _mask_of(hdus, indices[0])
    needed = [*indices, *([] if mask is None else [mask])]
    readers = _unpacked_together({index: _reader(hdus[index], index, path, packed, name) for index in needed})
    if mask is not None:
        readers[indices[0]] = MaskedRows(readers[indices[0]], readers[mask])
    labels = _labels([hdus[index].name for index in indices], indices)
    return [
        FileImage(index, label, hdus[index].header, image_shape(hdus[index].shape, name), readers[index])
        for index, label in zip(indices, labels, strict=True)
    ]


def image_index(hdus: fits.HDUList, ext: int | str | None, name: str) -> int:
    """Return the index of the HDU that holds the image: `ext`, or the first with any."""
    if ext is None:
        return all_images(hdus, name, stop_at_first=True)[0]
    try:
        index = hdus.index_of(ext)
        hdu = hdus[index]
    except (KeyError, IndexError):
        known = ", ".join(f"{i} {hdu.name}".strip() for i, hdu in enumerate(hdus))
        raise HotfitError(
            f"{name}: has no extension {ext!r}, only {known}; give --ext one of these"
        ) from None
    if not _has_image(hdu):
        raise HotfitError(f"{name}: extension {ext!r} holds no image; give --ext another, or leave it out")
    return index


def all_images(hdus: fits.HDUList, name: str, *, stop_at_first: bool = False) -> list[int]:
    """Return the indices of all HDUs that hold an image of their own, or of the first alone."""
    found = []
    for index, hdu in enumerate(hdus):
        if _has_image(hdu) and (stop_at_first or hdu.name not in COMPANIONS):
            found.append(index)
            if stop_at_first:
                break
    if not found:
        raise HotfitError(f"{name}: holds no 2-D image; leave it out, or copy it again if it should")
    return found


def _has_image(hdu: fits.hdu.base._BaseHDU) -> bool:
    return getattr(hdu, "is_image", False) and len(hdu.shape) > 0


def count_images(hdus: fits.HDUList, packed: bool) -> int:
    """Return how many images of its own a file holds, 1 where it costs much to know or cannot be known."""
    if not _costly(hdus, packed):
        # Damage behind the image that is used is no concern of anybody.
        with suppress(Exception):
            return len(all_images(hdus, ""))
    return 1


def _costly(hdus: fits.HDUList, packed: bool) -> bool:
    """Whether a look behind a raw image needs a second decompression of the file."""
    return packed and _has_image(hdus[0]) and hdus[0].header.get("BITPIX", 0) > 0


def _mask_of(hdus: fits.HDUList, index: int) -> int | None:
    """Return the index of the MASK extension that belongs to a primary image, as CCDData writes it."""
    with suppress(Exception):
        if index == 0 and hdus["MASK"].shape == hdus[0].shape:
            return hdus.index_of("MASK")
    return None


def _labels(names: list[str], indices: list[int]) -> list[str]:
    """Return what to call the images: EXTNAME where it tells them apart and can name a folder, else index."""
    usable = all(re.fullmatch(r"\w[\w. -]*", name) for name in names)
    distinct = len({name.casefold() for name in names}) == len(names)
    return [name.strip() for name in names] if usable and distinct else [str(index) for index in indices]


def image_shape(shape: tuple[int, ...], name: str) -> tuple[int, int]:
    """Return (rows, columns), or say why an array of `shape` is not one dark frame."""
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) == 3 and 3 in (shape[0], shape[2]):
        axis = "NAXIS3" if shape[0] == 3 else "NAXIS1"
        raise HotfitError(
            f"{name}: is a colour image ({axis} = 3), not three darks; give raw mono or Bayer frames"
        )
    if len(shape) > 2:
        raise HotfitError(
            f"{name}: is a cube of {math.prod(shape[:-2])} planes, and reads of one exposure are correlated;"
            " give one 2-D frame per exposure, or fit such ramps with stcal or fitramp"
        )
    if len(shape) < 2:
        raise HotfitError(f"{name}: holds {len(shape)}-D data, not a 2-D image; leave it out")
    if 0 in shape:
        raise HotfitError(f"{name}: has no pixels ({shape[0]} rows, {shape[1]} columns); leave it out")
    return int(shape[0]), int(shape[1])


def _reader(
    hdu: fits.hdu.base._BaseHDU, index: int, path: Path, packed: bool, name: str
) -> FileRows | PackedRows | TiledImage:
    shape, coding = image_shape(hdu.shape, name), _coding(hdu.header, name)
    start, span = hdu.fileinfo()["datLoc"], hdu.fileinfo()["datSpan"]
    tiled = isinstance(hdu, fits.CompImageHDU)
    length = span if tiled else math.prod(shape) * coding.stored.itemsize
    if not packed:
        _check_length(path, start + length, name)
    if tiled:
        _check_tiles(math.prod(shape) * coding.stored.itemsize, span, name)
        return TiledImage(path, index, shape, coding)
    if packed:
        return PackedRows(path, start, shape[1], coding, start + length)
    return FileRows(path, start, shape[1], coding)


def _unpacked_together(readers: dict) -> dict:
    """Let all images of a compressed file ask for as much of it as the last one needs."""
    needed = max((reader.length for reader in readers.values() if isinstance(reader, PackedRows)), default=0)
    return {
        index: replace(reader, length=needed) if isinstance(reader, PackedRows) else reader
        for index, reader in readers.items()
    }


def _check_length(path: Path, needed: int, name: str) -> None:
    size = path.stat().st_size
    if size < needed:
        raise HotfitError(f"{name}: is cut short ({size} bytes of the {needed} in its header); copy it again")


def _check_tiles(size: int, stored: int, name: str) -> None:
    if size > MOST_SQUEEZED * stored:
        raise HotfitError(
            f"{name}: cannot hold the {size} bytes that its header promises in {stored}; copy it again"
        )


def _coding(header: fits.Header, name: str) -> Coding:
    headers = Headers(header)
    scale, zero = (headers.number((key,)) if key in header else default for key, default in SCALING)
    if not (math.isfinite(scale) and math.isfinite(zero)) or scale == 0:
        raise HotfitError(f"{name}: BSCALE and BZERO in its header are no scale; mend them or leave it out")
    stored = np.dtype(STORED[header["BITPIX"]])
    blank = headers.number(("BLANK",))
    # BLANK means something for integers only.
    missing = int(blank) if math.isfinite(blank) and stored.kind in "ui" else None
    return Coding(stored, scale, zero, missing)
