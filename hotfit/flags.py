"""The flags, and the rules that turn maps into flags. numpy and scipy only; no refit is needed."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntFlag
from typing import NamedTuple

import numpy as np
from scipy import stats

from hotfit.errors import HotfitError


class DQ(IntFlag):
    """Bits of the data quality map, as in JWST and Roman; `DQ["HOT"]` works as astropy's flag_name_map."""

    DO_NOT_USE = 1 << 0
    SATURATED = 1 << 1
    JUMP_DET = 1 << 2
    HOT = 1 << 11
    TELEGRAPH = 1 << 15
    NONLINEAR = 1 << 16
    UNRELIABLE_BIAS = 1 << 22
    UNRELIABLE_SLOPE = 1 << 24


MEANING = {
    DQ.DO_NOT_USE: "bad: at least one of the flags named as bad is set",
    DQ.SATURATED: "a sample was saturated; it and longer exposures were not used",
    DQ.JUMP_DET: "one high sample was dropped as a cosmic ray",
    DQ.HOT: "dark current above the limit",
    DQ.TELEGRAPH: "does not repeat itself: scatter within equal exposures is significant",
    DQ.NONLINEAR: "does not follow the line: lack of fit is significant and large",
    DQ.UNRELIABLE_BIAS: "intercept far outside the frame's population",
    DQ.UNRELIABLE_SLOPE: "no slope: too few usable exposure times, or the pixel does not respond",
}

OBSERVED = DQ.SATURATED | DQ.JUMP_DET | DQ.UNRELIABLE_SLOPE
"""Flags that the fit itself sets; the others follow from maps and rules."""

ENOUGH_REPLICATES = 8
"""Degrees of freedom within the groups from which lack of fit is tested against the replicates (F test)."""

BIAS_SIGMA = 10.0
"""Robust sigmas of the intercepts beyond which one is UNRELIABLE_BIAS."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is flagged, and which flags make a pixel bad.

    Attributes
    ----------
    hot : float or None
        HOT above this rate, in the unit of the map. None: robust median + 5 robust sigmas of the map, and
        5 of the pixel's own errors.
    fdr : float
        Accepted share of false ones among the significant pixels of a frame (Benjamini-Hochberg).
    tolerance : float
        NONLINEAR only if the line misses a group by more than this part of the largest usable dark signal,
    min_sigma : float
        and by more than so many single-frame sigmas.
    bad : tuple of str
        Names of the flags that set DO_NOT_USE.
    """

    hot: float | None = None
    fdr: float = 0.01
    tolerance: float = 0.02
    min_sigma: float = 1.0
    bad: tuple[str, ...] = ("TELEGRAPH", "NONLINEAR", "UNRELIABLE_SLOPE")

    def __post_init__(self):
        known = [flag.name for flag in DQ if flag is not DQ.DO_NOT_USE]
        bad = (self.bad,) if isinstance(self.bad, str) or not isinstance(self.bad, Iterable) else self.bad
        bad = tuple(dict.fromkeys(bad))
        unknown = [name for name in bad if name not in known]
        if unknown:
            raise HotfitError(f"bad={unknown[0]!r}: no such flag; choose from {', '.join(known)}")
        object.__setattr__(self, "bad", bad)
        self._check("fdr", 0, 1, "a share above 0 and below 1")
        for name in ("tolerance", "min_sigma"):
            self._check(name, -np.finfo(float).tiny, np.inf, "a number that is not negative")
        if self.hot is not None:
            self._check("hot", -np.inf, np.inf, "a rate in the unit of the map")

    def _check(self, name, low, high, wanted):
        value = getattr(self, name)
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = np.nan
        if isinstance(value, str) or not low < number < high:
            raise HotfitError(f"{name}={value!r}: give {wanted}")
        object.__setattr__(self, name, number)


class Verdict(NamedTuple):
    """The flags, and the numbers that decided."""

    dq: np.ndarray  # uint32
    hot_limit: float  # in the unit of the map
    lack_of_fit_null: float  # factor on the expected lack of fit that the quiet pixels show
    scatter_null: float  # the same for the scatter


def decide(maps, rules: Rules, frames: int, groups: int, parameters: int) -> Verdict:
    """Flag every pixel.

    Parameters
    ----------
    maps : object with the arrays of `hotfit.kernels.Maps`
        `dq` may hold flags of an earlier verdict: only those that the fit observed are kept.
    rules : Rules
    frames, groups, parameters : int
        Frames and exposure times of the set; parameters of the line.
    """
    dq = maps.dq & np.uint32(OBSERVED)
    used, times = maps.n_used.astype(np.int32), maps.n_groups.astype(np.int32)
    complete = (maps.n_used == frames) & (maps.n_groups == groups)
    spare, degrees = frames - groups, groups - parameters
    statistic = maps.lack_of_fit
    against_replicates = spare >= ENOUGH_REPLICATES
    if against_replicates:
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = maps.lack_of_fit / maps.scatter
    lacking, lack_null = significant(
        statistic,
        times - parameters,
        used - times if against_replicates else None,
        complete,
        degrees,
        rules.fdr,
    )
    unstable, scatter_null = significant(maps.scatter, used - times, None, complete, spare, rules.fdr)
    lacking &= (maps.misfit > rules.min_sigma) & (maps.misfit_fraction > rules.tolerance)
    hot_limit, hot = find_hot(maps.rate, maps.rate_error, rules.hot)
    centre, width = bulk(maps.intercept)
    strange = np.abs(maps.intercept - centre) > BIAS_SIGMA * width if parameters > 1 else False
    dq |= np.uint32(DQ.HOT) * hot
    dq |= np.uint32(DQ.TELEGRAPH) * unstable
    dq |= np.uint32(DQ.NONLINEAR) * lacking
    dq |= np.uint32(DQ.UNRELIABLE_BIAS) * strange
    dq |= np.uint32(DQ.UNRELIABLE_SLOPE) * ((times < 2) | ~np.isfinite(maps.rate))
    bad = np.uint32(sum(DQ[name] for name in set(rules.bad)))
    dq |= np.uint32(DQ.DO_NOT_USE) * ((dq & bad) != 0)
    return Verdict(dq, hot_limit, lack_null, scatter_null)


def significant(statistic, degrees, spare, complete, full_degrees, fdr) -> tuple[np.ndarray, float]:
    """Pixels whose reduced chi-square, or F if `spare` is given, is significant over the frame.

    The null is calibrated on the bulk: its median is set to the expected one, so that a wrong noise figure
    moves the scale and not the flags. Returns the pixels and that scale (nan without a test).
    """
    found = np.zeros(statistic.shape, bool)
    tested = np.isfinite(statistic) & (degrees > 0)
    bulk_values = thinned(statistic, tested & complete)
    if bulk_values.size == 0 or full_degrees <= 0:
        return found, np.nan
    full_spare = None if spare is None else int(thinned(spare, tested & complete)[0])
    null = float(np.median(bulk_values)) / float(expected_quantile(0.5, full_degrees, full_spare))
    if not null > 0:
        return found, np.nan
    limit = expected_quantile(1 - fdr, full_degrees, full_spare) * null
    candidates = np.flatnonzero(tested & (~complete | (statistic > limit)))
    value, freedom = statistic.flat[candidates] / null, degrees.flat[candidates]
    if spare is None:
        p = stats.chi2.sf(value * freedom, freedom)
    else:
        p = stats.f.sf(value, freedom, spare.flat[candidates])
    found.flat[candidates] = p <= benjamini_hochberg(p, int(np.count_nonzero(tested)), fdr)
    return found, null


def expected_quantile(quantile, degrees, spare):
    """Quantile of a reduced chi-square, or of F where `spare` degrees measure the noise."""
    if spare is None:
        return stats.chi2.ppf(quantile, degrees) / degrees
    return stats.f.ppf(quantile, degrees, spare)


def benjamini_hochberg(p, tests: int, fdr: float) -> float:
    """Largest p-value to be called significant among `tests` of which `p` are the small ones; -1: none."""
    ordered = np.sort(p[np.isfinite(p)])
    passing = np.flatnonzero(ordered <= fdr * np.arange(1, ordered.size + 1) / max(tests, 1))
    return float(ordered[passing[-1]]) if passing.size else -1.0


def find_hot(rate, error, limit) -> tuple[float, np.ndarray]:
    """The limit on the rate, and the pixels above it; the default limit asks for five errors too."""
    if limit is not None:
        return float(limit), rate > limit
    centre, width = bulk(rate)
    limit = centre + 5 * width
    return limit, (rate > limit) & (rate > 5 * error)


def bulk(values) -> tuple[float, float]:
    """Median and robust sigma of the finite values, from up to a million of them."""
    kept = thinned(values, np.isfinite(values))
    if kept.size == 0:
        return np.nan, np.nan
    centre = float(np.median(kept))
    return centre, 1.4826 * float(np.median(np.abs(kept - centre)))


def thinned(values, chosen) -> np.ndarray:
    """The chosen values, or evenly spread ones where there are more than a million."""
    stride = max(1, values.size // 1_000_000) | 1  # odd: does not stay in one column
    return values.ravel()[::stride][chosen.ravel()[::stride]]
