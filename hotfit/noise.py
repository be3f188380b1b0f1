"""Read noise and gain from how samples scatter: variance against dark signal, over the frames themselves."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from hotfit.terms import FrameTerms, Lines, robust_sigma

FEWEST = 40
"""Pixels in a bin of the variance-against-signal curve."""


class NoiseEstimate(NamedTuple):
    """Variance in adu**2 = read + shot * charge in adu, with standard errors; shot = 1 / gain."""

    read: float
    read_error: float
    shot: float
    shot_error: float
    floor: float  # adu; what an intercept has above it is charge gathered during readout


def estimate_noise(lines: Lines, terms: FrameTerms | None, group, u, weight) -> NoiseEstimate:
    """Fit variance against charge over bins of pixels of like dark signal and over exposure groups.

    Replicates of one exposure are used where there are any, else what the lines leave over. A term that
    grows as the square of the charge takes up temperature jitter that the frame scales leave.
    """
    floor = float(np.median(lines.intercept)) + 5 * robust_sigma(lines.intercept)
    residual = lines.residual
    if terms is not None:
        change = ((terms.scale - 1) * u).astype(np.float32)
        change -= np.float32(np.average(change, weights=weight))
        residual = residual - terms.offset.astype(np.float32)[:, None] - np.outer(change, lines.signal)
    charge, variance, degrees = [], [], []
    readout = np.maximum(lines.intercept - floor, 0)
    for squares, freedom, time in deviations(residual, lines.leverage, group, u, weight):
        for pixels in signal_bins(lines.signal):
            charge.append(float(np.mean(lines.signal[pixels] * time + readout[pixels])))
            variance.append(trimmed_variance(squares[pixels], freedom))
            degrees.append(freedom * pixels.size)
    read, shot = fit_variance(np.array(charge), np.array(variance), np.array(degrees))
    return NoiseEstimate(*read, *shot, floor)


def deviations(residual, leverage, group, u, weight):
    """Yield (sums of squares (P,), degrees of freedom, time) of each group of replicates, or each frame."""
    sizes = np.bincount(group)
    if sizes.max() > 1:
        for k in np.flatnonzero(sizes > 1):
            part, share = residual[group == k], weight[group == k].astype(np.float32)[:, None]
            mean = (part * share).sum(axis=0) / share.sum()
            yield (share * (part - mean) ** 2).sum(axis=0), int(sizes[k] - 1), u[group == k][0]
        return
    for i in np.flatnonzero(leverage < 0.9):
        yield weight[i] * residual[i] ** 2 / (1 - leverage[i]), 1, u[i]


def signal_bins(signal) -> list[np.ndarray]:
    """Indices of pixels in bins of rising dark signal: quarters of the bulk, then finer and finer."""
    order = np.argsort(signal, kind="stable")
    top = np.geomspace(max(signal.size * 0.1, FEWEST), FEWEST, 12)
    edges = [0, *np.linspace(0.2, 0.8, 4) * signal.size, *(signal.size - top)]
    edges = np.unique(np.clip(np.array(edges), 0, signal.size).astype(int))
    parts = [order[a:b] for a, b in zip(edges, [*edges[1:], signal.size], strict=True)]
    return [part for part in parts if part.size >= FEWEST / 2] or [order]


def trimmed_variance(squares, freedom: int) -> float:
    """Variance from sums of squares of `freedom` degrees each, without the tail that is not noise."""

    def kept_mean(quantile):
        cut = stats.chi2.ppf(quantile, freedom)
        return cut, freedom * stats.chi2.cdf(cut, freedom + 2) / quantile

    expected = kept_mean(0.8)[1]
    variance = float(squares[squares <= np.quantile(squares, 0.8)].mean(dtype=float)) / expected
    cut, expected = kept_mean(0.99)
    for _ in range(10):
        kept = squares[squares <= cut * variance]
        if kept.size == 0:
            break
        variance = float(kept.mean(dtype=float)) / expected
    return variance


def fit_variance(charge, variance, degrees):
    """((read, error), (shot, error)) of variance = read + shot * charge + rest * charge**2, rest >= 0."""
    for powers in ((0, 1, 2), (0, 1)):
        powers = powers[: max(1, np.unique(charge).size - 1)]
        columns = np.stack([np.maximum(charge, 0) ** power for power in powers], axis=1)
        model = np.maximum(variance, 1e-12)
        for _ in range(5):
            root = np.sqrt(degrees / 2) / model
            norm = np.linalg.norm(columns * root[:, None], axis=0)
            norm[norm == 0] = 1
            scaled = columns * root[:, None] / norm
            solution = np.linalg.lstsq(scaled, variance * root, rcond=None)[0] / norm
            model = np.maximum(columns @ solution, 0.1 * np.maximum(variance, 1e-12))
        if len(powers) < 3 or solution[2] >= 0:
            break
    error = np.sqrt(np.diag(np.linalg.pinv(scaled.T @ scaled))) / norm
    pairs = [*zip(solution.tolist(), error.tolist(), strict=True), (0.0, np.inf), (0.0, np.inf)]
    return pairs[0], pairs[1]
