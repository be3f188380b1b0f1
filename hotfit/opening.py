"""Opens one file or object: which of its images are darks, and how to read their rows."""

import errno
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from hotfit.blocks import check_sizes
from hotfit.errors import HotfitError
from hotfit.frames import Frame, Skipped, frame_of, skipped_of
from hotfit.geometry import cut_rows
from hotfit.headers import Headers, Options, not_dark
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
    decompressed,
)

ONLY = ""
"""Label of the image of a frame that was not asked for all of its images."""


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
    with reading(name), decompressed(path) if packed else path.open("rb") as stream:
        check_sizes(stream, name, headers=1 if packed else None)
    with reading(name), fits.open(path, memmap=False) as hdus:
        if not isinstance(hdus[0], fits.PrimaryHDU):
            raise HotfitError(f"{name}: is not FITS as the standard has it (SIMPLE or GROUPS); copy it again")
        primary = Headers(hdus[0].header)
        if reason := not_dark(primary, options):
            return {ONLY: skipped_of(name, reason, primary, hdus[0].shape, options)}
        if packed and options.ext is None and len(hdus[0].shape) > 1:
            shape = image_shape(hdus[0].shape, name)
            return {ONLY: frame_of(name, primary, shape, PackedFile(path), seconds, options)}
        if not packed:
            return _frames(hdus, name, seconds, options, partial(file_reader, hdus, path=path, name=name))
    with reading(name):
        plain = _plain(path, name, containers)
    with reading(name), fits.open(plain, memmap=False) as hdus:
        return _frames(hdus, name, seconds, options, partial(_packed_reader, hdus, path, plain, name))


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
            return {ONLY: skipped_of(name, reason, headers, np.shape(item.data), options)}
        shape = image_shape(np.shape(item.data), name)
        return {ONLY: frame_of(name, headers, shape, _array_reader(item, name), seconds, options)}


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
            found[label] = skipped_of(name, reason, headers, image.shape, options)
        else:
            found[label] = frame_of(name, headers, image.shape, image.reader, seconds, options, remarks)
    return found


def _choice(hdus: fits.HDUList, index: int, ext: int | str | None) -> tuple[str, ...]:
    """Say that an image was chosen among several."""
    count = count_images(hdus) if ext is None else 1
    label = f"{index} {hdus[index].name}".strip()
    return (f"the first of {count} images, {label}, is used; --ext chooses another, or all",) * (count > 1)


def _packed_reader(hdus: fits.HDUList, path: Path, plain: Path, name: str, index: int) -> PackedFile:
    """Check one HDU of a compressed file, which is unpacked where its rows are read, maybe elsewhere."""
    file_reader(hdus, index, plain, name)
    return PackedFile(path, index)


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


def unpacked(frame: Frame, scratch: Scratch, containers: Scratch) -> Frame:
    """Return the frame with a reader whose rows are those to fit.

    Parameters
    ----------
    frame : Frame
    scratch : Scratch
        Where the counts of tile-compressed images go.
    containers : Scratch
        Where decompressed files go, which may hold images of other sets too.

    Raises
    ------
    HotfitError
        It cannot be unpacked.
    """
    with reading(frame.name):
        if isinstance(frame.reader, PackedFile) and frame.reader.hdu is None:
            frame = _out_of_container(frame, containers)
        reader = _untiled(_contained(frame.reader, frame.name, containers), scratch)
        return replace(frame, reader=reader if frame.cut is None else cut_rows(reader, frame.cut))


def _out_of_container(frame: Frame, containers: Scratch) -> Frame:
    """Find the image, its mask and its neighbours in a file whose primary header alone was read."""
    path = _plain(frame.reader.path, frame.name, containers)
    with fits.open(path, memmap=False) as hdus:
        (image,) = images_of(hdus, 0, frame.name, partial(file_reader, hdus, path=path, name=frame.name))
        return replace(frame, reader=image.reader, remarks=(*frame.remarks, *_choice(hdus, 0, None)))


def _contained(reader: Rows | Packed, name: str, containers: Scratch) -> Rows | TiledImage:
    """Read the images of compressed files from what is unpacked of these."""
    if isinstance(reader, MaskedRows):
        return MaskedRows(*(_contained(part, name, containers) for part in (reader.image, reader.mask)))
    if not isinstance(reader, PackedFile):
        return reader
    plain = _plain(reader.path, name, containers)
    with fits.open(plain, memmap=False) as hdus:
        return file_reader(hdus, reader.hdu, plain, name)


def _plain(path: Path, name: str, containers: Scratch) -> Path:
    plain = containers.plain(path)
    with plain.open("rb") as stream:
        check_sizes(stream, name)
    return plain


def _untiled(reader: Rows | TiledImage, scratch: Scratch) -> Rows:
    if isinstance(reader, MaskedRows):
        return MaskedRows(_untiled(reader.image, scratch), _untiled(reader.mask, scratch))
    return reader.unpack(scratch.new()) if isinstance(reader, TiledImage) else reader
