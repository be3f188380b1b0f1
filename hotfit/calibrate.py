"""What the detector and each frame are like, measured on a sample of rows.

Gain, read noise, converter step and saturation level (`Detector`), and for every frame the drift of its
bias (offset) and of its dark current (scale). Everything is estimated from the darks themselves; what
the user gives wins, and what a header says is used only where the darks agree with it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hotfit.checks import some_of
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
from hotfit.noise import NoiseEstimate, estimate_noise
from hotfit.readers import MOST_COUNTS
from hotfit.saturation import converter_step, highest, is_whole, saturation_level
from hotfit.suspects import suspicions
from hotfit.terms import fit_lines, frame_terms, robust_sigma

SAMPLES = 30_000_000
"""Samples (pixels times frames) to calibrate on: a million pixels of 30 frames, for their hot ones."""

AT_ONCE = 2_000_000
"""Samples that are read at once."""

STEP_SAMPLES = 2_000_000
"""Samples that show the converter's step."""

FEWEST_WHOLE, ENOUGH_WHOLE = 0.1, 2000
"""Part of the sampled pixels that must be unsaturated and without gaps in all frames, or so many of them."""

A_COUNT = 100.0
"""Frames that reach this do not belong to others that end at 1, as some programs scale them."""

MANY_GAPS = 0.01
"""Part of a frame's samples beyond which missing ones are told."""

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
    notes: tuple[str, ...]


def calibrate(
    darks: DarkSet,
    *,
    gain: float | None = None,
    read_noise: float | None = None,
    saturation: float | None = None,
    bias_subtracted: bool = False,
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
    missing = gaps(darks, values)
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
    noise = estimate_noise(lines, None, darks.group, u, weight)
    terms = frame_terms(
        lines, u, darks.group, weight, max(noise.read, 1e-6), max(noise.shot, 0), bias_subtracted
    )
    noise = estimate_noise(lines, terms, darks.group, u, weight)
    combined = any(frame.master for frame in darks.frames)
    shown = noise
    if any(frame.master and frame.n_combined == 1 for frame in darks.frames):
        # How much smaller the noise of such a master is than that of one frame, nobody knows.
        shown = noise._replace(shot_error=np.inf)
    detector, notes = decide_detector(gain, read_noise, level, darks.claims, shown, step, combined=combined)
    model, excess = noise_model(detector, noise, bias_subtracted)
    return Calibration(
        detector=detector,
        noise=model,
        offset=terms.offset,
        offset_error=terms.offset_error,
        scale=terms.scale,
        scale_error=terms.scale_error,
        left=terms.left,
        excess=excess,
        notes=(*missing, *notes, *terms.notes, *suspicions(darks, lines, terms, whole_numbers)),
    )


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


def check_samples(darks: DarkSet, values) -> None:
    """Raise HotfitError if a frame is empty, or all of them are the same."""
    for frame, row in zip(darks.frames, values, strict=True):
        known = row[np.isfinite(row)]
        if known.size == 0:
            raise HotfitError(f"{frame.name}: holds no valid sample; leave it out")
        if np.abs(known[[known.argmin(), known.argmax()]]).max() > MOST_COUNTS:
            raise HotfitError(f"{frame.name}: holds {known.max():g} adu, which are no counts; leave it out")
        if (known == known[0]).all():
            raise HotfitError(f"{frame.name}: holds {known[0]:g} adu in all pixels; leave it out")
    tops = [float(row[np.isfinite(row)].max()) for row in values]
    if min(tops) <= 1 and max(tops) > A_COUNT:
        name = darks.frames[int(np.argmin(tops))].name
        raise HotfitError(
            f"{name}: holds numbers up to {min(tops):g}, others counts up to {max(tops):g}; leave it out"
        )
    if all(np.array_equal(row, values[0], equal_nan=True) for row in values):
        raise HotfitError(
            f"{darks.frames[0].name} and the {len(values) - 1} other frames do not differ: are they copies?"
        )


def gaps(darks: DarkSet, values) -> tuple[str, ...]:
    """A note on frames with many missing samples, which damage makes as well as a mask."""
    missing = [(np.isnan(row).mean(), frame.name) for frame, row in zip(darks.frames, values, strict=True)]
    poor = [f"{name} ({share:.2g})" for share, name in missing if share > MANY_GAPS]
    return (f"{some_of(poor)}: this part of the samples is missing",) if poor else ()


def whole_pixels(values, level: float) -> np.ndarray:
    """(P,) bool: pixels without gaps and below saturation in all frames; raises if there are too few."""
    whole = np.ones(values.shape[1], bool)
    for row in values:
        whole &= np.isfinite(row) & (row < level)
    found = np.count_nonzero(whole)
    if found < max(2, min(FEWEST_WHOLE * whole.size, ENOUGH_WHOLE)):
        raise HotfitError(
            f"only {found} of {whole.size} pixels have no gaps and stay below saturation={level:g} adu in "
            "all frames: give the true level, or leave out the frames with most of them"
        )
    return whole


def moved_together(values, chosen) -> np.ndarray:
    """The chosen columns of `values`, moved to its front: there is no memory for a second sample."""
    found = np.count_nonzero(chosen)
    if found < chosen.size:
        for row in values:
            row[:found] = row[chosen]
    return values[:, :found]


def check_no_pedestal(values, u, weight) -> None:
    """Raise HotfitError if lines with a free intercept say that the bias is still there."""
    intercept = fit_lines(values, u, weight, bias_subtracted=False).intercept
    pedestal = float(np.median(intercept))
    if abs(pedestal) > 5 * robust_sigma(intercept):
        raise HotfitError(
            f"bias_subtracted: the frames still have a pedestal of {pedestal:.4g} adu; subtract the bias, or "
            "leave the intercept free"
        )


def sample_rows(darks: DarkSet) -> np.ndarray:
    """Samples (N, P) of some rows: half spread evenly, half those with most bright pixels."""
    rows, columns = darks.shape
    wanted = int(np.clip(SAMPLES // (len(darks.frames) * columns), 1, rows))
    chosen = np.arange(rows) if wanted == rows else choose_rows(darks, wanted)
    values = np.empty((len(darks.frames), chosen.size * columns), darks.dtype)
    filled = 0
    for first, last in runs(chosen, max(1, AT_ONCE // (len(darks.frames) * columns))):
        samples, start = darks.samples(first, last)
        size = (last - first) * columns
        for row, stands in zip(values, darks.order, strict=True):
            row[filled : filled + size] = samples[stands, start : start + size]
        filled += size
    return values


def choose_rows(darks: DarkSet, wanted: int) -> np.ndarray:
    """That many rows or a few less, in order: half spread evenly, half those with most bright pixels."""
    rows = darks.shape[0]
    longest = darks.image(len(darks.frames) - 1)
    bright = np.count_nonzero(longest > np.quantile(longest[:: max(1, rows // 64)], 0.999), axis=1)
    brightest = np.argsort(-bright, kind="stable")[: wanted // 2]
    evenly = np.linspace(0, rows - 1, wanted - brightest.size).astype(int)
    return np.unique(np.concatenate([brightest, evenly]))


def runs(rows, longest: int) -> list[tuple[int, int]]:
    """Neighbouring rows as (first, last + 1), at most `longest` of them at once."""
    neighbours = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    parts = (run[start : start + longest] for run in neighbours for start in range(0, run.size, longest))
    return [(int(part[0]), int(part[-1]) + 1) for part in parts]


def read_noise_error(noise: NoiseEstimate, in_electrons) -> float:
    """Standard error of the read noise in the unit that `in_electrons` makes of adu; inf: not seen."""
    return float(noise.read_error / (2 * np.sqrt(max(noise.read, 1e-12))) * in_electrons)
