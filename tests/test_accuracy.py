"""What the design promises on simulated darks of known truth, at middle difficulty and beyond.

Middle difficulty: 30 frames in 5 exposure times, temperature jitter of 1 %, drift of 2 ADU, the usual cosmic
rays. No option is given.
"""

import numpy as np
import pytest
from scipy import stats

import hotfit
from hotfit import simulate, verdict
from hotfit.scene import Kind

EXPOSURES = {"guide": (0.0, 90.0, 200.0, 450.0, 1000.0), "cmos": (0.0, 30.0, 60.0, 120.0, 300.0)}
GOOD_BELOW = 4.0  # e-/s; the Guide's threshold


def middle(camera, *, seed=1, shape=(1000, 1000), **changes):
    """Cube, exposures, truth and fit of a set of middle difficulty with these changes."""
    changes = {"exposures": EXPOSURES[camera], "repeats": 6, **changes}
    cube, exposure, truth = simulate.cube(camera, seed=seed, shape=shape, **changes)
    return cube, exposure, truth, hotfit.fit_cube(cube, exposure)


@pytest.fixture(scope="module", params=["guide", "cmos"])
def sets(request):
    """A set of middle difficulty with five times the usual share of odd pixels."""
    return middle(request.param, odd=5)


def linear(truth, fit):
    """(good, hot): pixels that follow the line; of the hot ones those with an unsaturated exposure."""
    follows = truth.kind == Kind.LINEAR
    return follows & (truth.rate < GOOD_BELOW), follows & (truth.rate >= GOOD_BELOW) & (fit.n_groups >= 2)


def test_hardly_a_linear_pixel_is_masked(sets):
    _, _, truth, fit = sets
    good, hot = linear(truth, fit)
    assert np.count_nonzero(good) > 900_000
    assert np.count_nonzero(hot) > 200
    assert fit.mask[good].mean() <= 1e-5
    assert np.count_nonzero(fit.mask[hot]) <= max(1, 1e-3 * np.count_nonzero(hot))
    assert np.count_nonzero(fit.mask & (good | hot)) <= 0.01 * np.count_nonzero(fit.mask)


@pytest.mark.parametrize(
    ("kind", "least"),
    [
        ("ROLL_OFF", 0.97),
        ("LATE_ONSET", 0.97),
        ("TELEGRAPH", 0.97),
        ("STUCK", 1),
        ("DEAD", 1),
        ("SATURATED", 1),
    ],
)
def test_odd_pixels_are_found(sets, kind, least):
    _, _, truth, fit = sets
    odd = truth.kind == Kind[kind]
    assert np.count_nonzero(odd) >= 50
    assert fit.mask[odd].mean() >= least


def p_values(fit, chosen):
    """p-values of scatter and of lack of fit of complete pixels."""
    groups = np.unique(fit.frames["group"]).size
    spare, shared = len(fit.frames) - groups, fit.shared_degrees
    scatter = fit.scatter[chosen] / fit.scatter_null
    noise = verdict.moderated(scatter, np.full(scatter.shape, spare), shared)
    lack = fit.lack_of_fit[chosen] / noise / fit.lack_of_fit_null
    return stats.f.sf(scatter, spare, shared), stats.f.sf(lack, groups - 2, shared + spare)


def test_p_values_of_good_pixels_are_uniform(sets):
    """Their whole distribution: a Kolmogorov-Smirnov test on 50 000 of them, and the tail of all."""
    _, exposure, truth, fit = sets
    good, _ = linear(truth, fit)
    chosen = good & (truth.hits == 0) & (fit.n_used == exposure.size)
    for p in p_values(fit, chosen):
        some = np.random.default_rng(0).choice(p, 50_000, replace=False)
        assert stats.kstest(some, "uniform").pvalue > 1e-3
        assert np.mean(p < 1e-3) == pytest.approx(1e-3, rel=0.15)


def test_what_is_measured_on_the_way(sets):
    """Gain to 5 %, read noise without its quantisation part to 2 %, scales to 0.15 % rms, level to 2 %."""
    cube, exposure, truth, fit = sets
    gain = fit.detector.gain
    assert gain == pytest.approx(truth.gain, rel=0.05)
    assert fit.detector.read_noise / gain == pytest.approx(truth.read_noise / truth.gain, rel=0.02)
    scale = np.asarray(fit.frames["scale"])
    assert np.std(truth.scale[exposure > 0]) > 0.005
    assert np.std((scale - truth.scale)[exposure > 0]) < 0.0015
    maximum = truth.camera.maximum
    well = np.minimum(truth.full_well, maximum)
    reached = (np.count_nonzero(cube >= well, axis=0) > 1) & (truth.kind < Kind.STUCK)
    assert fit.detector.saturation == pytest.approx(well[reached].min(), rel=0.02)


def bent(cube, exposure, truth, share, depth=0.1):
    """The cube with a share of its hot pixels rolled off, `depth` over the set, and those pixels."""
    longest = exposure.max()
    hot = truth.rate.ravel() * longest
    hot = np.flatnonzero((truth.rate.ravel() > 5) & (hot < 0.6 * truth.camera.usable_charge))
    pixels = hot[np.random.default_rng(0).random(hot.size) < share]
    x = np.linspace(0.01, 1, 1000)
    tau = longest / np.interp(depth, 1 + np.expm1(-x) / x, x)
    out = cube.reshape(exposure.size, -1).copy()
    rate, step = truth.rate.ravel()[pixels], truth.camera.step
    for i, t in enumerate(exposure):
        lost = rate * (t + tau * np.expm1(-t / tau)) * truth.scale[i] / truth.gain
        out[i, pixels] -= (step * np.round(lost / step)).astype(np.uint16)
    return out.reshape(cube.shape), np.unravel_index(pixels, truth.kind.shape)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_roll_off_that_hot_pixels_share_does_not_pass_for_temperature(share):
    """10 % over the set: the scales do not follow it, so that every such pixel is found."""
    cube, exposure, truth, _ = middle("guide", odd=0)
    cube, rolled = bent(cube, exposure, truth, share)
    fit = hotfit.fit_cube(cube, exposure)
    found = (fit.dq[rolled] & np.uint32(hotfit.DQ.NONLINEAR)) != 0
    assert found.size > 50
    assert found.mean() >= 0.97
    good, hot = linear(truth, fit)
    hot[rolled] = False
    assert np.count_nonzero(fit.mask & (good | hot)) <= 10


HARD = {
    "jitter 3 %": {"jitter": 0.03},
    "drift 10 adu": {"drift": 10.0},
    "10 x the cosmic rays": {"cosmic_rate": 0.02},
    "all at once": {"jitter": 0.03, "drift": 10.0, "cosmic_rate": 0.02},
    "three times two frames": {"exposures": (0.0, 90.0, 300.0), "repeats": 2},
    "single frames": {"exposures": (0.0, 20.0, 60.0, 90.0, 150.0, 300.0), "repeats": 1},
}


@pytest.mark.parametrize("camera", ["guide", "cmos"])
@pytest.mark.parametrize("changes", HARD.values(), ids=HARD.keys())
def test_the_hard_end_does_not_break(camera, changes):
    _, _, truth, fit = middle(camera, shape=(500, 600), odd=5, **changes)
    good, hot = linear(truth, fit)
    assert np.count_nonzero(fit.mask & (good | hot)) <= 1e-4 * truth.kind.size
    roll_off = truth.kind == Kind.ROLL_OFF
    assert fit.mask[roll_off].mean() > 0.8
