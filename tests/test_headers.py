"""What headers say of a dark, and which exposures are one."""

import math

import numpy as np
import pytest
from small_darks import make_hdu, message, save, two

from hotfit.darks import open_darks
from hotfit.errors import HotfitError
from hotfit.grouping import group_exposures


@pytest.mark.parametrize(
    ("cards", "options", "seconds"),
    [
        ({"EXPTIME": 3}, {}, 3),
        ({"EXPOSURE": 3.5}, {}, 3.5),
        ({"EXPTIME": "3.25"}, {}, 3.25),
        ({"EXPTIME": 3, "EXPOSURE": 3.02}, {}, 3),
        ({"EXPTIME": 3, "EXPOSURE": "3 s"}, {}, 3),
        ({"EXPTIME": 0, "EXPOSURE": 0}, {}, 0),
        ({"EXPTIME": 0, "EXPOSURE": 1e-5}, {}, 0),
        ({"EXPREQ": 0, "EXPTIME": 2e-4}, {}, 0),
        ({"EXPTIME": 0, "SUBEXP": 0.001}, {}, 0),
        ({"EXPTIME": 3, "DARKTIME": 9}, {}, 3),
        ({"HIERARCH ESO DET DIT": 4}, {}, 4),
        ({"EXPTIME": 3, "EXPOSURE": 5}, {"exposure_key": "EXPOSURE"}, 5),
        ({"ITIME": 2500}, {"exposure_key": "itime", "exposure_unit": "ms"}, 2.5),
        ({"EXPTIME": 2e6}, {"exposure_unit": "us"}, 2),
        ({"EXPTIME": 2}, {"exposure_unit": "min"}, 120),
    ],
)
def test_exposure(cards, options, seconds):
    images = [make_hdu(exposure=None, **cards) for _ in range(2)]
    np.testing.assert_allclose(open_darks(images, **options).exposure, seconds, rtol=1e-12)


@pytest.mark.parametrize(
    ("cards", "options", "parts"),
    [
        ({}, {}, ["no exposure time", "EXPTIME, EXPOSURE", "--exposure-key", "@list"]),
        ({"EXPTIME": "auto"}, {}, ["EXPTIME = 'auto'", "@list"]),
        ({"EXPTIME": -1.0}, {}, ["EXPTIME = -1", "--exposure-key"]),
        ({"EXPTIME": 1e300}, {}, ["EXPTIME = 1e+300"]),
        ({"EXPTIME": 1e-300}, {}, ["EXPTIME = 1e-300"]),
        ({"EXPTIME": "nan"}, {}, ["EXPTIME = 'nan'"]),
        ({"EXPTIME": "inf"}, {}, ["EXPTIME = 'inf'"]),
        ({"EXPTIME": True}, {}, ["EXPTIME = True"]),
        ({"EXPTIME": "1_0"}, {}, ["EXPTIME = '1_0'"]),
        ({"EXPTIME": 3}, {"exposure_key": "EXP*"}, ["looked for EXP*"]),
        ({"EXPTIME": 3}, {"exposure_key": "ITIME"}, ["looked for ITIME"]),
        ({"EXPTIME": 3, "EXPOSURE": 3.1}, {}, ["EXPTIME = 3 ", "EXPOSURE = 3.1", "--exposure-key"]),
        ({"EXPTIME": 0, "EXPOSURE": 3}, {}, ["EXPTIME = 0 ", "EXPOSURE = 3"]),
    ],
)
def test_exposure_refused(tmp_path, cards, options, parts):
    text = message(save(tmp_path / "odd.fits", exposure=None, **cards), **options)
    assert all(part in text for part in ["odd.fits: ", *parts]), text


def test_exposure_unit_refused(tmp_path):
    assert "hours" in message(two(tmp_path), exposure_unit="hours")


@pytest.mark.parametrize("card", ["EXPTIME =                  NaN", "EXPTIME =                  1,5"])
def test_exposure_that_breaks_the_standard(tmp_path, card):
    good, odd = two(tmp_path, exposure=10.0)
    data = odd.read_bytes()
    start = data.index(b"EXPTIME")
    odd.write_bytes(data[:start] + card.ljust(80).encode() + data[start + 80 :])
    assert f"odd.fits: EXPTIME = '{card.split()[-1]}' is not" in message([good, odd])


def test_bias_needs_no_exposure(tmp_path):
    darks = open_darks(two(tmp_path, exposure=None, kind=" BIAS  Frame "))
    assert list(darks.exposure) == [0, 10]
    assert any("odd.fits" in note and "taken as 0 s" in note for note in darks.notes)


@pytest.mark.parametrize(
    ("cards", "dark"),
    [
        ({"IMAGETYP": "  DARK "}, True),
        ({"OBSTYPE": "zero"}, True),
        ({"FRAME": "Dark"}, True),
        ({"HIERARCH ESO DPR TYPE": "DARK"}, True),
        ({"FRAME": 12}, True),
        ({"IMAGETYP": "object"}, False),
        ({"OBSTYPE": "dark flat"}, False),
    ],
)
def test_image_types(cards, dark):
    darks = open_darks([make_hdu(), make_hdu(), make_hdu(kind=None, **cards)])
    assert len(darks.frames) == (3 if dark else 2)
    assert [item.name for item in darks.skipped] == ([] if dark else ["frame 3"])


def test_absent_type_is_noted_once(tmp_path):
    paths = [save(tmp_path / f"{i}.fits", kind=None) for i in range(5)]
    (note,) = open_darks(paths).notes
    assert "0.fits" in note
    assert "and 2 more: no image type" in note


@pytest.mark.parametrize(
    ("cards", "hint"),
    [
        ([{"EGAIN": 2.06}, {"E-GAIN": 2.06}], [2.06, 2.06]),
        ([{"EGAIN": 2.06}, {}], [2.06]),
        ([{"EGAIN": 2.06}, {"EGAIN": 0.5}], []),
        ([{"EGAIN": 1.0}] * 2, []),
        ([{"EGAIN": "High"}] * 2, []),
        ([{"EGAIN": -2.0}] * 2, []),
        ([{"GAIN": 120}] * 2, []),
        ([{"GAIN": 1.48}] * 2, [1.48]),
        ([{"GAIN": (2, "gain in electrons per ADU")}] * 2, [2]),
        ([{"GAIN": (2, "gain (e-/ADU)")}] * 2, [2]),
        ([{"GAIN": (2, "camera's gain setting")}] * 2, []),
        ([{"EGAINSAV": 0.01, "EGAIN": 0.16}] * 2, [0.01, 0.16]),
    ],
)
def test_gain_hint(cards, hint):
    darks = open_darks([make_hdu(**{key.replace("-", "_"): card[key] for key in card}) for card in cards])
    assert [claim.value for claim in darks.claims.gain] == hint
    assert any("EGAIN differs" in note for note in darks.notes) == (cards[-1] == {"EGAIN": 0.5})


def test_frame_facts(tmp_path):
    darks = open_darks(two(tmp_path, exposure=20.0, CCD_TEMP=-9.5, NCOMBINE=12, kind="Dark"))
    good, odd = darks.frames
    assert math.isnan(good.temperature)
    assert (odd.temperature, odd.n_combined, odd.image_type) == (-9.5, 12, "Dark")
    assert list(darks.n_combined) == [1, 12]


@pytest.mark.parametrize(
    ("exposure", "group", "mean"),
    [
        ([7.0, 7.003], [0, 0], [7.0015]),
        ([30, 0, 10, 0, 30.1], [2, 0, 1, 0, 2], [0, 10, 30.05]),
        ([0, 1e-6], [0, 1], [0, 1e-6]),
        ([1.0, 1.004, 1.008], [0, 0, 1], [1.002, 1.008]),
        ([0.1] * 7, [0] * 7, [0.1]),
        ([], [], []),
    ],
)
def test_groups(exposure, group, mean):
    got_group, got_mean = group_exposures(exposure)
    assert got_group.dtype == np.intp
    np.testing.assert_array_equal(got_group, group)
    np.testing.assert_allclose(got_mean, mean, rtol=1e-14)


@pytest.mark.parametrize("exposure", [[1, math.nan], [1, math.inf], [1, -1], [[1, 2]]])
def test_groups_refused(exposure):
    with pytest.raises(HotfitError, match="exposure: "):
        group_exposures(exposure)


def test_set_is_sorted_by_exposure():
    darks = open_darks([make_hdu(exposure=t) for t in (60, 0, 60.1, 10)])
    assert [frame.name for frame in darks.frames] == ["frame 2", "frame 4", "frame 1", "frame 3"]
    assert list(darks.exposure) == [0, 10, 60, 60.1]
    assert list(darks.group) == [0, 1, 2, 2]
    np.testing.assert_allclose(darks.group_exposure, [0, 10, 60.05])


@pytest.mark.parametrize(
    ("cards", "mjd"),
    [
        ({"DATE-OBS": "2019-09-06T19:39:32.937"}, 58732.819131215276),
        ({"DATE-OBS": "2019-09-06T19:39:32.937Z"}, 58732.819131215276),
        ({"DATE-OBS": "2019-09-06", "TIME-OBS": "12:00:00"}, 58732.5),
        ({"DATE-OBS": "2019-09-06", "UT": "18:00:00.00"}, 58732.75),
        ({"MJD-OBS": 58732.25, "DATE-OBS": "2019-09-06T19:39:32"}, 58732.25),
        ({"MJD-OBS": "unknown", "DATE-OBS": "2019-09-06T06:00:00"}, 58732.25),
        ({}, math.nan),
        ({"DATE-OBS": ""}, math.nan),
        ({"DATE-OBS": "2019-09-06"}, math.nan),
        ({"DATE-OBS": "06/09/19"}, math.nan),
        ({"DATE-OBS": 2019}, math.nan),
        ({"DATE-OBS": "9999-99-99T00:00:00"}, math.nan),
        ({"MJD-OBS": 1e300}, math.nan),
        ({"MJD-OBS": 0}, math.nan),
    ],
)
def test_when_a_frame_began(cards, mjd):
    images = [make_hdu(**{key.replace("-", "_"): value for key, value in cards.items()}) for _ in range(2)]
    assert open_darks(images).frames[0].begun == pytest.approx(mjd, abs=1e-9, nan_ok=True)
