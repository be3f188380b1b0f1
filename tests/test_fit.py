"""The whole fit on simulated darks with known truth: pulls, threads, memory, input in every form."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import hotfit
from hotfit import kernels, simulate
from hotfit.bands import cut_bands
from hotfit.cubes import cube_darks
from hotfit.darks import open_darks
from hotfit.noise import stuck_length
from hotfit.scene import Kind

MAPS = [name for name in kernels.Maps._fields if name != "dq"] + ["dq"]
DECADES = np.logspace(-2, 2, 5)


def assert_same_maps(one, two):
    for name in MAPS:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


@pytest.fixture(scope="module")
def small():
    """A set with every kind of pixel: cube, exposures, truth and fit."""
    cube, exposure, truth = simulate.cube("guide", shape=(150, 200), seed=11, odd=20)
    return cube, exposure, truth, hotfit.fit_cube(cube, exposure)


@pytest.mark.parametrize("jitter", [0.0, 0.01], ids=["steady", "jitter"])
@pytest.mark.parametrize("camera", ["guide", "cmos"])
def test_pulls_are_standard_normal_in_every_decade(camera, jitter):
    """Four sets, no read noise given; a tail of warm pixels puts thousands into every decade."""
    full_well = 60000.0 if camera == "guide" else None
    warm = {"hot_fraction": 0.2, "hot_rate": 1.0, "hot_slope": 0.5, "max_rate": 150.0, "full_well": full_well}
    pulls, rates = [], []
    for seed in range(1, 5):
        cube, exposure, truth = simulate.cube(
            camera, shape=(400, 500), seed=seed, odd=0, jitter=jitter, **warm
        )
        fit = hotfit.fit_cube(cube, exposure, gain=truth.gain)
        assert fit.notes == (), "the darks agree with the true gain"
        pulls.append((fit.rate - truth.rate) / fit.rate_error)
        rates.append(truth.rate)
    pull, rate = np.array(pulls), np.array(rates)
    for low, high in itertools.pairwise(DECADES):
        inside = pull[(rate >= low) & (rate < high) & np.isfinite(pull)]
        assert inside.size > 8000
        lower, median, upper = np.quantile(inside, [0.1587, 0.5, 0.8413])
        assert abs(median) < 0.02, f"{low} e-/s: median {median:.3f}"
        assert (upper - lower) / 2 == pytest.approx(1, abs=0.03), f"{low} e-/s"


def test_odd_pixels_are_masked_and_linear_ones_are_not(small):
    _, _, truth, fit = small
    for kind in Kind:
        if kind is not Kind.LINEAR:
            found = fit.mask[truth.kind == kind]
            assert found.size >= 5
            assert found.mean() > 0.95, kind.name
    linear = truth.kind == Kind.LINEAR
    assert np.count_nonzero(fit.mask & linear) <= 5


def test_each_kind_has_its_reason(small):
    _, _, truth, fit = small
    reasons = {
        Kind.ROLL_OFF: "NONLINEAR",
        Kind.LATE_ONSET: "NONLINEAR",
        Kind.TELEGRAPH: "TELEGRAPH",
        Kind.STUCK: "UNRELIABLE_SLOPE",
        Kind.DEAD: "UNRELIABLE_SLOPE",
        Kind.SATURATED: "UNRELIABLE_SLOPE",
    }
    for kind, flag in reasons.items():
        flagged = (fit.dq[truth.kind == kind] & np.uint32(hotfit.DQ[flag])) != 0
        assert flagged.mean() > 0.9, kind.name


def test_cosmic_rays_are_dropped_and_their_pixels_kept():
    cube, exposure, truth = simulate.cube("guide", shape=(200, 300), seed=4, odd=0, cosmic_rate=0)
    sigma = np.sqrt(truth.read_noise**2 + truth.rate * exposure[:, None, None]) / truth.gain
    rng = np.random.default_rng(4)
    hit = np.zeros(cube.shape, bool)
    rows, columns = np.unravel_index(rng.choice(cube[0].size, 600, replace=False), cube.shape[1:])
    hit[rng.integers(exposure.size, size=600), rows, columns] = True
    struck = np.where(hit, cube + np.round(sigma * rng.uniform(9, 300, cube.shape)), cube)
    fit = hotfit.fit_cube(struck.clip(0, 65535).astype(np.uint16), exposure, gain=truth.gain)
    dropped = (fit.dq & np.uint32(hotfit.DQ.JUMP_DET)) != 0
    assert dropped[rows, columns].mean() > 0.99
    assert np.count_nonzero(dropped) <= 603
    assert fit.mask[rows, columns].mean() < 0.01
    np.testing.assert_array_equal(fit.frames["dropped"], (hit & dropped).sum(axis=(1, 2)))
    gaps = np.where(hit, np.nan, cube).astype(np.float32)
    known = hotfit.fit_cube(gaps, exposure, gain=truth.gain, saturation=fit.detector.saturation)
    off = (np.abs(fit.rate - known.rate) / fit.rate_error)[rows, columns]
    assert np.quantile(off, 0.98) < 0.1, "as if the hit samples had never been there"


def with_charge(cube, charge, gain):
    """The cube with that charge, (N, rows, columns) in e-, added to it."""
    return (cube + np.round(charge / gain)).clip(0, 65535).astype(np.uint16)


def has(fit, flag):
    return (fit.dq & np.uint32(hotfit.DQ[flag])) != 0


@pytest.mark.parametrize(
    ("exposures", "repeats"),
    [((0, 90, 300, 1000), 8), ((0, 10, 30, 60, 120, 240, 500, 1000), 1)],
    ids=["replicates", "single frames"],
)
def test_tracks_of_cosmic_rays_are_dropped_in_every_pixel(exposures, repeats):
    """In one frame of every exposure 15 pixels in a row are hit."""
    cube, exposure, truth = simulate.cube(
        "guide", shape=(120, 160), seed=6, odd=0, cosmic_rate=0, exposures=exposures, repeats=repeats
    )
    rng = np.random.default_rng(6)
    charge = np.zeros(cube.shape)
    for number in range(len(exposures)):
        frame, row, column = number * repeats + rng.integers(repeats), 10 + 12 * number, rng.integers(145)
        charge[frame, row, column : column + 15] = rng.uniform(800, 3000, 15)
    fit = hotfit.fit_cube(with_charge(cube, charge, truth.gain), exposure)
    hit = charge > 0
    track = hit.any(axis=0)
    assert has(fit, "JUMP_DET")[track].all()
    assert (fit.n_used[track] == exposure.size - 1).all()
    assert not fit.mask[track].any()
    others = fit.frames["dropped"] - hit.sum(axis=(1, 2))
    assert others.min() == 0
    assert others.sum() == np.count_nonzero(has(fit, "JUMP_DET")[~track]) <= 2


def test_two_hits_are_dropped_and_two_levels_are_not():
    """Two of 30 samples are high, in 40 pixels by different amounts, in 40 others by the same."""
    cube, exposure, truth = simulate.cube(
        "guide", shape=(150, 200), seed=5, odd=0, cosmic_rate=0, exposures=(0, 300, 1000), repeats=10
    )
    rng = np.random.default_rng(5)
    charge = np.zeros((exposure.size, cube[0].size))
    rays, levels = rng.choice(cube[0].size, (2, 40), replace=False)
    for pixel in rays:
        first, last = rng.integers(10), rng.integers(20, 30)
        charge[[first, last], pixel] = rng.permutation([rng.uniform(800, 1500), rng.uniform(2000, 3000)])
    for pixel in levels:
        height = rng.poisson(rng.uniform(800, 10000), 2)
        charge[rng.choice(exposure.size, 2, replace=False), pixel] = height
    fit = hotfit.fit_cube(with_charge(cube, charge.reshape(cube.shape), truth.gain), exposure)
    assert has(fit, "JUMP_DET").flat[rays].all()
    assert (fit.n_used.flat[rays] == 28).all()
    assert not fit.mask.flat[rays].any()
    assert not has(fit, "JUMP_DET").flat[levels].any()
    assert has(fit, "TELEGRAPH").flat[levels].all()
    assert fit.mask.flat[levels].all()
    assert np.count_nonzero(has(fit, "JUMP_DET")) <= 40 + 3


def test_saturated_pixels_use_their_unsaturated_exposures_alone():
    exposure = np.repeat([0.0, 10.0, 30.0, 100.0], 4)
    rng = np.random.default_rng(1)
    rate = np.full((40, 50), 0.5)
    rate[:, :5] = 1000.0
    y = np.minimum(1000 + rng.poisson(rate * exposure[:, None, None]) + rng.normal(0, 5, (16, 40, 50)), 62000)
    fit = hotfit.fit_cube(np.round(y).astype(np.uint16), exposure, gain=1.0)
    assert fit.detector.saturation == pytest.approx(62000, rel=0.02)
    np.testing.assert_array_equal(fit.n_groups[:, :5], 3)
    np.testing.assert_array_equal((fit.dq & np.uint32(hotfit.DQ.SATURATED)) != 0, rate > 100)
    np.testing.assert_allclose(fit.rate[:, :5], 1000, rtol=0.01)
    assert fit.frames["saturated"].tolist() == [0] * 12 + [200] * 4


def test_frames_in_any_order_give_the_same_maps(small):
    cube, exposure, _, fit = small
    order = np.random.default_rng(0).permutation(exposure.size)
    shuffled = hotfit.fit_cube(cube[order], exposure[order])
    np.testing.assert_allclose(shuffled.rate, fit.rate, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(shuffled.mask, fit.mask)


def test_any_number_of_threads_gives_the_same_bits(small):
    cube, exposure, _, fit = small
    assert_same_maps(hotfit.fit_cube(cube, exposure, workers=1), fit)
    assert_same_maps(hotfit.fit_cube(cube, exposure, workers=8), fit)


def test_eight_fits_at_once_give_the_same_bits(small):
    cube, exposure, _, fit = small
    with ThreadPoolExecutor(8) as pool:
        for other in pool.map(lambda _: hotfit.fit_cube(cube, exposure, workers=2), range(8)):
            assert_same_maps(other, fit)


def test_files_ccddata_and_cube_give_the_same_bits(tmp_path):
    changes = {"shape": (60, 80), "seed": 2, "repeats": 3}
    cube, exposure, _ = simulate.cube("guide", **changes)
    gain = simulate.CAMERAS["guide"].gain
    fit = hotfit.fit_cube(cube, exposure, gain=gain)
    frames, _ = simulate.darks("guide", **changes)
    assert_same_maps(hotfit.fit_darks(frames, gain=gain), fit)
    simulate.write(tmp_path / "darks", "guide", **changes)
    assert_same_maps(hotfit.fit_darks(tmp_path / "darks", gain=gain), fit)
    assert_same_maps(hotfit.fit_darks(str(tmp_path / "darks" / "*_*.fits"), gain=gain, memory=0.2), fit)


def test_bands_fit_in_memory_and_cover_all_rows():
    cube, exposure, _ = simulate.cube("guide", shape=(100, 80), repeats=2)
    darks = cube_darks(cube, exposure)
    for workers, memory in ((1, 1e3), (2, 0.05), (3, 0.0052 * 3)):
        bands = cut_bands(darks, workers, memory)
        assert [row for band in bands for row in range(*band)] == list(range(100))
        height = max(last - first for first, last in bands)
        assert workers * height * 80 * exposure.size * 2 <= memory * 1e6
    with pytest.raises(hotfit.HotfitError, match=r"memory=0\.001 MB"):
        cut_bands(darks, 1, 0.001)


def test_progress_counts_every_row(small):
    cube, exposure, _, _ = small
    seen = []
    hotfit.fit_cube(cube, exposure, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (150, 150)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_missing_samples_are_left_out(small):
    cube, exposure, _, fit = small
    gaps = cube.astype(np.float32)
    gaps[3, 10, 10] = np.nan
    masked = np.ma.masked_array(cube, np.isnan(gaps))
    for other in (
        hotfit.fit_cube(gaps, exposure, saturation=6e4),
        hotfit.fit_cube(masked, exposure, saturation=6e4),
    ):
        assert other.n_used[10, 10] == exposure.size - 1
        assert other.n_used[10, 11] == exposure.size
        assert abs(other.rate[10, 10] - fit.rate[10, 10]) < 3 * fit.rate_error[10, 10]


def test_combined_frames_weigh_by_their_number():
    """The mean of four frames, called four, gives the rate error of the four."""
    cube, exposure, truth = simulate.cube(
        "guide", shape=(100, 120), seed=8, odd=0, cosmic_rate=0, repeats=8, jitter=0
    )
    given = {"gain": truth.gain, "read_noise": truth.read_noise}
    single = hotfit.fit_cube(cube, exposure, **given)
    means = cube.reshape(-1, 4, 100, 120).mean(axis=1, dtype=np.float64).astype(np.float32)
    several = hotfit.fit_cube(
        means, exposure[::4], n_combined=np.full(len(means), 4), saturation=6e4, **given
    )
    np.testing.assert_allclose(np.median(several.rate_error), np.median(single.rate_error), rtol=0.01)
    assert several.lack_of_fit_null == pytest.approx(1, abs=0.05)
    assert several.scatter_null == pytest.approx(1, abs=0.05)


def test_the_guides_two_combined_darks_through_the_origin_are_tested():
    """90 s of 10 and 1000 s of 20 frames, bias-subtracted: one degree of freedom, and it finds a roll-off."""
    rng = np.random.default_rng(5)
    exposure, n = np.array([90.0, 1000.0]), np.array([10, 20])
    rate = np.full((100, 100), 0.05)
    rate[:2] = 20.0
    signal = rate * exposure[:, None, None]
    signal[1, 0] *= 0.5
    sigma = np.sqrt((10.0**2 + signal * 1.5) / n[:, None, None]) / 1.5
    cube = (signal / 1.5 + rng.normal(0, sigma)).astype(np.float32)
    fit = hotfit.fit_cube(
        cube, exposure, n_combined=n, bias_subtracted=True, gain=1.5, read_noise=10.0, saturation=6e4
    )
    nonlinear = (fit.dq & np.uint32(hotfit.DQ.NONLINEAR)) != 0
    assert nonlinear[0].all()
    assert np.count_nonzero(nonlinear[1:]) == 0
    assert np.all(fit.slope_residual[0] < -0.3)
    np.testing.assert_array_equal(fit.intercept, 0)


def test_two_exposures_without_replicates_give_a_rate_and_no_test():
    cube, exposure, _ = simulate.cube("guide", shape=(60, 80), exposures=(0, 1000), repeats=1, drift=0)
    fit = hotfit.fit_cube(cube, exposure)
    assert np.isnan(fit.lack_of_fit_null)
    assert np.isnan(fit.scatter_null)
    assert np.isfinite(fit.rate).mean() > 0.99
    assert any("spread of the pixels" in note for note in fit.notes)


@pytest.mark.parametrize("exposure", [[60.0, 60.0, 60.0], [0.0, 0.0, 0.0], [60.0, 60.1, 60.2]])
def test_one_exposure_time_is_refused(exposure):
    with pytest.raises(hotfit.HotfitError, match="two exposure times"):
        hotfit.fit_cube(np.ones((3, 4, 4), np.uint16), exposure)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"gain": -1.0}, "gain=-1.0"),
        ({"read_noise": 0.0}, "read_noise=0.0"),
        ({"saturation": float("nan")}, "saturation=nan"),
        ({"saturation": 500.0}, "saturation"),
        ({"fdr": 2.0}, "fdr=2.0"),
        ({"bad": ("WARM",)}, "WARM"),
        ({"workers": -1}, "workers=-1"),
        ({"workers": 1.5}, "workers=1.5"),
    ],
)
def test_nonsense_is_refused_by_name(small, arguments, named):
    cube, exposure, _, _ = small
    with pytest.raises(hotfit.HotfitError, match=named):
        hotfit.fit_cube(cube, exposure, **arguments)


def test_stuck_length_is_beyond_chance():
    assert stuck_length(0.0, 7.0, 10**6) == 3
    noise, step, pixels = 3.0, 16.0, 10**6
    length = stuck_length(step, noise, pixels)
    rng = np.random.default_rng(0)
    share = np.mean(np.ptp(np.round(rng.normal(0, noise, (10**5, 8)) / step), axis=1) == 0)
    assert share > 0.9, "a coarse converter repeats itself"
    assert length > 100
    assert stuck_length(1.0, 7.0, pixels) < 12


def test_an_open_set_can_be_fitted_again(tmp_path):
    simulate.write(tmp_path / "darks", "guide", shape=(40, 50), repeats=3)
    with open_darks(tmp_path / "darks") as darks:
        first = hotfit.fit_darks(darks)
        assert_same_maps(hotfit.fit_darks(darks), first)
        with pytest.raises(hotfit.HotfitError, match="read already"):
            hotfit.fit_darks(darks, exposure_key="ITIME")
        for said in ({"ext": 0}, {"temperature_tolerance": 0.0}, {"mixed": "GAIN"}, {"trim": "[1:9]"}):
            with pytest.raises(hotfit.HotfitError, match="read already"):
                hotfit.fit_darks(darks, **said)
        assert_same_maps(hotfit.fit_darks(darks, mixed=[]), first)
        with pytest.raises(hotfit.HotfitError, match="memory=nan"):
            hotfit.fit_darks(darks, memory=float("nan"))
    assert first.detector.gain_source == "unknown"
    assert any(
        "header EGAIN = 1.5 e-/adu is not used: the darks hold too few" in note for note in first.notes
    )


def test_whole_numbers_in_floats_know_their_step_and_ceiling():
    cube, exposure, _ = simulate.cube("guide", shape=(60, 80), repeats=3, seed=6)
    whole, floats = (hotfit.fit_cube(frames, exposure) for frames in (cube, cube.astype(np.int32)))
    assert floats.detector == whole.detector
    np.testing.assert_array_equal(floats.mask, whole.mask)


def test_replicates_without_charge_do_not_make_up_a_gain():
    cube, exposure, _ = simulate.cube("guide", shape=(60, 80), exposures=(0, 1000), repeats=(5, 1), odd=0)
    fit = hotfit.fit_cube(cube, exposure)
    assert np.isnan(fit.detector.gain)
    assert str(fit.unit) == "adu / s"


def test_a_pedestal_is_not_taken_for_dark_current():
    cube, exposure, _ = simulate.cube("guide", shape=(60, 80), exposures=(90, 1000), repeats=3)
    with pytest.raises(hotfit.HotfitError, match="pedestal"):
        hotfit.fit_cube(cube, exposure, bias_subtracted=True)


def test_copies_and_empty_frames_are_refused_by_name():
    cube, exposure, _ = simulate.cube("guide", shape=(30, 40), repeats=2)
    with pytest.raises(hotfit.HotfitError, match="do not differ"):
        hotfit.fit_cube(np.repeat(cube[:1], len(cube), axis=0), exposure)
    gap = cube.astype(np.float32)
    gap[2] = np.nan
    with pytest.raises(hotfit.HotfitError, match="frame 3: holds no valid sample"):
        hotfit.fit_cube(gap, exposure)
    zero = cube.astype(np.float32)
    zero[0] = 0
    with pytest.raises(hotfit.HotfitError, match="frame 1: holds 0 adu in all pixels"):
        hotfit.fit_cube(zero, exposure, bias_subtracted=True)
    with pytest.raises(hotfit.HotfitError, match="1 x 2 pixels are too few"):
        hotfit.fit_cube(cube[:, :1, :2], exposure)


def test_more_exposures_than_a_byte_counts():
    exposure = np.repeat(100 * 1.006 ** np.arange(260), 2)
    rng = np.random.default_rng(0)
    cube = (1000 + exposure[:, None, None] * 0.1 + rng.normal(0, 7, (520, 12, 15))).astype(np.uint16)
    fit = hotfit.fit_cube(cube, exposure, gain=1.5)
    assert (fit.n_groups == 260).all()
    assert not fit.mask.any()
