"""The simulator keeps its word: what `Truth` says is what the frames show."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import Table

from hotfit import scene, simulate
from hotfit.errors import HotfitError
from hotfit.simulate import CMOS, GUIDE, Kind

SMALL = {"shape": (48, 64), "repeats": 2, "odd": 100, "cosmic_rate": 1.0, "seed": 5}
QUIET = {"odd": 0, "cosmic_rate": 0}


@pytest.fixture(scope="module")
def odd_darks():
    """A frame with hundreds of every odd kind and no cosmic rays."""
    fractions = dict.fromkeys(("roll_off", "late_onset", "telegraph", "stuck", "dead", "saturated"), 0.01)
    return simulate.cube("guide", shape=(200, 200), repeats=12, cosmic_rate=0, drift=0, seed=2, **fractions)


def samples(cube, truth, kind):
    """(N, pixels) float64 samples of all pixels of that kind."""
    return cube[:, truth.kind == kind].astype(float)


def levels(cube, exposure):
    """(exposures, pixels) means of the frames of equal exposure."""
    return np.array([cube[exposure == seconds].mean(axis=0) for seconds in np.unique(exposure)])


@pytest.mark.parametrize("camera", ["guide", "cmos"])
def test_cube_darks_and_files_hold_the_same_bits(camera, tmp_path):
    cube, exposure, truth = simulate.cube(camera, **SMALL)
    frames, _ = simulate.darks(camera, **SMALL)
    paths, written = simulate.write(tmp_path / "set", camera, **SMALL)
    again, _, _ = simulate.cube(camera, **SMALL)
    other, _, _ = simulate.cube(camera, **{**SMALL, "seed": 6})

    assert cube.dtype == np.uint16
    np.testing.assert_array_equal(again, cube)
    assert (other != cube).any(axis=(1, 2)).all()
    assert truth.hits.any()
    np.testing.assert_array_equal(written.hits, truth.hits)
    for i, (frame, path) in enumerate(zip(frames, paths, strict=True)):
        assert isinstance(frame, CCDData)
        assert frame.unit == "adu"
        np.testing.assert_array_equal(frame.data, cube[i])
        np.testing.assert_array_equal(fits.getdata(path), cube[i])
        assert frame.meta["EXPTIME"] == fits.getval(path, "EXPTIME") == exposure[i]


def test_a_frame_does_not_depend_on_the_frames_after_it():
    # Frame terms are left out: their gauge is shared by the whole set.
    alike = {**SMALL, "jitter": 0, "drift": 0, "repeats": 1}
    short, _, _ = simulate.cube("guide", exposures=(0, 1000), **alike)
    long, _, _ = simulate.cube("guide", exposures=(0, 1000, 50), **alike)
    np.testing.assert_array_equal(short, long[:2])


@pytest.mark.parametrize("camera", ["guide", "cmos"])
def test_cold_pixels_have_the_mean_and_variance_of_the_model(camera):
    cube, exposure, truth = simulate.cube(camera, shape=(150, 200), seed=3, **QUIET)
    cold = truth.rate < 0.5
    expected = [
        truth.intercept + offset + truth.rate * scale * seconds / truth.gain
        for seconds, offset, scale in zip(exposure, truth.offset, truth.scale, strict=True)
    ]
    residual = (cube - np.array(expected))[:, cold]
    quantisation = truth.camera.step**2 / 12
    for i, seconds in enumerate(exposure):
        shot = truth.rate[cold].mean() * truth.scale[i] * seconds
        variance = (truth.read_noise**2 + shot) / truth.gain**2 + quantisation
        # 5 sigmas of the mean and of the variance of as many samples.
        assert abs(residual[i].mean()) < 5 * np.sqrt(variance / cold.sum())
        assert residual[i].var() == pytest.approx(variance, rel=5 * np.sqrt(2.5 / cold.sum()))


def test_shot_noise_of_warm_pixels_gives_the_gain():
    # From faint Poisson to bright Gaussian charge: 20 to 2000 electrons.
    for rate in (0.2, 0.6, 20.0):
        settings = {"median_rate": rate, "rate_sigma": 0, "hot_fraction": 0, "readout_time": 0, "jitter": 0}
        cube, _, truth = simulate.cube(
            "guide",
            shape=(200, 200),
            exposures=(100,),
            repeats=2,
            drift=0,
            read_noise=0.5,
            **settings,
            **QUIET,
        )
        difference = cube[0].astype(float) - cube[1]
        shot = difference.var() / 2 - 1 / 12 - (truth.read_noise / truth.gain) ** 2
        assert rate * 100 / truth.gain / shot == pytest.approx(truth.gain, rel=0.04)


def test_faint_charge_is_poisson_not_gaussian():
    rng = np.random.default_rng(1)
    charge = np.full(200_000, 4, np.float32)
    scene._add_noise(charge, np.zeros_like(charge), 0, rng)
    assert charge.min() == 0
    np.testing.assert_array_equal(charge, np.rint(charge))
    assert np.mean((charge - 4) ** 3) == pytest.approx(4, rel=0.1)


def test_frame_terms_are_in_the_documented_gauge():
    truth = scene.draw_truth(replace(GUIDE, shape=(1, 1), repeats=400), 4)
    assert abs(truth.offset.mean()) < 1e-9
    assert abs(np.polyfit(truth.exposure, truth.offset, 1)[0]) < 1e-12
    assert np.average(truth.scale, weights=truth.exposure) == pytest.approx(1, abs=1e-12)
    assert truth.offset.std() == pytest.approx(GUIDE.drift, rel=0.1)
    assert truth.scale.std() == pytest.approx(GUIDE.jitter, rel=0.1)
    doubled = 2 ** ((truth.temperature - GUIDE.set_temperature) / scene.KELVIN_PER_DOUBLING)
    np.testing.assert_allclose(doubled, truth.scale)


def test_two_frames_have_no_offsets_and_bias_alone_works():
    assert (
        np.abs(scene.draw_truth(replace(GUIDE, shape=(1, 1), repeats=1, exposures=(9, 90)), 0).offset).max()
        < 1e-9
    )
    _, _, truth = simulate.cube("guide", shape=(8, 8), exposures=(0,), repeats=3, odd=1000)
    assert truth.offset.any()
    assert truth.scale.mean() == pytest.approx(1)


def test_hot_pixels_show_the_frame_scale():
    cube, exposure, truth = simulate.cube("guide", shape=(100, 100), jitter=0.05, hot_fraction=0.05, **QUIET)
    hot = (truth.rate > 20) & (truth.rate < 60)
    dark = (cube - truth.intercept)[:, hot].mean(axis=1) * truth.gain / truth.rate[hot].mean()
    long = exposure == 1000
    np.testing.assert_allclose(dark[long] / 1000, truth.scale[long], atol=0.002)


def test_hot_pixels_are_as_many_as_in_the_guide():
    truth = scene.draw_truth(replace(GUIDE, shape=(2048, 2048)), 7)
    hot = np.mean(truth.rate[truth.kind == Kind.LINEAR] > 4)
    assert hot == pytest.approx(2.6e-4, rel=0.12)
    assert 0.03 < np.median(truth.rate) < 0.05
    assert truth.rate.max() <= GUIDE.max_rate


def test_readout_charge_raises_the_intercept_with_rate_and_row():
    truth = scene.draw_truth(replace(GUIDE, shape=(200, 200), bias_spread=0, hot_fraction=0.05), 0)
    row = np.arange(200)[:, None] + 0.5
    charge = (truth.intercept - GUIDE.bias) * truth.gain
    wanted = truth.rate * GUIDE.readout_time * row / 200
    linear = truth.kind == Kind.LINEAR
    assert wanted[linear].max() > 100
    np.testing.assert_allclose(charge[linear], wanted[linear], atol=1e-3, rtol=1e-5)


def test_kinds_are_as_frequent_as_the_camera_says():
    camera = replace(
        GUIDE, shape=(500, 500), roll_off=0.01, late_onset=0.02, telegraph=0.03, stuck=0, saturated=0
    )
    truth = scene.draw_truth(camera, 0)
    count = np.bincount(truth.kind.ravel(), minlength=7)
    assert count[1:].tolist() == [2500, 5000, 7500, 0, 5, 0]
    assert not simulate.cube("guide", shape=(50, 50), repeats=1, **QUIET)[2].kind.any()
    np.testing.assert_array_equal(np.sort(truth.odd["pixel"]), np.flatnonzero(truth.kind))


def test_roll_off_is_concave_and_starts_at_its_rate(odd_darks):
    cube, exposure, truth = odd_darks
    mean = levels(samples(cube, truth, Kind.ROLL_OFF), exposure)
    rate, intercept = (a[truth.kind == Kind.ROLL_OFF] for a in (truth.rate, truth.intercept))
    assert rate.size == 400
    assert rate.min() >= 5
    slope = np.diff(mean, axis=0) / np.diff(np.unique(exposure))[:, None]
    assert (slope[2] < slope[1]).mean() > 0.97
    departure = 1 - (mean[3] - intercept) * truth.gain / (rate * 1000)
    assert departure.min() > 0.07  # 10 % within the noise and the frames' scale
    assert departure.max() < 0.6


def test_late_onset_is_dark_before_and_linear_after(odd_darks):
    cube, exposure, truth = odd_darks
    late = truth.odd[truth.odd["kind"] == Kind.LATE_ONSET]
    mean = levels(cube.reshape(len(cube), -1)[:, late["pixel"]], exposure)
    dark = (mean - truth.intercept.flat[late["pixel"]]) * truth.gain
    noise = truth.read_noise / np.sqrt(12)
    assert late["time"].min() >= 150
    # No charge is collected during the readout either.
    assert np.abs(truth.intercept.flat[late["pixel"]] - GUIDE.bias).max() < 5 * GUIDE.bias_spread
    assert np.abs(dark[1]).max() < 5 * noise + 1
    wanted = truth.rate.flat[late["pixel"]] * (1000 - late["time"])
    np.testing.assert_allclose(dark[3], wanted, rtol=0.06)
    assert wanted.min() > 20 * np.sqrt(wanted.min() + truth.read_noise**2)
    assert (mean[3] < 0.85 * GUIDE.full_well).all()


def test_telegraph_pixels_have_two_levels_ten_sigmas_apart(odd_darks):
    cube, exposure, truth = odd_darks
    rows = truth.odd[truth.odd["kind"] == Kind.TELEGRAPH]
    in_rate = rows["rate_step"] > 0
    assert in_rate.sum() == (rows["offset_step"] > 0).sum() == rows.size / 2
    values = cube.reshape(len(cube), -1)[:, rows["pixel"]].astype(float)

    step = np.where(in_rate, rows["rate_step"] * 1000 / truth.gain, rows["offset_step"])
    lower = truth.intercept.flat[rows["pixel"]] + truth.rate.flat[rows["pixel"]] * 1000 / truth.gain
    variance = (lower + step - GUIDE.bias) / truth.gain + (truth.read_noise / truth.gain) ** 2
    assert (step >= 9.9 * np.sqrt(variance)).all()

    state = (values[exposure == 1000] - lower) / step
    assert (np.abs(state - np.rint(state)) < 0.4).mean() > 0.999
    assert set(np.unique(np.rint(state))) == {0, 1}
    assert np.rint(state).mean() == pytest.approx(0.5, abs=0.03)
    bias = np.ptp(values[exposure == 0], axis=0) / step
    assert (bias[in_rate] < 0.6).all()
    assert (bias[~in_rate] > 0.6).mean() > 0.99


def test_stuck_dead_and_saturated_pixels_never_change(odd_darks):
    cube, _, truth = odd_darks
    for kind in (Kind.STUCK, Kind.DEAD, Kind.SATURATED):
        values = samples(cube, truth, kind)
        assert values.shape[1] == 400
        assert not np.ptp(values, axis=0).any()
        np.testing.assert_array_equal(values[0], truth.intercept[truth.kind == kind])
        assert not truth.rate[truth.kind == kind].any()
    np.testing.assert_array_equal(
        samples(cube, truth, Kind.SATURATED)[0], truth.full_well[truth.kind == Kind.SATURATED]
    )
    dead = samples(cube, truth, Kind.DEAD)[0]
    assert 0.3 < np.mean(dead == 0) < 0.7
    assert dead.max() <= GUIDE.bias / 2


def test_hot_pixels_stop_at_their_own_full_well():
    cube, exposure, truth = simulate.cube("guide", shape=(100, 100), hot_fraction=0.05, **QUIET)
    full = truth.rate * 1000 / truth.gain > 1.2 * GUIDE.full_well
    assert full.sum() > 10
    assert (cube[exposure == 1000][:, full] == truth.full_well[full]).all()
    assert (cube <= truth.full_well).all()
    assert truth.full_well.max() < GUIDE.maximum == 65535
    assert truth.full_well.std() == pytest.approx(GUIDE.full_well_spread * GUIDE.full_well, rel=0.05)


def test_twelve_bit_values_are_multiples_of_sixteen():
    cube, _, truth = simulate.cube("cmos", shape=(100, 100), repeats=2, odd=100, seed=1)
    assert not (cube % 16).any()
    assert (cube[0] // 16 % 2).any()
    assert cube.max() == truth.full_well.max() == CMOS.maximum == 65520


def test_cosmic_rays_are_poisson_tracks_on_all_pixels():
    camera = replace(GUIDE, shape=(1000, 1000), cosmic_rate=0.1, readout_time=0)
    pixel, charge = scene._cosmic_rays(camera, 1000.0, np.random.default_rng(8))
    row, column = np.divmod(pixel, 1000)
    # Consecutive pixels of a track touch; the start of the next track is elsewhere.
    same = (np.abs(np.diff(row)) <= 1) & (np.abs(np.diff(column)) <= 1)
    tracks = 1 + np.sum(~same)
    assert abs(tracks - 100) < 5 * np.sqrt(100)
    length = np.diff(np.flatnonzero(np.concatenate([[True], ~same, [True]])))
    assert 1 == length.min() < length.max() <= scene.LONGEST_TRACK
    assert charge.min() >= 100
    assert 800 < charge.mean() < 2000


def test_the_guides_cosmic_rays_are_those_of_real_darks():
    # 20 darks of 7100 s with 16.8 million pixels: 7500 to 45000 hit pixels.
    rng = np.random.default_rng(0)
    hit = sum(scene._cosmic_rays(GUIDE, 7100.0, rng)[0].size for _ in range(20))
    assert 7500 < hit < 45000


def test_hits_are_where_the_samples_jump():
    settings = {"shape": (100, 100), "exposures": (0, 100), "repeats": 5, "hot_fraction": 0.01, "seed": 3}
    cube, _, truth = simulate.cube("guide", cosmic_rate=10, odd=0, **settings)
    mean = [
        truth.intercept + truth.offset[i] + truth.rate * truth.scale[i] * seconds / truth.gain
        for i, seconds in enumerate(truth.exposure)
    ]
    sigma = np.sqrt(truth.read_noise**2 + truth.rate * 110) / truth.gain
    open_well = np.array(mean).max(axis=0) < 0.8 * GUIDE.full_well
    jumps = np.sum(cube - np.array(mean) > 5 * sigma, axis=0)
    assert truth.hits.max() <= 10
    assert truth.hits[open_well].sum() > 100
    assert not jumps[(truth.hits == 0) & open_well].any()
    assert (jumps <= truth.hits)[open_well].all()
    assert jumps[open_well].sum() > 0.9 * truth.hits[open_well].sum()
    assert (truth.hits[truth.rate > 4] > 0).any()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"expsoures": (0, 1)}, "expsoures"),
        ({"exposures": (0, -5)}, "exposures"),
        ({"exposures": (5, 5)}, "exposures"),
        ({"exposures": 5}, "exposures"),
        ({"exposures": (0, float("nan"))}, "exposures"),
        ({"repeats": 0}, "repeats"),
        ({"repeats": (3, 4)}, "repeats"),
        ({"shape": (10,)}, "shape"),
        ({"shape": (10, 0)}, "shape"),
        ({"gain": 0}, "gain"),
        ({"gain": float("nan")}, "gain"),
        ({"read_noise": "low"}, "read_noise"),
        ({"stuck": 0.6, "dead": 0.6}, "fractions"),
        ({"full_well": 900}, "full_well"),
        ({"step": 2}, "step"),
        ({"odd": -1}, "odd"),
        ({"seed": -1}, "seed"),
        ({"camera": "phone"}, "phone"),
    ],
)
def test_nonsense_is_named(changes, named):
    with pytest.raises(HotfitError, match=named):
        simulate.cube(**{"shape": (4, 4), **changes})


def test_changes_and_none():
    _, exposure, truth = simulate.cube(
        CMOS, shape=(4, 5), exposures=(1, 2), repeats=(3, 1), jitter=None, odd=0, stuck=1
    )
    assert exposure.tolist() == [1, 1, 1, 2]
    assert truth.camera.jitter == CMOS.jitter
    assert (truth.kind == Kind.STUCK).all()


def test_headers_have_the_habits_of_real_ones(tmp_path):
    paths, truth = simulate.write(tmp_path, "cmos", shape=(6, 9), exposures=(0, 0.5, 120), repeats=2)
    assert [path.name for path in paths] == sorted(path.name for path in paths)
    assert paths[0].name == "bias_0000.0s_001.fits"
    assert paths[-1].name == "dark_0120.0s_002.fits"
    headers = [fits.getheader(path) for path in paths]
    assert [header["IMAGETYP"] for header in headers] == ["Bias Frame"] * 2 + ["Dark Frame"] * 4
    assert all((h["BITPIX"], h["BZERO"], h["GAIN"], h["EGAIN"]) == (16, 32768, 100, 2.0) for h in headers)
    assert truth.gain == 2.0 / 16
    np.testing.assert_allclose([h["CCD-TEMP"] for h in headers], truth.temperature, atol=6e-4)
    dates = [header["DATE-OBS"] for header in headers]
    assert dates == sorted(set(dates))
    guide = simulate.darks("guide", shape=(2, 2), repeats=1)[0][0].meta
    assert guide["EGAIN"] == GUIDE.gain
    assert "GAIN" not in guide


def test_the_truth_is_written_beside_the_frames(tmp_path):
    paths, truth = simulate.write(tmp_path / "new", **SMALL)
    with fits.open(tmp_path / "new" / "truth.fits") as hdus:
        assert hdus[0].header["IMAGETYP"] == "truth"
        for name, field in [("RATE", "rate"), ("INTERCEPT", "intercept"), ("KIND", "kind"), ("HITS", "hits")]:
            np.testing.assert_array_equal(hdus[name].data, getattr(truth, field))
        np.testing.assert_array_equal(hdus["FULLWELL"].data, truth.full_well)
        frames = Table.read(hdus["FRAMES"])
        odd = Table.read(hdus["ODD"])
    assert list(frames["FILE"]) == [path.name for path in paths]
    np.testing.assert_array_equal(frames["SCALE"], truth.scale)
    np.testing.assert_array_equal(odd["time"], truth.odd["time"])
    assert sorted(path.name for path in (tmp_path / "new").iterdir())[-1] == "truth.fits"


def test_the_command_writes_and_refuses(tmp_path, capsys):
    target = tmp_path / "darks"
    command = [
        str(target),
        "--camera",
        "cmos",
        "--shape",
        "8",
        "9",
        "--frames-per-exposure",
        "2",
        "--seed",
        "3",
    ]
    assert simulate.main([*command, "--exposures", "0", "30"]) == 0
    assert "4 frames of 8 x 9 pixels" in capsys.readouterr().out
    image = fits.getdata(target / "dark_0030s_002.fits")
    wanted, _, _ = simulate.cube("cmos", shape=(8, 9), repeats=2, seed=3, exposures=(0, 30))
    np.testing.assert_array_equal(image, wanted[3])

    assert simulate.main(command) == 1
    error = capsys.readouterr().err
    assert str(target) in error
    assert error.count("\n") == 1
    assert simulate.main([str(target / "truth.fits")]) == 1
    assert simulate.main([str(target / "truth.fits" / "below")]) == 1
    with pytest.raises(SystemExit, match="2"):
        simulate.main([*command, "--shape", "8"])


def test_it_runs_as_a_module(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "hotfit.simulate", tmp_path / "out", "--shape", "4", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((tmp_path / "out").iterdir())) == 33
