"""Read noise and gain from how samples scatter: variance against dark signal, over the frames themselves."""

from collections.abc import Iterable
from functools import cache
from itertools import chain
from typing import NamedTuple

import numpy as np
from scipy.special import chdtr, chdtri, ndtr

from hotfit.lines import Lines
from hotfit.robust import median, quantile, robust_sigma
from hotfit.terms import FrameTerms, thinned

FEWEST = 40
"""Pixels in the hottest bin of the curve of variance against charge."""

BULK = 60_000
"""Pixels of the quiet bulk that are enough for the read noise."""

CHARGED = 0.02
"""Part of the longest exposure from which replicates hold charge to measure the gain on."""

MODEL_ERROR = 0.004
"""Relative error of every point of the curve beyond its statistics: faint cosmic rays raise the cold end."""

UNSEEN = 3e-8
"""Singular values of a fit, over the largest one, below which rounding is all that is left of them."""


class NoiseEstimate(NamedTuple):
    """Variance in adu**2 = read + shot * charge in adu, with standard errors; shot = 1 / gain."""

    read: float
    read_error: float
    shot: float
    shot_error: float
    floor: float  # adu; what an intercept has above it is charge gathered during readout


class Bins(NamedTuple):
    """Pixels in B bins of like dark signal: what their noise is measured on."""

    lines: Lines  # of the P pixels of all bins, one bin after the other
    ends: np.ndarray  # (B - 1,) where one bin ends and the next begins
    readout: np.ndarray  # (P,) adu, charge that a pixel gathers during readout
    faint: list[float]  # of each bin, adu: mean of the charge below the floor
    floor: float  # adu; what an intercept has above it is charge gathered during readout
    spread: float  # adu, of the pixels' samples from the first to the last frame


def noise_bins(lines: Lines, u) -> Bins:
    """Choose the pixels to measure noise on."""
    pedestal = float(median(lines.intercept))
    floor = pedestal + 5 * robust_sigma(lines.intercept)
    sigma = robust_sigma(lines.signal)
    bins = signal_bins(lines.signal, sigma)
    ends = np.cumsum([part.size for part in bins])[:-1]
    lines = lines.of(np.concatenate(bins))
    readout = np.maximum(lines.intercept - floor, 0)
    # Below the floor the intercept of one pixel is noise and pattern, but the mean of a bin is charge.
    faint = [float(part.mean(dtype=float)) for part in np.split(lines.intercept - pedestal - readout, ends)]
    return Bins(lines, ends, readout, faint, floor, sigma * (u[-1] - u[0]))


def estimate_noise(bins: Bins, terms: FrameTerms | None, group, u, weight) -> NoiseEstimate:
    """Fit variance against charge over bins of pixels of like dark signal and over exposure groups.

    Replicates of one exposure are used where any have gathered charge, else what the lines leave over. A
    term that grows as the square of the charge takes up temperature jitter that the frame scales leave.
    """
    lines = bins.lines if terms is None else corrected(bins.lines, terms, u, weight)
    return noise_of(bins, deviations(lines, group, u, weight))


def noise_of(bins: Bins, squares_of: Iterable[tuple]) -> NoiseEstimate:
    """The same from (sums of squares (P,), degrees of freedom, time), as `deviations` yields them."""
    measured = [
        (np.split(bins.lines.signal * time + bins.readout, bins.ends), np.split(squares, bins.ends), freedom)
        for squares, freedom, time in squares_of
    ]
    if not measured:  # two frames: the spread over the pixels is at least the noise
        return NoiseEstimate(bins.spread**2 / 2, np.inf, 0.0, np.inf, bins.floor)
    (read, read_error), (shot, shot_error) = (1.0, np.inf), (0.0, np.inf)
    for _ in range(2):  # once more with the shape of the curve inside each bin taken out
        curves = (variance_curve(*some, bins.faint, read, shot) for some in measured)
        (read, read_error), (shot, shot_error) = fit_variance(*np.array(list(chain(*curves))).T)
    return NoiseEstimate(read, read_error, shot, shot_error, bins.floor)


def corrected(lines: Lines, terms: FrameTerms, u, weight) -> Lines:
    """The lines at each frame's own offset and scale."""
    change = ((terms.scale - 1) * u).astype(np.float32)
    change -= np.float32(np.average(change, weights=weight))
    return lines._replace(u=lines.u + change, offset=terms.offset.astype(np.float32))


def variance_curve(charges, squares, freedom, faint, read, shot):
    """Yield (charge, variance, degrees of freedom) of each bin of pixels of like charge."""
    for charge, square, more in zip(charges, squares, faint, strict=True):
        mean = float(charge.mean(dtype=float))
        expected = 1 + max(shot, 0) * (np.maximum(charge, 0) - max(mean, 0)) / (
            max(read, 1e-6) + max(shot, 0) * max(mean, 0)
        )
        variance = trimmed_variance(square / np.maximum(expected, 1e-6), freedom)
        yield mean + more, variance, freedom * charge.size


def deviations(lines: Lines, group, u, weight):
    """Yield (sums of squares (P,), degrees of freedom, time) of each group of replicates, or each frame.

    What a line leaves of a frame holds noise of all frames: its time is their mean.
    """
    sizes = np.bincount(group)
    for k in np.flatnonzero(sizes > 1):
        frames = np.flatnonzero(group == k)
        shares = weight[frames].astype(np.float32)
        mean = summed(shares, (lines.residual(i) for i in frames)) / shares.sum()
        squares = summed(shares, ((lines.residual(i) - mean) ** 2 for i in frames))
        yield squares, int(sizes[k] - 1), u[frames[0]]
    if not (sizes[group] > 1)[u > CHARGED].any():
        yield from residuals_of(lines, np.flatnonzero(sizes[group] == 1), u, weight)


def residuals_of(lines: Lines, frames, u, weight):
    """Yield the same from what the lines leave of frames that have no others of their exposure."""
    share = lines.maker**2 / weight
    total = share.sum(axis=1)
    for i in frames[np.diag(lines.maker)[frames] > 0.1]:
        yield lines.residual(i) ** 2 / total[i], 1, share[i] @ u / total[i]


def summed(shares, rows) -> np.ndarray:
    """Sum of the rows, each times its share; they are made one at a time, since all would fill the memory."""
    return sum(share * row for share, row in zip(shares, rows, strict=True))


def signal_bins(signal, sigma: float) -> list[np.ndarray]:
    """Indices of pixels in bins of rising signal: the quiet bulk, thinned, in one; the warm ones ever finer.

    What lies between is left out: bins there would be bins of noise, whose robust width is `sigma`.
    """
    low, middle, high = (quantile(signal, share) for share in (0.2, 0.5, 0.8))
    bulk = thinned((signal >= low) & (signal <= high), BULK)
    warm = np.flatnonzero(signal > middle + 5 * sigma)
    warm = warm[np.argsort(signal[warm])]
    edges = [0]
    while warm.size - edges[-1] >= 2 * FEWEST:
        edges.append(edges[-1] + max(FEWEST, (warm.size - edges[-1]) // 4))
    return [bulk, *(part for part in np.split(warm, edges[1:]) if part.size >= FEWEST)]


def trimmed_variance(squares, freedom: int) -> float:
    """Variance from sums of squares of `freedom` degrees each, without the tail that is not noise."""
    _, expected = kept_mean(0.8, freedom)
    most = quantile(squares, squares.dtype.type(0.8))
    variance = float(squares[squares <= most].mean(dtype=float)) / expected
    cut, expected = kept_mean(0.99, freedom)
    for _ in range(10):
        kept = squares[squares <= cut * variance]
        if kept.size == 0:
            break
        before, variance = variance, float(kept.mean(dtype=float)) / expected
        if variance == before:
            break
    return variance


@cache
def kept_mean(quantile: float, freedom: int) -> tuple[float, float]:
    """That quantile of chi-square, and the mean of what lies below it."""
    cut = chdtri(freedom, 1 - quantile)  # from the upper tail
    return cut, freedom * chdtr(freedom + 2, cut) / quantile


def fit_variance(charge, variance, degrees):
    """((read, error), (shot, error)) of variance = read + shot * charge + rest * charge**2.

    In logarithms, so that all bins count by their relative errors, and with a loss that lets go of bins
    ruled by pixels that do not repeat themselves.
    """
    from scipy.optimize import least_squares  # a fifth of a second

    charge, variance = np.maximum(charge, 0), np.maximum(variance, 1e-12)
    error = np.sqrt(2 / degrees + MODEL_ERROR**2)
    read = float(np.median(variance[charge <= np.quantile(charge, 0.3)]))
    warm = charge > np.quantile(charge, 0.5)
    shot = max(float(np.median((variance[warm] - read) / charge[warm])) if warm.any() else 0.0, 1e-6)
    start = np.array([read, shot, 1e-3 * shot / max(charge.max(), 1.0)])
    lowest = [0, 0, -300]  # the square may take away less than a third of the shot noise
    powers = np.stack([charge**power for power in range(3)], axis=1)

    def misfit(share):
        return (np.log(variance) - np.log(np.maximum(powers @ (share * start), 1e-12))) / error

    best = int(np.argmax(np.where(charge <= np.quantile(charge, 0.3), degrees, 0)))
    starts = np.ones((2, 3))
    starts[1, 0] = variance[best] / read  # the best known point among the cold ones
    settings = {"bounds": (lowest, np.inf), "loss": "cauchy", "f_scale": 2.0}
    fits = [least_squares(misfit, start_at, **settings) for start_at in starts]
    found = min(fits, key=lambda fit: fit.cost)
    value, error = found.x * start, standard_errors(found.jac) * start
    return (float(value[0]), float(error[0])), (float(value[1]), float(error[1]))


def standard_errors(jacobian):
    """Of parameters (P,), from the derivatives (points, P) of residuals in their errors; inf: not seen."""
    _, seen, directions = np.linalg.svd(jacobian, full_matrices=False)
    seen[seen <= UNSEEN * seen[0]] = np.inf
    errors = np.sqrt(((directions / seen[:, None]) ** 2).sum(axis=0))
    errors[(jacobian**2).sum(axis=0) < 1] = np.inf
    return errors


def stuck_length(step: float, noise: float, pixels: int) -> int:
    """Equal samples of a pixel that noise produces in one of ten sets or fewer: `noise`, `step` in adu."""
    likeliest = ndtr(step / 2 / noise) - ndtr(-step / 2 / noise)
    if likeliest <= 0:
        return 3
    return 2 + int(np.log(pixels * 10) / -np.log(min(likeliest, 1 - 1e-9)))
