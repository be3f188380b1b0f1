"""The real darks of three cameras, where they are at hand: facts known about them, with no option given."""

from pathlib import Path

import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty

import hotfit
from hotfit.darks import open_darks

REAL = Path(__file__).parents[2] / "shared" / "darks"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="the real darks are not here")


@pytest.fixture(scope="module")
def stl():
    return hotfit.fit_darks(str(REAL / "stl1001e_0C" / "*.FIT"))


def has(fit, row, column, flag):
    return bool(fit.dq[row, column] & np.uint32(hotfit.DQ[flag]))


def test_stl_rate_gain_noise_and_level(stl):
    assert stl.detector.gain_source == "header"
    assert stl.detector.gain == pytest.approx(2.06)
    assert 1.9 < stl.detector.measured_gain < 2.4
    assert np.nanmedian(stl.rate) / stl.detector.gain == pytest.approx(0.695, abs=0.01)
    assert 6.3 < stl.detector.read_noise / stl.detector.gain < 7.5
    assert 59000 < stl.detector.saturation < 62500
    assert stl.frames["offset"][0] - np.median(stl.frames["offset"][1:10]) == pytest.approx(4, abs=0.5)


def test_stl_declining_plateau_is_saturated_and_its_rate_unharmed(stl):
    assert has(stl, 409, 329, "SATURATED")
    assert (stl.n_used[409, 329], stl.n_groups[409, 329]) == (11, 2)
    scale = stl.frames["scale"][10]
    expected = (29076 - stl.intercept[409, 329] - stl.frames["offset"][10]) / 10 / scale * stl.detector.gain
    assert stl.rate[409, 329] == pytest.approx(expected, rel=1e-3)
    assert not has(stl, 409, 329, "DO_NOT_USE")


def test_stl_plateau_pixels_are_saturated_and_their_rates_come_from_the_rest(stl):
    """Of each pixel that reaches a plateau, all samples near it and all longer exposures are left out."""
    with open_darks(str(REAL / "stl1001e_0C" / "*.FIT")) as darks:
        cube = np.stack([darks.image(i) for i in range(len(darks.frames))])
    longest, before = cube[-1].astype(int), cube[-2].astype(int)
    plateau = (longest > 61_000) & (np.abs(longest - before) < 1500)
    assert np.count_nonzero(plateau) >= 40
    assert ((stl.dq[plateau] & np.uint32(hotfit.DQ.SATURATED)) != 0).all()
    used = stl.n_used[plateau]
    below = np.count_nonzero(cube[:, plateau] < stl.detector.saturation, axis=0)
    assert (used <= below).all()
    assert (used >= 10).all()


def test_stl_scales_agree_with_what_is_known(stl):
    """+0.65 % at 60 s, +0.25 % at 150 s, -0.12 % at 300 s, up to the factor that no measurement can tell."""
    scale = {row["exposure"]: row["scale"] for row in stl.frames}
    found = 100 * (np.array([scale[60], scale[150], scale[300]]) - 1)
    difference = found - [0.65, 0.25, -0.12]
    assert np.abs(difference - difference.mean()).max() < 0.2


def test_stl_hits_do_not_mask_their_pixels(stl):
    thirty = stl.frames["exposure"] == 30
    assert 200 < stl.frames["dropped"][thirty].sum() < 500
    dropped = (stl.dq & np.uint32(hotfit.DQ.JUMP_DET)) != 0
    assert stl.mask[dropped].mean() < 0.01
    assert stl.mask.mean() < 0.0025


def test_stl_hottest_pixels_are_told_to_be_lower_limits(stl):
    for row, column in ((495, 198), (1022, 31)):
        assert has(stl, row, column, "UNRELIABLE_SLOPE")
        assert np.isnan(stl.rate[row, column])


def test_stl_result_reads_as_ccddata(stl, tmp_path):
    stl.write(tmp_path / "out")
    ccd = CCDData.read(tmp_path / "out" / "dark_current.fits")
    assert ccd.unit == "electron/s"
    assert isinstance(ccd.uncertainty, StdDevUncertainty)
    np.testing.assert_array_equal(ccd.mask, stl.mask)


def test_st402_offset_jumps_are_found_and_removed():
    fit = hotfit.fit_darks(REAL / "st402_m15C")
    jumps = np.asarray(fit.frames["offset"][fit.frames["exposure"] == 1200])
    assert np.ptp(jumps) == pytest.approx(22, abs=2)
    assert fit.mask.mean() < 0.005
    # The frames that jump hold light, whose shot noise no offset takes away.
    assert 0.95 < fit.scatter_null < 1.1


def test_atik_has_no_gain_keyword_and_clips_at_the_top():
    fit = hotfit.fit_darks(REAL / "atik_m10C")
    assert fit.detector.saturation == 65535
    assert fit.detector.gain_source == "darks"
    assert 0.2 < fit.detector.gain < 0.35
    assert np.count_nonzero(fit.dq & np.uint32(hotfit.DQ.SATURATED)) == 5
    assert fit.mask.mean() < 1e-4


def test_two_shapes_are_refused():
    with pytest.raises(hotfit.HotfitError, match="1039 x 1391"):
        hotfit.fit_darks([REAL / "atik_m10C", REAL / "atik_unbinned_bias"])


@pytest.mark.parametrize(
    ("folder", "pattern"), [("stl1001e_0C", "*.FIT"), ("st402_m15C", "*"), ("atik_m10C", "*.fit*")]
)
def test_an_update_agrees_with_a_fit_of_all(folder, pattern):
    """The last frame of each exposure joins the others, one by one."""
    full = hotfit.fit_darks(str(REAL / folder / pattern))
    names, group = np.array(full.frames["file"]), np.array(full.frames["group"])
    sizes = np.bincount(group)
    last = [np.flatnonzero(group == k)[-1] for k in np.flatnonzero(sizes > 2)]
    fit = hotfit.fit_darks([str(name) for name in np.delete(names, last)], updatable=True)
    for name in names[last]:
        fit = fit.update(str(name))
    assert list(fit.frames["file"]) == list(names)
    quiet, odd = (fit.dq == 0) & (full.dq == 0), (fit.dq != 0) | (full.dq != 0)
    away = np.abs((fit.rate - full.rate) / full.rate_error)[quiet]
    assert away.max() < (0.1 if full.detector.gain_source == "darks" else 0.05)  # of a gain that is measured
    assert np.mean((fit.dq == full.dq)[odd]) >= 0.999
