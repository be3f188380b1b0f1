"""Pixels masked in one night and not in the other: has the pixel changed, or is it near a threshold?

A pixel whose fault is about as large as the rules allow is masked one night and not the next without any
change. So three things are asked of both nights: does the rate differ, the scatter, the bend? A pixel without
a rate in one night has changed where the other night says that it should have had one.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special

from hotfit.drift import Common, Rates, change_of, joined, p_value, rates_of
from hotfit.flags import DQ
from hotfit.maps import blocks
from hotfit.portrait import in_map_unit
from hotfit.verdict import benjamini_hochberg

if TYPE_CHECKING:
    from hotfit.result import DarkFit

CLEAR = 0.9
"""Part of the saturation level below which a pixel should have had a rate."""

SAME_TIME = 0.005
"""Relative difference of exposure times that are the same, as in the groups of a set."""


class Flips(NamedTuple):
    """The pixels masked in one night alone; all arrays (pixels,)."""

    index: np.ndarray  # intp, flat, ascending
    bad: np.ndarray  # bool: masked in the later night
    p: np.ndarray  # float64, of the change that is seen best; 1 where nothing could be tested
    significant: np.ndarray  # bool


def find_flips(
    before: "DarkFit", after: "DarkFit", common: Common, null: float, fdr: float, tested: int
) -> Flips:
    """Find pixels that are masked in one night alone; `tested` pixels could have been."""
    index, bad = flipped(before, after)
    take = picking(index)
    p = np.stack([test(before, after, take, common, null) for test in (rate_p, scatter_p, bend_p)])
    p = np.minimum(1, len(p) * np.nan_to_num(p, nan=1).min(axis=0, initial=1))
    p[lost(before, after, take, common.ratio) | lost(after, before, take, 1 / common.ratio)] = 0
    limit = benjamini_hochberg(p, max(tested, index.size), fdr)
    return Flips(index, bad, p, p <= limit)


def flipped(before: "DarkFit", after: "DarkFit") -> tuple[np.ndarray, np.ndarray]:
    """Flat indices of the pixels masked in one night alone, and whether in the later one."""
    found, columns = [], before.dq.shape[1]
    for first, last in blocks(before.dq.shape):
        differ = (before.dq[first:last] ^ after.dq[first:last]) & np.uint32(DQ.DO_NOT_USE)
        found.append(np.flatnonzero(differ) + first * columns)
    index = np.concatenate(found)
    return index, (picking(index)(after.dq) & np.uint32(DQ.DO_NOT_USE)) != 0


def picking(index):
    """What takes some pixels by their flat index from a map."""
    return lambda values: values[np.divmod(index, values.shape[1])]


def rate_p(before: "DarkFit", after: "DarkFit", take, common: Common, null: float) -> np.ndarray:
    """Of the rate beyond what all pixels share, with no less noise than the scatter of the pixel itself.

    The rate of a pixel that bends depends on the exposure times: nan if these are not the same.
    """
    change = change_of(before, after, take, common, null if np.isfinite(null) else np.inf)
    own = [take(fit.scatter) / fit.scatter_null for fit in (before, after)]
    p = p_value(change.sigmas / np.sqrt(np.fmax(np.fmax(*own), 1)), change.degrees)
    bends = ((take(before.dq) | take(after.dq)) & np.uint32(DQ.NONLINEAR)) != 0
    return p if same_times(before, after) else np.where(bends, np.nan, p)


def scatter_p(before: "DarkFit", after: "DarkFit", take, common: Common, null: float) -> np.ndarray:
    """Of the scatter within equal exposures, whose ratio is F distributed if the pixel is the same."""
    values, degrees = [], []
    for fit in (before, after):
        values.append(take(fit.scatter) / fit.scatter_null)
        degrees.append(take(fit.n_used).astype(np.int32) - take(fit.n_groups))
    known = np.isfinite(values[0] + values[1]) & (values[0] > 0) & (np.minimum(*degrees) > 0)
    p = np.full(known.shape, np.nan)
    ratio = values[1][known].astype(float) / values[0][known]
    over, under = degrees[1][known], degrees[0][known]
    tails = special.fdtrc(over, under, ratio), special.fdtr(over, under, ratio)
    p[known] = np.minimum(1, 2 * np.minimum(*tails))
    return p


def bend_p(before: "DarkFit", after: "DarkFit", take, common: Common, null: float) -> np.ndarray:
    """Of the rate over the longer half of the exposures less that over the shorter half."""
    with np.errstate(invalid="ignore", divide="ignore"):
        old, new = (bend_of(fit, take, factor) for fit, factor in ((before, common.ratio), (after, 1.0)))
        sigmas = (new.rate - old.rate) / np.sqrt(new.variance + old.variance)
        p = p_value(sigmas, joined(old.variance, old.degrees, new.variance, new.degrees))
    same = take(before.n_groups) == take(after.n_groups)
    return np.where(same, p, np.nan) if same_times(before, after) else np.full(p.shape, np.nan)


def bend_of(fit: "DarkFit", take, factor: float) -> Rates:
    """That difference of rates, times a factor."""
    rates = rates_of(fit, take)
    value = factor * take(fit.slope_residual) * rates.rate
    error = factor * take(fit.slope_residual_error) * rates.rate
    return rates._replace(rate=value, variance=error**2 * rates.noise)


def same_times(before: "DarkFit", after: "DarkFit") -> bool:
    """Whether both nights have the same exposure times: the bends of pixels can then be compared."""
    times = [exposures(fit) for fit in (before, after)]
    return times[0].size == times[1].size and np.allclose(*times, rtol=SAME_TIME, atol=1e-6)


def exposures(fit: "DarkFit") -> np.ndarray:
    """Exposure times of a fit, (K,) s, ascending."""
    group = np.asarray(fit.frames["group"])
    return np.bincount(group, np.asarray(fit.frames["exposure"], float)) / np.bincount(group)


def lost(known: "DarkFit", fit: "DarkFit", take, ratio: float) -> np.ndarray:
    """Pixels without a rate in `fit`, though by `ratio` times that known two exposures are not saturated."""
    times = exposures(fit)
    if times.size < 2:
        return np.zeros(take(fit.rate).shape, bool)
    with np.errstate(invalid="ignore"):
        counts = take(known.intercept) + ratio * take(known.rate) * times[1] / in_map_unit(fit)
        return np.isnan(take(fit.rate)) & (counts < CLEAR * fit.detector.saturation)
