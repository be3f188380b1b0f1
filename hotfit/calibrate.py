"""What the detector and each frame are like, measured on a sample of rows.

Gain, read noise, converter step and saturation level (`Detector`), and for every frame the drift of its
bias (offset) and of its dark current (scale). Everything is estimated from the darks themselves; what
the user gives wins, and what a header says is used only where the darks agree with it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hotfit.darks import DarkSet
from hotfit.errors import HotfitError
from hotfit.noise import NoiseEstimate, estimate_noise
from hotfit.saturation import converter_step, saturation_level
from hotfit.suspects import suspicions
from hotfit.terms import fit_lines, frame_terms, robust_sigma

SAMPLES = 30_000_000
"""Samples (pixels times frames) to calibrate on: a million pixels of 30 frames, for their hot ones."""

STEP_SAMPLES = 2_000_000
"""Samples that show the converter's step."""

FEWEST_WHOLE, ENOUGH_WHOLE = 0.1, 2000
"""Part of the sampled pixels that must be unsaturated and without gaps in all frames, or so many of them."""

FEWEST_PIXELS = 10
"""With fewer there is no noise to measure."""

GAIN_KNOWN = 0.15
"""Relative error up to which the darks' own gain counts as measured."""

GAIN_AGREEMENT = 0.1
"""A header gain this close to the darks' own, or within three of its errors, is believed."""


NOISE_AGREEMENT = 1.2
"""A given read noise whose variance differs by more than this factor from the darks' own gets a note."""


@dataclass(frozen=True)
class Detector:
    """The detector as the fit sees it."""

    gain: float  # e-/adu, nan where unknown
    gain_source: str  # user, header, darks or unknown
    read_noise: float  # e- where the gain is known, else adu; without the quantisation part
    read_noise_source: str  # user or darks
    saturation: float  # adu, inf where no level is known
    saturation_source: str  # user or darks
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
    whole_numbers = darks.dtype == np.uint16 or is_whole(values)
    step = converter_step(values[:, :: max(1, values.size // STEP_SAMPLES)]) if whole_numbers else 0.0
    level = saturation or saturation_level(values, darks.group, darks.group_exposure, step)
    values = values[:, whole_pixels(darks, values, level)]
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
    own_gain, own_gain_error = measured_gain(noise)
    gain, gain_source, notes = decide_gain(gain, darks.gain_hint, noise)
    in_electrons = gain if np.isfinite(gain) else 1.0
    detector = Detector(
        gain=gain,
        gain_source=gain_source,
        read_noise=decide_read_noise(read_noise, gain, noise, step),
        read_noise_source="darks" if read_noise is None else "user",
        saturation=float(level),
        saturation_source="user" if saturation else "darks",
        step=step,
        read_noise_error=read_noise_error(noise, in_electrons) if read_noise is None else np.nan,
        measured_gain=own_gain,
        measured_gain_error=own_gain_error,
    )
    read_variance = max((detector.read_noise / in_electrons) ** 2 + step**2 / 12, 1e-12)
    shot = 1 / gain if np.isfinite(gain) else max(noise.shot, 0.0)
    model = NoiseModel(read_variance, shot, np.inf if bias_subtracted else noise.floor)
    excess = noise.read / read_variance if np.isfinite(noise.read_error) and noise.read > 0 else 1.0
    notes += doubts(read_noise, noise, excess, step, in_electrons) + terms.notes
    notes += suspicions(darks, values, lines, terms, whole_numbers)
    return Calibration(
        detector=detector,
        noise=model,
        offset=terms.offset,
        offset_error=terms.offset_error,
        scale=terms.scale,
        scale_error=terms.scale_error,
        left=terms.left,
        excess=excess,
        notes=notes,
    )


def decide_read_noise(given, gain, noise: NoiseEstimate, step) -> float:
    """Read noise without the quantisation part: in e- where the gain is known, else in adu."""
    if given is not None and not np.isfinite(gain):
        raise HotfitError(f"read_noise={given} e- needs a gain, and the darks show none: give gain")
    if given is not None:
        return float(given)
    return float(np.sqrt(max(noise.read - step**2 / 12, 0))) * (gain if np.isfinite(gain) else 1.0)


def doubts(given, noise: NoiseEstimate, excess, step, in_electrons) -> tuple[str, ...]:
    """Notes on a read noise that rests on little, or that the darks contradict."""
    if given is None and not np.isfinite(noise.shot_error) and not np.isfinite(noise.read_error):
        return (
            "the frames leave nothing over: their noise is taken from the spread of the pixels, and errors "
            "of warm pixels are too small unless gain is given",
        )
    if given is None or 1 / NOISE_AGREEMENT < excess < NOISE_AGREEMENT:
        return ()
    own = np.sqrt(max(noise.read - step**2 / 12, 0)) * in_electrons
    return (f"read_noise={given:g} e- is used as given, but the darks show {own:.3g} e-",)


def is_whole(values) -> bool:
    """Whether all samples, missing ones aside, are numbers that a 16-bit converter can give."""
    known = values[np.isfinite(values)]
    return bool(known.size and (known == np.rint(known)).all() and known.min() >= 0 and known.max() <= 65535)


def whole_pixels(darks: DarkSet, values, level: float) -> np.ndarray:
    """(P,) bool: pixels without gaps and below saturation in all frames; raises if there are too few."""
    for frame, row in zip(darks.frames, values, strict=True):
        known = row[np.isfinite(row)]
        if known.size == 0:
            raise HotfitError(f"{frame.name}: holds no valid sample; leave it out")
        if (known == known[0]).all():
            raise HotfitError(f"{frame.name}: holds {known[0]:g} adu in all pixels; leave it out")
    if (values == values[0]).all():
        raise HotfitError(
            f"{darks.frames[0].name} and the {len(values) - 1} other frames do not differ: are they copies?"
        )
    whole = np.isfinite(values).all(axis=0) & (values < level).all(axis=0)
    found = np.count_nonzero(whole)
    if found < max(2, min(FEWEST_WHOLE * whole.size, ENOUGH_WHOLE)):
        raise HotfitError(
            f"only {found} of {whole.size} pixels have no gaps and stay below saturation={level:g} adu in "
            "all frames: give the true level, or leave out the frames with most of them"
        )
    return whole


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
    """Samples (N, P) float32 of some rows: half spread evenly, half those with most bright pixels."""
    rows, columns = darks.shape
    wanted = int(np.clip(SAMPLES // (len(darks.frames) * columns), 1, rows))
    if wanted == rows:
        chosen = np.arange(rows)
    else:
        longest = darks.image(len(darks.frames) - 1)
        bright = np.count_nonzero(longest > np.quantile(longest[:: max(1, rows // 64)], 0.999), axis=1)
        chosen = np.argsort(-bright, kind="stable")[: wanted // 2]
        evenly = np.linspace(0, rows - 1, wanted - chosen.size).astype(int)
        chosen = np.unique(np.concatenate([chosen, evenly]))
    values = np.empty((len(darks.frames), chosen.size * columns), np.float32)
    filled = 0
    for run in np.split(chosen, np.flatnonzero(np.diff(chosen) > 1) + 1):
        samples, start = darks.samples(run[0], run[-1] + 1)
        size = run.size * columns
        values[:, filled : filled + size] = samples[darks.order, start : start + size]
        filled += size
    return values


def measured_gain(noise: NoiseEstimate) -> tuple[float, float]:
    """Gain in e-/adu that the noise shows, and its error; nan where it is not known well enough."""
    if not (1e-3 < noise.shot < 1e3 and noise.shot_error < GAIN_KNOWN * noise.shot):
        return np.nan, np.nan
    return 1 / noise.shot, noise.shot_error / noise.shot**2


def read_noise_error(noise: NoiseEstimate, in_electrons) -> float:
    """Standard error of the read noise in the unit that `in_electrons` makes of adu; inf: not seen."""
    return float(noise.read_error / (2 * np.sqrt(max(noise.read, 1e-12))) * in_electrons)


def decide_gain(given, hint, noise: NoiseEstimate) -> tuple[float, str, tuple[str, ...]]:
    """Gain in e-/adu (nan: unknown), its source, and notes on values not used."""
    own, error = measured_gain(noise)
    measured = bool(np.isfinite(own))
    shown = f"the darks show {own:.3g} +- {error:.1g}"

    def agrees(value):
        return abs(value - own) < max(GAIN_AGREEMENT * own, 3 * error)

    if given is not None:
        doubted = measured and not agrees(given)
        return float(given), "user", (f"gain={given:g} e-/adu is used as given, but {shown}",) * doubted
    if not np.isfinite(hint):
        return (own, "darks", ()) if measured else (np.nan, "unknown", ())
    if not measured:
        return float(hint), "header", ("the darks hold too few warm pixels to check the header's gain",)
    if agrees(hint):
        return float(hint), "header", ()
    return own, "darks", (f"header gain {hint:g} e-/adu is not used: {shown}",)
