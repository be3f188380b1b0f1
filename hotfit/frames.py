"""One dark frame: what its header says, and the reader of its rows."""

import errno
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits

from hotfit.errors import HotfitError
from hotfit.exposures import Exposure, exposure_of
from hotfit.geometry import Cut, CutRows, cut_of, cut_rows
from hotfit.headers import (
    Claim,
    Headers,
    Options,
    called_dark,
    gain_claims,
    image_type_of,
    is_master,
    n_averaged_of,
    n_combined_of,
    not_dark,
    read_noise_claims,
    saturation_claims,
    settings_of,
    temperature_of,
)
from hotfit.images import ALL, count_images, file_reader, image_shape, images_of, is_packed
from hotfit.readers import (
    FLOAT32,
    ArrayRows,
    Coding,
    MaskedRows,
    Packed,
    PackedFile,
    Rows,
    Scratch,
    TiledImage,
)

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
    reader : Rows, CutRows or Packed
        Hands out its rows, once it is unpacked.
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
    reader: Rows | CutRows | Packed
    cut: Cut | None = None

    def unpacked(self, scratch: Scratch, containers: Scratch) -> "Frame":
        """Return this frame with a reader whose rows are those to fit.

        Parameters
        ----------
        scratch : Scratch
            Where the counts of tile-compressed images go.
        containers : Scratch
            Where decompressed files go, which may hold images of other sets too.

        Raises
        ------
        HotfitError
            It cannot be unpacked.
        """
        with reading(self.name):
            frame = _out_of_container(self, containers) if isinstance(self.reader, PackedFile) else self
            reader = _untiled(frame.reader, scratch)
            return replace(frame, reader=reader if self.cut is None else cut_rows(reader, self.cut))


def _out_of_container(frame: Frame, containers: Scratch) -> Frame:
    """Find the image, its mask and its neighbours in a file whose primary header alone was read."""
    path = containers.plain(frame.reader.path)
    with fits.open(path, memmap=False) as hdus:
        (image,) = images_of(hdus, 0, frame.name, partial(file_reader, hdus, path=path, name=frame.name))
        return replace(frame, reader=image.reader, remarks=(*frame.remarks, *_choice(hdus, 0, None)))


def _untiled(reader: Rows | TiledImage, scratch: Scratch) -> Rows:
    if isinstance(reader, MaskedRows):
        return MaskedRows(_untiled(reader.image, scratch), _untiled(reader.mask, scratch))
    return reader.unpack(scratch.new()) if isinstance(reader, TiledImage) else reader


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


def read_file(
    path: Path, name: str, seconds: float | None, options: Options, containers: Scratch
) -> dict[str, Frame | Skipped]:
    """Read the headers of a FITS file; the data of a dark are not touched, nor those of a compressed one.

    Parameters
    ----------
    path : Path
        Plain, gzip, bzip2 or tile-compressed FITS.
    name : str
        What messages call it.
    seconds : float or None
        The exposure if the caller knows it; None to take it from the header.
    options : Options
    containers : Scratch
        Where a compressed file is unpacked if its image is not the primary one.

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
        if reason := not_dark(primary, options):
            return {ONLY: _skipped(name, reason, primary, hdus[0].shape, options)}
        if packed and options.ext is None and len(hdus[0].shape) > 1:
            shape = image_shape(hdus[0].shape, name)
            return {ONLY: _frame(name, primary, shape, PackedFile(path), seconds, options)}
    plain = path
    if packed:
        with reading(name):
            plain = containers.plain(path)
    with reading(name), fits.open(plain, memmap=False) as hdus:
        reader_of = partial(file_reader, hdus, path=plain, name=name)
        return _frames(hdus, name, seconds, options, reader_of)


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
        if isinstance(item, fits.HDUList):
            return _frames(item, name, seconds, options, lambda index: _array_reader(item[index], name))
        headers = Headers(item.header if hasattr(item, "header") else item.meta)
        if reason := not_dark(headers, options):
            return {ONLY: _skipped(name, reason, headers, np.shape(item.data), options)}
        shape = image_shape(np.shape(item.data), name)
        return {ONLY: _frame(name, headers, shape, _array_reader(item, name), seconds, options)}


def _frames(
    hdus: fits.HDUList,
    name: str,
    seconds: float | None,
    options: Options,
    reader_of: Callable[[int], Rows | TiledImage],
) -> dict[str, Frame | Skipped]:
    """Return the frames of the HDUs that the options name."""
    found = {}
    for image in images_of(hdus, options.ext, name, reader_of):
        headers = Headers(image.header, hdus[0].header) if image.index else Headers(image.header)
        label = image.label if options.ext == ALL else ONLY
        remarks = _choice(hdus, image.index, options.ext)
        if reason := not_dark(headers, options):
            found[label] = _skipped(name, reason, headers, image.shape, options)
        else:
            found[label] = _frame(name, headers, image.shape, image.reader, seconds, options, remarks)
    return found


def _choice(hdus: fits.HDUList, index: int, ext: int | str | None) -> tuple[str, ...]:
    """Say that an image was chosen among several."""
    count = count_images(hdus) if ext is None else 1
    label = f"{index} {hdus[index].name}".strip()
    return (f"the first of {count} images, {label}, is used; --ext chooses another, or all",) * (count > 1)


def _array_reader(image: Any, name: str) -> ArrayRows:
    """Return the reader of an HDU or CCDData in memory."""
    data, mask = np.asarray(image.data), getattr(image, "mask", None)
    if data.dtype.kind not in "uif":
        raise HotfitError(f"{name}: holds {data.dtype} values, not counts; give integers or floats")
    data = data.reshape(image_shape(data.shape, name))
    if mask is None or not np.any(mask):
        return ArrayRows(data, Coding(data.dtype))
    if np.size(mask) != data.size:
        raise HotfitError(f"{name}: its mask is {np.shape(mask)}, its data {data.shape}; make them equal")
    # Missing samples need a type that holds NaN, whatever the data are.
    return ArrayRows(data, Coding(FLOAT32), np.reshape(mask, data.shape).astype(bool))


def _skipped(name: str, reason: str, headers: Headers, shape: tuple[int, ...], options: Options) -> Skipped:
    try:
        exposure = exposure_of(headers, name, options).seconds
    except HotfitError:
        exposure = math.nan
    return Skipped(name, reason, image_type_of(headers), exposure, temperature_of(headers), tuple(shape))


def _frame(
    name: str,
    headers: Headers,
    shape: tuple[int, int],
    reader: Rows | Packed,
    seconds: float | None,
    options: Options,
    remarks: tuple[str, ...] = (),
) -> Frame | Skipped:
    image_type = image_type_of(headers)
    combined, averaged, master = n_combined_of(headers), n_averaged_of(headers), is_master(image_type)
    try:
        exposure = exposure_of(headers, name, options) if seconds is None else _listed(seconds, name)
    except HotfitError:
        if not master:
            raise
        reason = f"its image type is {image_type!r}, and its exposure time is not known"
        return _skipped(name, reason, headers, shape, options)
    cut = cut_of(headers, shape, name, options)
    remarks = (
        *((NO_TYPE,) * (not image_type)),
        *(
            (f"its image type is {image_type!r}, taken as a dark",)
            * (bool(image_type) and not called_dark(image_type))
        ),
        *exposure.remarks,
        *((MASTER_OF_UNKNOWN,) * (master and combined == 1)),
        *((f"the camera averaged {averaged} exposures in it",) * (averaged > 1)),
        *(cut.remarks if cut else ()),
        *remarks,
    )
    return Frame(
        name=name,
        exposure=exposure.seconds,
        temperature=temperature_of(headers),
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
