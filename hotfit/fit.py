"""From darks to a fit: they are calibrated, go through the kernel, and their maps are kept and flagged."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
from astropy import units

from hotfit.bands import fit_bands
from hotfit.calibrate import calibrate
from hotfit.cubes import cube_darks
from hotfit.curves import Curves
from hotfit.darks import open_darks
from hotfit.darkset import DarkSet
from hotfit.dasked import DaskSet, dask_darks, is_dasked
from hotfit.errors import HotfitError
from hotfit.findings import Findings, frame_table, untested
from hotfit.flags import Rules
from hotfit.gathering import Gathering
from hotfit.grouping import check_exposures
from hotfit.jit import when_compiling
from hotfit.maps import ArrayMaps
from hotfit.result import DarkFit
from hotfit.sums import HeldSums
from hotfit.tasks import fit_blocks
from hotfit.tracing import take_curves
from hotfit.verdict import decide

NOTHING_SAID = {"temperature_tolerance": (1.0,), "mixed": ((), [])}
"""What these arguments hold where the caller does not say how frames are read; the others, None."""

Progress = Callable[[int, int], None]


def fit_darks(
    frames,
    *,
    gain: float | None = None,
    read_noise: float | None = None,
    saturation: float | None = None,
    bias_subtracted: bool = False,
    hot: float | None = None,
    fdr: float = Rules.fdr,
    tolerance: float = Rules.tolerance,
    min_sigma: float = Rules.min_sigma,
    bad: tuple[str, ...] = Rules.bad,
    exposure_key: str | None = None,
    exposure_unit: str | None = None,
    temperature_tolerance: float = 1.0,
    ext: int | str | None = None,
    trim: str | None = None,
    overscan: str | None = None,
    mixed: str | tuple[str, ...] = (),
    updatable: bool = False,
    workers: int | None = None,
    memory: float = 256.0,
    progress: Progress | None = None,
) -> DarkFit:
    """Fit counts against exposure time for every pixel of a set of darks.

    Parameters
    ----------
    frames : DarkSet, or anything that `hotfit.darks.open_darks` takes
        Paths, directories, glob patterns, HDUs, CCDData or an ImageFileCollection.
    gain : float, optional
        Gain in e-/adu. Without it the header's value is used if the darks agree with it, else theirs.
    read_noise : float, optional
        Read noise in e-; measured from the darks by default.
    saturation : float, optional
        Level in adu at and above which a sample is not used; found in the darks by default.
    bias_subtracted : bool
        Fit a line through the origin.
    hot, fdr, tolerance, min_sigma, bad
        What is flagged and masked: see `hotfit.flags.Rules`.
    exposure_key, exposure_unit, temperature_tolerance, ext, trim, overscan, mixed
        How frames are read: see `hotfit.find_darks`.
    updatable : bool
        Keep what `DarkFit.update` and `DarkFit.remove` need: 16 bytes for each pixel and exposure time.
    workers : int, optional
        Threads; one for each core by default.
    memory : float
        MB (10**6 bytes) of frames and their maps held at once, in all threads together.
    progress : callable, optional
        Called as ``progress(rows_done, rows)`` from the calling thread.

    Returns
    -------
    DarkFit

    Raises
    ------
    HotfitError
        If the frames cannot be used: the message names the frame and the remedy.
    """
    rules = Rules(hot=hot, fdr=fdr, tolerance=tolerance, min_sigma=min_sigma, bad=bad)
    reading = {
        "exposure_key": exposure_key,
        "exposure_unit": exposure_unit,
        "temperature_tolerance": temperature_tolerance,
        "ext": ext,
        "trim": trim,
        "overscan": overscan,
        "mixed": mixed,
    }
    if not isinstance(frames, DarkSet):
        darks = open_darks(frames, **reading)
    elif any(value not in NOTHING_SAID.get(name, (None,)) for name, value in reading.items()):
        raise HotfitError("frames: are read already; give exposure_key and the like to open_darks")
    else:
        darks = frames
    given = {"gain": gain, "read_noise": read_noise, "saturation": saturation}
    return fit_set(
        darks,
        HeldMaps,
        given=given,
        bias_subtracted=bias_subtracted,
        rules=rules,
        updatable=updatable,
        workers=workers,
        memory=memory,
        progress=progress,
    )


def fit_cube(
    cube,
    exposure,
    *,
    gain: float | None = None,
    read_noise: float | None = None,
    saturation: float | None = None,
    n_combined=None,
    bias_subtracted: bool = False,
    hot: float | None = None,
    fdr: float = Rules.fdr,
    tolerance: float = Rules.tolerance,
    min_sigma: float = Rules.min_sigma,
    bad: tuple[str, ...] = Rules.bad,
    workers: int | None = None,
    progress: Progress | None = None,
) -> DarkFit:
    """Fit counts against exposure time for every pixel of a cube in memory.

    Parameters
    ----------
    cube : (N, rows, columns) array, or dask array
        Darks in adu, in any order. uint16 and float32 are used as they are, other types as float32.
        NaN and masked samples are missing samples. See the notes for dask.
    exposure : (N,) array
        Exposure times in seconds.
    n_combined : (N,) array, optional
        Frames averaged in each dark; 1 by default.
    gain, read_noise, saturation, bias_subtracted, hot, fdr, tolerance, min_sigma, bad, workers, progress
        As in `fit_darks`: gain in e-/adu, read noise in e-, saturation in adu.

    Returns
    -------
    DarkFit

    Raises
    ------
    HotfitError
        If shapes disagree, an exposure is negative or not finite, or there are not two exposure times;
        if `workers` come with a dask array.

    Notes
    -----
    A dask array is fitted block by block by whatever scheduler is set (threads, processes, a Client of
    `dask.distributed`); the result is bit for bit that of the same array in memory. Blocks of masked arrays
    count as float32. A worker holds the samples of its blocks (some 16 MB each, with their maps) and what
    these are made of, so chunks of some rows and columns are better than whole frames, all of which are held
    while they are cut. Gathered are the maps and a sample of fixed size. The array is computed up to four
    times: for the rows with bright pixels (the longest frame), for the sample to calibrate on (some rows),
    for the fit, and for the samples that the result keeps (some pixels); ``cube.persist()`` avoids that.
    An error in a block is raised as it is.
    """
    rules = Rules(hot=hot, fdr=fdr, tolerance=tolerance, min_sigma=min_sigma, bad=bad)
    if is_dasked(cube) and workers is not None:
        raise HotfitError(f"workers={workers}: the scheduler of a dask array has its own; leave them out")
    darks = (dask_darks if is_dasked(cube) else cube_darks)(cube, exposure, n_combined=n_combined)
    given = {"gain": gain, "read_noise": read_noise, "saturation": saturation}
    return fit_set(
        darks,
        HeldMaps,
        given=given,
        bias_subtracted=bias_subtracted,
        rules=rules,
        workers=workers,
        memory=np.inf,
        progress=progress,
    )


class HeldMaps(ArrayMaps):
    """Maps in memory that become a DarkFit."""

    def __init__(self, draft: Findings):
        super().__init__(draft.dq)

    def new_sums(self) -> HeldSums:
        """A keeper of the sums of an exposure."""
        return HeldSums(self.shape)

    def finish(self, findings: Findings, trace: Callable[[Findings], Curves | None]) -> DarkFit:
        """The fit of these maps; `trace` takes the curves of a fit that has none."""
        fit = DarkFit(**vars(findings), **self.arrays)
        return replace(fit, curves=trace(fit))


def fit_set(
    darks,
    keep,
    *,
    given,
    bias_subtracted,
    rules,
    workers,
    memory,
    progress,
    updatable=False,
    compiling=None,
):
    """Calibrate a set of darks, fit its bands in threads or its blocks as dask's tasks, flag and finish it.

    ``keep(draft)`` is told the findings that are known before the fit, and makes the keeper of the maps, see
    `hotfit.maps`; what its `finish` makes of all findings is returned. `compiling` is called as in
    `hotfit.jit.when_compiling`.
    """
    workers = checked_workers(workers, memory)
    check_exposures(darks.exposure)
    calibration = calibrate(darks, bias_subtracted=bias_subtracted, workers=workers, **given)
    draft = draft_of(darks, calibration, rules, bias_subtracted, (*darks.notes, *calibration.notes))
    maps, gathering = keep(draft), None
    if updatable:
        keepers = [maps.new_sums() for _ in darks.group_exposure]
        gathering = Gathering(darks, calibration, bias_subtracted, keepers)
    gather = None if gathering is None else gathering.take
    in_bands = partial(fit_bands, workers=workers, memory=memory, gather=gather)
    fit_all = fit_blocks if isinstance(darks, DaskSet) else in_bands
    with nullcontext() if compiling is None else when_compiling(compiling):
        counts = fit_all(darks, calibration, bias_subtracted, maps, progress=progress)
    if gathering is not None:
        draft = replace(draft, state=gathering.state())
    trace = partial(take_curves, darks, calibration, bias_subtracted)
    return finish_fit(draft, maps, frame_table(darks, calibration, counts), trace, workers)


def finish_fit(draft: Findings, maps, frames, trace, workers: int):
    """Flag the maps of a fit, whose table of frames is known now, and finish the result."""
    exposures = np.unique(frames["group"]).size
    design = len(frames), exposures, 1 if draft.bias_subtracted else 2
    verdict = decide(maps, draft.rules, *design, workers)
    notes = *draft.notes, *untested(verdict)
    return maps.finish(replace(draft, **verdict._asdict(), frames=frames, notes=notes), trace)


def checked_workers(workers: int | None, memory: float) -> int:
    """How many threads there are to be; raises HotfitError if that, or the memory (MB), makes no sense."""
    if workers is not None and not (workers >= 1 and workers == int(workers)):
        raise HotfitError(f"workers={workers}: give a whole number of threads, 1 or more")
    if not memory > 0:
        raise HotfitError(f"memory={memory} MB: give a number above zero")
    return workers or os.cpu_count() or 1


def draft_of(darks, calibration, rules, bias_subtracted, notes) -> Findings:
    """What is known before the fit; flags and numbers of the verdict are still to come."""
    return Findings(
        dq=np.zeros(darks.shape, np.uint32),
        unit=units.Unit("electron/s" if np.isfinite(calibration.detector.gain) else "adu/s"),
        frames=frame_table(darks, calibration, np.zeros((2, len(darks.frames)), np.int64)),
        detector=calibration.detector,
        rules=rules,
        bias_subtracted=bias_subtracted,
        charge_floor=float(calibration.noise.floor),
        hot_limit=np.nan,
        lack_of_fit_null=np.nan,
        scatter_null=np.nan,
        shared_degrees=np.nan,
        lack_of_fit_limit=np.nan,
        notes=notes,
    )
