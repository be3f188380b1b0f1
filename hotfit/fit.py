"""From darks to a fit: bands of rows go through the kernel in threads; their maps are kept and flagged."""

import os
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from astropy import units

from hotfit import kernels
from hotfit.calibrate import calibrate
from hotfit.cubes import cube_darks
from hotfit.darks import open_darks
from hotfit.darkset import DarkSet, check_exposures
from hotfit.design import fewest_for_stuck, make_design, make_groups, make_limits
from hotfit.errors import HotfitError
from hotfit.findings import Findings, frame_table, untested
from hotfit.flags import Rules
from hotfit.maps import TYPES, ArrayMaps, in_threads
from hotfit.result import DarkFit
from hotfit.verdict import decide

BANDS = 16e6
"""Bytes of samples and maps that all threads hold at once, or as many as a frame has: more is not faster."""

MAP_BYTES = sum(np.dtype(dtype).itemsize for dtype in TYPES.values())
"""Of one pixel in all maps."""

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
    cube : (N, rows, columns) array
        Darks in adu, in any order. uint16 and float32 are used as they are, other types as float32.
        NaN and masked samples are missing samples.
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
        If shapes disagree, an exposure is negative or not finite, or there are not two exposure times.
    """
    rules = Rules(hot=hot, fdr=fdr, tolerance=tolerance, min_sigma=min_sigma, bad=bad)
    darks = cube_darks(cube, exposure, n_combined=n_combined)
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

    def finish(self, findings: Findings) -> DarkFit:
        """The fit of these maps."""
        return DarkFit(**vars(findings), **self.arrays)


def fit_set(darks, keep, *, given, bias_subtracted, rules, workers, memory, progress):
    """Calibrate a set of darks, fit its bands in threads, flag them and finish the result.

    ``keep(draft)`` is told the findings that are known before the fit, and makes the keeper of the maps, see
    `hotfit.maps`; what its `finish` makes of all findings is returned.
    """
    if workers is not None and not (workers >= 1 and workers == int(workers)):
        raise HotfitError(f"workers={workers}: give a whole number of threads, 1 or more")
    if not memory > 0:
        raise HotfitError(f"memory={memory} MB: give a number above zero")
    check_exposures(darks.exposure)
    workers = workers or os.cpu_count() or 1
    calibration = calibrate(darks, bias_subtracted=bias_subtracted, workers=workers, **given)
    fewest = fewest_for_stuck(darks, calibration)
    if len(darks.frames) < fewest:
        note = f"stuck pixels are not told from quiet ones: that takes {fewest} frames of this noise"
        calibration = replace(calibration, notes=(*calibration.notes, note))
    draft = draft_of(darks, calibration, rules, bias_subtracted)
    maps = keep(draft)
    counts = fit_bands(darks, calibration, bias_subtracted, maps.put, workers, memory, progress)
    design = len(darks.frames), darks.group_exposure.size, 1 if bias_subtracted else 2
    verdict = decide(maps, rules, *design, workers)
    notes = *draft.notes, *untested(verdict)
    frames = frame_table(darks, calibration, counts)
    return maps.finish(replace(draft, **verdict._asdict(), frames=frames, notes=notes))


def draft_of(darks, calibration, rules, bias_subtracted) -> Findings:
    """What is known before the fit; flags and numbers of the verdict are still to come."""
    return Findings(
        dq=np.zeros(darks.shape, np.uint32),
        unit=units.Unit("electron/s" if np.isfinite(calibration.detector.gain) else "adu/s"),
        frames=frame_table(darks, calibration, np.zeros((2, len(darks.frames)), np.int64)),
        detector=calibration.detector,
        rules=rules,
        bias_subtracted=bias_subtracted,
        hot_limit=np.nan,
        lack_of_fit_null=np.nan,
        scatter_null=np.nan,
        shared_degrees=np.nan,
        lack_of_fit_limit=np.nan,
        notes=(*darks.notes, *calibration.notes),
    )


def fit_bands(darks, calibration, bias_subtracted, put, workers, memory, progress) -> np.ndarray:
    """Run the kernel over bands of rows in threads, and hand their maps to ``put(first, band)`` there.

    Returns the samples left out by frame, (2, N): saturated, dropped. A band is `kernels.Maps` of (pixels,)
    arrays, whose memory is used again when `put` returns.
    """
    design = make_design(darks, calibration, bias_subtracted)
    groups = make_groups(design)
    noise = kernels.Noise(*map(np.float32, calibration.noise))
    limits = make_limits(darks, calibration)
    gain = calibration.detector.gain
    unit = np.float32((gain if np.isfinite(gain) else 1.0) / darks.group_exposure[-1])
    rows, columns = darks.shape
    counts = np.zeros((2, len(darks.frames)), np.int64)
    bands, of_thread, done = cut_bands(darks, workers, memory), threading.local(), 0

    def fit_band(first, last):
        if not hasattr(of_thread, "maps"):
            of_thread.maps = empty_maps(max(end - begin for begin, end in bands) * columns)
        samples, start = darks.samples(first, last)
        band = kernels.Maps(*(array[: (last - first) * columns] for array in of_thread.maps))
        own = np.zeros_like(counts)
        kernels.fit_pixels(samples, start, design, groups, noise, limits, unit, band, own)
        put(first, band)
        return last - first, own

    def count(result):
        nonlocal done
        done += result[0]
        np.add(counts, result[1], out=counts)
        if progress is not None:
            progress(done, rows)

    in_threads(fit_band, bands, workers, count)
    return counts


def cut_bands(darks, workers, memory) -> list[tuple[int, int]]:
    """Ranges of rows such that the bands in flight fit in `memory` MB, and every thread gets several.

    However many frames there are, the bands, samples and maps, take no more than `BANDS`, or one frame of a
    large detector.
    """
    rows, columns = darks.shape
    sample = np.dtype(darks.dtype).itemsize
    row_bytes = columns * (len(darks.frames) * sample + MAP_BYTES)
    fitting = memory * 1e6 / workers / row_bytes
    if fitting < 1:
        raise HotfitError(
            f"memory={memory:g} MB: one row of {len(darks.frames)} frames in each of {workers} threads takes "
            f"{row_bytes * workers / 1e6:.2g} MB; give more memory or fewer workers"
        )
    enough = max(BANDS, rows * columns * sample) / row_bytes / workers
    height = int(max(1, min(fitting, enough, -(-rows // (4 * workers)))))
    return [(first, min(first + height, rows)) for first in range(0, rows, height)]


def empty_maps(pixels: int) -> kernels.Maps:
    """Uninitialised maps of that many pixels."""
    return kernels.Maps(*(np.empty(pixels, TYPES[name]) for name in kernels.Maps._fields))
