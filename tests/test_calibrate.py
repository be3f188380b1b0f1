"""Detector and frame terms against simulated truth: saturation.py, noise.py, terms.py, calibrate.py."""

import numpy as np
import pytest

from hotfit import simulate
from hotfit.calibrate import calibrate
from hotfit.cubes import cube_darks
from hotfit.errors import HotfitError
from hotfit.noise import fit_variance, standard_errors, trimmed_variance
from hotfit.robust import median, robust_sigma
from hotfit.samples import sample_rows
from hotfit.saturation import (
    below,
    ceiling,
    converter_step,
    exceed,
    find_plateaus,
    pedestal_and_width,
    saturation_level,
)


@pytest.fixture(scope="module", params=["guide", "cmos"])
def set_with_truth(request):
    cube, exposure, truth = simulate.cube(request.param, shape=(600, 700), seed=9)
    return calibrate(cube_darks(cube, exposure)), truth


def test_gain_and_read_noise(set_with_truth):
    calibration, truth = set_with_truth
    detector = calibration.detector
    assert detector.gain == pytest.approx(truth.gain, rel=0.05)
    assert detector.gain_source == "darks"
    in_adu = detector.read_noise / detector.gain
    assert in_adu == pytest.approx(truth.read_noise / truth.gain, rel=0.02)
    assert detector.step == truth.camera.step
    assert calibration.noise.read == pytest.approx(in_adu**2 + detector.step**2 / 12)


def test_offsets_and_scales(set_with_truth):
    calibration, truth = set_with_truth
    timed = truth.exposure > 0
    noise = truth.read_noise / truth.gain
    assert np.std(truth.offset) > 1
    assert np.std(calibration.offset - truth.offset) < 0.015 * noise
    assert np.std(calibration.offset - truth.offset) < 3 * np.median(calibration.offset_error)
    assert np.median(calibration.offset_error) < 0.01 * noise
    assert np.std(truth.scale[timed]) > 0.005
    assert np.std((calibration.scale - truth.scale)[timed]) < 0.003
    np.testing.assert_array_equal(calibration.scale[~timed], 1)


def test_gauge_of_the_frame_terms(set_with_truth):
    calibration, truth = set_with_truth
    assert np.mean(calibration.offset) == pytest.approx(0, abs=1e-6)
    assert np.polyfit(truth.exposure, calibration.offset, 1)[0] == pytest.approx(0, abs=1e-9)
    assert np.average(calibration.scale, weights=truth.exposure) == pytest.approx(1)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("camera", ["guide", "cmos"])
def test_saturation_level_is_just_below_the_lowest_well_reached(camera, seed):
    cube, exposure, truth = simulate.cube(camera, shape=(300, 400), seed=seed, odd=0, hot_fraction=0.005)
    level = calibrate(cube_darks(cube, exposure)).detector.saturation
    full = cube[-1] >= truth.full_well
    assert np.count_nonzero(full) > 15
    assert level == pytest.approx(truth.full_well[full].min(), rel=0.03)
    assert level < truth.full_well[full].min()


@pytest.mark.parametrize("level", [0.5, 7, 7.25, 65534.5, 65535, 1e6, np.inf])
def test_whole_numbers_are_compared_as_floats_are(level):
    counts = np.array([0, 1, 6, 7, 8, 65534, 65535], np.uint16)
    np.testing.assert_array_equal(exceed(counts, level), counts.astype(float) > level)
    np.testing.assert_array_equal(below(counts, level), counts.astype(float) < level)


@pytest.mark.parametrize("size", [1, 2, 999, 1000])
def test_pedestal_and_width_of_counts_are_those_of_floats(size):
    counts = np.random.default_rng(size).poisson(300, size).astype(np.uint16)
    floats = counts.astype(np.float32)
    assert pedestal_and_width(counts) == pedestal_and_width(floats) == (median(floats), robust_sigma(floats))


def test_threads_change_no_bit():
    cube, exposure, _ = simulate.cube("guide", shape=(300, 400), seed=4)
    one, two, many = (calibrate(cube_darks(cube, exposure), workers=n) for n in (1, 2, 7))
    for other in (two, many):
        assert repr((other.detector, other.noise, other.notes)) == repr((one.detector, one.noise, one.notes))
        for name in ("offset", "offset_error", "scale", "scale_error", "left"):
            np.testing.assert_array_equal(getattr(other, name), getattr(one, name))


def test_without_hot_pixels_every_scale_is_one():
    cube, exposure, _ = simulate.cube("guide", shape=(60, 80), odd=0, hot_fraction=0, repeats=3)
    np.testing.assert_array_equal(calibrate(cube_darks(cube, exposure)).scale, 1)


def test_rows_with_the_brightest_pixels_are_sampled(monkeypatch):
    monkeypatch.setattr("hotfit.samples.SAMPLES", 4 * 50 * 20)
    cube = np.full((4, 200, 50), 1000, np.uint16)
    cube += np.arange(200, dtype=np.uint16)[None, :, None]
    cube[:, 77, :3] = 50000
    values = sample_rows(cube_darks(cube, [0, 0, 100, 100]))
    assert values.shape[1] <= 20 * 50
    assert values.max() == 50000
    assert {1000, 1199} <= set(np.unique(values)), "rows are spread over the frame too"


@pytest.mark.parametrize("step", [1, 4, 16])
def test_converter_step(step):
    values = (step * np.random.default_rng(0).integers(60, 4000 // step, (3, 500))).astype(np.float32)
    assert converter_step(values) == step
    assert converter_step(values + 3) == step


@pytest.mark.parametrize(
    ("top", "step", "expected"),
    [
        (4095, 1, 4095),
        (16383, 1, 16383),
        (65535, 1, 65535),
        (65520, 16, 65520),
        (65532, 4, 65532),
        (3000, 1, 65535),
    ],
)
def test_ceiling(top, step, expected):
    assert ceiling(top, step) == expected


def plateau_set(wells, exposure, rate, roll_off=False):
    """Samples (N, P) of 1000 quiet pixels and one hot one for each well."""
    rng = np.random.default_rng(2)
    exposure = np.asarray(exposure, float)
    quiet = 1000 + rng.normal(0, 7, (exposure.size, 1000))
    signal = rate * exposure[:, None] * np.ones(len(wells))
    if roll_off:
        signal = np.asarray(wells) * (1 - np.exp(-signal / np.asarray(wells)))
    hot = np.minimum(1000 + signal, wells) + rng.normal(0, 50, signal.shape)
    return np.concatenate([quiet, hot], axis=1).astype(np.float32)


EXPOSURE = np.repeat([0.0, 10.0, 30.0, 60.0, 120.0], 3)
GROUP = np.repeat(np.arange(5), 3)
TIMES = np.unique(EXPOSURE)


def test_plateaus_are_found_pixel_by_pixel():
    wells = np.linspace(61000, 64000, 20)
    values = plateau_set(wells, EXPOSURE, 3000.0)
    found = find_plateaus(values, GROUP, TIMES)
    np.testing.assert_allclose(np.sort(found), wells, atol=150)
    assert saturation_level(values, GROUP, TIMES, 1.0) == pytest.approx(0.99 * 61000, rel=0.005)


def test_wells_reached_in_the_longest_exposure_alone():
    wells = np.linspace(61000, 64000, 20)
    values = plateau_set(wells, EXPOSURE, np.linspace(700, 1500, 20)[None])
    assert saturation_level(values, GROUP, TIMES, 1.0) == pytest.approx(0.99 * 61000, rel=0.02)


def test_a_well_reached_once_shows_in_samples_that_agree():
    """One pixel stops at the same number in all samples of the longest exposure, just short of its line."""
    exposure, group = np.repeat([0.0, 30.0, 120.0], 6), np.repeat(np.arange(3), 6)
    values = plateau_set([65000.0] * 30, exposure, np.linspace(300, 550, 30)[None])
    assert saturation_level(values, group, np.unique(exposure), 1.0) == 65535
    values[12:, -1] = 60000
    assert saturation_level(values, group, np.unique(exposure), 1.0) == pytest.approx(0.99 * 60000)
    values[:, -2] = 40000
    assert saturation_level(values, group, np.unique(exposure), 1.0) == pytest.approx(0.99 * 60000), "stuck"


def test_a_few_roll_offs_are_no_saturation():
    values = plateau_set([30000.0, 45000.0], EXPOSURE, 700.0, roll_off=True)
    assert saturation_level(values, GROUP, TIMES, 1.0) == 65535


def test_a_cosmic_ray_is_no_plateau():
    values = plateau_set([], EXPOSURE, 0.0)
    values[4, 3] = 60000
    assert saturation_level(values, GROUP, TIMES, 1.0) == 65535
    assert saturation_level(values, GROUP, TIMES, 0.0) == np.inf


def test_trimmed_variance_of_clean_and_of_spoiled_squares():
    rng = np.random.default_rng(1)
    for freedom in (1, 4, 9):
        squares = 49 * rng.chisquare(freedom, 50_000)
        assert trimmed_variance(squares, freedom) == pytest.approx(49, rel=0.02)
        squares[:2500] += 1e6
        assert trimmed_variance(squares, freedom) == pytest.approx(49, rel=0.04)


def test_fit_variance_lets_go_of_unstable_bins():
    charge = np.geomspace(1, 20000, 40)
    true = 49 + charge / 1.5 + (0.002 * charge) ** 2
    variance = true * (1 + np.random.default_rng(3).normal(0, 0.01, 40))
    variance[-6:] *= 30
    (read, _), (shot, shot_error) = fit_variance(charge, variance, np.full(40, 2000))
    assert read == pytest.approx(49, rel=0.03)
    assert shot == pytest.approx(1 / 1.5, rel=0.05)
    assert abs(shot - 1 / 1.5) < 4 * shot_error


@pytest.mark.parametrize("seed", range(20))
def test_errors_of_parameters_that_are_hardly_seen(seed):
    """The inverse of the normal matrix would have negative variances by rounding."""
    bins = np.array([[-29, 0, 0], [-5e-7, -2e-14, 0], [-5e-7, -6e-14, -8e-16], [-35, -1.5e-5, 0]])
    jacobian = bins * (1 + 0.1 * np.random.default_rng(seed).normal(size=bins.shape))
    errors = standard_errors(jacobian)
    assert 1 / np.linalg.norm(jacobian[:, 0]) <= errors[0] < 0.05
    assert (errors[1:] == np.inf).all()


def test_errors_of_parameters_that_are_not_seen_at_all():
    assert (standard_errors(np.zeros((4, 3))) == np.inf).all()


def test_fit_variance_of_a_curve_that_bends_down():
    """As where hits spoil the hottest pixels: no variance below zero is tried (warnings are errors)."""
    charge = np.array([4.285, -2.819, -6.857, 8.782, 33.011, 100.861, 19.277, 116.613, 352.201])
    variance = np.array([53.838, 55.199, 46.028, 49.336, 60.279, 56.379, 62.845, 25378.845, 31368.629])
    (read, _), (shot, _) = fit_variance(charge, variance, np.array([21600.0, 360.0, 387.0] * 3))
    assert read > 0
    assert shot > 0


@pytest.mark.parametrize("camera", ["guide", "cmos"])
@pytest.mark.parametrize(
    ("exposures", "repeats"),
    [((0.0, 90.0, 300.0), (4, 4, 4)), ((0.0, 300.0), (1, 5)), ((0.0, 30.0, 90.0, 180.0, 300.0), 1)],
    ids=["12 frames", "replicates of one exposure", "single frames"],
)
def test_gain_and_noise_of_small_sets(camera, exposures, repeats):
    """Few frames and few warm pixels: no bias beyond their errors."""
    cube, exposure, truth = simulate.cube(
        camera, shape=(600, 700), seed=3, exposures=exposures, repeats=repeats, hot_fraction=0.002
    )
    detector = calibrate(cube_darks(cube, exposure)).detector
    assert detector.gain == pytest.approx(truth.gain, rel=0.1)
    assert detector.read_noise / detector.gain == pytest.approx(truth.read_noise / truth.gain, rel=0.05)


def test_a_given_noise_that_the_darks_contradict_is_used_and_told():
    cube, exposure, truth = simulate.cube("guide", shape=(300, 400), repeats=3, hot_fraction=0.01)
    darks = cube_darks(cube, exposure)
    wrong = calibrate(darks, gain=2 * truth.gain, read_noise=4 * truth.read_noise)
    assert (wrong.detector.gain, wrong.detector.read_noise) == (2 * truth.gain, 4 * truth.read_noise)
    assert len(wrong.notes) == 2
    assert wrong.excess == pytest.approx(0.25, rel=0.05)
    right = calibrate(darks, gain=truth.gain, read_noise=truth.read_noise)
    assert right.notes == ()
    assert right.excess == pytest.approx(1, abs=0.05)


def test_no_false_plateaus_in_a_ladder_of_single_frames():
    """Rates promised by noise over a second are not rates."""
    rng = np.random.default_rng(5)
    exposure = np.concatenate([np.arange(1.0, 17.0), [600.0, 1200.0]])
    values = 1000 + rng.normal(0, 7, (18, 20000)) + 0.05 * exposure[:, None]
    values[-1, :30] += 3000
    group = np.arange(18)
    assert find_plateaus(values.astype(np.float32), group, exposure).size == 0


def test_gaps_in_many_samples_leave_enough_pixels():
    cube, exposure, truth = simulate.cube("guide", shape=(300, 400), repeats=4, hot_fraction=0.01)
    holed = np.where(np.random.default_rng(0).random(cube.shape) < 0.15, np.nan, cube).astype(np.float32)
    calibration = calibrate(cube_darks(holed, exposure))
    assert calibration.detector.read_noise == pytest.approx(truth.read_noise, rel=0.1)


def test_frames_scaled_to_one_are_refused_beside_counts():
    cube, exposure, _ = simulate.cube("guide", shape=(40, 50), repeats=2, seed=1)
    cube = cube.astype(np.float32)
    cube[3] /= 65535
    with pytest.raises(HotfitError, match=r"frame 4: holds numbers up to .*, others counts up to"):
        calibrate(cube_darks(cube, exposure))


def test_copies_with_gaps_are_copies():
    cube = np.tile(np.random.default_rng(0).normal(1000, 7, (40, 50)).astype(np.float32), (6, 1, 1))
    cube[:, 3, 4] = np.nan
    with pytest.raises(HotfitError, match="do not differ"):
        calibrate(cube_darks(cube, [0, 0, 0, 9, 9, 9]))


def test_many_missing_samples_are_told():
    cube, exposure, _ = simulate.cube("guide", shape=(60, 80), repeats=3, seed=1)
    cube = cube.astype(np.float32)
    cube[4, :3] = np.nan
    (note,) = [note for note in calibrate(cube_darks(cube, exposure)).notes if "missing" in note]
    assert note == "frame 5 (0.05): this part of the samples is missing"
    cube[4, :3] = np.inf  # beyond the converter, hence known
    assert not any("missing" in note for note in calibrate(cube_darks(cube, exposure)).notes)
    cube[4, 0, 0] = 3e30
    with pytest.raises(HotfitError, match=r"frame 5: holds 3e\+30 adu, which are no counts"):
        calibrate(cube_darks(cube, exposure))
