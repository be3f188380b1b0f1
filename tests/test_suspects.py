"""Frames and samples that do not belong are told by name, and sets that are as they should be get no note."""

import re

import numpy as np
import pytest

import hotfit
from hotfit import simulate, suspects


@pytest.fixture(scope="module")
def eight():
    """Eight frames of each of the Guide's exposures."""
    cube, exposure, _ = simulate.cube("guide", shape=(400, 500), seed=3)
    return cube, exposure


def spoiled(cube, frame, how):
    """The cube with one frame changed."""
    out = cube.copy()
    out[frame] = how(out[frame])
    return out


@pytest.mark.parametrize(
    ("frame", "how", "told"),
    [
        (28, lambda image: image + 5000, r"frame 29: its level is \+5e\+03 adu off"),
        (3, lambda image: image - 300, r"frame 4: its level is -(29|30)\d adu off"),
        (
            30,
            lambda image: image - 20 + (np.arange(image.shape[1]) % 40).astype(np.uint16),
            "frame 31: its quiet pixels scatter",
        ),
    ],
    ids=["level up", "level down", "pattern"],
)
def test_a_frame_unlike_the_others_is_told(eight, frame, how, told):
    cube, exposure = eight
    notes = hotfit.fit_cube(spoiled(cube, frame, how), exposure).notes
    assert len(notes) == 1
    assert re.search(told, notes[0]), notes[0]


def test_a_wrong_exposure_time_is_told(eight):
    cube, exposure = eight
    exposure = exposure.copy()
    exposure[30] = 300
    notes = hotfit.fit_cube(cube, exposure).notes
    assert any("exposure time right" in note for note in notes)


def test_a_dark_among_the_biases_is_told(eight):
    cube, exposure = eight
    exposure = exposure.copy()
    exposure[10] = 0
    notes = hotfit.fit_cube(cube, exposure).notes
    assert any(
        re.match(r"frame 11: has hot pixels .* above those of other frames of 0 s", note) for note in notes
    )


def test_copies_are_told_and_counted(eight):
    cube, exposure = eight
    one = hotfit.fit_cube(np.concatenate([cube, cube[9:10]]), np.append(exposure, exposure[9])).notes
    assert one == ("frame 33: is a copy of frame 10; leave it out",)
    every = hotfit.fit_cube(np.concatenate([cube, cube]), np.tile(exposure, 2)).notes
    assert sum("is a copy of" in note for note in every) == 5
    assert "27 more frames are strange like these" in every


def test_samples_cut_off_at_zero_are_told():
    rng = np.random.default_rng(0)
    cube = rng.normal(3, 5, (12, 100, 120)).clip(0).round().astype(np.uint16)
    exposure = np.repeat([0.0, 30.0, 60.0, 120.0], 3)
    assert any("cut off at 0" in note for note in hotfit.fit_cube(cube, exposure).notes)
    assert not any("cut off" in note for note in hotfit.fit_cube(cube + np.uint16(100), exposure).notes)


@pytest.mark.parametrize("camera", ["guide", "cmos"])
@pytest.mark.parametrize("changes", [{}, {"jitter": 0.03}, {"drift": 10.0}, {"repeats": 3}])
def test_ordinary_sets_get_no_note(camera, changes):
    cube, exposure, _ = simulate.cube(camera, shape=(400, 500), seed=5, **changes)
    assert hotfit.fit_cube(cube, exposure).notes == ()


@pytest.mark.parametrize("pixels", [3, suspects.HOTTEST, 40_000])
def test_the_hottest_pixels_are_found_in_order_of_their_place(pixels):
    signal = np.random.default_rng(pixels).normal(0, 30, pixels).astype(np.float32)
    signal[::3] = np.rint(signal[::3])  # many are equally hot
    hottest = suspects.hottest_pixels(signal)
    assert hottest.size == min(pixels, suspects.HOTTEST)
    assert (np.diff(hottest) > 0).all()
    np.testing.assert_array_equal(np.sort(signal[hottest]), np.sort(signal)[-suspects.HOTTEST :])
