"""The files of a result: written, and read back into a DarkFit."""

import json
import math
import shutil
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning

import hotfit
from hotfit.errors import HotfitError
from hotfit.flags import DQ
from hotfit.hdus import IMAGES, from_hdus, hdus_of
from hotfit.places import check_output, clear_rubbish, new_directory
from hotfit.result import DarkFit

__all__ = ["check_output", "check_room", "new_directory", "read", "write", "write_files"]

MAP_FILE = "dark_current.fits"

BYTES_PER_PIXEL = sum(np.dtype(dtype).itemsize for _, dtype in (*IMAGES.values(), IMAGES["MASK"]))
"""Of dark_current.fits and mask.fits."""

TEXT_SHARE, TEXT_BYTES = 0.04, 200_000
"""What headers, tables and the list of bad pixels add to the images: a part of them, and a constant."""


def write(fit: DarkFit, directory, *, overwrite: bool = False) -> Path:
    """Write dark_current.fits, mask.fits, bad_pixels.ecsv and summary.json.

    Parameters
    ----------
    fit : DarkFit
    directory : path
        Must not exist, unless `overwrite` is set and it holds nothing but an earlier result.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    HotfitError
        If the directory is in the way or cannot be written; then nothing is left behind.
    """
    with new_directory(directory, overwrite=overwrite) as made:
        write_files(fit, made)
    return Path(directory)


def check_room(directory, pixels: int) -> None:
    """Raise HotfitError if there is no room for a result of that many pixels.

    An earlier result keeps its own room until the new one is in place; what killed runs left is removed.
    """
    directory = Path(directory)
    clear_rubbish(directory)
    needed = room_of(pixels)
    try:
        usage = shutil.disk_usage(next(place for place in directory.absolute().parents if place.exists()))
    except (OSError, StopIteration):
        return
    if usage.total and usage.free < needed:  # some network drives say 0 of 0
        sizes = f"{math.ceil(needed / 1e6)} MB, and {int(usage.free / 1e6)} MB are free"
        raise HotfitError(
            f"{directory}: the result takes {sizes}; free some space or choose another directory"
        )


def room_of(pixels: int) -> int:
    """Bytes that a result of so many pixels takes."""
    return math.ceil(pixels * BYTES_PER_PIXEL * (1 + TEXT_SHARE)) + TEXT_BYTES


def write_files(fit: DarkFit, directory) -> None:
    """Write every file of the result into a directory that is empty or can be made."""
    directory = Path(directory)
    directory.mkdir(exist_ok=True)
    hdus_of(fit).writeto(directory / MAP_FILE, checksum=True)
    mask = fits.PrimaryHDU(fit.mask.astype(np.uint8))
    mask.header["IMAGETYP"] = ("dark mask", "1 = bad")
    mask.header["BUNIT"] = ""
    mask.header["CREATOR"] = f"hotfit {hotfit.__version__}"
    mask.writeto(directory / "mask.fits", checksum=True)
    bad_pixels(fit).write(directory / "bad_pixels.ecsv")
    text = json.dumps({"version": hotfit.__version__, **fit.summary()}, indent=2)
    (directory / "summary.json").write_text(text + "\n", encoding="utf-8")


def bad_pixels(fit: DarkFit) -> Table:
    """One row for every masked pixel: where it is, its rate, and the flags that made it bad."""
    y, x = np.nonzero(fit.mask)
    dq = fit.dq[y, x]
    reasons = np.full(dq.size, "", dtype=object)
    for name in fit.rules.bad:
        reasons[(dq & np.uint32(DQ[name])) != 0] += f" {name}"
    return Table(
        {
            "x": x.astype(np.int32),
            "y": y.astype(np.int32),
            "rate": fit.rate[y, x] * fit.unit,
            "error": fit.rate_error[y, x] * fit.unit,
            "slope_residual": fit.slope_residual[y, x],
            "slope_residual_error": fit.slope_residual_error[y, x],
            "misfit": fit.misfit[y, x],
            "misfit_fraction": fit.misfit_fraction[y, x],
            "scatter": fit.scatter[y, x],
            "reasons": [text.strip() for text in reasons] if dq.size else np.empty(0, "U1"),
        }
    )


def read(path) -> DarkFit:
    """Read a result of hotfit.

    Parameters
    ----------
    path : path
        dark_current.fits or the directory that holds it.

    Raises
    ------
    HotfitError
        If there is no such file, or it is not a whole result of hotfit.
    """
    path = Path(path)
    path = path / MAP_FILE if path.is_dir() else path
    if not path.is_file():
        raise HotfitError(f"{path}: no such file; give a directory that hotfit wrote")
    try:
        with path.open("rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", AstropyUserWarning)  # a truncated file is no more than a warning
            return from_hdus(fits.open(stream, memmap=False))
    except Exception as error:  # astropy has no common base for what a damaged file can raise
        reason = " ".join(str(error).split())
        raise HotfitError(f"{path}: is not a whole result of hotfit ({reason}); make it again") from error
