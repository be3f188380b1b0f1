"""From maps to flags. numpy and scipy only; no refit is needed.

Limits are those of the frame and come from evenly thinned pixels. With them the rules go over blocks of rows,
in threads: most pixels are quiet in every respect, which takes a few comparisons, and only the others are
judged one by one. Which of them are significant is known when all blocks have told their small p-values.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy import special

from hotfit.flags import DQ, OBSERVED, Rules
from hotfit.maps import Block, Sample, blocks, in_threads
from hotfit.robust import median, robust_sigma

MOST_SHARED = 4096.0
"""Degrees of freedom of the noise that pixels share beyond which it counts as known."""

BIAS_SIGMA = 10.0
"""Robust sigmas of the intercepts beyond which one is UNRELIABLE_BIAS."""

ROUNDING = 1e-5
"""Relative, far above that of float32: what comes so near a limit is judged, not taken for quiet."""


class Verdict(NamedTuple):
    """The flags, and the numbers that decided; nan where there was no test."""

    dq: np.ndarray  # uint32
    hot_limit: float  # in the unit of the map
    lack_of_fit_null: float  # factor on the expected lack of fit that the quiet pixels show
    scatter_null: float  # the same for the scatter
    shared_degrees: float  # how well pixels know each other's noise: their scatter is F distributed with it
    lack_of_fit_limit: float  # p-value up to which lack of fit is significant


class Design(NamedTuple):
    """What the set of darks offers to every pixel."""

    frames: int
    groups: int  # exposure times
    parameters: int  # of the line


class Test(NamedTuple):
    """A reduced chi-square, over the null that the quiet pixels show, against F(degrees of freedom)."""

    null: float  # nan: there is no test
    suspect: float  # a complete pixel is significant only above this


class Limits(NamedTuple):
    """The numbers of a frame by which its pixels are judged."""

    hot: float
    centre: float  # of the intercepts
    width: float  # robust sigma of the intercepts
    shared: float  # degrees of freedom
    scatter: Test
    lack: Test


class Found(NamedTuple):
    """What one test found in some pixels: those that may be significant, all arrays (found,)."""

    index: np.ndarray  # intp
    p: np.ndarray  # float64
    large: np.ndarray  # bool: large enough to be flagged, if significant
    tested: int  # pixels that were tested


def decide(
    maps, rules: Rules, frames: int, groups: int, parameters: int, workers: int | None = None
) -> Verdict:
    """Flag every pixel.

    Parameters
    ----------
    maps : keeper of maps, see `hotfit.maps`
        Its `dq` may hold flags of an earlier verdict: only those that the fit observed are kept. The new
        flags take their place, and are those of the verdict.
    rules : Rules
    frames, groups, parameters : int
        Frames and exposure times of the set; parameters of the line.
    workers : int, optional
        Threads; one for each core by default.
    """
    design, columns = Design(frames, groups, parameters), maps.shape[1]
    limits = find_limits(maps.sample(), rules, design)
    tests = []

    def judge_rows(first, last):
        with np.errstate(over="ignore", invalid="ignore"):  # beyond all limits is where it belongs
            found = judge(maps.rows(first, last), limits, rules, design)
        return [each._replace(index=each.index + first * columns) for each in found]

    in_threads(judge_rows, blocks(maps.shape), workers, tests.append)
    flat, p_limits = maps.dq.reshape(-1), {}
    for flag, parts in zip((DQ.TELEGRAPH, DQ.NONLINEAR), zip(*tests, strict=True), strict=True):
        index, p, large = (np.concatenate(arrays) for arrays in list(zip(*parts, strict=True))[:3])
        p_limits[flag] = benjamini_hochberg(p, sum(part.tested for part in parts), rules.fdr / 2)
        bits = flag | (DQ.DO_NOT_USE if flag.name in rules.bad else 0)
        flat[index[(p <= p_limits[flag]) & large]] |= np.uint32(bits)
    tested = np.isfinite(limits.lack.null)
    return Verdict(
        dq=maps.dq,
        hot_limit=limits.hot,
        lack_of_fit_null=limits.lack.null,
        scatter_null=limits.scatter.null,
        shared_degrees=limits.shared,
        lack_of_fit_limit=p_limits[DQ.NONLINEAR] if tested else np.nan,
    )


# --- the numbers of the frame


def find_limits(sample: Sample, rules: Rules, design: Design) -> Limits:
    """The limits of a frame from a sample of its pixels."""
    with ThreadPoolExecutor(1) as aside:
        bulks = [aside.submit(bulk, values) for values in (sample.rate, sample.intercept)]
        shared, scatter, lack = find_tests(sample, rules, design)
        (rate, spread), intercepts = (each.result() for each in bulks)
    hot = rate + 5 * spread if rules.hot is None else rules.hot
    return Limits(hot, *intercepts, shared, scatter, lack)


def find_tests(sample: Sample, rules: Rules, design: Design) -> tuple[float, Test, Test]:
    """Degrees of freedom of the shared noise, and the tests of scatter and lack of fit."""
    spare, degrees = design.frames - design.groups, design.groups - design.parameters
    complete, tested = is_complete(sample, design), ("scatter", "lack_of_fit", "n_used", "n_groups")
    whole = sample._replace(**{name: getattr(sample, name)[complete] for name in tested})
    shared = shared_degrees(whole.scatter[np.isfinite(whole.scatter)], spare)
    level = rules.fdr / 2  # there are two tests
    scatter = calibrated(whole.scatter, (spare, shared), level)
    statistic, _ = lack_of_fit(whole, scatter, shared)
    full = (degrees, shared + spare if np.isfinite(scatter.null) else shared)
    return shared, scatter, calibrated(statistic, full, level)


def is_complete(pixels: Block | Sample, design: Design) -> np.ndarray:
    """Whether every frame of each pixel was used."""
    return (pixels.n_used == design.frames) & (pixels.n_groups == design.groups)


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
    expected = special.fdtri(degrees, grid, 0.75) / special.fdtri(degrees, grid, 0.25)
    spread = upper / lower if lower > 0 else np.inf
    return float(np.exp(np.interp(-spread, -expected, np.log(grid))))


def moderated(scatter, degrees, shared: float):
    """Noise of each pixel: its own scatter, and that of all others which is 1, by degrees of freedom."""
    own = np.where(degrees > 0, degrees * scatter, 0.0)
    return ((shared + own) / (shared + np.maximum(degrees, 0))).astype(np.float32)


def lack_of_fit(
    pixels: Block | Sample, scatter: Test, shared: float
) -> tuple[np.ndarray, np.ndarray | float]:
    """Lack of fit over the noise of each pixel, and the degrees of freedom with which that is known."""
    if np.isnan(scatter.null):
        return pixels.lack_of_fit, shared
    spare = pixels.n_used.astype(np.int32) - pixels.n_groups
    return pixels.lack_of_fit / moderated(pixels.scatter / scatter.null, spare, shared), shared + spare


def calibrated(statistic, full: tuple[float, float], level: float) -> Test:
    """The test of a statistic, from complete pixels, whose degrees of freedom are `full`.

    Their median is set to the expected one, so that a wrong noise figure moves the scale and not the flags.
    """
    none = Test(np.nan, np.inf)
    values = statistic[np.isfinite(statistic)]
    if values.size == 0 or full[0] <= 0:
        return none
    null = float(median(values)) / float(special.fdtri(*full, 0.5))
    return Test(null, float(special.fdtri(*full, 1.0 - level)) * null) if null > 0 else none


def bulk(values) -> tuple[float, float]:
    """Median and robust sigma of the finite values."""
    kept = values[np.isfinite(values)]
    if kept.size == 0:
        return np.nan, np.nan
    return float(median(kept)), robust_sigma(kept)


# --- the pixels of a block


def judge(pixels: Block, limits: Limits, rules: Rules, design: Design) -> tuple[Found, Found]:
    """Set the flags of some pixels in `dq` itself; those of scatter and lack of fit are returned as found."""
    quiet = is_quiet(pixels, limits, design)
    odd = np.flatnonzero(~quiet)
    pixels.dq[quiet] = 0
    few = Block(*(array[odd] for array in pixels))
    spare = few.n_used.astype(np.int32) - few.n_groups
    degrees = few.n_groups.astype(np.int32) - design.parameters
    few = few._replace(dq=plain_flags(few, limits, rules, design))
    pixels.dq[odd] = few.dq
    level, calm = rules.fdr / 2, int(np.count_nonzero(quiet))
    complete = is_complete(few, design)
    scatter = find(limits.scatter, few.scatter, (spare, limits.shared), complete, level)
    statistic, noise_degrees = lack_of_fit(few, limits.scatter, limits.shared)
    lack = find(limits.lack, statistic, (degrees, noise_degrees), complete, level)
    wide = few.scatter > (1 + rules.min_sigma**2) * limits.scatter.null
    sigma = np.sqrt(limits.scatter.null) if np.isfinite(limits.scatter.null) else 1.0
    far = (few.misfit > rules.min_sigma * sigma) & (few.misfit_fraction > rules.tolerance)
    return tuple(
        Found(odd[found.index], found.p, large[found.index], found.tested + calm)
        for found, large in ((scatter, wide), (lack, far))
    )


def is_quiet(pixels: Block, limits: Limits, design: Design) -> np.ndarray:
    """Pixels for which no rule holds, and which both tests, where there are some, count.

    NaN fails every comparison. Lack of fit is compared to what is significant with the scatter of the pixel.
    """
    quiet = is_complete(pixels, design) & (pixels.n_groups > 1)
    quiet &= (pixels.dq & np.uint32(OBSERVED)) == 0
    quiet &= np.isfinite(pixels.rate) & (pixels.rate <= limits.hot)
    if design.parameters > 1:
        quiet &= np.abs(pixels.intercept - limits.centre) <= BIAS_SIGMA * limits.width
    if np.isfinite(limits.scatter.null):
        quiet &= pixels.scatter <= limits.scatter.suspect
    if np.isfinite(limits.lack.null):
        spare = design.frames - design.groups if np.isfinite(limits.scatter.null) else 0
        least = limits.lack.suspect * (1 - ROUNDING) / (limits.shared + spare)
        known = limits.shared * least
        if spare > 0:
            known = known + pixels.scatter * (spare * least / limits.scatter.null)
        quiet &= pixels.lack_of_fit <= known
    return quiet


def plain_flags(pixels: Block, limits: Limits, rules: Rules, design: Design) -> np.ndarray:
    """The flags that follow from one pixel alone, (pixels,) uint32."""
    dq = pixels.dq & np.uint32(OBSERVED)
    hot = pixels.rate > limits.hot
    if rules.hot is None:  # the limit of the frame says nothing of a pixel's own error
        hot &= pixels.rate > 5 * pixels.rate_error
    dq |= np.uint32(DQ.HOT) * hot
    if design.parameters > 1:
        strange = np.abs(pixels.intercept - limits.centre) > BIAS_SIGMA * limits.width
        dq |= np.uint32(DQ.UNRELIABLE_BIAS) * strange
    dq |= np.uint32(DQ.UNRELIABLE_SLOPE) * ((pixels.n_groups < 2) | ~np.isfinite(pixels.rate))
    bad = np.uint32(sum(DQ[name] for name in set(rules.bad)))
    dq |= np.uint32(DQ.DO_NOT_USE) * ((dq & bad) != 0)
    return dq


def find(test: Test, statistic, degrees, complete, level: float) -> Found:
    """Pixels that may be significant: p-values up to `level`, beyond which none is.

    `degrees` are those of the statistic and of its noise; `large` is left to the caller.
    """
    over, under = (np.broadcast_to(each, statistic.shape) for each in degrees)
    tested = np.isfinite(statistic) & (over > 0)
    if np.isnan(test.null):
        tested[:] = False
    likely = np.flatnonzero(tested & (~complete | (statistic > test.suspect)))
    ratio = (statistic[likely] / test.null).astype(np.float64)
    p = special.fdtrc(over[likely].astype(np.float64), under[likely].astype(np.float64), ratio)
    small = p <= level * (1 + ROUNDING)
    return Found(likely[small], p[small], np.empty(0, bool), int(np.count_nonzero(tested)))


def benjamini_hochberg(p, tests: int, fdr: float) -> float:
    """p-value up to which the small ones `p` of `tests` are significant: for none, that of one alone."""
    ordered = np.sort(p[np.isfinite(p)])
    passing = np.flatnonzero(ordered <= fdr * np.arange(1, ordered.size + 1) / max(tests, 1))
    return fdr * (int(passing[-1]) + 1 if passing.size else 1) / max(tests, 1)
