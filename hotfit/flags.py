"""The flags, and the rules that turn maps into flags. numpy and scipy only; no refit is needed."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntFlag
from typing import NamedTuple

import numpy as np
from scipy import stats

from hotfit.errors import HotfitError
from hotfit.terms import robust_sigma


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
    DQ.JUMP_DET: "a high sample was dropped as a cosmic ray",
    DQ.HOT: "dark current above the limit",
    DQ.TELEGRAPH: "does not repeat itself: scatter within equal exposures is significant and large",
    DQ.NONLINEAR: "does not follow the line: lack of fit is significant and large",
    DQ.UNRELIABLE_BIAS: "intercept far outside the frame's population",
    DQ.UNRELIABLE_SLOPE: "no slope: too few usable exposure times, or the pixel does not respond",
}

OBSERVED = DQ.SATURATED | DQ.JUMP_DET | DQ.UNRELIABLE_SLOPE
"""Flags that the fit itself sets; the others follow from maps and rules."""

MOST_SHARED = 4096.0
"""Degrees of freedom of the noise that pixels share beyond which it counts as known."""

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
        Accepted share of false ones among the significant pixels of a frame (Benjamini-Hochberg), half of it
        for each of the two tests.
    tolerance : float
        NONLINEAR only if the line misses a group by more than this part of the largest usable dark signal,
    min_sigma : float
        and by more than so many single-frame sigmas. TELEGRAPH only if the scatter holds more than so many
        sigmas beyond the noise.
    bad : tuple of str
        Names of the flags that set DO_NOT_USE.
    """

    hot: float | None = None
    fdr: float = 0.01
    tolerance: float = 0.01
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
    """The flags, and the numbers that decided; nan where there was no test."""

    dq: np.ndarray  # uint32
    hot_limit: float  # in the unit of the map
    lack_of_fit_null: float  # factor on the expected lack of fit that the quiet pixels show
    scatter_null: float  # the same for the scatter
    shared_degrees: float  # how well pixels know each other's noise: their scatter is F distributed with it
    lack_of_fit_limit: float  # p-value up to which lack of fit is significant


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
    shared = shared_degrees(thinned(maps.scatter, complete & np.isfinite(maps.scatter)), spare)
    share = rules.fdr / 2  # there are two tests
    unstable, scatter_null, _ = significant(
        maps.scatter, used - times, shared, complete, (spare, shared), share
    )
    statistic, noise_degrees, noise_full = maps.lack_of_fit, shared, shared
    if np.isfinite(scatter_null):
        noise = moderated(maps.scatter / scatter_null, used - times, shared)
        statistic, noise_degrees, noise_full = maps.lack_of_fit / noise, shared + used - times, shared + spare
    lacking, lack_null, limit = significant(
        statistic, times - parameters, noise_degrees, complete, (degrees, noise_full), share
    )
    sigma = np.sqrt(scatter_null) if np.isfinite(scatter_null) else 1.0
    lacking &= (maps.misfit > rules.min_sigma * sigma) & (maps.misfit_fraction > rules.tolerance)
    unstable &= maps.scatter > (1 + rules.min_sigma**2) * scatter_null
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
    return Verdict(dq, hot_limit, lack_null, scatter_null, shared, limit)


def shared_degrees(scatter, degrees: int) -> float:
    """Degrees of freedom with which the noise of one pixel is known from that of all others.

    If all pixels had the same noise, their scatter would be a reduced chi-square; where the noise itself
    varies from pixel to pixel it spreads like F(degrees, shared). This is the moderated variance of Smyth
    (2004, doi:10.2202/1544-6115.1027), with `shared` from the quartiles.
    """
    if scatter.size == 0 or degrees < 1:
        return MOST_SHARED
    lower, upper = np.quantile(scatter, [0.25, 0.75])
    grid = np.geomspace(4.0, MOST_SHARED, 41)
    expected = stats.f.ppf(0.75, degrees, grid) / stats.f.ppf(0.25, degrees, grid)
    spread = upper / lower if lower > 0 else np.inf
    return float(np.exp(np.interp(-spread, -expected, np.log(grid))))


def moderated(scatter, degrees, shared: float):
    """Noise of each pixel: its own scatter, and that of all others which is 1, by degrees of freedom."""
    own = np.where(degrees > 0, degrees * scatter, 0.0)
    return ((shared + own) / (shared + np.maximum(degrees, 0))).astype(np.float32)


def significant(statistic, degrees, noise_degrees, complete, full, fdr) -> tuple[np.ndarray, float, float]:
    """Pixels whose reduced chi-square is significant over the frame, against F(degrees, noise_degrees).

    The null is calibrated on the bulk of the complete pixels, whose degrees are `full`: its median is set to
    the expected one, so that a wrong noise figure moves the scale and not the flags. Returns the pixels, that
    scale and the p-value up to which they are; both nan without a test.
    """
    found = np.zeros(statistic.shape, bool)
    tested = np.isfinite(statistic) & (degrees > 0)
    bulk_values = thinned(statistic, tested & complete)
    if bulk_values.size == 0 or full[0] <= 0:
        return found, np.nan, np.nan
    null = float(np.median(bulk_values)) / float(stats.f.ppf(0.5, *full))
    if not null > 0:
        return found, np.nan, np.nan
    likely = tested & (~complete | (statistic > stats.f.isf(fdr, *full) * null))
    candidates = np.flatnonzero(likely)
    noise_degrees = np.broadcast_to(noise_degrees, statistic.shape)
    p = stats.f.sf(
        statistic.flat[candidates] / null, degrees.flat[candidates], noise_degrees.flat[candidates]
    )
    limit = benjamini_hochberg(p, int(np.count_nonzero(tested)), fdr)
    found.flat[candidates] = p <= limit
    return found, null, limit


def benjamini_hochberg(p, tests: int, fdr: float) -> float:
    """p-value up to which the small ones `p` of `tests` are significant: for none, that of one alone."""
    ordered = np.sort(p[np.isfinite(p)])
    passing = np.flatnonzero(ordered <= fdr * np.arange(1, ordered.size + 1) / max(tests, 1))
    return fdr * (int(passing[-1]) + 1 if passing.size else 1) / max(tests, 1)


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
    return float(np.median(kept)), robust_sigma(kept)


def thinned(values, chosen) -> np.ndarray:
    """The chosen values, or evenly spread ones where there are more than a million."""
    stride = max(1, values.size // 1_000_000) | 1  # odd: does not stay in one column
    return values.ravel()[::stride][chosen.ravel()[::stride]]
