"""Which images a FITS file or HDUList holds, and where and how their numbers are stored."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from hotfit.errors import HotfitError
from hotfit.headers import Headers
from hotfit.readers import GZIP_MAGIC, STORED, Coding, FileRows, MaskedRows, Rows, TiledImage

SCALING = (("BSCALE", 1.0), ("BZERO", 0.0))

ALL = "all"

COMPANIONS = frozenset({"MASK", "UNCERT", "DQ", "ERR", "ERROR", "VAR", "VARIANCE", "WEIGHT"})
"""Extensions that describe an image and are none themselves."""

NO_FOLDER_NAMES = frozenset(
    {
        *("con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))),
        *("summary.json", "report.html"),
    }
)
"""What Windows takes for a device, and the files that stand beside the folders."""

MOST_SQUEEZED = 2000
"""No compression of counts is stronger than this: a header that says more is damaged."""


@dataclass(frozen=True)
class Image:
    """One image among others: its HDU, what to call it, its shape, and the reader of its rows."""

    index: int
    label: str
    header: fits.Header
    shape: tuple[int, int]
    reader: Rows | TiledImage


def is_packed(path: Path, name: str) -> bool:
    """Return whether the whole file is gzip or bzip2; refuse what is not FITS at all."""
    try:
        with path.open("rb") as file:
            magic = file.read(6)
    except FileNotFoundError:
        raise HotfitError(f"{name}: no such file; check the name and the folder") from None
    except IsADirectoryError:
        raise HotfitError(f"{name}: is a folder; name its files") from None
    except OSError as error:
        raise HotfitError(f"{name}: cannot be opened ({error.strerror}); check its permissions") from error
    if not magic:
        raise HotfitError(f"{name}: is an empty file; copy it again or leave it out")
    if magic.startswith((GZIP_MAGIC, b"BZh")):
        return True
    if magic != b"SIMPLE":
        raise HotfitError(f"{name}: is not a FITS file, whatever its name says; leave it out")
    return False


def images_of(
    hdus: fits.HDUList, ext: int | str | None, name: str, reader_of: Callable[[int], Rows | TiledImage]
) -> list[Image]:
    """Return the image that `ext` names, the first if it is None, or every one if it is "all".

    Parameters
    ----------
    hdus : HDUList
    ext : int, str or None
    name : str
        What messages call it.
    reader_of : callable
        Makes the reader of an HDU from its index.

    Raises
    ------
    HotfitError
        There is no such image, or it is not one 2-D image of counts.
    """
    indices = all_images(hdus, name) if ext == ALL else [image_index(hdus, ext, name)]
    labels = labels_of([hdus[index].name for index in indices], indices)
    images = []
    for index, label in zip(indices, labels, strict=True):
        shape, reader = image_shape(hdus[index].shape, name), reader_of(index)
        if (mask := _mask_of(hdus, index)) is not None:
            reader = MaskedRows(reader, reader_of(mask))
        images.append(Image(index, label, hdus[index].header, shape, reader))
    return images


def image_index(hdus: fits.HDUList, ext: int | str | None, name: str) -> int:
    """Return the index of the HDU that holds the image: `ext`, or the first with any."""
    if ext is None:
        first = next(_with_image(hdus), None)
        if first is None:
            raise _no_image(name)
        return first
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


def all_images(hdus: fits.HDUList, name: str) -> list[int]:
    """Return the indices of all HDUs that hold an image of their own."""
    found = [index for index in _with_image(hdus) if hdus[index].name not in COMPANIONS]
    if not found:
        raise _no_image(name)
    return found


def _with_image(hdus: fits.HDUList) -> Iterator[int]:
    return (index for index, hdu in enumerate(hdus) if _has_image(hdu))


def _no_image(name: str) -> HotfitError:
    return HotfitError(f"{name}: holds no 2-D image; leave it out, or copy it again if it should")


def _has_image(hdu: fits.hdu.base._BaseHDU) -> bool:
    return getattr(hdu, "is_image", False) and len(hdu.shape) > 1


def count_images(hdus: fits.HDUList) -> int:
    """Return how many images of its own a file holds, 1 where that cannot be known."""
    # Damage behind the image that is used is no concern of anybody.
    with suppress(Exception):
        return len(all_images(hdus, ""))
    return 1


def _mask_of(hdus: fits.HDUList, index: int) -> int | None:
    """Return the index of the MASK extension that belongs to a primary image, as CCDData writes it."""
    with suppress(Exception):
        if index == 0 and hdus["MASK"].shape == hdus[0].shape:
            return hdus.index_of("MASK")
    return None


def labels_of(names: list[str], indices: list[int]) -> list[str]:
    """Return what to call the images: EXTNAME where it tells them apart and can name a folder, else index."""
    folded = {name.strip().casefold() for name in names}
    if len(folded) == len(names) and all(names_a_folder(name.strip()) for name in names):
        return [name.strip() for name in names]
    return [str(index) for index in indices]


def names_a_folder(name: str) -> bool:
    """Whether any system takes this for the name of a folder in a result."""
    plain = re.fullmatch(r"\w[\w. -]*(?<![. ])", name) is not None
    return plain and name.casefold() not in NO_FOLDER_NAMES


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


def file_reader(hdus: fits.HDUList, index: int, path: Path, name: str) -> FileRows | TiledImage:
    """Return the reader of one HDU of an uncompressed file; its data are not touched.

    Raises
    ------
    HotfitError
        It is cut short, or holds no counts.
    """
    hdu = hdus[index]
    shape, coding = image_shape(hdu.shape, name), _coding(hdu.header, name)
    size = math.prod(shape) * coding.stored.itemsize
    start, span = hdu.fileinfo()["datLoc"], hdu.fileinfo()["datSpan"]
    if isinstance(hdu, fits.CompImageHDU):
        _check_length(path, start + span, name)
        _check_tiles(size, span, name)
        return TiledImage(path, index, shape, coding)
    _check_length(path, start + size, name)
    return FileRows(path, start, shape[1], coding)


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
