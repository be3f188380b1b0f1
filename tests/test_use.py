"""What others do with the files: a science frame is calibrated, combined and measured with them."""

import warnings

import ccdproc
import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.nddata.bitmask import bitfield_to_boolean_mask
from photutils.aperture import CircularAperture, aperture_photometry
from photutils.background import Background2D

import hotfit
from hotfit.scene import Kind

EXPOSURE, GAIN, SKY, STAR = 300.0, 1.5, 40.0, 50_000.0
PLACES = [(20.0, 30.0), (52.3, 40.6), (80.0, 61.0)]
SHAPE = (80, 100)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A directory that hotfit wrote, and the true dark current and bad pixels of its camera."""
    cube, exposure, truth = hotfit.simulate.cube("guide", shape=SHAPE, seed=8, odd=60, hot_fraction=0.02)
    out = hotfit.fit_cube(cube, exposure, gain=GAIN).write(tmp_path_factory.mktemp("use") / "out")
    return out, truth


def science(truth, seed):
    """A frame of three stars in adu, as a camera with this dark current takes it; bad pixels are random."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    light = np.full(SHAPE, SKY)
    for column, row in PLACES:
        spot = np.exp(-((x - column) ** 2 + (y - row) ** 2) / 2 / 1.5**2)
        light += STAR * spot / spot.sum()
    electrons = rng.poisson(light + truth.rate * EXPOSURE) + rng.normal(0, 10, SHAPE)
    odd = truth.kind != Kind.LINEAR
    electrons[odd] = rng.uniform(0, 60_000, odd.sum())
    return CCDData(truth.intercept + electrons / GAIN, unit="adu")


def calibrated(frame, out):
    """The README's example."""
    dark = CCDData.read(out / "dark_current.fits")  # electron/s, with uncertainty and mask
    bias = CCDData.read(out / "dark_current.fits", hdu="INTERCEPT", hdu_uncertainty=None, hdu_mask=None)
    gain = dark.header["EGAIN"] * u.electron / u.adu
    frame = ccdproc.subtract_bias(frame, bias)
    noise = dark.header["RDNOISE"] * u.electron
    frame = ccdproc.create_deviation(frame, gain=gain, readnoise=noise, disregard_nan=True)
    frame = ccdproc.gain_correct(frame, gain)
    return frame.subtract(dark.multiply(EXPOSURE * u.s))


def test_a_science_frame_is_calibrated_with_the_map(made):
    out, truth = made
    frame = calibrated(science(truth, 1), out)
    assert frame.unit == u.electron
    np.testing.assert_array_equal(frame.mask, hotfit.read(out).mask)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    empty = np.min([np.hypot(x - column, y - row) for column, row in PLACES], axis=0) > 12
    good = empty & ~frame.mask
    noise = frame.uncertainty.array[good]
    assert isinstance(frame.uncertainty, StdDevUncertainty)
    pull = (frame.data[good] - SKY) / noise
    hot = good & (truth.rate > 1)
    assert hot.sum() > 50
    assert np.median(pull) == pytest.approx(0, abs=0.05)
    assert np.median((frame.data[hot] - SKY) / frame.uncertainty.array[hot]) == pytest.approx(0, abs=0.5)


def test_masks_are_used_as_in_the_ccd_guide(made):
    out, truth = made
    files = ccdproc.ImageFileCollection(out).files_filtered(include_path=True, imagetyp="dark mask")
    mask = CCDData.read(files[0], unit=u.dimensionless_unscaled)
    hot_pixels = mask.data.astype("bool")
    frame = science(truth, 2)
    frame.mask = hot_pixels if frame.mask is None else frame.mask | hot_pixels
    np.testing.assert_array_equal(frame.mask, hotfit.read(out).mask)


def test_frames_are_combined_without_the_masked_pixels(made):
    out, truth = made
    frames = [calibrated(science(truth, seed), out) for seed in range(3, 8)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pixels without a rate, which are nan and masked
        combined = ccdproc.combine(frames, method="median")  # ccdproc 2.4 forgets masks where it clips
    mask = hotfit.read(out).mask
    np.testing.assert_array_equal(combined.mask, mask)
    assert np.all(np.isfinite(combined.data[~mask]))


def test_photutils_leaves_the_masked_pixels_out(made):
    out, truth = made
    frame = calibrated(science(truth, 9), out)
    background = Background2D(frame.data, 20, mask=frame.mask)
    assert np.median(background.background) == pytest.approx(SKY, abs=2)
    table = aperture_photometry(
        frame.data - SKY, CircularAperture(PLACES, 7), error=frame.uncertainty.array, mask=frame.mask
    )
    assert np.all(np.abs(table["aperture_sum"] - STAR) < 0.05 * STAR)


def test_flags_are_chosen_by_name(made):
    fit = hotfit.read(made[0])
    chosen = bitfield_to_boolean_mask(fit.dq, ignore_flags="HOT", flag_name_map=hotfit.DQ)
    np.testing.assert_array_equal(chosen, (fit.dq & ~np.uint32(hotfit.DQ.HOT)) != 0)
    some = bitfield_to_boolean_mask(fit.dq, ignore_flags="~NONLINEAR,TELEGRAPH", flag_name_map=hotfit.DQ)
    np.testing.assert_array_equal(some, (fit.dq & (hotfit.DQ.NONLINEAR | hotfit.DQ.TELEGRAPH)) != 0)
