"""What the detector and each frame are like, measured on a sample of rows.

Gain, read noise, converter step and saturation level (`Detector`), and for every frame the drift of its
bias (offset) and of its dark current (scale). Everything is estimated from the darks themselves; what
the user gives wins, and what a header says is used only where the darks agree with it.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hotfit.darkset import Claims, DarkSet
from hotfit.errors import HotfitError
from hotfit.hints import (
    Decision,
    decide_gain,
    decide_read_noise,
    decide_saturation,
    doubt_read_noise,
    measured_gain,
)
from hotfit.lines import Lines, fit_lines
from hotfit.noise import NoiseEstimate, estimate_noise, noise_bins, stuck_length
from hotfit.robust import median, robust_sigma
from hotfit.samples import check_samples, gaps, moved_together, sample_rows, whole_pixels
from hotfit.saturation import converter_step, highest, is_whole, saturation_level
from hotfit.suspects import suspicions
from hotfit.terms import FrameTerms, frame_terms, quiet_terms

STEP_SAMPLES = 2_000_000
"""Samples that show the converter's step."""

UNTOLD = "stuck pixels are not told from quiet ones"
"""In the note that there are too few frames for it."""

FEWEST_PIXELS = 10
"""With fewer there is no noise to measure."""


@dataclass(frozen=True)
class Detector:
    """The detector as the fit sees it."""

    gain: float  # e-/adu, nan where unknown
    gain_source: str  # user, header, darks or unknown
    read_noise: float  # e- where the gain is known, else adu; without the quantisation part
    read_noise_source: str  # user or darks
    saturation: float  # adu, inf where no level is known
    saturation_source: str  # user, header or darks
    step: float  # adu between neighbouring values of the converter, 0 for floats
    read_noise_error: float = np.nan  # in the unit of read_noise; nan where it was given
    measured_gain: float = np.nan  # e-/adu, what the darks show whatever is used; nan where they show none
    measured_gain_error: float = np.nan


class NoiseModel(NamedTuple):
    """Variance of a sample in adu**2: read + charge / gain; charge starts at `floor` in the intercept."""

    read: float
    shot: float
    floor: float


@dataclass(frozen=True)
class Calibration:
    """A detector, its noise model, and how N frames in K exposures depart from the set."""

    detector: Detector
    noise: NoiseModel
    offset: np.ndarray  # (N,) adu
    offset_error: np.ndarray  # (N,) adu
    scale: np.ndarray  # (N,) relative dark current
    scale_error: np.ndarray  # (N,)
    left: np.ndarray  # (K,) squared relative error of one sample of that exposure that the scales leave
    excess: float  # variance of the quiet pixels over that of the noise model: not 1 where noise was given
    stuck: int  # so many equal samples of a pixel are no coincidence
    notes: tuple[str, ...]
    doubts: tuple[str, ...] = ()  # those of the notes that are about claims of headers and users


def calibrate(
    darks: DarkSet,
    *,
    gain: float | None = None,
    read_noise: float | None = None,
    saturation: float | None = None,
    bias_subtracted: bool = False,
    workers: int | None = None,
) -> Calibration:
    """Measure detector and frame terms on a sample of rows.

    Parameters
    ----------
    darks : DarkSet
        N frames sorted by exposure.
    gain, read_noise, saturation : float, optional
        e-/adu, e-, adu; each wins over what the darks say.
    bias_subtracted : bool
        The line goes through the origin.
    workers : int, optional
        Threads, as many as processors by default.

    Raises
    ------
    HotfitError
        If a given value is not positive, or read noise in electrons comes without any gain.
    """
    for name, value in (("gain", gain), ("read_noise", read_noise), ("saturation", saturation)):
        if value is not None and not value > 0:
            raise HotfitError(f"{name}={value}: give a number above zero")
    if np.prod(darks.shape) < FEWEST_PIXELS:
        raise HotfitError(f"{darks.shape[0]} x {darks.shape[1]} pixels are too few to measure noise on")
    values = sample_rows(darks)
    check_samples(darks, values)
    missing = gaps([frame.name for frame in darks.frames], values)
    whole_numbers = darks.dtype == np.uint16 or is_whole(values)
    step = converter_step(values[:, :: max(1, values.size // STEP_SAMPLES)]) if whole_numbers else 0.0
    found = np.fmin(saturation_level(values, darks.group, darks.group_exposure, step), darks.ceiling)
    claims = darks.claims.saturation
    level = decide_saturation(saturation, claims, found, highest(values), pedestal=darks.pedestal)
    values = moved_together(values, whole_pixels(values, level.value))
    u = (darks.group_exposure / darks.group_exposure[-1])[darks.group]
    weight = darks.n_combined.astype(float)
    if bias_subtracted and darks.group_exposure.size > 1:
        check_no_pedestal(values, u, weight)
    lines = fit_lines(values, u, weight, bias_subtracted)
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        terms, noise, strange = measured(darks, lines, weight, bias_subtracted, whole_numbers, pool)
    combined = any(frame.master for frame in darks.frames)
    shown = noise
    if any(frame.master and frame.n_combined == 1 for frame in darks.frames):
        # How much smaller the noise of such a master is than that of one frame, nobody knows.
        shown = noise._replace(shot_error=np.inf)
    detector, notes = decide_detector(gain, read_noise, level, darks.claims, shown, step, combined=combined)
    model, excess = noise_model(detector, noise, bias_subtracted)
    stuck = stuck_length(step, np.sqrt(model.read), np.prod(darks.shape))
    return Calibration(
        detector=detector,
        noise=model,
        offset=terms.offset,
        offset_error=terms.offset_error,
        scale=terms.scale,
        scale_error=terms.scale_error,
        left=terms.left,
        excess=excess,
        stuck=stuck,
        notes=(*missing, *notes, *terms.notes, *strange, *stuck_note(stuck, len(darks.frames))),
        doubts=notes,
    )


def measured(
    darks: DarkSet, lines: Lines, weight, bias_subtracted: bool, whole: bool, pool: ThreadPoolExecutor
) -> tuple[FrameTerms, NoiseEstimate, tuple[str, ...]]:
    """Frame terms, the noise that they leave, and notes on frames that do not belong; `whole`: numbers."""
    u = (darks.group_exposure / darks.group_exposure[-1])[darks.group]

    def first_noise():
        bins = noise_bins(lines, u)
        return bins, estimate_noise(bins, None, darks.group, u, weight)

    first = pool.submit(first_noise)
    quiet = quiet_terms(lines, pool.map)
    bins, noise = first.result()
    read, shot = max(noise.read, 1e-6), max(noise.shot, 0)
    terms = frame_terms(lines, quiet, u, darks.group, weight, read, shot, bias_subtracted)
    final = pool.submit(estimate_noise, bins, terms, darks.group, u, weight)
    strange = pool.submit(suspicions, darks, lines, quiet.pixels, terms, whole)
    return terms, final.result(), strange.result()


def decide_detector(
    gain: float | None,
    read_noise: float | None,
    level: Decision,
    claims: Claims,
    noise: NoiseEstimate,
    step: float,
    *,
    combined: bool,
) -> tuple[Detector, tuple[str, ...]]:
    """The detector that users, headers and darks agree on best, and notes on what is not used."""
    own_gain, own_gain_error = measured_gain(noise)
    decision = decide_gain(gain, claims.gain, noise, step, combined=combined)
    in_electrons = decision.value if np.isfinite(decision.value) else 1.0
    detector = Detector(
        gain=decision.value,
        gain_source=decision.source,
        read_noise=decide_read_noise(read_noise, decision.value, noise, step),
        read_noise_source="darks" if read_noise is None else "user",
        saturation=level.value,
        saturation_source=level.source,
        step=step,
        read_noise_error=read_noise_error(noise, in_electrons) if read_noise is None else np.nan,
        measured_gain=own_gain,
        measured_gain_error=own_gain_error,
    )
    doubts = doubt_read_noise(read_noise, claims.read_noise, decision.value, noise, step)
    return detector, (*decision.notes, *doubts, *level.notes)


def noise_model(detector: Detector, noise: NoiseEstimate, bias_subtracted: bool) -> tuple[NoiseModel, float]:
    """The noise model of a detector, and the variance of the quiet pixels over it."""
    gain = detector.gain
    in_electrons = gain if np.isfinite(gain) else 1.0
    read_variance = max((detector.read_noise / in_electrons) ** 2 + detector.step**2 / 12, 1e-12)
    shot = 1 / gain if np.isfinite(gain) else max(noise.shot, 0.0)
    model = NoiseModel(read_variance, shot, np.inf if bias_subtracted else noise.floor)
    seen = np.isfinite(noise.read_error) and noise.read > 0
    return model, noise.read / read_variance if seen else 1.0


def check_no_pedestal(values, u, weight) -> None:
    """Raise HotfitError if lines with a free intercept say that the bias is still there."""
    intercept = fit_lines(values, u, weight, bias_subtracted=False).intercept
    pedestal = float(median(intercept))
    if abs(pedestal) > 5 * robust_sigma(intercept):
        raise HotfitError(
            f"bias_subtracted: the frames still have a pedestal of {pedestal:.4g} adu; subtract the bias, or "
            "leave the intercept free"
        )


def read_noise_error(noise: NoiseEstimate, in_electrons) -> float:
    """Standard error of the read noise in the unit that `in_electrons` makes of adu; inf: not seen."""
    return float(noise.read_error / (2 * np.sqrt(max(noise.read, 1e-12))) * in_electrons)


def stuck_note(stuck: int, frames: int) -> tuple[str, ...]:
    """A note if stuck pixels, which show so many equal samples, need more frames than there are."""
    if frames >= stuck:
        return ()
    return (f"{UNTOLD}: that takes {stuck} frames of this noise",)
