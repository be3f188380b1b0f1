"""Can a fit be trusted? It predicts frames that it has not seen: simulated ones, and real ones if at hand."""

from pathlib import Path

import numpy as np
import pytest
from prediction import figures, leave_one_out, predictable, read_cube

import hotfit
from hotfit.darks import open_darks

REAL = Path(__file__).parents[2] / "shared" / "darks"
SIDE = 160

real = pytest.mark.skipif(not REAL.is_dir(), reason="the real darks are not here")


@pytest.fixture(scope="module")
def guide():
    cube, exposure, _ = hotfit.simulate.cube("guide", shape=(SIDE, SIDE), repeats=4)
    return cube, hotfit.fit_cube(cube, exposure)


def assert_predicted(found):
    """The requirement: width 1, and hardly an error beyond 6 sigma but for hits."""
    assert found.width == pytest.approx(1, abs=0.1)
    assert abs(found.median) < 0.1
    assert found.beyond < 1 / 2000


@pytest.mark.parametrize("camera", hotfit.simulate.CAMERAS)
def test_simulated_frames_are_predicted(camera):
    cube, exposure, _ = hotfit.simulate.cube(camera, shape=(SIDE, SIDE), repeats=3)
    fit = hotfit.fit_cube(cube, exposure)
    for one in leave_one_out(cube, fit, (0, 4, len(cube) - 1)):
        assert_predicted(figures(one.error, one.hit))


@real
@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("stl1001e_0C", (0, 15, 21, 29)),  # the bias that is 4 adu off, 30 s, the only 60 s and 300 s
        ("atik_m10C", (0, 3, 6, 9)),  # one of each exposure
        ("st402_m15C", (0, 5, 11, 13)),  # one of each exposure, and the offset that jumps most
    ],
)
def test_real_frames_are_predicted(name, frames):
    with open_darks(REAL / name) as darks:
        cube, fit = read_cube(darks), hotfit.fit_darks(darks)
    left_out = list(leave_one_out(cube, fit, frames))
    for one in left_out:
        assert_predicted(figures(one.error, one.hit))
    hot = fit.rate > fit.hot_limit
    error, hit = (np.array([getattr(one, field)[hot] for one in left_out]) for field in ("error", "hit"))
    assert_predicted(figures(error, hit))


def test_drift_of_the_frame_is_its_own():
    cube, exposure, truth = hotfit.simulate.cube("guide", shape=(SIDE, SIDE), repeats=4, hot_fraction=0.01)
    drifting = cube.copy()
    drifting[9] += 50
    fit = hotfit.fit_cube(cube, exposure)
    (still,), (moved,) = (leave_one_out(frames, fit, (9,)) for frames in (cube, drifting))
    assert moved.offset == pytest.approx(still.offset + 50, abs=1e-6)
    np.testing.assert_allclose(moved.error, still.error, atol=1e-5)
    (last,) = leave_one_out(cube, fit, (15,))
    others = np.average(truth.scale[:15], weights=exposure[:15])
    assert last.scale == pytest.approx(truth.scale[15] / others, abs=0.003)


def test_hits_are_set_aside_and_nothing_else(guide):
    cube, _ = guide
    exposure = np.repeat([0.0, 90.0, 300.0, 1000.0], 4)
    struck = cube.copy()
    struck[13, 5, 10:150:10] += 400
    fit = hotfit.fit_cube(struck, exposure)
    (one,) = leave_one_out(struck, fit, (13,))
    assert one.hit[5, 10:150:10].sum() >= 13
    assert figures(one.error, one.hit).beyond < 1 / 2000
    assert figures(one.error, np.zeros_like(one.hit)).beyond >= 13 / cube[0].size
    (other,) = leave_one_out(struck, fit, (12,))
    assert not other.hit[5, 10:150:10].any()


def test_a_frame_that_is_not_like_the_others_is_not_predicted(guide):
    cube, fit = guide
    noisy = cube.astype(np.float32)
    noisy[9] += np.random.default_rng(0).normal(0, 6, cube[9].shape)  # on top of a read noise of 6.7 adu
    (one,) = leave_one_out(noisy, fit, (9,))
    assert figures(one.error, one.hit).width > 1.2


def test_masked_and_saturated_pixels_are_not_judged(guide):
    cube, fit = guide
    (one,) = leave_one_out(cube, fit, (0,))
    saturated = (fit.dq & np.uint32(hotfit.DQ.SATURATED)) != 0
    assert np.isnan(one.error[fit.mask | saturated]).all()
    assert np.isfinite(one.error[~fit.mask & ~saturated]).all()


@pytest.mark.parametrize(
    ("exposure", "expected"),
    [
        ((0, 0, 90), []),
        ((0, 0, 90, 90), [0, 1, 2, 3]),
        ((0, 90, 90, 90), [1, 2, 3]),
        ((0, 1, 2, 3), [0, 1, 2, 3]),
    ],
)
def test_frames_that_the_line_cannot_do_without_are_skipped(exposure, expected):
    cube = np.random.default_rng(0).normal(100, 3, (len(exposure), 20, 20)).astype(np.float32)
    assert predictable(hotfit.fit_cube(cube, exposure)) == expected
