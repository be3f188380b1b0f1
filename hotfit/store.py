"""The output directory: written complete or not at all, and read back into a DarkFit."""

import json
import os
import shutil
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning

import hotfit
from hotfit.errors import HotfitError
from hotfit.flags import DQ
from hotfit.hdus import from_hdus, hdus_of
from hotfit.result import DarkFit

MAP_FILE = "dark_current.fits"
OWN_FILES = frozenset({MAP_FILE, "mask.fits", "bad_pixels.ecsv", "summary.json"})
"""What an output directory may hold to be replaced."""


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
    directory = Path(directory)
    check_output(directory, overwrite=overwrite)
    made = None
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".partial", dir=directory.parent))
        write_files(fit, made)
        open_to_others(made)
        replace_directory(made, directory)
    except OSError as error:
        reason = error.strerror or str(error).partition(".")[0]
        raise HotfitError(
            f"{directory}: cannot be written ({reason}); free some space or choose another directory"
        ) from error
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
    return directory


def check_output(directory: Path, *, overwrite: bool) -> None:
    """Raise HotfitError if `directory` is in the way."""
    directory = Path(directory)
    for parent in directory.parents:
        if parent.exists() and not parent.is_dir():
            raise HotfitError(f"{directory}: {parent} is a file; choose another directory")
    if not os.path.lexists(directory):
        return
    if not overwrite:
        raise HotfitError(f"{directory}: exists; choose another directory or set overwrite (--overwrite)")
    if not directory.is_dir() or directory.is_symlink():
        raise HotfitError(f"{directory}: is not a directory; choose another output directory")
    foreign = sorted(entry.name for entry in directory.iterdir() if entry.name not in OWN_FILES)
    if foreign:
        raise HotfitError(
            f"{directory}: holds {foreign[0]}, which is not a result of hotfit; choose another directory"
        )


def write_files(fit: DarkFit, directory: Path) -> None:
    """Write every file of the result into an empty directory."""
    hdus_of(fit).writeto(directory / MAP_FILE, checksum=True)
    mask = fits.PrimaryHDU(fit.mask.astype(np.uint8))
    mask.header["IMAGETYP"] = ("dark mask", "1 = bad")
    mask.header["BUNIT"] = ""
    mask.header["CREATOR"] = f"hotfit {hotfit.__version__}"
    mask.writeto(directory / "mask.fits", checksum=True)
    bad_pixels(fit).write(directory / "bad_pixels.ecsv")
    text = json.dumps({"version": hotfit.__version__, **fit.summary()}, indent=2)
    (directory / "summary.json").write_text(text + "\n", encoding="utf-8")


def open_to_others(directory: Path) -> None:
    """Give a directory made by mkdtemp the permissions that the user's umask asks for."""
    with suppress(OSError):
        umask = os.umask(0)
        os.umask(umask)
        directory.chmod(0o777 & ~umask)


def replace_directory(new: Path, directory: Path) -> None:
    """Put `new` in the place of `directory` by renames alone."""
    if not directory.exists():
        new.rename(directory)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".old", dir=directory.parent))
    old = aside / directory.name
    try:
        directory.rename(old)
        try:
            new.rename(directory)
        except OSError:
            old.rename(directory)
            raise
    except OSError:
        with suppress(OSError):
            aside.rmdir()  # only if the old result is back in its place
        raise
    shutil.rmtree(aside, ignore_errors=True)


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
