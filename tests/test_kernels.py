"""The kernel against the oracle, pixel by pixel, and against what must come out."""

from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
import reference
from scipy import stats

from hotfit import design, kernels
from hotfit.calibrate import Calibration, Detector, NoiseModel
from hotfit.cubes import cube_darks
from hotfit.maps import ArrayMaps
from hotfit.noise import stuck_length

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # numpy's, without the JIT

GAIN, READ, LEVEL = 1.5, 7.0, 60000.0
PEDESTAL, FLOOR = 9000.0, 9050.0
HALF_FULL = (FLOOR + LEVEL) / 2
SIDE, SEED = 12, 8

SETS = {
    "replicates": (0, 0, 0, 90, 90, 90, 300, 300, 1000, 1000, 1000),
    "single frames": (0, 10, 30, 60, 120, 300),
    "lopsided": (1, 1, 1, 8, 8, 8, 10, 10, 10, 300, 300, 300),
    "unsorted": (300, 0, 10, 300, 0, 10, 60),
    "long only": (240, 240, 360, 360, 1200, 1200),
    "two exposures": (0, 0, 0, 100, 100, 100),
    "two frames": (90, 1000),
    "thirty": (0, 60, 240, 500, 1000) * 6,
    "forty": (0, 100, 300, 1000) * 10,
    "ladder": tuple(np.round(np.geomspace(1, 1000, 30), 1)),
}

ENDS = {("cured", 1), ("cured", 2), ("cured", 3), ("second level", 0), ("not cured", 0), ("clean", 0)}
"""How the search for rays must have ended at least once in a set of 30 samples or more."""


class Terms(NamedTuple):
    """How N frames in K exposures, sorted, depart from each other."""

    offset: np.ndarray  # (N,) adu
    scale: np.ndarray  # (N,)
    weight: np.ndarray  # (N,) frames combined
    left: np.ndarray  # (K,)
    excess: float = 1.0


def no_terms(exposure, left=0.0):
    """Frames that are all alike, but for what is left."""
    ones = np.ones(exposure.size)
    return Terms(0 * ones, ones, ones, left * (np.unique(exposure) > 0))


def random_terms(exposure, rng):
    return Terms(
        offset=rng.normal(0, 2, exposure.size),
        scale=1 + rng.normal(0, 0.01, exposure.size),
        weight=rng.integers(1, 4, exposure.size).astype(float),
        left=(0.01 * rng.uniform(0.5, 1.5, np.unique(exposure).size)) ** 2 * (np.unique(exposure) > 0),
        excess=rng.uniform(0.8, 1.5),
    )


def sample(signal, exposure, terms, pedestal, rng):
    """Samples (N, ...) of pixels with that dark signal (adu) in the longest of the sorted exposures."""
    time, offset, scale, weight, left = (
        each.reshape(-1, *[1] * signal.ndim)
        for each in (
            exposure / exposure.max(),
            *terms[:3],
            terms.left[np.unique(exposure, return_inverse=True)[1]],
        )
    )
    dark = signal * time
    variance = (READ**2 + dark / GAIN + left * dark**2) / weight
    return pedestal + offset + dark * scale + rng.normal(0, np.sqrt(variance))


def random_samples(exposure, terms, dtype, pedestal, rng):
    """Linear pixels from cold to far above saturation, rays, steps, stuck values and, in floats, gaps."""
    frames, time = exposure.size, exposure / exposure.max()
    signal = 10 ** rng.uniform(-1, 5.3, (SIDE, SIDE))
    signal[:, 3:8] = 10 ** rng.uniform(-1, 4.3, (SIDE, 5))
    y = sample(signal, exposure, terms, pedestal, rng)
    y = np.clip(y, 0, rng.normal(62000, 500, signal.shape))
    y[rng.integers(frames), :, 0] += 3000
    y[exposure == exposure.max(), :, 1] *= 0.9
    y[:, :, 2] += rng.choice([0, 200], (frames, SIDE))
    height = 10 ** rng.uniform(2, 4, y.shape)
    for row in range(SIDE):
        for column, rays in ((3, 2), (4, 3), (5, max(1, frames // 10) + 1)):
            hit = rng.choice(frames, min(rays, frames), replace=False)
            y[hit, row, column] += height[hit, row, column]
        hit = rng.choice(frames, min(2 + row % 2, frames), replace=False)
        y[hit, row, 6] += height[0, row, 6]
        y[hit, row, 7] += height[0, row, 7] * time[hit]
    y[-2:, 3, 8] = 65000, (HALF_FULL + LEVEL / 2) / 2
    y[-2:, 4, 8] = 65000, HALF_FULL + 500
    y[:, 3, 9] = 1234
    y[:, 4, 9] = 65000
    y[0, 5, 9] = 65000
    y[exposure > exposure.min(), 6, 9] = 65000
    if dtype == np.uint16:
        return np.round(y).clip(0, 65535).astype(dtype)
    y[rng.random(y.shape) < 0.005] = np.nan
    y[:, 4, 10] = np.nan
    y[1:, 5, 10] = np.nan
    y[exposure > exposure.min(), 6, 10] = np.nan
    y[0, 7, 10] = np.inf
    return y.astype(dtype)


def prepare(y, frames, terms, *, bias_subtracted=False):
    """A set of darks and its calibration, as the kernel needs them; parameters as in `run_kernel`."""
    order = np.argsort(frames, kind="stable")
    cube, n_combined = np.empty((order.size, 1, y[0].size), y.dtype), np.empty(order.size)
    cube[order], n_combined[order] = y.reshape(cube.shape), terms.weight
    darks = cube_darks(cube, frames, n_combined=n_combined)
    calibration = Calibration(
        detector=Detector(GAIN, "user", READ * GAIN, "user", LEVEL, "user", float(y.dtype == np.uint16)),
        noise=NoiseModel(READ**2, 1 / GAIN, np.inf if bias_subtracted else FLOOR),
        offset=terms.offset,
        offset_error=np.zeros(order.size),
        scale=terms.scale,
        scale_error=np.zeros(order.size),
        left=terms.left,
        excess=terms.excess,
        stuck=stuck_length(float(y.dtype == np.uint16), READ, y[0].size),
        notes=(),
    )
    return darks, calibration


def empty_maps(pixels):
    return kernels.Maps(**ArrayMaps(np.empty((1, pixels), np.uint32)).band(0, 1))


def run_kernel(y, frames, terms, *, bias_subtracted=False):
    """Maps of the bare kernel, samples left out by frame, and the set.

    `y` (N, ...) and `terms` are sorted by exposure; the kernel gets them in the order of `frames` (N,).
    """
    darks, calibration = prepare(y, frames, terms, bias_subtracted=bias_subtracted)
    maps, counts = empty_maps(y[0].size), np.zeros((2, frames.size), np.int64)
    samples, start = darks.samples(0, 1)
    shared = design.make_design(darks, calibration, bias_subtracted)
    kernels.fit_pixels(
        samples,
        start,
        shared,
        design.make_groups(shared),
        kernels.Noise(*map(np.float32, calibration.noise)),
        design.make_limits(darks, calibration),
        np.float32(1 / darks.group_exposure[-1]),
        maps,
        counts,
    )
    return maps, counts, darks


def ask_oracle(y, darks, terms, *, bias_subtracted=False, hits=None):
    """What the oracle makes of one pixel's sorted samples."""
    frames = y.size
    return reference.fit_pixel(
        y.astype(float),
        darks.group_exposure[darks.group],
        darks.group,
        **{name: getattr(terms, name) for name in ("offset", "scale", "weight", "left")},
        read_variance=READ**2,
        shot=1 / GAIN,
        floor=np.inf if bias_subtracted else FLOOR,
        saturation=LEVEL,
        bias_subtracted=bias_subtracted,
        outlier=design.OUTLIER * np.sqrt(terms.excess),
        hits=max(1, frames // design.FRAMES_A_HIT) if hits is None else hits,
        cured=stats.chi2.isf(design.CURED, np.arange(frames + 1)) * terms.excess,
    )


def test_a_pixel_is_the_same_wherever_it_stands_in_whichever_tile():
    frames, rng = np.array(SETS["thirty"], float), np.random.default_rng(SEED)
    terms = random_terms(np.sort(frames), rng)
    y = random_samples(np.sort(frames), terms, np.uint16, PEDESTAL, rng).reshape(frames.size, -1)
    copies = 2 * kernels.TILE // y.shape[1] + 2
    one, counts, _ = run_kernel(y, frames, terms)
    many, all_counts, _ = run_kernel(np.tile(y, copies), frames, terms)
    for name, array in many._asdict().items():
        np.testing.assert_array_equal(array, np.tile(getattr(one, name), copies), err_msg=name)
    np.testing.assert_array_equal(all_counts, counts * copies)


@pytest.mark.parametrize("bias_subtracted", [False, True], ids=["intercept", "origin"])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("name", SETS)
def test_kernel_agrees_with_the_oracle(name, dtype, bias_subtracted):
    frames, rng = np.array(SETS[name], float), np.random.default_rng(SEED)
    terms = random_terms(np.sort(frames), rng)
    y = random_samples(np.sort(frames), terms, dtype, 0 if bias_subtracted else PEDESTAL, rng)
    maps, counts, darks = run_kernel(y, frames, terms, bias_subtracted=bias_subtracted)
    shortest = stuck_length(float(dtype == np.uint16), READ, SIDE * SIDE)
    saturated, dropped, ends = 0, np.zeros(frames.size), Counter()
    for p, pixel in enumerate(y.reshape(frames.size, -1).T):
        expected = ask_oracle(pixel, darks, terms, bias_subtracted=bias_subtracted)
        got = {key: array[p] for key, array in maps._asdict().items()}
        stuck = (pixel == pixel[0]).all() and frames.size >= shortest
        assert_same(got, expected, stuck)
        saturated += expected["saturated"]
        dropped[list(expected["dropped"])] += 1
        ends[expected["end"], len(expected["dropped"])] += 1
    assert saturated >= 3
    assert frames.size < 30 or ends.keys() >= ENDS
    np.testing.assert_array_equal(counts[0], (y >= LEVEL).sum(axis=(1, 2)))
    np.testing.assert_array_equal(counts[1], dropped)


def assert_same(got, expected, stuck):
    """One pixel: rates to 1 % of their error, what follows from them as closely, counts and flags exactly."""
    assert got["n_used"] == expected["n_used"]
    assert got["n_groups"] == expected["groups"]
    assert got["n_dropped"] == len(expected["dropped"])
    assert bool(got["dq"] & kernels.SATURATED) == expected["saturated"]
    assert bool(got["dq"] & kernels.JUMP_DET) == (expected["end"] == "cured")
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
    # Both are relative to a rate that may be zero within its error.
    bend_error = got["slope_residual_error"] * abs(got["rate"])
    expected_error = expected["slope_residual_error"] * abs(expected["rate"])
    assert bend_error == pytest.approx(expected_error, rel=1e-3, nan_ok=True)


EXPOSURE = np.repeat([0.0, 60.0, 240.0, 500.0, 1000.0], 6)

HITS = {
    "one": ({3: 900}, True),
    "three": ({3: 900, 13: 1700, 25: 2600}, True),
    "one too many": ({3: 900, 13: 1700, 25: 2600, 29: 4000}, False),
    "equal": ({3: 900, 13: 900}, False),
    "equal within the noise": ({3: 900, 13: 950}, False),
    "unequal": ({3: 900, 13: 1300}, True),
    "equal, the last ones": ({3: 2600, 13: 920, 25: 900}, False),
    "equal, the first ones": ({3: 2600, 13: 2620, 25: 900}, False),
    "equal once a third is dropped": ({3: 2600, 25: 2600, 28: 2000}, False),
    "equal in rate": ({20: 500, 26: 1000}, False),
    "unequal in rate": ({20: 1500, 26: 1000}, True),
    "faint in a bias frame": ({3: 65, 26: 1000}, True),
    "faint in a short exposure": ({7: 130, 26: 1000}, True),
    "beside a low sample": ({3: 900, 13: -300}, False),
}
"""Heights in adu by sample, of 7 adu noise, and whether they are cosmic rays."""


@pytest.mark.parametrize("name", HITS)
def test_hits_are_dropped_if_that_cures_the_fit_and_they_are_not_alike(name):
    heights, rays = HITS[name]
    terms = no_terms(EXPOSURE)
    y = sample(np.zeros(1), EXPOSURE, terms, PEDESTAL, np.random.default_rng(2)).astype(np.float32)
    y[list(heights), 0] = PEDESTAL + np.array(list(heights.values()))
    maps, counts, darks = run_kernel(y, EXPOSURE, terms)
    left_out = np.isin(np.arange(EXPOSURE.size), list(heights)) & rays
    np.testing.assert_array_equal(counts[1], left_out)
    assert maps.n_used[0] == EXPOSURE.size - left_out.sum()
    assert bool(maps.dq[0] & kernels.JUMP_DET) == rays
    expected = ask_oracle(np.where(left_out, np.nan, y[:, 0]), darks, terms, hits=0)
    assert maps.rate[0] == pytest.approx(expected["rate"], rel=1e-6)
    assert maps.scatter[0] == pytest.approx(expected["scatter"], rel=1e-5)


LATE = {
    "both of the longest": ((8, 8, 6, 2, 0), {22: 900, 23: 1700}, False),
    "one of the longest": ((8, 8, 6, 2, 0), {23: 1700}, True),
    "the only longest": ((8, 8, 7, 1, 0), {23: 1700}, True),
    "the only one below saturation": ((8, 8, 6, 1, 1), {22: 1700, 23: LEVEL - PEDESTAL}, False),
}
"""Frames of 0, 60, 240, 500 and 1000 s, heights in adu by sample, whether those below saturation are rays."""


@pytest.mark.parametrize("name", LATE)
def test_a_pixel_that_wakes_up_late_was_not_hit(name):
    repeats, heights, rays = LATE[name]
    exposure = np.repeat([0.0, 60.0, 240.0, 500.0, 1000.0], repeats)
    y = sample(np.zeros(1), exposure, no_terms(exposure), PEDESTAL, np.random.default_rng(2))
    y[list(heights), 0] = PEDESTAL + np.array(list(heights.values()))
    maps, counts, _ = run_kernel(y.astype(np.float32), exposure, no_terms(exposure))
    np.testing.assert_array_equal(counts[1], np.isin(np.arange(24), list(heights)) & rays)
    assert bool(maps.dq[0] & kernels.JUMP_DET) == rays
    assert maps.n_used[0] == (y < LEVEL).sum() - counts[1].sum()


@pytest.mark.parametrize(("longest", "used"), [(HALF_FULL - 100, 3), (HALF_FULL + 100, 2)])
def test_a_saturated_sample_is_a_hit_if_a_longer_exposure_is_less_than_half_full(longest, used):
    exposure = np.array([0.0, 100.0, 300.0, 1000.0])
    y = PEDESTAL + (longest - PEDESTAL) * exposure[:, None] / 1000
    y[2] = 65000
    maps, counts, _ = run_kernel(y.astype(np.float32), exposure, no_terms(exposure))
    assert maps.n_used[0] == used
    assert maps.dq[0] == kernels.SATURATED
    assert counts.tolist() == [[0, 0, 1, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("bias_subtracted", [False, True], ids=["intercept", "origin"])
@pytest.mark.parametrize("gap", [False, True], ids=["plain", "with a gap"])
@pytest.mark.parametrize("times", [(0, 500, 1000), (100, 200, 500, 1000), (100, 200, 300, 700, 1000)])
def test_errors_are_those_of_repeated_darks(times, gap, bias_subtracted):
    """Of equal pixels, rate and slope_residual spread as their errors say."""
    exposure = np.repeat(np.array(times, float), 3)
    terms = no_terms(exposure, left=1e-4)
    pedestal = 0 if bias_subtracted else PEDESTAL
    y = sample(np.full(2000, 2e4), exposure, terms, pedestal, np.random.default_rng(3)).astype(np.float32)
    y[0] = np.nan if gap else y[0]
    maps, _, _ = run_kernel(y, exposure, terms, bias_subtracted=bias_subtracted)
    for pull in ((maps.rate - 20) / maps.rate_error, maps.slope_residual / maps.slope_residual_error):
        assert pull.std() == pytest.approx(1, abs=0.06)
