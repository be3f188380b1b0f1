"""What darks could have shown, against simulated darks: is what is promised found, and is less not found?"""

import json
from functools import cache

import numpy as np
import pytest
from scipy import optimize

import hotfit
from hotfit.flags import DQ
from hotfit.power import RATE, SIGMAS, pedestal_of, rate_error, statement

BENT = 40
"""Pixels that are bent at a time."""

QUIET = {"odd": 0, "cosmic_rate": 0, "hot_fraction": 0.01, "max_rate": 40, "readout_time": 0}
"""Linear pixels, none of them saturated, warm ones enough to tell the frame scales."""

FIVE = {"exposures": (0, 90, 200, 450, 1000), "repeats": 6}
SETS = {  # camera, what is changed in it, options of the fit, frames averaged into one
    "ccd": ("guide", FIVE, {}, 1),
    "cmos": ("cmos", {}, {}, 1),
    "without replicates": ("guide", {"exposures": (0, 100, 200, 300, 500, 700, 1000), "repeats": 1}, {}, 1),
    "saturated in the longest": ("guide", FIVE, {"saturation": 6000}, 1),
    "through the origin": (
        "guide",
        {"exposures": (90, 300, 1000), "repeats": 6, "bias_spread": 0},
        {"bias_subtracted": True},
        1,
    ),
    "bias of its own noise": (
        "guide",
        {"exposures": (90, 300, 1000), "repeats": 6, "bias_spread": 3},
        {"bias_subtracted": True},
        1,
    ),
    "masters": ("guide", {"exposures": (0, 30, 100, 300), "repeats": 40}, {}, 5),
}


@cache
def simulated(name):
    camera, changes, options, averaged = SETS[name]
    cube, exposure, truth = hotfit.simulate.cube(camera, shape=(300, 400), seed=5, **QUIET | changes)
    return cube, exposure, truth, options, averaged


def fitted(cube, exposure, truth, options, averaged, **rules):
    """The fit of the set as it would be given: averaged, bias subtracted."""
    if averaged > 1:
        shape = -1, averaged, *cube.shape[1:]
        cube, exposure = cube.reshape(shape).mean(axis=1, dtype=np.float32), exposure[::averaged]
        options = options | {"n_combined": np.full(exposure.size, averaged)}
    if options.get("bias_subtracted"):
        cube = cube.astype(np.float32) - np.float32(truth.camera.bias)
    return hotfit.fit_cube(cube, exposure, gain=truth.gain, read_noise=truth.read_noise, **options, **rules)


@cache
def fit_of(name):
    return fitted(*simulated(name))


def bent_charge(time, last, depth):
    """Electrons of a pixel of `RATE` that has lost a part of its signal, growing linearly to `depth`."""
    return RATE * time * (1 - depth * np.minimum(time / last, 1))


def usable_times(fit):
    """Exposure of every frame in which a pixel of `RATE` is not saturated."""
    time = np.asarray(fit.frames["exposure"])
    pedestal = 0 if fit.bias_subtracted else np.median(fit.intercept)
    return time[pedestal + RATE * time / fit.detector.gain < fit.detector.saturation]


def with_bent(set_, last, depth, seed):
    """The set with some of its cold pixels replaced by bent ones, and which these are."""
    cube, time, truth, *rest = set_
    rng = np.random.default_rng(seed)
    pixels = rng.choice(np.flatnonzero(truth.rate < RATE / 100), BENT, replace=False)
    charge = bent_charge(time, last, depth) * truth.scale
    electrons = rng.poisson(charge[:, None], (time.size, BENT)) + rng.normal(
        0, truth.read_noise, (time.size, BENT)
    )
    bias = rng.normal(truth.camera.bias, truth.camera.bias_spread, BENT)
    step = truth.camera.step
    cube = cube.copy()
    adu = bias + truth.offset[:, None] + electrons / truth.gain
    cube.reshape(time.size, -1)[:, pixels] = np.round(adu / step) * step
    return (cube, time, truth, *rest), pixels


def depth_of(slope_residual, fit):
    """The depth whose slope residual, by its definition and without noise, is this one."""
    time = usable_times(fit)
    signal = RATE * time
    left = np.asarray(fit.frames["scale_error"])[: time.size] * signal
    sigma = np.sqrt(fit.detector.read_noise**2 + signal + left**2)
    columns = np.column_stack([time] if fit.bias_subtracted else [time, np.ones_like(time)])
    times = np.unique(time)
    half = (times.size + 1) // 2

    def rate(chosen, charge):
        weighted = columns[chosen] / sigma[chosen, None], charge[chosen] / sigma[chosen]
        return np.linalg.lstsq(*weighted, rcond=None)[0][0]

    def found(depth):
        charge = bent_charge(time, time[-1], depth)
        short, long = time <= times[half - 1], time >= times[-half]
        return (rate(short, charge) - rate(long, charge)) / rate(time >= 0, charge)

    return optimize.brentq(lambda depth: found(depth) - slope_residual, 0, 0.9)


@pytest.fixture
def fit():
    return fit_of("ccd")


# --- the smallest bend


@pytest.mark.parametrize("name", SETS)
def test_the_smallest_bend_is_found_and_less_is_not(name):
    set_, fit, share = simulated(name), fit_of(name), {}
    last, smallest = usable_times(fit)[-1], statement(fit)["smallest_slope_residual"]
    for part in (0.7, 1.0):
        bent, pixels = with_bent(set_, last, depth_of(part * smallest, fit), seed=1)
        # So many of a kind would ease the limit for each other: let each stand as if it were alone.
        found = fitted(*bent, fdr=fit.rules.fdr / BENT)
        assert found.lack_of_fit_limit <= fit.lack_of_fit_limit * (1 + 1e-9)
        share[part] = np.mean((found.dq.flat[pixels] & np.uint32(DQ.NONLINEAR)) != 0)
        # What was put in is what the map shows, with the error that the map gives.
        bend, error = found.slope_residual.flat[pixels], np.median(found.slope_residual_error.flat[pixels])
        assert np.median(bend) == pytest.approx(-part * smallest, abs=4 * error / np.sqrt(BENT))
        assert bend.std() == pytest.approx(error, rel=0.25)
    assert share[1.0] >= 0.75
    assert share[0.7] < 0.5


@pytest.mark.parametrize(
    ("exposures", "options", "tested"),
    [
        ((0, 1000), {}, False),
        ((0, 300, 1000), {}, True),
        ((300, 1000), {"bias_subtracted": True}, True),
        ((0, 1000), {"bias_subtracted": True}, False),  # bias frames say nothing of a line through the origin
        ((0, 90, 300, 1000), {"saturation": 1100}, False),  # reached by a warm pixel before 90 s
        ((0, 90, 300, 1000), {"saturation": 2000}, False),  # before 300 s
        ((0, 90, 300, 1000), {"saturation": 4000}, True),  # before 1000 s
        ((0, 1, 2, 4), {}, False),  # 40 electrons: their loss would not be seen even if all were lost
    ],
    ids=str,
)
def test_no_bend_is_promised_where_none_can_be_seen(exposures, options, tested):
    changes = QUIET | {"shape": (64, 96), "exposures": exposures, "repeats": 5}
    cube, exposure, truth = hotfit.simulate.cube("guide", seed=6, **changes)
    fit = fitted(cube, exposure, truth, options, 1)
    said = statement(fit)
    assert (said["smallest_slope_residual"] is not None) == tested
    assert not tested or 0 < said["smallest_slope_residual"] < 1
    assert said["smallest_rate"] > 0
    assert json.loads(json.dumps(fit.summary(), allow_nan=False)).items() >= said.items()


def test_a_bend_below_saturation_alone_counts():
    changes = QUIET | {"shape": (64, 96), "exposures": (0, 90, 300, 1000)}
    set_ = *hotfit.simulate.cube("guide", seed=6, **changes), {}, 1
    cut = fitted(*set_[:3], {"saturation": 4000}, 1)
    short = set_[1] < 1000
    without = fitted(set_[0][short], set_[1][short], set_[2], {}, 1)
    bend, same, whole = (statement(each)["smallest_slope_residual"] for each in (cut, without, fitted(*set_)))
    assert bend == pytest.approx(same, rel=0.05)
    assert bend > 1.3 * whole


# --- the smallest rate


@pytest.mark.parametrize("name", SETS)
def test_the_smallest_rate_is_five_errors_of_such_a_pixel(name):
    fit = fit_of(name)
    said = statement(fit)["smallest_rate"]
    alike = np.abs(fit.rate / said - 1) < 0.3
    assert np.count_nonzero(alike) > 1000
    assert said == pytest.approx(SIGMAS * np.median(fit.rate_error[alike]), rel=0.03)
    assert said == pytest.approx(SIGMAS * rate_error(fit, said, pedestal_of(fit)))
    assert said > SIGMAS * rate_error(fit, 0, pedestal_of(fit))  # its own shot noise counts


@pytest.mark.parametrize("rate", [0.03, 1, RATE])
def test_rate_error_is_that_of_the_map(fit, rate):
    alike = np.abs(fit.rate / rate - 1) < 0.1
    assert np.count_nonzero(alike) > 50
    assert rate_error(fit, rate, pedestal_of(fit)) == pytest.approx(
        np.median(fit.rate_error[alike]), rel=0.03
    )


def test_better_darks_promise_more(fit):
    cube, exposure, truth, *_ = simulated("ccd")
    half = fitted(cube[::2], exposure[::2], truth, {}, 1)
    few, many = statement(half), statement(fit)
    assert few["smallest_rate"] == pytest.approx(np.sqrt(2) * many["smallest_rate"], rel=0.05)
    assert few["smallest_slope_residual"] > 1.1 * many["smallest_slope_residual"]
    strict = fit.reflag(tolerance=0.1)
    assert statement(strict)["smallest_slope_residual"] > 2 * many["smallest_slope_residual"]


# --- the error of the slope residual


@pytest.mark.parametrize("name", ["ccd", "cmos", "through the origin"])
def test_pulls_of_the_slope_residual_of_linear_warm_pixels(name):
    fit, truth = fit_of(name), simulated(name)[2]
    warm = (truth.rate > 3) & (fit.n_groups == fit.n_groups.max())
    pulls = fit.slope_residual[warm] / fit.slope_residual_error[warm]
    assert pulls.size > 1000
    assert pulls.std() == pytest.approx(1, abs=0.05)
    assert abs(np.median(pulls)) < 0.15


# --- what is told


def test_the_summary_says_it_in_plain_numbers(fit):
    said = statement(fit)
    assert list(said) == ["smallest_rate", "smallest_slope_residual", "smallest_slope_residual_rate"]
    assert all(type(value) is float for value in said.values())
    assert said["smallest_slope_residual_rate"] == RATE
    assert json.loads(json.dumps(fit.summary(), allow_nan=False)).items() >= said.items()
