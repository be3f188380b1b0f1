"""Arrays in memory as sets of darks."""

import numpy as np
import pytest
from small_darks import COUNTS, RNG, SHAPE, two

from hotfit.cubes import cube_darks
from hotfit.darks import open_darks
from hotfit.errors import HotfitError


def test_cube_is_used_in_place():
    cube = RNG.integers(0, 65536, (3, *SHAPE)).astype(np.uint16)
    darks = cube_darks(cube, [20, 0, 10], n_combined=[1, 2, 3])
    samples, start = darks.samples(4, 6)
    assert np.shares_memory(samples, cube)
    assert not samples.flags.writeable
    assert start == 4 * SHAPE[1]
    assert list(darks.order) == [1, 2, 0]
    assert list(darks.n_combined) == [2, 3, 1]
    assert [frame.name for frame in darks.frames] == ["frame 2", "frame 3", "frame 1"]
    np.testing.assert_array_equal(darks.rows(4, 6), cube[[1, 2, 0], 4:6])
    np.testing.assert_array_equal(darks.image(2), cube[0])
    np.testing.assert_array_equal(samples[darks.order, start : start + 14], darks.rows(4, 6).reshape(3, 14))


def test_samples_of_files(tmp_path):
    samples, start = open_darks(two(tmp_path)).samples(4, 6)
    assert start == 0
    np.testing.assert_array_equal(samples, [COUNTS[4:6].ravel()] * 2)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "f4", "f8"])
def test_cube_types(kind, order):
    cube = RNG.integers(0, 100, (2, *SHAPE)).astype(order + kind)
    darks = cube_darks(cube, [1, 2])
    assert darks.dtype == (np.uint16 if kind in ("u1", "u2") else np.float32)
    np.testing.assert_array_equal(darks.rows(0, 12), cube)


def test_masked_cube():
    cube = np.ma.masked_greater(RNG.integers(0, 100, (2, *SHAPE)).astype(np.uint16), 50)
    np.testing.assert_array_equal(cube_darks(cube, [1, 2]).rows(0, 12), cube.astype(float).filled(np.nan))


@pytest.mark.parametrize(
    ("cube", "exposure", "n_combined", "part"),
    [
        (np.zeros((2, 3)), [1, 2], None, "shape (2, 3)"),
        (np.zeros((1, 3, 4)), [1], None, "N >= 2"),
        (np.zeros((2, 0, 4)), [1, 2], None, "shape (2, 0, 4)"),
        (np.zeros((2, 3, 4), bool), [1, 2], None, "bool"),
        (np.zeros((2, 3, 4)), [1, 2, 3], None, "exposure"),
        (np.zeros((2, 3, 4)), [1, -2], None, "frame 2 has -2 s"),
        (np.zeros((2, 3, 4)), [1, 2], [1], "n_combined"),
        (np.zeros((2, 3, 4)), [1, 2], [1, 0], "n_combined"),
    ],
)
def test_bad_cube(cube, exposure, n_combined, part):
    with pytest.raises(HotfitError) as caught:
        cube_darks(cube, exposure, n_combined=n_combined)
    assert part in str(caught.value)


def test_pixels_of_a_cube_are_those_of_its_rows():
    cube = RNG.integers(0, 65536, (3, *SHAPE)).astype(np.uint16)
    darks = cube_darks(cube, [20, 0, 10])
    y, x = np.array([11, 0, 4, 4]), np.array([6, 0, 2, 5])
    picked = darks.pixels(y, x)
    assert picked.dtype == np.uint16
    assert picked.flags.c_contiguous
    np.testing.assert_array_equal(picked, cube[[1, 2, 0]][:, y, x].T)


def test_pixels_of_files(tmp_path):
    y, x = np.array([11, 0, 4, 4]), np.array([6, 0, 2, 5])
    picked = open_darks(two(tmp_path)).pixels(y, x)
    np.testing.assert_array_equal(picked, np.stack([COUNTS[y, x]] * 2, axis=1))
