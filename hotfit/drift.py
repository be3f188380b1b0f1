"""How the dark currents of two nights differ: by a factor and a shift that all pixels share, and one by one.

Rates differ by a factor where the sensor was warmer, and by a shift where the offsets of frames had a trend
with exposure, which no fit can tell from dark current. The hot pixels give the one, the quiet ones the other.
What is then left of a pixel is judged by its errors of both nights.
"""

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special

from hotfit.flags import DQ
from hotfit.maps import blocks, in_threads, thinned
from hotfit.portrait import in_map_unit
from hotfit.robust import median, quantile
from hotfit.terms import FEWEST_HOT, HOT_SIGMA, biweight
from hotfit.verdict import benjamini_hochberg, moderated

if TYPE_CHECKING:
    from hotfit.result import DarkFit

MOST_HOT = 20_000
"""The hottest pixels that give the factor: of a warm camera all would be hot enough."""

BINS = 150
"""Of a rate in the picture of both nights."""


class Rates(NamedTuple):
    """Rates of some pixels in one night; all arrays (pixels,) float64."""

    rate: np.ndarray
    variance: np.ndarray  # with the noise that the pixel itself shows
    noise: np.ndarray  # that over the noise model's
    degrees: np.ndarray  # of freedom with which it is known


class Common(NamedTuple):
    """What all pixels share: rate of the later night = shift + ratio * rate of the earlier one."""

    ratio: float
    error: float  # of the ratio, from the hot pixels; nan where these are too few and the ratio is taken as 1
    shift: float  # in the unit of the maps
    pixels: int  # that are hot enough to measure the ratio on


class Change(NamedTuple):
    """What some pixels have beyond what all share; all arrays (pixels,) float64."""

    value: np.ndarray  # in the unit of the maps
    error: np.ndarray
    degrees: np.ndarray  # of freedom with which the error is known
    expected: np.ndarray  # rate of the later night, from the earlier one

    @property
    def sigmas(self) -> np.ndarray:
        """Change in its errors; nan where there is no rate."""
        with np.errstate(invalid="ignore"):
            return self.value / self.error


class Density(NamedTuple):
    """Number of good pixels by their rates."""

    edges: np.ndarray  # (B + 1,) of the bins, the same for both nights
    counts: np.ndarray  # (B, B) int64, by rate before and rate after


class Drift(NamedTuple):
    """Pixels, good in both nights, whose rates differ."""

    common: Common
    null: float  # width of what good pixels differ by, in their errors; nan: there is no test
    limit: float  # p-value up to which a change is significant; nan: there is no test
    tested: int  # pixels
    index: np.ndarray  # (changed,) intp, flat, ascending
    density: Density


def find_drift(before: "DarkFit", after: "DarkFit", fdr: float, tolerance: float) -> Drift:
    """Find the pixels that changed significantly, and by more than that part of the rate expected."""
    common = common_change(before, after)
    null = null_of(before, after, common)
    least = -special.ndtri(fdr / 2)  # of a normal distribution, so that none beyond the limit is missed
    edges = edges_of(before, after)
    counts, found, lock = np.zeros((BINS, BINS), np.int64), [], Lock()

    def search(first, last):
        take = rows(first, last)
        change, good = change_of(before, after, take, common, null), good_in_both(before, after, take)
        sigmas = change.sigmas
        tested = good & np.isfinite(sigmas)
        with np.errstate(invalid="ignore"):
            large = np.abs(change.value) > tolerance * np.abs(change.expected)
            index = np.flatnonzero(tested & large & (np.abs(sigmas) >= least))
        p = p_value(sigmas[index], change.degrees[index])
        pair = [take(fit.rate)[good] for fit in (before, after)]
        own = np.histogram2d(*pair, bins=(edges, edges))[0]
        with lock:  # those of all blocks would fill the memory
            np.add(counts, own, out=counts, casting="unsafe")
        return index + first * before.dq.shape[1], p, int(np.count_nonzero(tested))

    in_threads(search, blocks(before.dq.shape), None, found.append)
    index, p = (np.concatenate(arrays) for arrays in list(zip(*found, strict=True))[:2])
    tested = sum(each[2] for each in found)
    limit = benjamini_hochberg(p, tested, fdr) if tested else np.nan
    return Drift(common, null, limit, tested, np.sort(index[p <= limit]), Density(edges, counts))


def null_of(before: "DarkFit", after: "DarkFit", common: Common) -> float:
    """Width of what good pixels differ by, in their errors, from the median; nan if they do not differ."""
    change = change_of(before, after, thinned, common)
    good = good_in_both(before, after, thinned) & np.isfinite(change.sigmas)
    if not good.any():
        return np.nan
    expected = special.stdtrit(float(median(change.degrees[good])), 0.75)
    null = float(median(np.abs(change.sigmas[good]))) / float(expected)
    return null if null > 0 else np.nan


def rows(first: int, last: int) -> Callable:
    """What takes rows `first` to `last` (exclusive) of a map, (pixels,)."""
    return lambda values: values[first:last].reshape(-1)


def good_in_both(before: "DarkFit", after: "DarkFit", take: Callable) -> np.ndarray:
    """Pixels, (pixels,) bool, that are masked in neither night."""
    return ((take(before.dq) | take(after.dq)) & np.uint32(DQ.DO_NOT_USE)) == 0


def rates_of(fit: "DarkFit", take: Callable) -> Rates:
    """Rates of the pixels that `take` takes from a map, with the noise that each of them shows itself.

    It is moderated by that of all others, as in `hotfit.verdict`: the error of a rate holds one read noise
    for all pixels.
    """
    spare = take(fit.n_used).astype(np.int32) - take(fit.n_groups)
    noise, degrees = np.ones(spare.shape), fit.shared_degrees + np.maximum(spare, 0)
    if np.isfinite(fit.scatter_null):
        noise = moderated(take(fit.scatter) / fit.scatter_null, spare, fit.shared_degrees) * fit.scatter_null
    variance = take(fit.rate_error).astype(float) ** 2 * noise
    return Rates(take(fit.rate).astype(float), variance, noise, degrees)


def change_of(
    before: "DarkFit", after: "DarkFit", take: Callable, common: Common, null: float = 1.0
) -> Change:
    """Change of the pixels that `take` takes from a map; `null` is what the quiet ones scatter by."""
    old, new = rates_of(before, take), rates_of(after, take)
    with np.errstate(invalid="ignore"):  # pixels without a rate
        expected = common.shift + common.ratio * old.rate
        value = new.rate - expected
        shared = (np.nan_to_num(common.error) * old.rate) ** 2
        error = null * np.sqrt(new.variance + common.ratio**2 * old.variance + shared)
        degrees = joined(common.ratio**2 * old.variance, old.degrees, new.variance, new.degrees)
    return Change(value, error, degrees, expected)


def joined(some, some_degrees, others, other_degrees) -> np.ndarray:
    """Degrees of freedom of the sum of two variances (Welch and Satterthwaite)."""
    return (some + others) ** 2 / (some**2 / some_degrees + others**2 / other_degrees)


def p_value(sigmas, degrees) -> np.ndarray:
    """Chance that noise known with so many degrees of freedom is as far off, either way."""
    return 2 * special.stdtr(degrees, -np.abs(sigmas))


def common_change(before: "DarkFit", after: "DarkFit") -> Common:
    """The factor from the hot good pixels, and the shift that the typical pixel has beside it.

    Hot are those whose sum of both nights stands out: which ones are chosen says nothing of their difference.
    """
    good = good_in_both(before, after, thinned)
    some = [thinned(fit.rate) for fit in (before, after)]
    good &= np.isfinite(some[0] + some[1])
    if not good.any():
        return Common(1.0, np.nan, 0.0, 0)
    levels = [float(median(rate[good])) for rate in some]
    share = max(0.0, 1 - MOST_HOT / before.dq.size)
    least = quantile((some[0] + some[1])[good], share) if share > 0 else -np.inf
    found = []

    def search(first, last):
        found.append(hot_pixels(before, after, rows(first, last), levels, least))

    in_threads(search, blocks(before.dq.shape))
    logarithm, error = np.concatenate(found, axis=1)
    if error.size < FEWEST_HOT:
        return Common(1.0, np.nan, levels[1] - levels[0], error.size)
    order = np.lexsort((error, logarithm))  # threads end in any order
    centre, spread = biweight(logarithm[order], error[order])
    ratio = float(np.exp(centre))
    return Common(ratio, ratio * spread, levels[1] - ratio * levels[0], error.size)


def gain_ratio(before: "DarkFit", after: "DarkFit") -> tuple[float, float]:
    """Gain of the later over that of the earlier night, 1 in adu/s, and its relative error.

    Only gains that the darks gave have an error.
    """
    errors = [
        fit.detector.measured_gain_error / fit.detector.gain
        for fit in (before, after)
        if fit.detector.gain_source == "darks"
    ]
    return in_map_unit(after) / in_map_unit(before), float(np.sqrt(np.nansum(np.square(errors))))


def hot_pixels(before: "DarkFit", after: "DarkFit", take: Callable, levels, least: float) -> np.ndarray:
    """Logarithm of the later over the earlier rate of hot good pixels, and its error, (2, hot).

    Rates count from `levels`, those of the typical pixel; their sum must be `least` or more.
    """
    old, new = rates_of(before, take), rates_of(after, take)
    some, later = old.rate - levels[0], new.rate - levels[1]
    with np.errstate(invalid="ignore"):
        hot = good_in_both(before, after, take) & (old.rate + new.rate >= least) & (some > 0) & (later > 0)
        hot &= some + later > HOT_SIGMA * np.sqrt(old.variance + new.variance)
    some, later = some[hot], later[hot]
    error = np.sqrt(old.variance[hot] / some**2 + new.variance[hot] / later**2)
    return np.stack([np.log(later / some), error])


def edges_of(before: "DarkFit", after: "DarkFit") -> np.ndarray:
    """Logarithmic bins of rates: from half the error of a typical pixel to the highest rate of all."""
    low = 0.5 * min(fit.typical.rate_error for fit in (before, after))
    high = max(float(np.nanmax(fit.rate, initial=0.0)) for fit in (before, after))
    low = low if low > 0 else 1e-3
    return np.geomspace(low, max(high, 10 * low) * 1.001, BINS + 1)
