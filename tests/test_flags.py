"""Flags: the table, the significance over a frame, and every rule on maps made by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.nddata import bitmask
from scipy import stats

import hotfit
from hotfit import flags
from hotfit.errors import HotfitError
from hotfit.flags import DQ, Rules, benjamini_hochberg, bulk, decide, significant

SHAPE = (100, 100)
PIXEL = (30, 40)
TABLE = {
    "DO_NOT_USE": 0,
    "SATURATED": 1,
    "JUMP_DET": 2,
    "HOT": 11,
    "TELEGRAPH": 15,
    "NONLINEAR": 16,
    "UNRELIABLE_BIAS": 22,
    "UNRELIABLE_SLOPE": 24,
}
ALL_BAD = tuple(name for name in TABLE if name != "DO_NOT_USE")


def spread(distribution, seed):
    """The distribution's own quantiles, one a pixel, in random places: chance leaves no outlier."""
    size = SHAPE[0] * SHAPE[1]
    values = distribution.ppf((np.arange(size) + 0.5) / size)
    return np.random.default_rng(seed).permutation(values).reshape(SHAPE).astype(np.float32)


def quiet_maps(frames=32, groups=4, parameters=2, noise=1.0):
    """Maps of a frame with nothing to flag; `noise` is by what the variance was underestimated."""
    spare, degrees = frames - groups, groups - parameters
    nothing = np.full(SHAPE, np.nan, np.float32)
    scatter = spread(stats.chi2(spare, scale=1 / spare), 1) if spare else nothing
    lack = nothing
    if degrees and spare >= flags.ENOUGH_REPLICATES:
        lack = spread(stats.f(degrees, spare), 2) * scatter
    elif degrees:
        lack = spread(stats.chi2(degrees, scale=1 / degrees), 2)
    return SimpleNamespace(
        rate=spread(stats.norm(0.03, 0.003), 3),
        rate_error=np.full(SHAPE, 0.003, np.float32),
        intercept=spread(stats.norm(1000, 2), 4),
        lack_of_fit=lack * np.float32(noise),
        scatter=scatter * np.float32(noise),
        misfit=np.full(SHAPE, 0.5, np.float32),
        misfit_fraction=np.full(SHAPE, 0.01, np.float32),
        n_used=np.full(SHAPE, frames, np.uint16),
        n_groups=np.full(SHAPE, groups, np.uint8),
        dq=np.zeros(SHAPE, np.uint32),
    )


def change(maps, **values):
    for name, value in values.items():
        getattr(maps, name)[PIXEL] = value
    return maps


def names_of(bits):
    return {flag.name for flag in DQ if int(bits) & flag}


# --- the table


def test_bits_and_names_are_those_of_the_design():
    assert {flag.name: int(flag) for flag in DQ} == {name: 1 << bit for name, bit in TABLE.items()}
    assert hotfit.DQ is DQ


def test_every_flag_has_a_meaning_of_its_own():
    assert set(flags.MEANING) == set(DQ)
    assert len({text.strip() for text in flags.MEANING.values()} - {""}) == len(DQ)


def test_astropy_bitmask_takes_the_table():
    dq = np.array([0, DQ.HOT, DQ.NONLINEAR, DQ.HOT | DQ.NONLINEAR, DQ.UNRELIABLE_SLOPE], np.uint32)
    ignoring = bitmask.bitfield_to_boolean_mask(dq, ignore_flags="HOT", flag_name_map=hotfit.DQ)
    np.testing.assert_array_equal(ignoring, [False, False, True, True, True])
    only = bitmask.bitfield_to_boolean_mask(dq, ignore_flags="~HOT", flag_name_map=hotfit.DQ)
    np.testing.assert_array_equal(only, [False, True, False, True, False])


@pytest.mark.parametrize("name", TABLE)
def test_interpret_bit_flags_knows_every_name(name):
    assert bitmask.interpret_bit_flags(name, flag_name_map=hotfit.DQ) == 1 << TABLE[name]


@pytest.mark.parametrize("separator", [",", "|", "+"])
def test_interpret_bit_flags_adds_names(separator):
    joined = separator.join(TABLE)
    assert bitmask.interpret_bit_flags(joined, flag_name_map=hotfit.DQ) == sum(1 << b for b in TABLE.values())


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
        np.testing.assert_array_equal(p <= benjamini_hochberg(p, size, fdr), expected)
        # Of the p-values only the small ones need be given, and only those that are numbers count.
        small = np.where(p <= fdr, p, np.nan)
        np.testing.assert_array_equal(p <= benjamini_hochberg(small, size, fdr), expected)
        counts.add(sum(expected))
    assert len(counts) > 1  # the cases above are not all of the same kind


def test_benjamini_hochberg_of_nothing_finds_nothing():
    assert benjamini_hochberg(np.array([]), 0, 0.01) < 0
    assert benjamini_hochberg(np.array([np.nan]), 1, 0.01) < 0
    assert benjamini_hochberg(np.array([0.5]), 1, 0.01) < 0
    assert benjamini_hochberg(np.array([0.0]), 1, 0.01) == 0


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
@pytest.mark.parametrize(("degrees", "spare"), [(2, None), (28, None), (2, 28), (3, 8)])
def test_significant_finds_planted_outliers_and_next_to_nothing_else(degrees, spare, noise):
    size, planted = 1_000_000, slice(1000, 1200)
    rng = np.random.default_rng(degrees)
    statistic = rng.chisquare(degrees, size) / degrees
    if spare is not None:
        statistic /= rng.chisquare(spare, size) / spare
    statistic *= noise
    full = np.full(size, degrees, np.int32)
    spares = None if spare is None else np.full(size, spare, np.int32)
    arguments = (full, spares, np.ones(size, bool), degrees, 0.01)

    found, null = significant(statistic.astype(np.float32), *arguments)
    assert null == pytest.approx(noise, rel=0.01)
    assert np.count_nonzero(found) <= 2

    law = stats.chi2(degrees, scale=1 / degrees) if spare is None else stats.f(degrees, spare)
    statistic[planted] = law.isf(1e-8) * noise
    found, null = significant(statistic.astype(np.float32), *arguments)
    assert null == pytest.approx(noise, rel=0.01)
    assert found[planted].all()
    assert np.count_nonzero(found) - 200 <= 10  # 2 expected at a level of 1 %
    assert found.shape == statistic.shape


@pytest.mark.parametrize("fdr", [0.01, 0.2])
@pytest.mark.parametrize("spare", [None, 9])
def test_significant_is_benjamini_hochberg_on_calibrated_p_values(fdr, spare):
    rng = np.random.default_rng(8)
    size, degrees = 4001, 3
    statistic = 2.5 * rng.chisquare(degrees, size) / degrees
    statistic[::10] *= rng.uniform(1, 30, statistic[::10].size)
    freedom = np.full(size, degrees, np.int32)
    complete = rng.uniform(size=size) < 0.9
    freedom[~complete] = rng.integers(0, degrees + 1, np.count_nonzero(~complete))
    spares = None if spare is None else np.full(size, spare, np.int32)
    statistic[5:50:7] = np.nan
    found, null = significant(statistic, freedom, spares, complete, degrees, fdr)

    law = stats.chi2(degrees, scale=1 / degrees) if spare is None else stats.f(degrees, spare)
    tested = np.isfinite(statistic) & (freedom > 0)
    assert null == pytest.approx(np.median(statistic[tested & complete]) / law.median())
    value = statistic[tested] / null
    p = [
        stats.chi2.sf(x * k, k) if spare is None else stats.f.sf(x, k, spare)
        for x, k in zip(value, freedom[tested], strict=True)
    ]
    expected = np.zeros(size, bool)
    expected[tested] = slow_benjamini_hochberg(p, len(p), fdr)
    assert 10 < np.count_nonzero(expected) < 400
    np.testing.assert_array_equal(found, expected)


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
    whole = np.full(shape, degrees, np.int32), None, np.full(shape, complete), degrees, 0.01
    found, null = significant(statistic, *whole)
    assert found.shape == shape
    assert not found.any()
    assert np.isnan(null)


# --- the rules, on one pixel

NONLINEAR = {"lack_of_fit": 100, "scatter": 1, "misfit": 5, "misfit_fraction": 0.1}
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
    "an earlier verdict": ({"dq": sum(DQ) - DQ.SATURATED - DQ.JUMP_DET - DQ.UNRELIABLE_SLOPE}, {}, set()),
    "nonlinear": (NONLINEAR, {}, {"NONLINEAR", "DO_NOT_USE"}),
    "not significant": (NONLINEAR | {"lack_of_fit": 5}, {}, set()),
    "not min_sigma": (NONLINEAR | {"misfit": 0.99}, {}, set()),
    "not tolerance": (NONLINEAR | {"misfit_fraction": 0.0199}, {}, set()),
    "just": (NONLINEAR | {"misfit": 1.01, "misfit_fraction": 0.0201}, {}, {"NONLINEAR", "DO_NOT_USE"}),
    "larger min_sigma": (NONLINEAR, {"min_sigma": 5.1}, set()),
    "larger tolerance": (NONLINEAR, {"tolerance": 0.11}, set()),
    "smaller min_sigma": (NONLINEAR | {"misfit": 0.3}, {"min_sigma": 0.2}, {"NONLINEAR", "DO_NOT_USE"}),
    "smaller tolerance": (
        NONLINEAR | {"misfit_fraction": 0.01},
        {"tolerance": 0},
        {"NONLINEAR", "DO_NOT_USE"},
    ),
    # F(2, 28) = 18 has a chance of 9e-6: enough for a level of 0.2 in 10 000 pixels, not for 0.01.
    "strict fdr": (NONLINEAR | {"lack_of_fit": 18}, {}, set()),
    "lax fdr": (NONLINEAR | {"lack_of_fit": 18}, {"fdr": 0.2}, {"NONLINEAR", "DO_NOT_USE"}),
    "two exposure times have no lack of fit": (NONLINEAR | {"n_groups": 2, "n_used": 16}, {}, set()),
    "telegraph": ({"scatter": 5}, {}, {"TELEGRAPH", "DO_NOT_USE"}),
    "scatter of chance": ({"scatter": 1.8}, {}, set()),
    "steadier than noise": ({"scatter": 0.01, "lack_of_fit": 0.01}, {}, set()),
    "telegraph explains its lack of fit": (
        {"scatter": 5, "lack_of_fit": 12, "misfit": 5, "misfit_fraction": 0.1},
        {},
        {"TELEGRAPH", "DO_NOT_USE"},
    ),
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
    values = {"dq": DQ.SATURATED | DQ.JUMP_DET | DQ.UNRELIABLE_SLOPE, "rate": 5, "intercept": 0}
    values |= NONLINEAR | {"scatter": 5, "lack_of_fit": 500}
    maps = change(quiet_maps(), **values)
    assert names_of(decide(maps, Rules(bad=ALL_BAD), 32, 4, 2).dq[PIXEL]) == set(TABLE)
    assert names_of(decide(maps, Rules(bad=()), 32, 4, 2).dq[PIXEL]) == set(ALL_BAD)
    assert names_of(decide(maps, Rules(bad=name), 32, 4, 2).dq[PIXEL]) == set(TABLE)

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
@pytest.mark.parametrize("frames", [32, 8], ids=["F test", "chi-square"])
def test_wrong_noise_moves_the_scale_and_not_the_flags(frames, noise):
    maps = change(quiet_maps(frames, noise=noise), **NONLINEAR, n_used=frames)
    maps.lack_of_fit[PIXEL] *= noise
    maps.scatter[PIXEL] *= noise
    maps.scatter[0, :50] = 40 * noise
    maps.lack_of_fit[0, :50] = noise
    verdict = decide(maps, Rules(), frames, 4, 2)
    assert names_of(verdict.dq[PIXEL]) == {"NONLINEAR", "DO_NOT_USE"}
    assert (verdict.dq[0, :50] == DQ.TELEGRAPH | DQ.DO_NOT_USE).all()
    assert np.count_nonzero(verdict.dq) == 51
    assert verdict.scatter_null == pytest.approx(noise, rel=0.02)
    # Against the replicates the noise cancels.
    assert verdict.lack_of_fit_null == pytest.approx(1 if frames == 32 else noise, rel=0.02)


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
    assert np.isfinite(verdict.scatter_null) == scatter_tested
    assert names_of(verdict.dq[PIXEL]) == ({"NONLINEAR", "DO_NOT_USE"} if lack_tested else set())
    assert names_of(verdict.dq[0, 0]) == ({"TELEGRAPH", "DO_NOT_USE"} if scatter_tested else set())
    assert np.count_nonzero(verdict.dq) == lack_tested + scatter_tested


# --- Rules


@pytest.mark.parametrize(
    "nonsense",
    [
        {"hot": np.nan},
        {"hot": np.inf},
        {"hot": "4 e-/s"},
        {"hot": [1, 2]},
        {"fdr": 0},
        {"fdr": 1},
        {"fdr": -0.01},
        {"fdr": np.nan},
        {"fdr": None},
        {"fdr": "1 %"},
        {"tolerance": -0.02},
        {"tolerance": np.nan},
        {"tolerance": np.inf},
        {"tolerance": None},
        {"min_sigma": -1},
        {"min_sigma": np.nan},
        {"min_sigma": np.inf},
        {"min_sigma": "1"},
        {"bad": "HOT,NONLINEAR"},
        {"bad": ("hot",)},
        {"bad": ("HOT", "WARM")},
        {"bad": "DO_NOT_USE"},
        {"bad": (2048,)},
        {"bad": 2048},
        {"bad": None},
    ],
    ids=str,
)
def test_rules_refuse_nonsense(nonsense):
    (name,) = nonsense
    with pytest.raises(HotfitError, match=f"^{name}=") as caught:
        Rules(**nonsense)
    assert "\n" not in str(caught.value)


def test_rules_take_a_name_or_any_row_of_names():
    assert Rules(bad="HOT").bad == ("HOT",)
    for row in (["HOT", "NONLINEAR"], {"HOT": 1, "NONLINEAR": 2}, iter(("HOT", "NONLINEAR"))):
        assert Rules(bad=row).bad == ("HOT", "NONLINEAR")
    assert Rules().bad == ("TELEGRAPH", "NONLINEAR", "UNRELIABLE_SLOPE")
    assert Rules(tolerance=0, min_sigma=0).hot is None
