"""The verdict: significance over a frame, every rule on maps made by hand, and blocks against all at once."""

from types import SimpleNamespace

import numpy as np
import pytest
from flags_at_once import decide_at_once
from scipy import stats

from hotfit import maps as rooms
from hotfit import verdict as rules_room
from hotfit.flags import DQ, Rules
from hotfit.maps import ArrayMaps, Block, Sample
from hotfit.verdict import (
    MOST_SHARED,
    Design,
    benjamini_hochberg,
    bulk,
    calibrated,
    find,
    find_limits,
    lack_of_fit,
    moderated,
    shared_degrees,
)

SHAPE = (100, 100)
PIXEL = (30, 40)
ALL_BAD = tuple(flag.name for flag in DQ if flag is not DQ.DO_NOT_USE)


def spread(distribution, seed):
    """The distribution's own quantiles, one a pixel, in random places: chance leaves no outlier."""
    size = SHAPE[0] * SHAPE[1]
    values = distribution.ppf((np.arange(size) + 0.5) / size)
    return np.random.default_rng(seed).permutation(values).reshape(SHAPE).astype(np.float32)


def quiet_maps(frames=32, groups=4, parameters=2, noise=1.0, shared=MOST_SHARED):
    """Maps of a frame with nothing to flag.

    `noise` is by what the variance was underestimated; from pixel to pixel it varies by an inverse chi-square
    of `shared` degrees of freedom.
    """
    spare, degrees = frames - groups, groups - parameters
    nothing = np.full(SHAPE, np.nan, np.float32)
    scatter = spread(stats.f(spare, shared), 1) if spare else nothing
    lack = nothing
    if degrees:
        lack = spread(stats.f(degrees, shared + spare), 2)
        lack *= (shared + spare * scatter) / (shared + spare) if spare else 1
    return SimpleNamespace(
        rate=spread(stats.norm(0.03, 0.003), 3),
        rate_error=np.full(SHAPE, 0.003, np.float32),
        intercept=spread(stats.norm(1000, 2), 4),
        lack_of_fit=lack * np.float32(noise),
        scatter=scatter * np.float32(noise),
        misfit=np.full(SHAPE, 0.5, np.float32),
        misfit_fraction=np.full(SHAPE, 0.005, np.float32),
        n_used=np.full(SHAPE, frames, np.uint16),
        n_groups=np.full(SHAPE, groups, np.uint16),
        dq=np.zeros(SHAPE, np.uint32),
    )


def change(maps, **values):
    for name, value in values.items():
        getattr(maps, name)[PIXEL] = value
    return maps


def names_of(bits):
    return {flag.name for flag in DQ if int(bits) & flag}


def decide(maps, rules, *design, **options):
    """The verdict on arrays of any shape, which stay as they are."""
    arrays = {name: np.atleast_2d(array) for name, array in vars(maps).items() if name != "dq"}
    kept = ArrayMaps(np.atleast_2d(maps.dq).copy(), **arrays)
    verdict = rules_room.decide(kept, rules, *design, **options)
    return verdict._replace(dq=verdict.dq.reshape(maps.dq.shape))


def significant(statistic, degrees, noise_degrees, complete, full, fdr):
    """One test over a frame: pixels, null, and the p-value up to which they are significant."""
    test = calibrated(statistic[complete & (degrees > 0)], full, fdr)
    found = find(test, statistic, (degrees, noise_degrees), complete, fdr)
    limit = benjamini_hochberg(found.p, found.tested, fdr) if np.isfinite(test.null) else np.nan
    chosen = np.zeros(statistic.shape, bool)
    chosen[found.index[found.p <= limit]] = True
    return chosen, test.null, limit


# --- Benjamini-Hochberg


def slow_benjamini_hochberg(p, tests, fdr):
    """Which are significant: all up to the last k of which the k-th smallest p is at most fdr * k / tests."""
    best = -1.0
    for k, value in enumerate(sorted(p), start=1):
        if value <= fdr * k / tests:
            best = value
    return [value <= best for value in p]


@pytest.mark.parametrize("seed", range(20))
def test_benjamini_hochberg_agrees_with_the_obvious_one(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 60))
    p = rng.uniform(size=size) ** rng.uniform(1, 6)
    p[rng.uniform(size=size) < 0.2] = p[0]  # ties
    counts = set()
    for fdr in (0.001, 0.01, 0.1, 0.5, 0.9):
        expected = slow_benjamini_hochberg(p, size, fdr)
        limit = benjamini_hochberg(p, size, fdr)
        np.testing.assert_array_equal(p <= limit, expected)
        assert limit == pytest.approx(fdr * max(sum(expected), 1) / size)
        # Of the p-values only the small ones need be given, and only those that are numbers count.
        small = np.where(p <= fdr, p, np.nan)
        np.testing.assert_array_equal(p <= benjamini_hochberg(small, size, fdr), expected)
        counts.add(sum(expected))
    assert len(counts) > 1  # the cases above are not all of the same kind


@pytest.mark.parametrize(
    ("p", "tests", "limit"),
    [([], 0, 0.01), ([], 20, 0.0005), ([np.nan], 1, 0.01), ([0.5], 1, 0.01), ([0.0], 1, 0.01)],
    ids=str,
)
def test_benjamini_hochberg_of_next_to_nothing(p, tests, limit):
    # What one alone would need is told even where nothing is found.
    assert benjamini_hochberg(np.array(p), tests, 0.01) == pytest.approx(limit)


@pytest.mark.parametrize(("real", "level"), [(0, 0.1), (15, 0.1), (15, 0.02)])
def test_benjamini_hochberg_keeps_its_level(real, level):
    # For independent tests the expected false share is known exactly: level * (share of null tests).
    families, tests = 4000, 50
    p = np.random.default_rng(5).uniform(size=(families, tests))
    p[:, :real] **= 12
    false_share, discoveries = np.zeros(families), 0
    for i, row in enumerate(p):
        found = row <= benjamini_hochberg(row, tests, level)
        discoveries += np.count_nonzero(found)
        false_share[i] = np.count_nonzero(found[real:]) / max(np.count_nonzero(found), 1)
    expected = level * (tests - real) / tests
    assert abs(false_share.mean() - expected) < 4 * false_share.std() / np.sqrt(families)
    assert discoveries > families * real / 4


# --- significance over a frame


@pytest.mark.parametrize("noise", [0.25, 1.0, 4.0], ids=["noise/2", "noise", "noise*2"])
@pytest.mark.parametrize(("degrees", "known"), [(2, MOST_SHARED), (28, MOST_SHARED), (2, 28), (3, 8)])
def test_significant_finds_planted_outliers_and_next_to_nothing_else(degrees, known, noise):
    size, planted = 1_000_000, slice(1000, 1200)
    statistic = np.random.default_rng(degrees).f(degrees, known, size) * noise
    full = np.full(size, degrees, np.int32)
    arguments = (full, known, np.ones(size, bool), (degrees, known), 0.01)

    found, null, limit = significant(statistic.astype(np.float32), *arguments)
    assert null == pytest.approx(noise, rel=0.01)
    assert np.count_nonzero(found) <= 2
    assert limit == pytest.approx(0.01 * max(np.count_nonzero(found), 1) / size)

    statistic[planted] = stats.f.isf(1e-8, degrees, known) * noise
    found, null, limit = significant(statistic.astype(np.float32), *arguments)
    assert null == pytest.approx(noise, rel=0.01)
    assert found[planted].all()
    assert np.count_nonzero(found) - 200 <= 10  # 2 expected at a level of 1 %
    assert limit == pytest.approx(0.01 * np.count_nonzero(found) / size)
    assert found.shape == statistic.shape


@pytest.mark.parametrize("fdr", [0.01, 0.2])
@pytest.mark.parametrize("each", [False, True], ids=["one noise", "noise of each"])
def test_significant_is_benjamini_hochberg_on_calibrated_p_values(fdr, each):
    rng = np.random.default_rng(8)
    size, degrees, known = 4001, 3, 9.5
    statistic = 2.5 * rng.f(degrees, known, size)
    statistic[::10] *= rng.uniform(1, 30, statistic[::10].size)
    freedom, noise = np.full(size, degrees, np.int32), np.full(size, known)
    complete = rng.uniform(size=size) < 0.9
    few = np.count_nonzero(~complete)
    freedom[~complete] = rng.integers(0, degrees + 1, few)
    if each:
        noise[~complete] -= rng.integers(0, 7, few)
    statistic[5:50:7] = np.nan
    found, null, limit = significant(
        statistic, freedom, noise if each else known, complete, (degrees, known), fdr
    )

    tested = np.isfinite(statistic) & (freedom > 0)
    assert null == pytest.approx(np.median(statistic[tested & complete]) / stats.f.median(degrees, known))
    p = stats.f.sf(statistic[tested] / null, freedom[tested], noise[tested])
    expected = np.zeros(size, bool)
    expected[tested] = slow_benjamini_hochberg(p, p.size, fdr)
    assert 10 < np.count_nonzero(expected) < 400
    np.testing.assert_array_equal(found, expected)
    assert limit == pytest.approx(fdr * np.count_nonzero(expected) / p.size)


@pytest.mark.parametrize(
    ("statistic", "degrees", "complete"),
    [
        (np.full(9, np.nan), 2, True),
        (np.ones(9), 0, True),
        (np.ones(9), 2, False),
        (np.zeros(9), 2, True),
        (np.ones(0), 2, True),
    ],
    ids=["no statistic", "no degrees of freedom", "no complete pixel", "no noise at all", "no pixel"],
)
def test_without_a_null_there_is_no_test(statistic, degrees, complete):
    shape = statistic.shape
    whole = np.full(shape, degrees, np.int32), 28, np.full(shape, complete), (degrees, 28), 0.01
    found, null, limit = significant(statistic, *whole)
    assert found.shape == shape
    assert not found.any()
    assert np.isnan(null)
    assert np.isnan(limit)


# --- the noise of a pixel, from its own scatter and that of all others

MANY = 200_000


def drawn(rng, shared, spare, degrees, size=MANY):
    """Scatter and lack of fit of linear pixels whose noise is 1 / (chi-square of `shared` / shared)."""
    noise = shared / rng.chisquare(shared, size) if np.isfinite(shared) else np.ones(size)
    return [noise * rng.chisquare(k, size) / k for k in (spare, degrees)]


def bare_maps(scatter, lack_of_fit, spare, groups=5):
    """Maps of which nothing but scatter and lack of fit can be flagged, and what `decide` takes of them."""
    size, frames = scatter.size, spare + groups
    maps = SimpleNamespace(
        scatter=scatter.astype(np.float32),
        lack_of_fit=lack_of_fit.astype(np.float32),
        **{name: np.zeros(size, np.float32) for name in ("rate", "rate_error", "intercept")},
        **{name: np.ones(size, np.float32) for name in ("misfit", "misfit_fraction")},
        n_used=np.full(size, frames, np.uint16),
        n_groups=np.full(size, groups, np.uint16),
        dq=np.zeros(size, np.uint32),
    )
    return maps, Rules(min_sigma=0, tolerance=0), frames, groups, 2


def flagged(verdict, flag):
    return (verdict.dq & np.uint32(flag)) != 0


@pytest.mark.parametrize("planted", [8, 30, np.inf])
@pytest.mark.parametrize("spare", [5, 25])
def test_shared_degrees_are_those_of_the_noise(planted, spare):
    scatter, _ = drawn(np.random.default_rng(spare), planted, spare, 3)
    near = pytest.approx(1 / planted, rel=0.1, abs=0.006)  # the relative variance of the noise is 2 / degrees
    found = shared_degrees(scatter, spare)
    assert 1 / found == near
    assert shared_degrees(7 * scatter, spare) == pytest.approx(found)
    scatter[: MANY // 100] *= 1000  # what is to be found hardly counts
    assert 1 / shared_degrees(scatter, spare) == near


@pytest.mark.parametrize(
    ("scatter", "degrees", "expected"),
    [
        (np.ones(0), 5, MOST_SHARED),
        (np.ones(9), 0, MOST_SHARED),
        (np.full(9, np.nan), 0, MOST_SHARED),
        (np.ones(9), 5, MOST_SHARED),
        (np.zeros(9), 5, 4),
        (np.repeat([0.0, 1.0], [4, 8]), 5, 4),
        (np.geomspace(1e-3, 1e3, 99), 5, 4),
    ],
    ids=["nothing", "no degrees", "no degrees, nan", "all equal", "zeros", "a third zeros", "all sorts"],
)
def test_shared_degrees_at_the_ends(scatter, degrees, expected):
    assert shared_degrees(scatter, degrees) == pytest.approx(expected)


@pytest.mark.parametrize("shared", [4.0, 30.0, MOST_SHARED])
@pytest.mark.parametrize("degrees", [1, 25, 1000])
def test_moderated_lies_between_own_noise_and_that_of_all(shared, degrees):
    scatter = np.array([0, 0.2, 1, 3, 50], np.float32)
    noise = moderated(scatter, np.full(5, degrees), shared)
    assert noise[2] == 1
    assert ((noise > scatter) & (noise < 1))[:2].all()
    assert ((noise < scatter) & (noise > 1))[3:].all()
    # The nearer to what knows it better.
    np.testing.assert_allclose((noise - 1)[3:] / (scatter - 1)[3:], degrees / (degrees + shared), rtol=1e-4)


def test_moderated_without_replicates_is_that_of_all():
    noise = moderated(np.array([np.nan, 0, 40], np.float32), np.array([0, 0, -1]), 30.0)
    np.testing.assert_array_equal(noise, 1)


NOISES = {  # shared degrees of freedom, spare ones of a pixel
    "constant, many replicates": (np.inf, 40),
    "constant, few replicates": (np.inf, 2),
    "varying": (20, 25),
    "varying, few replicates": (20, 4),
}


@pytest.mark.parametrize("case", NOISES)
def test_p_values_are_uniform_where_nothing_is_wrong(case):
    shared, spare = NOISES[case]
    scatter, lack = drawn(np.random.default_rng(11), shared, spare, 3)
    maps, rules, *design = bare_maps(scatter, lack, spare)
    sample = Sample(*(getattr(maps, name) for name in Sample._fields))
    limits = find_limits(sample, rules, Design(*design))
    p_scatter = stats.f.sf(maps.scatter / limits.scatter.null, spare, limits.shared)
    statistic, noise_degrees = lack_of_fit(maps, limits.scatter, limits.shared)
    p_lack = stats.f.sf(statistic / limits.lack.null, 3, noise_degrees)
    for p in (p_scatter, p_lack):
        assert stats.kstest(p, "uniform").pvalue > 1e-3
        assert 120 < np.count_nonzero(p < 1e-3) < 280  # 200 expected: the tail is right too


@pytest.mark.parametrize("case", NOISES)
def test_false_flags_are_no_more_than_fdr_promises(case):
    shared, spare = NOISES[case]
    scatter, lack = drawn(np.random.default_rng(12), shared, spare, 3)
    quiet = decide(*bare_maps(scatter, lack, spare))
    assert np.count_nonzero(quiet.dq) <= 1  # a chance of 1 % for one of each kind
    scatter[:2000] *= 1000
    lack[2000:4000] *= 1000
    verdict = decide(*bare_maps(scatter, lack, spare))
    counts = []
    for flag, real in ((DQ.TELEGRAPH, slice(0, 2000)), (DQ.NONLINEAR, slice(2000, 4000))):
        found = flagged(verdict, flag)
        counts.append((np.count_nonzero(found), np.count_nonzero(found[real])))
    found, right = np.sum(counts, axis=0)
    assert right > 3000
    assert 0 < found - right < 0.01 * found + 4 * np.sqrt(0.01 * found)


def test_coarse_data_flag_next_to_nothing():
    # The converter's step is 5.6 times the noise: a pixel far from the edge of a step never changes.
    rng = np.random.default_rng(13)
    groups, repeats = 5, 4
    y = np.round(rng.uniform(size=MANY) + rng.normal(0, 0.18, (groups, repeats, MANY)))
    means = y.mean(axis=1)
    x = np.column_stack([np.ones(groups), np.arange(groups)])
    left = means - x @ np.linalg.lstsq(x, means, rcond=None)[0]
    spare = groups * (repeats - 1)
    scatter = ((y - means[:, None]) ** 2).sum(axis=(0, 1)) / spare
    lack = repeats * (left**2).sum(axis=0) / (groups - 2)
    assert 0.3 < np.mean(scatter == 0) < 0.4
    verdict = decide(*bare_maps(scatter, lack, spare, groups))
    assert np.isfinite([verdict.scatter_null, verdict.lack_of_fit_null]).all()
    assert np.count_nonzero(verdict.dq) < 5e-4 * MANY
    # Taken for a noise that all pixels share, the same lack of fit would flag one in forty.
    alike = decide(*bare_maps(np.ones(MANY), lack, spare, groups))
    assert np.count_nonzero(alike.dq) > 0.01 * MANY


def test_what_all_pixels_know_finds_more_than_the_own_noise():
    groups, degrees, spare, size = 5, 3, 25, 100_000
    scatter, lack = drawn(np.random.default_rng(14), np.inf, spare, degrees, size)
    scatter[0], lack[0] = 1, 60 / degrees
    alone = stats.f.sf(lack[0] / scatter[0], degrees, spare)
    together = stats.f.sf(lack[0], degrees, shared_degrees(scatter, spare) + spare)
    assert alone * size > 0.01  # 7e-7: not significant against its own replicates
    assert together * size < 1e-6  # about 1e-12
    verdict = decide(*bare_maps(scatter, lack, spare, groups))
    assert np.flatnonzero(verdict.dq).tolist() == [0]
    assert names_of(verdict.dq[0]) == {"NONLINEAR", "DO_NOT_USE"}
    assert together < verdict.lack_of_fit_limit < alone


# --- the rules, on one pixel

NONLINEAR = {"lack_of_fit": 100, "scatter": 1, "misfit": 5, "misfit_fraction": 0.1}
OF_THE_FIT = DQ.SATURATED | DQ.JUMP_DET | DQ.UNRELIABLE_ERROR | DQ.UNRELIABLE_SLOPE

CASES = {
    "quiet": ({}, {}, set()),
    "hot, given limit": ({"rate": 4.1}, {"hot": 4}, {"HOT"}),
    "at the given limit": ({"rate": 4}, {"hot": 4}, set()),
    "given limit asks for no errors": ({"rate": 4.1, "rate_error": 4}, {"hot": 4}, {"HOT"}),
    "hot, default limit": ({"rate": 0.046}, {}, {"HOT"}),
    "below the default limit": ({"rate": 0.044}, {}, set()),
    "hot, five errors": ({"rate": 1, "rate_error": 0.19}, {}, {"HOT"}),
    "hot, not five errors": ({"rate": 1, "rate_error": 0.21}, {}, set()),
    "far below zero is not hot": ({"rate": -1}, {}, set()),
    "intercept high": ({"intercept": 1020.5}, {}, {"UNRELIABLE_BIAS"}),
    "intercept low": ({"intercept": 979.5}, {}, {"UNRELIABLE_BIAS"}),
    "intercept within": ({"intercept": 1019.5}, {}, set()),
    "one exposure time": ({"n_groups": 1, "n_used": 8}, {}, {"UNRELIABLE_SLOPE", "DO_NOT_USE"}),
    "two exposure times": ({"n_groups": 2, "n_used": 16}, {}, set()),
    "no rate": ({"rate": np.nan}, {}, {"UNRELIABLE_SLOPE", "DO_NOT_USE"}),
    "no response": ({"dq": DQ.UNRELIABLE_SLOPE}, {}, {"UNRELIABLE_SLOPE", "DO_NOT_USE"}),
    "saturated": ({"dq": DQ.SATURATED}, {}, {"SATURATED"}),
    "cosmic ray": ({"dq": DQ.JUMP_DET}, {}, {"JUMP_DET"}),
    "both": ({"dq": DQ.SATURATED | DQ.JUMP_DET}, {}, {"SATURATED", "JUMP_DET"}),
    "samples that stood in": ({"dq": DQ.UNRELIABLE_ERROR}, {}, {"UNRELIABLE_ERROR"}),
    "an earlier verdict": ({"dq": sum(DQ) - OF_THE_FIT}, {}, set()),
    "nonlinear": (NONLINEAR, {}, {"NONLINEAR", "DO_NOT_USE"}),
    "not significant": (NONLINEAR | {"lack_of_fit": 5}, {}, set()),
    "not min_sigma": (NONLINEAR | {"misfit": 0.99}, {}, set()),
    "not tolerance": (NONLINEAR | {"misfit_fraction": 0.0099}, {}, set()),
    "just": (NONLINEAR | {"misfit": 1.01, "misfit_fraction": 0.0101}, {}, {"NONLINEAR", "DO_NOT_USE"}),
    "larger min_sigma": (NONLINEAR, {"min_sigma": 5.1}, set()),
    "larger tolerance": (NONLINEAR, {"tolerance": 0.11}, set()),
    "smaller min_sigma": (NONLINEAR | {"misfit": 0.3}, {"min_sigma": 0.2}, {"NONLINEAR", "DO_NOT_USE"}),
    "smaller tolerance": (
        NONLINEAR | {"misfit_fraction": 0.005},
        {"tolerance": 0},
        {"NONLINEAR", "DO_NOT_USE"},
    ),
    # F(2, 4096 + 28) = 11.6 has a chance of 9e-6: enough for a level of 0.2 in 10 000 pixels, not for 0.01.
    "strict fdr": (NONLINEAR | {"lack_of_fit": 11.6}, {}, set()),
    "lax fdr": (NONLINEAR | {"lack_of_fit": 11.6}, {"fdr": 0.2}, {"NONLINEAR", "DO_NOT_USE"}),
    "two exposure times have no lack of fit": (NONLINEAR | {"n_groups": 2, "n_used": 16}, {}, set()),
    "telegraph": ({"scatter": 5}, {}, {"TELEGRAPH", "DO_NOT_USE"}),
    "scatter of chance": ({"scatter": 1.8}, {}, set()),
    "steadier than noise": ({"scatter": 0.01, "lack_of_fit": 0.01}, {}, set()),
    "telegraph, just large enough": ({"scatter": 5}, {"min_sigma": 1.9}, {"TELEGRAPH", "DO_NOT_USE"}),
    "telegraph, not min_sigma": ({"scatter": 5}, {"min_sigma": 2.1}, set()),
    "telegraph and nonlinear": (
        NONLINEAR | {"scatter": 5, "lack_of_fit": 500},
        {},
        {"TELEGRAPH", "NONLINEAR", "DO_NOT_USE"},
    ),
    # Scatter 4 with 28 degrees of freedom has a chance of 1e-11, with 4 of 0.003.
    "scatter by its own degrees of freedom": ({"scatter": 4, "n_used": 8}, {}, set()),
    "no replicates left": ({"scatter": 5, "n_used": 4}, {}, set()),
}


@pytest.mark.parametrize("case", CASES)
def test_rule(case):
    values, rules, expected = CASES[case]
    verdict = decide(change(quiet_maps(), **values), Rules(**rules), 32, 4, 2)
    assert verdict.dq.dtype == np.uint32
    assert names_of(verdict.dq[PIXEL]) == expected
    hot = verdict.dq.copy()
    hot[PIXEL] = 0
    assert not hot.any()


@pytest.mark.parametrize("name", ALL_BAD)
def test_do_not_use_follows_bad(name):
    values = {"dq": OF_THE_FIT, "rate": 5, "intercept": 0}
    values |= NONLINEAR | {"scatter": 5, "lack_of_fit": 500}
    maps = change(quiet_maps(), **values)
    assert names_of(decide(maps, Rules(bad=ALL_BAD), 32, 4, 2).dq[PIXEL]) == set(DQ.__members__)
    assert names_of(decide(maps, Rules(bad=()), 32, 4, 2).dq[PIXEL]) == set(ALL_BAD)
    assert names_of(decide(maps, Rules(bad=name), 32, 4, 2).dq[PIXEL]) == set(DQ.__members__)

    lacking = change(quiet_maps(), **NONLINEAR)
    bad = names_of(decide(lacking, Rules(bad=(name,)), 32, 4, 2).dq[PIXEL])
    assert ("DO_NOT_USE" in bad) == (name == "NONLINEAR")


def test_default_limit_of_hot_is_five_robust_sigmas():
    maps = quiet_maps()
    maps.rate[0] = 100  # one in a hundred is hot
    maps.rate[1, :20] = np.nan
    finite = maps.rate[np.isfinite(maps.rate)]
    sigma = 1.4826 * np.median(np.abs(finite - np.median(finite)))
    verdict = decide(maps, Rules(), 32, 4, 2)
    assert verdict.hot_limit == pytest.approx(np.median(finite) + 5 * sigma, rel=1e-6)
    assert decide(maps, Rules(hot=4), 32, 4, 2).hot_limit == 4


def test_bulk_of_many_values_is_that_of_a_sample():
    values = np.random.default_rng(1).normal(7, 2, 3_000_000).reshape(1500, 2000)
    values[:, ::4] += 30  # every fourth column: a stride that stays in a column would notice
    centre, sigma = bulk(values)
    assert centre == pytest.approx(np.median(values), abs=0.02)
    assert sigma == pytest.approx(1.4826 * np.median(np.abs(values - np.median(values))), rel=0.01)
    assert np.isnan(bulk(np.full(3, np.nan))).all()


def test_line_through_the_origin_has_no_unreliable_bias():
    maps = change(quiet_maps(groups=4, parameters=1), intercept=2000)
    assert decide(maps, Rules(), 32, 4, 1).dq[PIXEL] == 0
    maps.intercept[:] = 0
    assert not decide(maps, Rules(), 32, 4, 1).dq.any()


@pytest.mark.parametrize("noise", [0.25, 1, 4])
@pytest.mark.parametrize(("frames", "shared"), [(32, MOST_SHARED), (8, MOST_SHARED), (32, 30)])
def test_wrong_noise_moves_the_scale_and_not_the_flags(frames, shared, noise):
    maps = change(quiet_maps(frames, noise=noise, shared=shared), **NONLINEAR, n_used=frames)
    maps.lack_of_fit[PIXEL] *= noise
    maps.scatter[PIXEL] *= noise
    maps.scatter[0, :50] = 40 * noise
    maps.lack_of_fit[0, :50] = noise
    verdict = decide(maps, Rules(), frames, 4, 2)
    assert names_of(verdict.dq[PIXEL]) == {"NONLINEAR", "DO_NOT_USE"}
    assert (verdict.dq[0, :50] == DQ.TELEGRAPH | DQ.DO_NOT_USE).all()
    assert np.count_nonzero(verdict.dq) == 51
    assert verdict.scatter_null == pytest.approx(noise, rel=0.02)
    assert verdict.lack_of_fit_null == pytest.approx(noise, rel=0.02)
    assert 1 / verdict.shared_degrees == pytest.approx(1 / shared, abs=0.004)
    assert verdict.lack_of_fit_limit == pytest.approx(0.005 / maps.rate.size)  # half for each test


@pytest.mark.parametrize("noise", [0.25, 1, 4])
def test_large_means_large_against_the_noise_that_the_frame_shows(noise):
    sigma = np.sqrt(noise)
    for misfit, expected in ((0.97, set()), (1.03, {"NONLINEAR", "DO_NOT_USE"})):
        maps = change(quiet_maps(noise=noise), **NONLINEAR | {"lack_of_fit": 100 * noise, "scatter": noise})
        maps.misfit[PIXEL] = misfit * sigma
        assert names_of(decide(maps, Rules(), 32, 4, 2).dq[PIXEL]) == expected
    for scatter, expected in ((1.97, set()), (2.03, {"TELEGRAPH", "DO_NOT_USE"})):
        maps = change(quiet_maps(204, noise=noise), scatter=scatter * noise)
        assert names_of(decide(maps, Rules(), 204, 4, 2).dq[PIXEL]) == expected
        assert names_of(decide(maps, Rules(min_sigma=0.9), 204, 4, 2).dq[PIXEL]) == {
            "TELEGRAPH",
            "DO_NOT_USE",
        }


def test_without_replicates_misfit_counts_in_sigmas_as_they_are():
    for misfit, expected in ((0.97, set()), (1.03, {"NONLINEAR", "DO_NOT_USE"})):
        maps = change(quiet_maps(4, noise=4), **NONLINEAR | {"misfit": misfit}, n_used=4)
        assert names_of(decide(maps, Rules(), 4, 4, 2).dq[PIXEL]) == expected


@pytest.mark.parametrize(
    ("shared", "expected"), [(MOST_SHARED, {"TELEGRAPH", "NONLINEAR", "DO_NOT_USE"}), (8, set())]
)
def test_own_scatter_explains_lack_of_fit_only_where_noise_varies(shared, expected):
    maps = change(quiet_maps(shared=shared), **NONLINEAR | {"lack_of_fit": 20, "scatter": 5})
    verdict = decide(maps, Rules(), 32, 4, 2)
    assert names_of(verdict.dq[PIXEL]) == expected
    assert np.count_nonzero(verdict.dq) == bool(expected)


@pytest.mark.parametrize(
    ("frames", "groups", "parameters", "lack_tested", "scatter_tested"),
    [
        (2, 2, 2, False, False),  # two darks and a free intercept: a rate and nothing else
        (2, 2, 1, True, False),  # the Guide's two combined darks, bias subtracted
        (3, 3, 2, True, False),
        (6, 2, 2, False, True),
        (8, 4, 2, True, True),
    ],
)
def test_degrades_openly(frames, groups, parameters, lack_tested, scatter_tested):
    maps = quiet_maps(frames, groups, parameters)
    change(maps, **NONLINEAR)
    maps.scatter[0, 0] = 100
    verdict = decide(maps, Rules(), frames, groups, parameters)
    assert np.isfinite(verdict.lack_of_fit_null) == lack_tested
    assert np.isfinite(verdict.lack_of_fit_limit) == lack_tested
    assert np.isfinite(verdict.scatter_null) == scatter_tested
    assert verdict.shared_degrees > 3000
    assert names_of(verdict.dq[PIXEL]) == ({"NONLINEAR", "DO_NOT_USE"} if lack_tested else set())
    assert names_of(verdict.dq[0, 0]) == ({"TELEGRAPH", "DO_NOT_USE"} if scatter_tested else set())
    assert np.count_nonzero(verdict.dq) == lack_tested + scatter_tested


# --- blocks in threads, against all pixels at once


def odd_maps(seed, shape, frames, groups, parameters):
    """Maps in which everything happens: gaps, saturation, infinities, misfits of any size, earlier flags."""
    rng = np.random.default_rng(seed)
    size, spare = shape[0] * shape[1], frames - groups
    shared = rng.choice([5.0, 30.0, 4000.0])
    noise = shared / rng.chisquare(shared, size)
    missing = rng.integers(0, 3, size) * (rng.random(size) < rng.choice([0.02, 0.9]))
    gone = rng.integers(0, groups + 1, size) * (rng.random(size) < 0.05)
    arrays = {
        "rate": rng.normal(0.03, 0.003, size) + 10 * (rng.random(size) < 0.02) * rng.random(size),
        "rate_error": np.full(size, 0.003) * rng.gamma(2, 1, size),
        "intercept": rng.normal(1000, 2, size) + 100 * (rng.random(size) < 0.01),
        "scatter": noise * rng.chisquare(max(spare, 1), size) / spare if spare else np.full(size, np.nan),
        "lack_of_fit": noise * rng.chisquare(2, size) / 2,
        "misfit": rng.gamma(1, 1, size),
        "misfit_fraction": rng.gamma(1, 0.01, size),
    }
    for name in ("scatter", "lack_of_fit"):
        arrays[name] *= np.where(rng.random(size) < 0.01, rng.uniform(1, 40, size), 1)
        arrays[name] *= np.where(rng.random(size) < 0.01, rng.uniform(3, 7, size), 1)
    for values in arrays.values():
        values[rng.integers(0, size, size // 200)] = np.nan
        values[rng.integers(0, size, 3)] = np.inf, 0, 3e38
    for name in ("rate", "rate_error", "intercept"):
        arrays[name][rng.integers(0, size, 2)] = -np.inf, -1
    dq = rng.choice([0, 0, 0, *map(int, DQ), sum(DQ)], size) * (rng.random(size) < 0.05)
    return SimpleNamespace(
        **{name: values.astype(np.float32).reshape(shape) for name, values in arrays.items()},
        n_used=np.maximum(frames - missing - gone, 0).astype(np.uint16).reshape(shape),
        n_groups=(groups - gone).astype(np.uint16).reshape(shape),
        dq=dq.astype(np.uint32).reshape(shape),
    )


DESIGNS = [(32, 4, 2), (8, 4, 1), (4, 4, 2), (6, 2, 2), (2, 2, 1), (3, 1, 1)]
"""Frames, exposure times, parameters of the line."""


@pytest.mark.parametrize(
    "rules", [{}, {"hot": 0.03, "fdr": 0.3}, {"min_sigma": 0, "tolerance": 0, "fdr": 0.95}], ids=str
)
@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_blocks_in_threads_give_the_verdict_of_all_at_once(design, rules, monkeypatch):
    monkeypatch.setattr(rooms, "BLOCK", 7 * 83)
    for seed in range(4):
        assert_same_verdict(odd_maps(seed, (61, 83), *design), Rules(**rules), design)


def test_limits_of_many_pixels_come_from_the_same_ones_as_at_once():
    assert rooms.stride(1203 * 1700) == 3
    assert_same_verdict(odd_maps(1, (1203, 1700), 32, 4, 2), Rules(), (32, 4, 2))


def assert_same_verdict(maps, rules, design):
    with np.errstate(invalid="ignore", over="ignore"):
        one, other = decide(maps, rules, *design, workers=3), decide_at_once(maps, rules, *design)
    np.testing.assert_array_equal(one.dq, other.dq)
    assert list(map(repr, one[1:])) == list(map(repr, other[1:]))
    assert len(np.unique(one.dq)) > 5


def test_a_quiet_pixel_is_never_one_that_would_be_flagged():
    maps = odd_maps(9, (300, 400), 32, 4, 2)
    block = Block(*(getattr(maps, name).ravel() for name in Block._fields))
    with np.errstate(invalid="ignore", over="ignore"):
        sample = Sample(*(getattr(block, name) for name in Sample._fields))
        limits = find_limits(sample, Rules(), Design(32, 4, 2))
        quiet = rules_room.is_quiet(block, limits, Design(32, 4, 2))
        verdict = decide_at_once(maps, Rules(fdr=0.01, tolerance=0, min_sigma=0), 32, 4, 2)
    assert 0.05 < quiet.mean() < 0.99
    assert not verdict.dq.ravel()[quiet].any()
