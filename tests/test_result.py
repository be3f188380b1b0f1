"""DarkFit: other rules without a refit, and what it hands to others."""

import json
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty

import hotfit
from hotfit.errors import HotfitError
from hotfit.flags import DQ, Rules

SATURATED = (5, 5)
"""A pixel that is saturated in every frame: it has no rate."""

RULES = {
    "none": {},
    "the design's": {"hot": 4, "bad": ("HOT", "NONLINEAR")},
    "hot": {"hot": 0.1},
    "fdr": {"fdr": 0.3},
    "tolerance": {"tolerance": 0.5},
    "min_sigma": {"min_sigma": 20},
    "all are bad": {"bad": [flag.name for flag in DQ if flag is not DQ.DO_NOT_USE]},
    "none is bad": {"bad": ()},
    "everything": {"hot": 1, "fdr": 0.2, "tolerance": 0, "min_sigma": 0.1, "bad": "TELEGRAPH"},
}

NUMBERS = ("hot_limit", "lack_of_fit_null", "scatter_null", "shared_degrees", "lack_of_fit_limit")
"""What a verdict says beside the flags."""


@pytest.fixture(scope="module")
def darks():
    cube, exposure, _ = hotfit.simulate.cube("guide", shape=(64, 96), seed=3, odd=20)
    cube[(slice(None), *SATURATED)] = 65535
    cube.flags.writeable = False
    return cube, exposure


@pytest.fixture(scope="module")
def fit(darks):
    return hotfit.fit_cube(*darks)


@pytest.fixture(scope="module")
def calibrated(darks):
    return hotfit.fit_cube(*darks, gain=1.5, read_noise=10.0, saturation=60000.0)


def maps_of(fit):
    return {f.name: value for f in fields(fit) if isinstance(value := getattr(fit, f.name), np.ndarray)}


def strict_json(data):
    """The data after a way through JSON that knows no nan."""

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(json.dumps(data, allow_nan=False), parse_constant=refuse)


# --- reflag


@pytest.mark.parametrize("case", RULES)
def test_reflag_equals_a_fit_with_those_rules(darks, fit, case):
    again = fit.reflag(**RULES[case])
    at_once = hotfit.fit_cube(*darks, **RULES[case])
    assert again.rules == at_once.rules == Rules(**RULES[case])
    for name, values in maps_of(at_once).items():
        np.testing.assert_array_equal(getattr(again, name), values, err_msg=name)
    assert again.dq.dtype == np.uint32
    for name in NUMBERS:
        assert getattr(again, name) == getattr(at_once, name), name
    assert strict_json(again.summary()) == strict_json(at_once.summary())
    # Every case but the first changes something.
    assert (case == "none") == np.array_equal(again.dq, fit.dq)


@pytest.mark.parametrize("case", RULES)
def test_reflag_changes_dq_alone_and_back_again(fit, case):
    before = fit.dq.copy()
    again = fit.reflag(**RULES[case])
    assert isinstance(again, hotfit.DarkFit)
    assert again is not fit
    assert fit.rules == Rules()
    np.testing.assert_array_equal(fit.dq, before)
    for name, values in maps_of(fit).items():
        assert (getattr(again, name) is values) == (name != "dq"), name
    assert again.frames is fit.frames
    assert again.detector is fit.detector
    back = again.reflag(hot=None, fdr=0.01, tolerance=0.01, min_sigma=1, bad=Rules.bad)
    np.testing.assert_array_equal(back.dq, before)
    assert back.rules == fit.rules
    assert [getattr(back, name) for name in NUMBERS] == [getattr(fit, name) for name in NUMBERS]


def test_reflag_says_what_is_significant_under_its_rules(fit):
    strict, lax = (fit.reflag(fdr=fdr) for fdr in (1e-6, 0.3))
    assert strict.lack_of_fit_limit < fit.lack_of_fit_limit < lax.lack_of_fit_limit
    for name in ("lack_of_fit_null", "scatter_null", "shared_degrees"):  # of the darks, not of the rules
        assert getattr(strict, name) == getattr(fit, name) == getattr(lax, name), name
    bends = [each.summary()["smallest_slope_residual"] for each in (lax, fit, strict)]
    assert bends == sorted(bends)
    assert bends[0] < bends[-1]


def test_reflag_keeps_the_rules_it_is_not_told_to_change(fit):
    again = fit.reflag(hot=4).reflag(bad=("HOT",))
    assert again.rules == Rules(hot=4, bad=("HOT",))


def test_reflag_with_the_guides_rule(calibrated):
    again = calibrated.reflag(hot=4, bad=("HOT", "NONLINEAR"))
    hot = calibrated.rate > 4
    nonlinear = (calibrated.dq & DQ.NONLINEAR) != 0
    assert np.count_nonzero(hot & ~nonlinear) > 0
    assert np.count_nonzero(nonlinear & ~hot) > 0
    np.testing.assert_array_equal((again.dq & DQ.HOT) != 0, hot)
    np.testing.assert_array_equal(again.mask, hot | nonlinear)
    assert again.hot_limit == 4
    assert not again.mask[SATURATED]
    assert calibrated.mask[SATURATED]


def test_reflag_of_a_line_through_the_origin(darks):
    cube, exposure = darks
    timed = exposure > 0
    data = cube[timed].astype(np.float32) - np.float32(1000), exposure[timed]
    fit = hotfit.fit_cube(*data, bias_subtracted=True)
    np.testing.assert_array_equal(
        fit.reflag(fdr=0.2).dq, hotfit.fit_cube(*data, bias_subtracted=True, fdr=0.2).dq
    )


@pytest.mark.parametrize("name", ["hot", "fdr", "tolerance", "min_sigma"])
def test_reflag_refuses_nonsense(fit, name):
    with pytest.raises(HotfitError, match=f"^{name}="):
        fit.reflag(**{name: float("nan")})
    with pytest.raises(HotfitError, match=r"^bad='HOTT'"):
        fit.reflag(bad="HOTT")


def test_mask_is_the_bit_do_not_use(fit):
    assert fit.mask.dtype == bool
    np.testing.assert_array_equal(fit.mask, fit.dq % 2 == 1)
    assert 0 < np.count_nonzero(fit.mask) < fit.mask.size / 10
    bad = sum(DQ[name] for name in fit.rules.bad)
    np.testing.assert_array_equal(fit.mask, (fit.dq & np.uint32(bad)) != 0)


@pytest.mark.parametrize("name", ["rate", "dq", "rules", "mask", "something"])
def test_a_fit_is_frozen(fit, name):
    with pytest.raises((FrozenInstanceError, AttributeError)):
        setattr(fit, name, getattr(fit, name, None))
    with pytest.raises(FrozenInstanceError):
        fit.rules.hot = 4


# --- degrade openly


@pytest.mark.parametrize(
    ("chosen", "origin", "lack_tested", "scatter_tested"),
    [
        ([0, -1], False, False, False),
        ([8, -1], True, True, False),
        ([0, 1, 2, 3, -4, -3, -2, -1], False, False, True),
    ],
    ids=["two darks", "the Guide's two darks", "two exposure times"],
)
def test_a_test_that_cannot_be_made_is_nan_and_flags_nothing(
    darks, chosen, origin, lack_tested, scatter_tested
):
    cube, exposure = darks
    frames = cube[chosen] - np.float32(np.median(cube[0]) if origin else 0)
    few = hotfit.fit_cube(frames, exposure[chosen], gain=1.5, read_noise=10, bias_subtracted=origin)
    assert np.isfinite(few.rate).mean() > 0.99
    assert np.isfinite(few.lack_of_fit_null) == np.isfinite(few.lack_of_fit).any() == lack_tested
    assert np.isfinite(few.lack_of_fit_limit) == lack_tested
    assert np.isfinite(few.scatter_null) == np.isfinite(few.scatter).any() == scatter_tested
    if not lack_tested:
        assert not (few.dq & DQ.NONLINEAR).any()
    if not scatter_tested:
        assert not (few.dq & DQ.TELEGRAPH).any()
    summary = strict_json(few.summary())
    assert (summary["lack_of_fit_null"] is None) == (not lack_tested)
    assert (summary["smallest_slope_residual"] is None) == (not lack_tested)
    assert (summary["scatter_null"] is None) == (not scatter_tested)


def test_a_fit_that_cannot_test_says_so(darks):
    cube, exposure = darks
    assert any("test" in note for note in hotfit.fit_cube(cube[[0, -1]], exposure[[0, -1]]).notes)


# --- to_ccddata


def test_unit_says_whether_the_gain_is_known():
    # Without warm pixels the darks do not tell the gain.
    cold = {"shape": (32, 48), "hot_fraction": 0, "median_rate": 1e-4, "odd": 0, "cosmic_rate": 0}
    cube, exposure, _ = hotfit.simulate.cube("guide", seed=1, **cold)
    for given, unit in (({}, "adu/s"), ({"gain": 2.0}, "electron/s")):
        fit = hotfit.fit_cube(cube, exposure, **given)
        assert fit.unit == fit.to_ccddata().unit == units.Unit(unit)
        assert np.isnan(fit.detector.gain) == (unit == "adu/s")
        assert units.Unit(fit.to_ccddata().header["BUNIT"]) == units.Unit(unit)


@pytest.mark.parametrize("which", ["fit", "calibrated"])
def test_to_ccddata(request, which):
    fit = request.getfixturevalue(which)
    ccd = fit.to_ccddata()
    assert isinstance(ccd, CCDData)
    assert ccd.unit == fit.unit
    np.testing.assert_array_equal(ccd.data, fit.rate)
    assert ccd.data.dtype == np.float32
    assert isinstance(ccd.uncertainty, StdDevUncertainty)
    np.testing.assert_array_equal(ccd.uncertainty.array, fit.rate_error)
    assert ccd.uncertainty.unit == ccd.unit
    assert ccd.mask.dtype == bool
    np.testing.assert_array_equal(ccd.mask, fit.mask)
    assert ccd.wcs is None


@pytest.mark.parametrize("which", ["fit", "calibrated"])
def test_to_ccddata_survives_a_file(request, which, tmp_path):
    ccd = request.getfixturevalue(which).to_ccddata()
    ccd.write(tmp_path / "ccd.fits")
    back = CCDData.read(tmp_path / "ccd.fits")
    assert back.unit == ccd.unit
    np.testing.assert_array_equal(back.data, ccd.data)
    np.testing.assert_array_equal(back.mask, ccd.mask)
    np.testing.assert_array_equal(back.uncertainty.array, ccd.uncertainty.array)


def test_to_ccddata_carries_the_detector_and_the_rules(calibrated):
    header = calibrated.to_ccddata().header
    assert isinstance(header, fits.Header)
    expected = {
        "EGAIN": 1.5,
        "GAINSRC": "user",
        "RDNOISE": 10.0,
        "RNSRC": "user",
        "SATURATE": 60000.0,
        "SATSRC": "user",
        "FDR": 0.01,
        "BADFLAGS": "TELEGRAPH,NONLINEAR,UNRELIABLE_SLOPE",
    }
    assert {key: header[key] for key in expected} == expected


# --- summary


def test_summary_counts_agree_with_the_arrays(darks, calibrated):
    summary = strict_json(calibrated.summary())
    assert summary["frames"] == len(darks[1]) == len(calibrated.frames)
    assert summary["exposures"] == {"0": 8, "90": 8, "300": 8, "1000": 8}
    assert summary["shape"] == [64, 96]
    assert summary["pixels"] == 64 * 96
    assert summary["masked"] == int(calibrated.mask.sum())
    assert summary["flags"] == {flag.name: int(((calibrated.dq & flag) != 0).sum()) for flag in DQ}
    assert summary["flags"]["DO_NOT_USE"] == summary["masked"]
    finite = np.isfinite(calibrated.rate)
    assert not finite[SATURATED]
    assert summary["median_rate"] == float(np.median(calibrated.rate[finite]))
    assert summary["median_rate_error"] == float(np.median(calibrated.rate_error[finite]))
    assert units.Unit(summary["unit"]) == calibrated.unit
    told = ("gain", "gain_source", "read_noise", "read_noise_source", "read_noise_unit", "saturation")
    assert [summary[key] for key in told] == [1.5, "user", 10.0, "user", "electron", 60000.0]
    assert summary["rules"]["bad"] == list(Rules.bad)
    assert summary["hot_limit"] == calibrated.hot_limit
    assert summary["lack_of_fit_null"] == calibrated.lack_of_fit_null


def test_summary_of_what_is_unknown_is_none(fit):
    measured = ("gain", "measured_gain", "measured_gain_error", "read_noise_error")
    unknown = replace(
        fit,
        rate=np.full_like(fit.rate, np.nan),
        detector=replace(fit.detector, saturation=np.inf, **dict.fromkeys(measured, np.nan)),
        hot_limit=np.nan,
        lack_of_fit_null=np.nan,
        scatter_null=np.nan,
        lack_of_fit_limit=np.nan,
    )
    summary = strict_json(unknown.summary())
    empty = {
        "median_rate",
        "median_rate_error",
        "gain",
        "gain_of_darks",
        "gain_of_darks_error",
        "read_noise_error",
        "saturation",
        "hot_limit",
        "lack_of_fit_null",
        "scatter_null",
        "smallest_slope_residual",
    }
    assert {key for key, value in summary.items() if value is None} == empty
    assert summary["read_noise_unit"] == "adu"


@pytest.mark.parametrize(
    "rules",
    [{"hot": np.float32(4)}, {"hot": np.int64(4)}, {"fdr": np.float32(0.1)}, {"min_sigma": np.float64(2)}],
    ids=str,
)
def test_summary_of_rules_given_as_numpy_numbers(fit, rules):
    ((name, value),) = rules.items()
    assert strict_json(fit.reflag(**rules).summary())["rules"][name] == value


def test_summary_counts_every_frame_of_jittering_exposures(darks):
    cube, exposure = darks
    jittered = exposure + 1e-3 * np.arange(exposure.size) * (exposure > 0)
    exposures = hotfit.fit_cube(cube, jittered).summary()["exposures"]
    assert sum(exposures.values()) == len(exposure)
