"""Frame terms: how each frame's bias level (offset) and dark current (scale) departs from the set's.

The quiet bulk of the pixels gives the offsets. The hot pixels are a thermometer: what they leave over the
line, divided by their dark signal, gives the scales.

An offset that is constant or grows with exposure cannot be told from intercept and dark current, nor a
common scale from the rates. Offsets therefore have mean 0 and no trend with exposure, and the
exposure-weighted mean scale is 1.
"""

from typing import NamedTuple

import numpy as np

HOT_SIGMA = 30.0
"""Dark signal in the longest exposure, in sigmas of that sample, that makes a pixel a thermometer.

Fainter ones are biased: a pixel taken for hot because of its noise is not linear for the same noise.
"""

FEWEST_HOT = 100
"""With fewer thermometers every scale is 1."""

JITTER = 0.01
"""Expected rms of the scales: what a frame too short to measure its scale is drawn back to 1 by."""


class Lines(NamedTuple):
    """Ordinary least-squares lines of P pixels and what they leave over."""

    intercept: np.ndarray  # (P,) adu
    signal: np.ndarray  # (P,) dark signal in the longest exposure, adu
    residual: np.ndarray  # (N, P) adu
    leverage: np.ndarray  # (N,)


class FrameTerms(NamedTuple):
    """Per frame: offset in adu and dark scale."""

    offset: np.ndarray
    scale: np.ndarray


def basis(u, bias_subtracted: bool) -> np.ndarray:
    """Columns of the line in time: (N, 2), or (N, 1) through the origin."""
    return u[:, None] if bias_subtracted else np.column_stack([np.ones_like(u), u])


def fit_lines(values, u, weight, bias_subtracted: bool) -> Lines:
    """Fit `values` (N, P) against time `u` (N,), in longest exposures, with one weight a frame."""
    columns = basis(u, bias_subtracted)
    solver = np.linalg.inv(columns.T @ (weight[:, None] * columns)) @ (columns * weight[:, None]).T
    solution = solver.astype(np.float32) @ values
    residual = values - columns.astype(np.float32) @ solution
    intercept = np.zeros_like(solution[-1]) if bias_subtracted else solution[0]
    return Lines(intercept, solution[-1], residual, np.einsum("ij,ji->i", columns, solver))


def robust_sigma(values) -> float:
    """Standard deviation of the bulk, from the median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def frame_terms(lines: Lines, u, weight, read, shot, bias_subtracted: bool) -> FrameTerms:
    """Offsets from the quiet pixels, scales from the hot ones; `read` adu**2 and `shot` model the noise."""
    low, high = np.quantile(lines.signal, [0.02, 0.6])
    quiet = (lines.signal >= low) & (lines.signal <= high)
    common = np.array([clipped_mean(row[quiet]) for row in lines.residual])
    quiet_signal = float(lines.signal[quiet].mean())
    above = np.maximum(lines.signal - max(quiet_signal, 0), 0)
    hot = np.flatnonzero(above > HOT_SIGMA * np.sqrt(read + shot * above))
    if hot.size < FEWEST_HOT:
        return FrameTerms(untrended(common, u, weight, bias_subtracted), np.ones_like(u))
    excess = lines.signal[hot] - quiet_signal
    ratio = (lines.residual[:, hot] - common[:, None].astype(np.float32)) / excess
    error = np.sqrt(read + shot * np.outer(u, lines.signal[hot])) / excess
    shared, shared_error = np.array([biweight(*row) for row in zip(ratio, error, strict=True)]).T
    change = complete(shared, shared_error, u, weight, bias_subtracted)
    offset = untrended(common - shared * quiet_signal, u, weight, bias_subtracted)
    timed = u > 0
    scale = np.ones_like(u)
    drawn_back = JITTER**2 / (JITTER**2 + (shared_error[timed] / u[timed]) ** 2)
    scale[timed] += change[timed] / u[timed] * drawn_back
    scale[timed] /= np.average(scale[timed], weights=(u * weight)[timed])
    return FrameTerms(offset, scale)


def clipped_mean(values) -> float:
    """Mean of what lies within four robust sigmas of the median."""
    centre = np.median(values)
    near = np.abs(values - centre) < 4 * robust_sigma(values) + 1e-6
    return float(values[near].mean(dtype=float))


def untrended(offset, u, weight, bias_subtracted: bool) -> np.ndarray:
    """What a weighted fit of intercept and dark current leaves of the offsets."""
    columns = basis(u, bias_subtracted)
    root = np.sqrt(weight)
    return offset - columns @ np.linalg.lstsq(columns * root[:, None], offset * root, rcond=None)[0]


def biweight(values, errors) -> tuple[float, float]:
    """Location that most values share, and its error: Tukey's biweight in units of each value's own error.

    Values further off than five of their errors have no say: the roll-off of single pixels stays in their
    own residuals. No value has more say than the median one: the few brightest pixels, which bend as they
    near their full well, would else decide alone.
    """
    typical = np.median(errors)
    centre = float(np.median(values[errors <= typical]))
    for _ in range(20):
        z = (values - centre) / (5 * errors)
        say = np.where(np.abs(z) < 1, (1 - z**2) ** 2, 0) / np.maximum(errors, typical) ** 2
        if not say.any():
            break
        centre = float(np.average(values, weights=say))
    return centre, float(1 / np.sqrt(max(say.sum(), 1e-30)))


def complete(shared, error, u, weight, bias_subtracted: bool) -> np.ndarray:
    """Add back the part of (scale - 1) * u that the pixels' own lines took up, as the smallest jitter.

    Frames of zero exposure have none, which fixes the constant; the smallest sum of squared scale changes
    fixes the rest.
    """
    return untrended(shared, u, weight / (JITTER**2 * u**2 + error**2), bias_subtracted)
