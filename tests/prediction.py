"""Leave-one-out prediction: does the fit of all other darks say what the one left out will be?

A frame is predicted from a fit without it. What it has above the prediction, in units of the noise of one
sample and of the predicted line together, is its standardised prediction error. If the fit can be trusted,
these errors have width 1, and hardly one lies beyond 6.

How the frame itself drifts nobody can predict: its offset and its dark scale are measured on the frame.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

import hotfit
from hotfit.calibrate import NoiseModel, calibrate
from hotfit.cubes import cube_darks
from hotfit.darkset import DarkSet
from hotfit.flags import DQ

HIT = 5.0
"""Sigmas above its prediction from which a sample of a pixel with JUMP_DET is a hit."""

FAR = 6.0
"""Sigmas beyond which hardly an error should lie."""

OUTSHINING = 10.0
"""Predicted dark signal, in sigmas of the sample, of a hot pixel that helps to measure the frame's scale."""

FEWEST_HOT = 100
"""With fewer such pixels the frame's scale is 1."""


class LeftOut(NamedTuple):
    """One frame against its prediction from the others."""

    index: int  # place in the set
    exposure: float  # s
    offset: float  # adu, measured on the frame
    scale: float  # the same, dimensionless
    error: np.ndarray  # (rows, columns) float32, standardised; nan where the pixel is not usable
    hit: np.ndarray  # (rows, columns) bool, a cosmic ray in this frame


class Figures(NamedTuple):
    """How standardised prediction errors are distributed."""

    samples: int
    width: float  # half of what the central 68.26 % span
    median: float
    beyond: float  # share beyond 6 sigma, hits set aside
    hits: int


class Lines(NamedTuple):
    """Lines of all pixels, each array (rows, columns) float64, and the noise of one sample."""

    intercept: np.ndarray  # adu
    slope: np.ndarray  # adu/s
    noise: NoiseModel

    def variance(self, time: float) -> np.ndarray:
        """Variance of a sample of `time` seconds in adu**2."""
        readout = np.maximum(self.intercept - self.noise.floor, 0)
        return self.noise.read + self.noise.shot * (np.maximum(self.slope, 0) * time + readout)


def read_cube(darks: DarkSet) -> np.ndarray:
    """All frames (N, rows, columns) in order of exposure."""
    samples, start = darks.samples(0, darks.shape[0])
    size = darks.shape[0] * darks.shape[1]
    return samples[darks.order, start : start + size].reshape(-1, *darks.shape)


def predictable(fit: hotfit.DarkFit) -> list[int]:
    """The frames without which two exposure times are left, and one frame more than a line needs."""
    group = np.asarray(fit.frames["group"])
    return [i for i in range(group.size) if np.unique(np.delete(group, i)).size > 1 and group.size > 3]


def leave_one_out(cube, full: hotfit.DarkFit, frames: Iterable[int]) -> Iterator[LeftOut]:
    """Predict each of `frames` from all others.

    A sample that lies more than 5 sigma above its prediction, in a pixel that the full fit flags JUMP_DET,
    was hit by a cosmic ray, which is not the fit's to predict: it is marked as a hit, to be set aside.

    Parameters
    ----------
    cube : (N, rows, columns) array
        Darks in adu, in the order of ``full.frames``.
    full : DarkFit
        The fit of all of them. Its gain and saturation level are used throughout, and it says which pixels
        are usable: neither masked nor saturated.
    frames : iterable of int
        Places in the cube, of those that are `predictable`.
    """
    jump, saturated = ((full.dq & np.uint32(flag)) != 0 for flag in (DQ.JUMP_DET, DQ.SATURATED))
    usable = ~full.mask & ~saturated
    for i in frames:
        offset, scale, error = predict(cube, full, i, usable)
        yield LeftOut(i, float(full.frames["exposure"][i]), offset, scale, error, jump & (error > HIT))


def predict(cube, full, i, usable):
    """Offset and scale of frame `i`, and its standardised prediction errors."""
    time, combined = float(full.frames["exposure"][i]), float(full.frames["n_combined"][i])
    fit, lines = fit_others(cube, full, i)
    usable = usable & np.isfinite(lines.slope) & np.isfinite(cube[i])
    signal, variance = lines.slope * time, lines.variance(time) / combined
    residual = cube[i] - lines.intercept - signal
    hot = usable & (full.rate > full.hot_limit)
    bright = hot & (signal > OUTSHINING * np.sqrt(variance))
    offset, change, change_error = own_terms(residual, signal, variance, usable & ~hot, bright)
    if change_error is None:
        change_error = float(full.frames["scale_error"][i])
    variance += (change_error * signal) ** 2 + line_variance(fit.frames, lines, (1 + change) * time)
    error = (residual - offset - change * signal) / np.sqrt(variance)
    return offset, 1 + change, np.where(usable, error, np.nan).astype(np.float32)


def fit_others(cube, full, i) -> tuple[hotfit.DarkFit, Lines]:
    """The fit of all frames but `i`, and its lines in adu."""
    others = np.arange(len(cube)) != i
    exposure, combined = (np.asarray(full.frames[name])[others] for name in ("exposure", "n_combined"))
    gain = full.detector.gain
    given = {"gain": gain if np.isfinite(gain) else None, "saturation": full.detector.saturation}
    fit = hotfit.fit_cube(cube[others], exposure, n_combined=combined, **given)
    noise = calibrate(cube_darks(cube[others], exposure, n_combined=combined), **given).noise
    in_adu = fit.detector.gain if np.isfinite(fit.detector.gain) else 1.0
    return fit, Lines(fit.intercept.astype(float), fit.rate.astype(float) / in_adu, noise)


def own_terms(residual, signal, variance, quiet, bright) -> tuple[float, float, float | None]:
    """Offset (adu) of a frame by its quiet pixels; change of scale and its error by its bright ones.

    With too few bright pixels the change is 0, and its error is not known.
    """
    flat = np.ones(np.count_nonzero(quiet))
    offset, _ = clipped_mean(residual[quiet], flat)
    if np.count_nonzero(bright) < FEWEST_HOT:
        return offset, 0.0, None
    weight = signal[bright] ** 2 / variance[bright]
    for _ in range(3):
        change, change_error = clipped_mean((residual[bright] - offset) / signal[bright], weight)
        offset, _ = clipped_mean((residual - change * signal)[quiet], flat)
    return offset, change, change_error


def clipped_mean(values, weight) -> tuple[float, float]:
    """Mean, and its error from weights of 1 / variance, of what lies within four robust sigmas."""
    far = np.abs(values - np.median(values)) * np.sqrt(weight)
    near = far <= 4 * 1.4826 * np.median(far)
    return float(np.average(values[near], weights=weight[near])), float(weight[near].sum() ** -0.5)


def line_variance(frames, lines: Lines, x: float) -> np.ndarray:
    """Variance in adu**2 at time `x` of the lines through `frames`, from each pixel's normal equations.

    The errors of the frames' scales count as noise of their samples. A sample that was not used counts as if
    it were there.
    """
    group, time, combined = (np.asarray(frames[name]) for name in ("group", "exposure", "n_combined"))
    at, left = np.asarray(frames["scale"]) * time, np.asarray(frames["scale_error"]) ** 2
    w = wx = wxx = 0.0
    for k in np.unique(group):
        part = group == k
        t = time[part].mean()
        weight = 1 / (lines.variance(t) + left[part].mean() * (lines.slope * t) ** 2)
        w = w + weight * combined[part].sum()
        wx = wx + weight * (combined * at)[part].sum()
        wxx = wxx + weight * (combined * at**2)[part].sum()
    return 1 / w + (x - wx / w) ** 2 / (wxx - wx**2 / w)


def figures(error, hit) -> Figures:
    """Figures of standardised errors, of which nan ones are left out; `hit` says which to set aside."""
    known = np.isfinite(error)
    error, hit = error[known], hit[known]
    low, median, high = np.percentile(error, [15.87, 50, 84.13])
    beyond = np.count_nonzero(np.abs(error[~hit]) > FAR) / max(np.count_nonzero(~hit), 1)
    return Figures(error.size, float(high - low) / 2, float(median), beyond, int(np.count_nonzero(hit)))
