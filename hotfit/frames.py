"""One dark frame: what its header says, and the reader of its rows."""

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from hotfit.errors import HotfitError
from hotfit.headers import (
    COMBINED_KEYS,
    TEMPERATURE_KEYS,
    Headers,
    Options,
    exposure_of,
    gain_hint_of,
    image_type_of,
    not_dark,
    settings_of,
)
from hotfit.readers import FLOAT32, STORED, ArrayRows, Coding, FileRows, PackedImage, Reader

SCALING = (("BSCALE", 1.0), ("BZERO", 0.0))

NO_TYPE = "no image type in the header, taken as a dark"
NO_BIAS_EXPOSURE = "a bias frame without an exposure time, taken as 0 s"


class Skipped(NamedTuple):
    """A file that was found but is not a dark."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Frame:
    """One dark frame.

    Attributes
    ----------
    name : str
        The path as given, or ``"frame 3"`` (counted from 1) for data in memory.
    exposure : float
        Seconds; 0 for a bias.
    temperature : float
        Degrees C, NaN if the header does not say.
    n_combined : int
        Frames averaged into this one.
    image_type : str
        As the header has it, ``""`` if it does not say.
    gain_hint : float
        e-/adu from EGAIN or E-GAIN, NaN if absent, not a positive number or the placeholder 1.0.
    shape : tuple of int
        Rows and columns.
    settings : dict
        Value of each of `SETTING_KEYS` that the header has.
    remarks : tuple of str
        What was assumed about this frame.
    reader : Reader
        Hands out its rows.
    """

    name: str
    exposure: float
    temperature: float
    n_combined: int
    image_type: str
    gain_hint: float
    shape: tuple[int, int]
    settings: Mapping[str, float | str]
    remarks: tuple[str, ...]
    reader: Reader


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Silence astropy's warnings and turn whatever it raises into a HotfitError that names the file.

    Not thread safe, as `warnings.catch_warnings` is not: for opening, never for reading rows.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            yield
    except HotfitError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise HotfitError(
            f"{name}: cannot be read as FITS ({reason}); if it is damaged or cut short, copy it again"
        ) from error


def read_file(path: Path, name: str, seconds: float | None, options: Options) -> Frame | Skipped:
    """Read the headers of a FITS file; its data are not touched.

    Parameters
    ----------
    path : Path
        Plain, gzip, bzip2 or tile-compressed FITS.
    name : str
        What messages call it.
    seconds : float or None
        The exposure if the caller knows it; None to take it from the header.
    options : Options

    Raises
    ------
    HotfitError
        The file is missing, empty, not FITS, cut short, not one 2-D image, or its exposure is unknown.
    """
    packed = _is_packed(path, name)
    with reading(name), fits.open(path, memmap=False) as hdus:
        if reason := not_dark(Headers(hdus[0].header)):
            return Skipped(name, reason)
        index = _image_index(hdus, options.ext, name)
        hdu, headers = hdus[index], Headers(hdus[index].header, hdus[0].header)
        if reason := not_dark(headers):
            return Skipped(name, reason)
        shape = _image_shape(hdu.shape, name)
        coding = _coding(hdu.header, name)
        tiled = isinstance(hdu, fits.CompImageHDU)
        place = hdu.fileinfo()
        if not packed:
            length = place["datSpan"] if tiled else math.prod(shape) * coding.stored.itemsize
            _check_length(path, place["datLoc"], length, name)
        reader = FileRows(path, place["datLoc"], shape[1], coding)
        if packed or tiled:
            reader = PackedImage(path, index, shape, coding)
        return _frame(name, headers, shape, reader, seconds, options)


def read_object(item: Any, name: str, seconds: float | None, options: Options) -> Frame | Skipped:
    """Read an image in memory: an HDU, an HDUList, or a CCDData whose mask marks missing samples.

    Raises
    ------
    HotfitError
        It is not one 2-D image of real numbers, or its exposure is unknown.
    """
    with reading(name):
        if isinstance(item, fits.HDUList):
            image = item[_image_index(item, options.ext, name)]
            headers = Headers(image.header, item[0].header)
        else:
            image = item
            headers = Headers(item.header if hasattr(item, "header") else item.meta)
        if reason := not_dark(headers):
            return Skipped(name, reason)
        data, mask = np.asarray(image.data), getattr(image, "mask", None)
        shape = _image_shape(data.shape, name)
        if data.dtype.kind not in "uif":
            raise HotfitError(f"{name}: holds {data.dtype} values, not counts; give integers or floats")
        reader = _array_reader(data.reshape(shape), mask, name)
        return _frame(name, headers, shape, reader, seconds, options)


def _array_reader(data: np.ndarray, mask: Any, name: str) -> ArrayRows:
    if mask is None or not np.any(mask):
        return ArrayRows(data, Coding(data.dtype))
    if np.size(mask) != data.size:
        raise HotfitError(f"{name}: its mask is {np.shape(mask)}, its data {data.shape}; make them equal")
    # Missing samples need a type that holds NaN, whatever the data are.
    return ArrayRows(data, Coding(FLOAT32), np.reshape(mask, data.shape).astype(bool))


def _is_packed(path: Path, name: str) -> bool:
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
    if magic.startswith((b"\x1f\x8b", b"BZh")):
        return True
    if magic != b"SIMPLE":
        raise HotfitError(f"{name}: is not a FITS file, whatever its name says; leave it out")
    return False


def _check_length(path: Path, start: int, length: int, name: str) -> None:
    size = path.stat().st_size
    if size < start + length:
        raise HotfitError(
            f"{name}: is cut short ({size} bytes of the {start + length} in its header); copy it again"
        )


def _image_index(hdus: fits.HDUList, ext: int | str | None, name: str) -> int:
    """Return the index of the HDU that holds the image: `ext`, or the first with any."""
    if ext is not None:
        try:
            index = hdus.index_of(ext)
            hdu = hdus[index]
        except (KeyError, IndexError):
            known = ", ".join(f"{i} {hdu.name}".strip() for i, hdu in enumerate(hdus))
            raise HotfitError(
                f"{name}: has no extension {ext!r}, only {known}; give --ext one of these"
            ) from None
        if not _has_image(hdu):
            raise HotfitError(
                f"{name}: extension {ext!r} holds no image; give --ext another, or leave it out"
            )
        return index
    for index, hdu in enumerate(hdus):
        if _has_image(hdu):
            return index
    raise HotfitError(f"{name}: holds no 2-D image; leave it out, or copy it again if it should")


def _has_image(hdu: Any) -> bool:
    return getattr(hdu, "is_image", False) and len(hdu.shape) > 0


def _image_shape(shape: tuple[int, ...], name: str) -> tuple[int, int]:
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


def _frame(
    name: str,
    headers: Headers,
    shape: tuple[int, int],
    reader: Reader,
    seconds: float | None,
    options: Options,
) -> Frame:
    image_type = image_type_of(headers)
    remarks = () if image_type else (NO_TYPE,)
    if seconds is None:
        seconds = exposure_of(headers, name, options)
        if seconds is None:
            seconds, remarks = 0.0, (*remarks, NO_BIAS_EXPOSURE)
    elif not (math.isfinite(seconds) and seconds >= 0):
        raise HotfitError(f"{name}: an exposure of {seconds:g} s was given for it; give zero or more seconds")
    combined = headers.number(COMBINED_KEYS)
    return Frame(
        name=name,
        exposure=float(seconds),
        temperature=headers.number(TEMPERATURE_KEYS),
        n_combined=int(combined) if math.isfinite(combined) and combined >= 1 else 1,
        image_type=image_type,
        gain_hint=gain_hint_of(headers),
        shape=shape,
        settings=settings_of(headers),
        remarks=remarks,
        reader=reader,
    )
