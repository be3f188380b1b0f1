"""One dark frame: what its header says, and the reader of its rows."""

import errno
import math
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits

from hotfit.errors import HotfitError
from hotfit.exposures import Exposure, exposure_of
from hotfit.geometry import Cut, CutRows, cut_of
from hotfit.headers import (
    TEMPERATURE_KEYS,
    Claim,
    Headers,
    Options,
    gain_claims,
    image_type_of,
    is_master,
    n_averaged_of,
    n_combined_of,
    not_dark,
    read_noise_claims,
    saturation_claims,
    settings_of,
)
from hotfit.images import ALL, all_images, count_images, image_index, image_shape, images_of, is_packed
from hotfit.readers import FLOAT32, ArrayRows, Coding, Packed, Rows, Scratch, unpacked

ONLY = ""
"""Label of the image of a frame that was not asked for all of its images."""

NO_TYPE = "no image type in the header, taken as a dark"
MASTER_OF_UNKNOWN = "a master of an unknown number of frames, counted as one"


class Skipped(NamedTuple):
    """A file that was found but is not a dark to fit, and as much of its header as was read."""

    name: str
    reason: str
    image_type: str = ""
    exposure: float = math.nan
    temperature: float = math.nan
    shape: tuple[int, ...] = ()


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
        Frames averaged into this one, by software or by the camera.
    master : bool
        Whether it was combined by software, from frames that may be in the set as well.
    image_type : str
        As the header has it, ``""`` if it does not say.
    gain_claims, read_noise_claims, saturation_claims : tuple of Claim
        What the header says of the detector: e-/adu, e-, adu, unchecked.
    shape : tuple of int
        Rows and columns that are left after trimming.
    settings : dict
        Value of each of `SETTING_KEYS` that the header has.
    remarks : tuple of str
        What was assumed about this frame.
    reader : Rows or Packed
        Hands out its rows as they are stored.
    cut : Cut or None
        What to trim and subtract.
    """

    name: str
    exposure: float
    temperature: float
    n_combined: int
    master: bool
    image_type: str
    gain_claims: tuple[Claim, ...]
    read_noise_claims: tuple[Claim, ...]
    saturation_claims: tuple[Claim, ...]
    shape: tuple[int, int]
    settings: Mapping[str, float | str]
    remarks: tuple[str, ...]
    reader: Rows | Packed
    cut: Cut | None = None

    def rows(self, scratch: Scratch, containers: Scratch) -> Rows | CutRows:
        """Return the reader of the rows that are fitted; unpacks what is compressed.

        Raises
        ------
        HotfitError
            It cannot be unpacked.
        """
        with reading(self.name):
            reader = unpacked(self.reader, scratch, containers)
        return reader if self.cut is None else CutRows(reader, self.cut)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Silence astropy's warnings and turn whatever it raises into a HotfitError that names the file.

    Not thread safe, as `warnings.catch_warnings` is not: for opening, never for reading rows.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except HotfitError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            where = tempfile.gettempdir()
            raise HotfitError(
                f"{name}: no room in {where} to unpack it; free some, or set TMPDIR to another folder"
            ) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise HotfitError(
            f"{name}: cannot be read as FITS ({reason}); if it is damaged or cut short, copy it again"
        ) from error


def read_file(path: Path, name: str, seconds: float | None, options: Options) -> dict[str, Frame | Skipped]:
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

    Returns
    -------
    dict
        The image under the label `ONLY`, or with ``ext="all"`` every image under a label of its own.

    Raises
    ------
    HotfitError
        The file is missing, empty, not FITS, cut short, not one 2-D image, or its exposure is unknown.
    """
    packed = is_packed(path, name)
    with reading(name), fits.open(path, memmap=False) as hdus:
        primary = Headers(hdus[0].header)
        if reason := not_dark(primary):
            return {ONLY: _skipped(name, reason, primary, hdus[0].shape, options)}
        images = images_of(hdus, path, options.ext, name)
        count = 1 if options.ext is not None else count_images(hdus, packed)
        remarks = _choice(count, f"{images[0].index} {hdus[images[0].index].name}".strip())
        found = {}
        for image in images:
            headers = Headers(image.header, hdus[0].header)
            label = image.label if options.ext == ALL else ONLY
            if reason := not_dark(headers) or _timeless_master(headers, seconds, name, options):
                found[label] = _skipped(name, reason, headers, image.shape, options)
            else:
                found[label] = _frame(name, headers, image.shape, image.reader, seconds, options, remarks)
        return found


def _choice(count: int, label: str) -> tuple[str, ...]:
    """Say that an image was chosen among several."""
    return (f"the first of {count} images, {label}, is used; --ext chooses another, or all",) * (count > 1)


def read_object(item: Any, name: str, seconds: float | None, options: Options) -> dict[str, Frame | Skipped]:
    """Read an image in memory: an HDU, an HDUList, or a CCDData whose mask marks missing samples.

    Returns
    -------
    dict
        As `read_file` does; ``ext`` means something for an HDUList alone.

    Raises
    ------
    HotfitError
        It is not one 2-D image of real numbers, or its exposure is unknown.
    """
    with reading(name):
        if not isinstance(item, fits.HDUList):
            return {ONLY: _read_image(item, (), name, seconds, options)}
        if options.ext != ALL:
            image = item[image_index(item, options.ext, name)]
            return {ONLY: _read_image(image, (item[0].header,), name, seconds, options)}
        return {
            item[index].name or str(index): _read_image(
                item[index], (item[0].header,), name, seconds, options
            )
            for index in all_images(item, name)
        }


def _read_image(
    image: Any, more_headers: tuple[fits.Header, ...], name: str, seconds: float | None, options: Options
) -> Frame | Skipped:
    headers = Headers(image.header if hasattr(image, "header") else image.meta, *more_headers)
    data, mask = np.asarray(image.data), getattr(image, "mask", None)
    if reason := not_dark(headers) or _timeless_master(headers, seconds, name, options):
        return _skipped(name, reason, headers, data.shape, options)
    shape = image_shape(data.shape, name)
    if data.dtype.kind not in "uif":
        raise HotfitError(f"{name}: holds {data.dtype} values, not counts; give integers or floats")
    return _frame(name, headers, shape, _array_reader(data.reshape(shape), mask, name), seconds, options)


def _array_reader(data: np.ndarray, mask: Any, name: str) -> ArrayRows:
    if mask is None or not np.any(mask):
        return ArrayRows(data, Coding(data.dtype))
    if np.size(mask) != data.size:
        raise HotfitError(f"{name}: its mask is {np.shape(mask)}, its data {data.shape}; make them equal")
    # Missing samples need a type that holds NaN, whatever the data are.
    return ArrayRows(data, Coding(FLOAT32), np.reshape(mask, data.shape).astype(bool))


def _timeless_master(headers: Headers, seconds: float | None, name: str, options: Options) -> str:
    """Return why a master cannot be used, or an empty string; single frames without a time are an error."""
    if seconds is None and is_master(image_type_of(headers)):
        try:
            exposure_of(headers, name, options)
        except HotfitError:
            return f"its image type is {image_type_of(headers)!r}, and its exposure time is not known"
    return ""


def _skipped(name: str, reason: str, headers: Headers, shape: tuple[int, ...], options: Options) -> Skipped:
    try:
        exposure = exposure_of(headers, name, options).seconds
    except HotfitError:
        exposure = math.nan
    return Skipped(
        name, reason, image_type_of(headers), exposure, headers.number(TEMPERATURE_KEYS), tuple(shape)
    )


def _frame(
    name: str,
    headers: Headers,
    shape: tuple[int, int],
    reader: Rows | Packed,
    seconds: float | None,
    options: Options,
    remarks: tuple[str, ...] = (),
) -> Frame:
    image_type = image_type_of(headers)
    cut = cut_of(headers, shape, name, options)
    exposure = exposure_of(headers, name, options) if seconds is None else _listed(seconds, name)
    combined, averaged, master = n_combined_of(headers), n_averaged_of(headers), is_master(image_type)
    remarks = (
        *((NO_TYPE,) * (not image_type)),
        *exposure.remarks,
        *((MASTER_OF_UNKNOWN,) * (master and combined == 1)),
        *((f"the camera averaged {averaged} exposures in it",) * (averaged > 1)),
        *(cut.remarks if cut else ()),
        *remarks,
    )
    return Frame(
        name=name,
        exposure=exposure.seconds,
        temperature=headers.number(TEMPERATURE_KEYS),
        n_combined=combined * averaged,
        master=combined > 1 or master,
        image_type=image_type,
        gain_claims=gain_claims(headers),
        read_noise_claims=read_noise_claims(headers),
        saturation_claims=saturation_claims(headers),
        shape=shape if cut is None else cut.shape,
        settings=settings_of(headers),
        remarks=remarks,
        reader=reader,
        cut=cut,
    )


def _listed(seconds: float, name: str) -> Exposure:
    if not (math.isfinite(seconds) and seconds >= 0):
        raise HotfitError(f"{name}: an exposure of {seconds:g} s was given for it; give zero or more seconds")
    return Exposure(float(seconds))
