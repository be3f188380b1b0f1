"""Frames that make no set, and what users may allow."""

import math

import numpy as np
import pytest
from small_darks import make_hdu, message, save, two

from hotfit.darks import open_darks


@pytest.mark.parametrize(
    ("odd", "part"),
    [
        ({"data": np.zeros((12, 8), np.uint16)}, "12 x 8"),
        ({"XBINNING": 2}, "binning XBINNING"),
        ({"INSTRUME": "ASI"}, "camera INSTRUME"),
        ({"GAIN": 200}, "gain setting GAIN"),
        ({"OFFSET": 5}, "offset OFFSET"),
        ({"READOUTM": "fast"}, "readout mode READOUTM"),
        ({"YORGSUBF": 16}, "subframe origin YORGSUBF"),
        ({"CCD_TEMP": -8.9}, "temperature-tolerance"),
    ],
)
def test_one_odd_frame(tmp_path, odd, part):
    usual = {"XBINNING": 1, "INSTRUME": "QHY", "GAIN": 100, "OFFSET": 1, "READOUTM": "slow", "YORGSUBF": 0}
    usual["CCD_TEMP"] = -10.0
    paths = [save(tmp_path / f"{i}.fits", **usual) for i in range(3)]
    silent = save(tmp_path / "silent.fits")
    assert len(open_darks([*paths, silent]).frames) == 4
    text = message([*paths, silent, save(tmp_path / "odd.fits", **usual | odd)])
    assert text.startswith(f"{tmp_path / 'odd.fits'} (")
    assert part in text


def test_settings_are_compared_without_case_and_blanks():
    images = [
        make_hdu(INSTRUME=name, CCD_TEMP=t) for name, t in (("Cam  A", -10), ("cam a", -999), ("CAM A", -10))
    ]
    darks = open_darks(images)
    assert math.isnan(darks.frames[1].temperature)


def test_differences_that_are_allowed_are_noted(tmp_path):
    images = [make_hdu(GAIN=gain, OFFSET=5) for gain in (100, 100, 200)]
    assert "--mixed GAIN" in message(images)
    (note,) = open_darks(images, mixed="gain").notes
    assert "frame 3 (200): gain setting GAIN differs from 100" in note
    assert "OFFSET differs" in message([*images, make_hdu(OFFSET=6)], mixed=["GAIN"])
    assert "mixed=SHAPE" in message(images, mixed=["SHAPE"])


def test_any_image_type_can_be_allowed():
    images = [make_hdu(kind="Light Frame"), make_hdu(kind="raw"), make_hdu()]
    assert "--mixed IMAGETYP" in message(images)
    darks = open_darks(images, mixed=["IMAGETYP"])
    assert len(darks.frames) == 3
    assert any("frame 1: its image type is 'Light Frame', taken as a dark" in note for note in darks.notes)


def test_temperature_tolerance():
    images = [make_hdu(CCD_TEMP=t) for t in (-10.6, -10.0, -9.4)]
    text = message(images)
    assert "frame 1 (-10.60 C), frame 3 (-9.40 C): more than 1 K apart" in text
    assert len(open_darks(images, temperature_tolerance=1.3).frames) == 3


def test_listed_twice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good, odd = two(tmp_path)
    assert "good.fits: is listed twice" in message([odd, good, "good.fits"])
    assert "is listed twice" in message([tmp_path, odd])
    image = make_hdu()
    assert "frame 2: is listed twice, also as frame 1" in message([image, image])


def test_too_few(tmp_path):
    good, flat = two(tmp_path, kind="Flat Field", name="flat.fits")
    text = message([good, flat])
    assert "good.fits: is the only dark among 2 frames" in text
    assert "flat.fits, its image type is 'Flat Field'" in text
    assert "no darks among 1 frames" in message(flat)
    assert "no darks among 0 frames" in message([])
