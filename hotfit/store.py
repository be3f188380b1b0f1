"""The door to the files of a result: is there room, written as a whole, read back into a DarkFit."""

import math
import shutil
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from hotfit.curves import SAMPLES
from hotfit.errors import HotfitError
from hotfit.filed import filing
from hotfit.findings import Findings
from hotfit.hdus import IMAGES, findings_from, from_hdus, is_sound
from hotfit.outputs import NOTHING, Extras, write_files
from hotfit.places import (
    MAP_FILE,
    check_output,
    clear_rubbish,
    mark_of,
    new_directory,
    replaced_meanwhile,
)
from hotfit.result import DarkFit
from hotfit.statefile import STATE_FILE, StateFile

__all__ = [
    "Extras",
    "check_output",
    "check_room",
    "clear_rubbish",
    "filing",
    "mark_of",
    "new_directory",
    "read",
    "read_findings",
    "replaced_meanwhile",
    "write",
    "write_files",
]

BYTES_PER_PIXEL = sum(np.dtype(dtype).itemsize for _, dtype in (*IMAGES.values(), IMAGES["MASK"]))
"""Of dark_current.fits and mask.fits."""

TEXT_SHARE, TEXT_BYTES = 0.04, 200_000 + 5 * SAMPLES
"""What headers, tables and the list of bad pixels add to the images: a part of them, and a constant, with a
value and its state for each sample that is kept."""

REPORT_BYTES = 8_000_000
"""Of a report, at most."""


def write(
    fit: DarkFit,
    directory,
    *,
    overwrite: bool = False,
    report: bool = False,
    export: str | Iterable[str] = (),
) -> Path:
    """Write dark_current.fits, mask.fits, bad_pixels.ecsv and summary.json, and what else is asked for.

    Parameters
    ----------
    fit : DarkFit
    directory : path
        Must not exist, unless `overwrite` is set and it holds nothing but an earlier result.
    report : bool
        Write report.html too, which takes matplotlib.
    export : str or sequence of str
        Programs to write a list of the masked pixels for: "siril" (bad_pixels.lst), "ds9" (bad_pixels.reg).

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    HotfitError
        If the directory is in the way or cannot be written, or matplotlib is missing, or there is no such
        program; then nothing is left behind.
    """
    extras = Extras.checked(report, export)
    with new_directory(directory, overwrite=overwrite) as made:
        write_files(fit, made, extras)
    return Path(directory)


def check_room(
    directory, pixels: int, extras: Extras = NOTHING, detectors: int = 1, *, state: int = 0
) -> None:
    """Raise HotfitError if there is no room for results of that many pixels in all, and `state` bytes more.

    An earlier result keeps its own room until the new one is in place; what killed runs left is removed.
    """
    directory = Path(directory)
    clear_rubbish(directory)
    needed = room_of(pixels) + (detectors - 1) * TEXT_BYTES + detectors * REPORT_BYTES * extras.report + state
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
    return opened(Path(path), from_hdus)


def read_findings(path) -> Findings:
    """Read a result of hotfit without its maps, see `hotfit.hdus.findings_from`; as `read` else."""
    return opened(Path(path), findings_from)


def opened(path: Path, take: Callable):
    """What `take` makes of the HDUs of a result, with its state, if it has one."""
    path = path / MAP_FILE if path.is_dir() else path
    if not path.is_file():
        raise HotfitError(f"{path}: no such file; give a directory that hotfit wrote")
    try:
        with path.open("rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", AstropyUserWarning)  # a truncated file is no more than a warning
            hdus = fits.open(stream, memmap=False)
            fit = take(hdus)
            state = state_beside(path, hdus)
    except Exception as error:  # astropy has no common base for what a damaged file can raise
        reason = " ".join(str(error).split())
        raise HotfitError(f"{path}: is not a whole result of hotfit ({reason}); make it again") from error
    return replace(fit, state=state)


def state_beside(path: Path, hdus: fits.HDUList) -> StateFile | None:
    """The state beside a result, if it has one."""
    if not (path.parent / STATE_FILE).exists():
        return None
    return StateFile(path.parent, hdus[0].header.get("STATEID", ""), is_sound(hdus))
