"""The output directory: written complete or not at all, and read back into a DarkFit."""

import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from astropy import units
from astropy.io import fits
from astropy.table import Table

import hotfit
from hotfit.calibrate import Detector
from hotfit.errors import HotfitError
from hotfit.flags import DQ, MEANING, Rules
from hotfit.result import DarkFit, number

MAP_FILE = "dark_current.fits"
OWN_FILES = frozenset({MAP_FILE, "mask.fits", "bad_pixels.ecsv", "summary.json"})
"""What an output directory may hold to be replaced."""

EXTENSIONS = {
    "UNCERT": "rate_error",
    "DQ": "dq",
    "INTERCEPT": "intercept",
    "SLOPERES": "slope_residual",
    "LACKFIT": "lack_of_fit",
    "SCATTER": "scatter",
    "MISFIT": "misfit",
    "MISFRAC": "misfit_fraction",
    "NUSED": "n_used",
    "NGROUPS": "n_groups",
}
"""Image extensions of dark_current.fits and the attributes they hold."""


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
        raise HotfitError(
            f"{directory}: cannot be written ({error.strerror or error}); free some space or choose another "
            "output directory"
        ) from error
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
    return directory


def check_output(directory: Path, *, overwrite: bool) -> None:
    """Raise HotfitError if `directory` is in the way."""
    directory = Path(directory)
    if not os.path.lexists(directory):
        return
    if not overwrite:
        raise HotfitError(
            f"{directory}: exists; choose another output directory or allow it to be overwritten"
        )
    if not directory.is_dir() or directory.is_symlink():
        raise HotfitError(f"{directory}: is not a directory; choose another output directory")
    foreign = sorted(entry.name for entry in directory.iterdir() if entry.name not in OWN_FILES)
    if foreign:
        raise HotfitError(
            f"{directory}: holds {foreign[0]}, which is not a result of hotfit; choose another directory"
        )


def write_files(fit: DarkFit, directory: Path) -> None:
    """Write every file of the result into an empty directory."""
    hdus(fit).writeto(directory / MAP_FILE, checksum=True)
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
    old = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".old", dir=directory.parent))
    directory.rename(old / directory.name)
    try:
        new.rename(directory)
    except OSError:
        (old / directory.name).rename(directory)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def header_of(fit: DarkFit) -> fits.Header:
    """Detector, thresholds, counts of flags and version."""
    electrons = np.isfinite(fit.detector.gain)
    detector, rules = fit.detector, fit.rules
    cards = [
        ("BUNIT", fit.unit.to_string("fits"), "unit of the dark current"),
        ("IMAGETYP", "dark current", ""),
        ("CREATOR", f"hotfit {hotfit.__version__}", ""),
        ("EGAIN", number(detector.gain), "[electron/adu] gain"),
        ("GAINSRC", detector.gain_source, "source of the gain"),
        ("RDNOISE", detector.read_noise, f"[{'electron' if electrons else 'adu'}] read noise"),
        ("RNSRC", detector.read_noise_source, "source of the read noise"),
        ("SATURATE", number(detector.saturation), "[adu] saturation level"),
        ("SATSRC", detector.saturation_source, "source of the saturation level"),
        ("ADCSTEP", detector.step, "[adu] step of the converter"),
        ("BIASSUB", fit.bias_subtracted, "line through the origin"),
        ("HOT", rules.hot, "limit on the rate given by the user"),
        ("HOTLIMIT", number(fit.hot_limit), "limit on the rate used, unit of the map"),
        ("FDR", rules.fdr, "accepted false share of significant pixels"),
        ("TOLERANC", rules.tolerance, "least misfit over largest dark signal"),
        ("MINSIGMA", rules.min_sigma, "least misfit in single-frame sigmas"),
        ("BADFLAGS", ",".join(rules.bad), "flags that set DO_NOT_USE"),
        ("NULLLOF", number(fit.lack_of_fit_null), "lack of fit of quiet pixels / expected"),
        ("NULLSCAT", number(fit.scatter_null), "scatter of quiet pixels / expected"),
        ("NFRAMES", len(fit.frames), "darks fitted"),
    ]
    counts = fit.summary()["flags"]
    cards += [(f"NBIT{int(flag).bit_length() - 1}", counts[flag.name], f"pixels {flag.name}") for flag in DQ]
    header = fits.Header(cards)
    for note in fit.notes:
        header["COMMENT"] = "".join(c if 32 <= ord(c) < 127 else "?" for c in note)
    return header


def hdus(fit: DarkFit) -> fits.HDUList:
    """All HDUs of dark_current.fits; the header units of maps other than the rate are those of CCDData."""
    bunit = {"UNCERT": fit.unit.to_string("fits"), "INTERCEPT": "adu"}
    images = []
    for name, attribute in EXTENSIONS.items():
        image = fits.ImageHDU(getattr(fit, attribute), name=name)
        if name in bunit:
            image.header["BUNIT"] = bunit[name]
        images.append(image)
    images[0].header["UTYPE"] = "StdDevUncertainty"
    mask = fits.ImageHDU(fit.mask.astype(np.uint8), name="MASK")
    frames = fits.table_to_hdu(fit.frames)
    frames.name = "FRAMES"
    names = [flag.name for flag in DQ]
    bits = np.array([int(flag).bit_length() - 1 for flag in DQ], np.int16)
    flagdef = fits.table_to_hdu(
        Table({"bit": bits, "name": names, "meaning": [MEANING[flag] for flag in DQ]})
    )
    flagdef.name = "FLAGDEF"
    primary = fits.PrimaryHDU(fit.rate, header_of(fit))
    return fits.HDUList([primary, images[0], mask, *images[1:], frames, flagdef])


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
    try:
        with fits.open(path, memmap=False) as opened:
            return from_hdus(opened)
    except FileNotFoundError as error:
        raise HotfitError(f"{path}: no such file; give a directory that hotfit wrote") from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise HotfitError(f"{path}: is not a whole result of hotfit ({error}); make it again") from error


def from_hdus(opened: fits.HDUList) -> DarkFit:
    """The DarkFit that `hdus` made the HDUs from."""
    header = opened[0].header

    def known(key):
        return np.nan if header[key] is None else header[key]

    maps = {attribute: native(opened[name].data) for name, attribute in EXTENSIONS.items()}
    detector = Detector(
        gain=known("EGAIN"),
        gain_source=header["GAINSRC"],
        read_noise=header["RDNOISE"],
        read_noise_source=header["RNSRC"],
        saturation=np.inf if header["SATURATE"] is None else header["SATURATE"],
        saturation_source=header["SATSRC"],
        step=header["ADCSTEP"],
    )
    rules = Rules(
        hot=header["HOT"],
        fdr=header["FDR"],
        tolerance=header["TOLERANC"],
        min_sigma=header["MINSIGMA"],
        bad=tuple(name for name in header["BADFLAGS"].split(",") if name),
    )
    return DarkFit(
        rate=native(opened[0].data),
        **maps,
        unit=units.Unit(header["BUNIT"]),
        frames=Table.read(opened["FRAMES"]),
        detector=detector,
        rules=rules,
        bias_subtracted=header["BIASSUB"],
        hot_limit=known("HOTLIMIT"),
        lack_of_fit_null=known("NULLLOF"),
        scatter_null=known("NULLSCAT"),
        notes=tuple(header.get("COMMENT", ())),
    )


def native(array) -> np.ndarray:
    """The array in this machine's byte order."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))
