"""The kernel against the oracle, pixel by pixel."""

import numpy as np
import pytest
import reference
from scipy import stats

from hotfit import fit, kernels
from hotfit.calibrate import Calibration, Detector, NoiseModel
from hotfit.darks import cube_darks

GAIN, READ, LEVEL = 1.5, 7.0, 60000.0
SIDE = 12

SETS = {
    "replicates": (0, 0, 0, 90, 90, 90, 300, 300, 1000, 1000, 1000),
    "single frames": (0, 10, 30, 60, 120, 300),
    "lopsided": (1, 1, 1, 8, 8, 8, 10, 10, 10, 300, 300, 300),
    "unsorted": (300, 0, 10, 300, 0, 10, 60),
    "long only": (240, 240, 360, 360, 1200, 1200),
    "two exposures": (0, 0, 0, 100, 100, 100),
    "two frames": (90, 1000),
}


def random_cube(exposure, dtype, seed):
    """Linear pixels from cold to far above saturation, rays, steps, stuck values and, in floats, gaps."""
    rng = np.random.default_rng(seed)
    exposure = np.asarray(exposure, float)
    rate = 10 ** rng.uniform(-2, 3, (SIDE, SIDE))
    dark = rate * exposure[:, None, None]
    y = 1000 + rng.poisson(dark * GAIN) / GAIN + rng.normal(0, READ, dark.shape)
    y = np.clip(y, 0, rng.normal(62000, 500, rate.shape))
    y[rng.integers(exposure.size), :, 0] += 3000
    y[exposure == exposure.max(), :, 1] *= 0.9
    y[:, :, 2] += rng.choice([0, 200], (exposure.size, SIDE))
    y[:, 3, 3] = 1234
    y[:, 3, 4] = 65000
    y[0, 3, 5] = 65000
    y[exposure > exposure.min(), 3, 6] = 65000
    if dtype == np.uint16:
        return np.round(y).clip(0, 65535).astype(dtype)
    y[rng.random(y.shape) < 0.02] = np.nan
    y[:, 4, 4] = np.nan
    y[1:, 4, 5] = np.nan
    y[exposure > exposure.min(), 4, 6] = np.nan
    y[0, 4, 7] = np.inf
    return y.astype(dtype)


def kernel_maps(cube, exposure, *, offset, scale, n_combined=None, bias_subtracted=False):
    """Maps of the bare kernel with a known noise model, and the set."""
    darks = cube_darks(cube, exposure, n_combined=n_combined)
    noise = NoiseModel(READ**2, 1 / GAIN, np.inf if bias_subtracted else 1050.0)
    step = float(cube.dtype == np.uint16)
    detector = Detector(GAIN, "user", READ * GAIN, "user", LEVEL, "user", step)
    calibration = Calibration(detector, noise, offset, scale, ())
    maps = fit.empty_maps(SIDE * SIDE)
    counts = np.zeros((2, len(exposure)), np.int64)
    samples, start = darks.samples(0, SIDE)
    kernels.fit_pixels(
        samples,
        start,
        fit.make_design(darks, calibration, bias_subtracted),
        kernels.Noise(*map(np.float32, noise)),
        fit.make_limits(darks, calibration),
        np.float32(1 / darks.group_exposure[-1]),
        maps,
        counts,
    )
    return maps, counts, darks


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # numpy's, where the JIT is disabled
@pytest.mark.parametrize("bias_subtracted", [False, True], ids=["intercept", "origin"])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("name", SETS)
def test_kernel_agrees_with_the_oracle(name, dtype, bias_subtracted):
    exposure = np.array(SETS[name], float)
    rng = np.random.default_rng(len(name))
    cube = random_cube(exposure, dtype, seed=7)
    offset = rng.normal(0, 2, exposure.size)
    scale = 1 + rng.normal(0, 0.01, exposure.size)
    n_combined = rng.integers(1, 4, exposure.size)
    maps, counts, darks = kernel_maps(
        cube, exposure, offset=offset, scale=scale, n_combined=n_combined, bias_subtracted=bias_subtracted
    )
    cured = np.concatenate([[0], stats.chi2.isf(fit.CURED, np.arange(1, exposure.size + 1))])
    saturated, dropped = 0, np.zeros(exposure.size)
    shortest = fit.stuck_length(float(dtype == np.uint16), READ, SIDE * SIDE)
    for p, y in enumerate(cube.reshape(exposure.size, -1)[darks.order].astype(float).T):
        expected = reference.fit_pixel(
            y,
            darks.group_exposure[darks.group],
            darks.group,
            read_variance=READ**2,
            shot=1 / GAIN,
            floor=np.inf if bias_subtracted else 1050.0,
            offset=offset,
            scale=scale,
            weight=darks.n_combined.astype(float),
            saturation=LEVEL,
            bias_subtracted=bias_subtracted,
            outlier=fit.OUTLIER,
            cured=cured,
        )
        got = {key: array[p] for key, array in maps._asdict().items()}
        stuck = (y == y[0]).all() and y.size >= shortest
        assert_same(got, expected, stuck)
        saturated += expected["saturated"]
        if expected["dropped"] is not None:
            dropped[expected["dropped"]] += 1
    assert saturated >= 3
    np.testing.assert_array_equal(counts[1], dropped)


def assert_same(got, expected, stuck):
    """One pixel: rates to 1 % of their error, what follows from them as closely, counts and flags exactly."""
    assert got["n_used"] == expected["n_used"]
    assert got["n_groups"] == expected["groups"]
    assert bool(got["dq"] & kernels.SATURATED) == expected["saturated"]
    assert bool(got["dq"] & kernels.JUMP_DET) == (expected["dropped"] is not None)
    assert bool(got["dq"] & kernels.UNRELIABLE_SLOPE) == stuck
    if stuck or not np.isfinite(expected["rate"]):
        assert np.isnan(got["rate"])
        return
    error = expected["rate_error"]
    assert got["rate"] == pytest.approx(expected["rate"], abs=0.01 * error, rel=1e-6)
    assert got["rate_error"] == pytest.approx(error, rel=1e-3)
    assert got["intercept"] == pytest.approx(expected["intercept"], abs=0.02)
    for key in ("lack_of_fit", "scatter"):
        assert got[key] == pytest.approx(expected[key], rel=2e-3, abs=2e-3, nan_ok=True), key
    assert got["misfit"] == pytest.approx(expected["misfit"], rel=2e-3, abs=2e-3)
    assert got["misfit_fraction"] == pytest.approx(expected["misfit_fraction"], rel=0.02, abs=2e-4)
    assert got["slope_residual"] == pytest.approx(expected["slope_residual"], rel=0.02, abs=2e-3, nan_ok=True)
