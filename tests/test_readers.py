"""Every container and type of numbers, rows by any number of threads, and what is unpacked."""

import gc
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from small_darks import COUNTS, FLOATS, RNG, SHAPE, STORED, message, save, squeeze, two

from hotfit.darks import open_darks
from hotfit.errors import HotfitError


def in_container(container, path, data, exposure):
    if container == ".fz":
        kind = {"compression_type": "GZIP_2", "quantize_level": 0} if data.dtype.kind == "f" else {}
        image = fits.CompImageHDU(data, **kind)
        image.header["EXPTIME"] = exposure
        fits.HDUList([fits.PrimaryHDU(), image]).writeto(path.with_name(path.name + ".fz"))
        return path.with_name(path.name + ".fz")
    save(path, data, exposure)
    return path if container == "" else squeeze(container, path)


@pytest.mark.parametrize("container", ["", ".gz", ".bz2", ".fz"])
@pytest.mark.parametrize("stored", STORED)
def test_round_trip(tmp_path, container, stored):
    if container == ".fz" and stored in ("int64", "uint32"):
        pytest.skip("tile compression holds no such integers")
    data = STORED[stored]
    paths = [in_container(container, tmp_path / f"{i}.fits", np.roll(data, i, 0), i) for i in range(2)]
    with open_darks(paths) as darks:
        assert darks.dtype == (np.uint16 if stored in ("uint8", "uint16") else np.float32)
        assert darks.shape == SHAPE
        got = darks.rows(2, 11)
        assert got.dtype == darks.dtype
        assert got.flags.c_contiguous
        expected = [fits.getdata(path, ext=container == ".fz")[2:11].astype(darks.dtype) for path in paths]
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(got[1], np.roll(data, 1, 0)[2:11].astype(darks.dtype))
        np.testing.assert_array_equal(darks.image(0)[2:11], got[0])
        assert darks.rows(5, 5).shape == (2, 0, 7)


@pytest.mark.parametrize("container", ["", ".gz", ".fz"])
@pytest.mark.parametrize("zero", [0, 32768])
def test_blank_is_nan(tmp_path, container, zero):
    image = (fits.CompImageHDU if container == ".fz" else fits.PrimaryHDU)(STORED["int16"])
    image.header["BLANK"] = int(STORED["int16"][4, 5])
    image.header["EXPTIME"] = 3.0
    path = tmp_path / "blank.fits"
    image.writeto(path)
    with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
        hdus[-1].header["BZERO"] = zero
    if container == ".gz":
        path = squeeze(container, path)
    darks = open_darks([path, save(tmp_path / "whole.fits")])
    got = darks.rows(0, SHAPE[0])[0]
    missing = STORED["int16"] == STORED["int16"][4, 5]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(got), missing)
    np.testing.assert_array_equal(got[~missing], (STORED["int16"].astype(float) + zero)[~missing])


@pytest.mark.parametrize("stored", ["float32", "float64", "int64"])
def test_numbers_that_are_no_counts_are_missing(tmp_path, stored):
    data = STORED[stored].copy()
    absurd = np.iinfo(data.dtype).min if data.dtype.kind == "i" else 1e30
    data[2, 3], data[5, 6] = absurd, 1e9
    got = open_darks([save(tmp_path / "a.fits", data), save(tmp_path / "b.fits", data, 20.0)]).rows(0, 12)[0]
    assert np.isnan(got[2, 3])
    assert got[5, 6] == 1e9
    assert np.count_nonzero(np.isnan(got)) == 1 + np.count_nonzero(np.isnan(STORED[stored]))


def test_scaled_integers(tmp_path):
    raw = STORED["int16"]
    image = fits.PrimaryHDU(raw * 0.25 + 100)
    image.scale("int16", bscale=0.25, bzero=100)
    image.header["EXPTIME"] = 3.0
    image.writeto(tmp_path / "scaled.fits")
    darks = open_darks([tmp_path / "scaled.fits", save(tmp_path / "plain.fits")])
    np.testing.assert_array_equal(darks.rows(0, 12)[0], raw * 0.25 + 100)
    np.testing.assert_array_equal(darks.rows(0, 12)[1], COUNTS)


def test_image_in_an_extension(tmp_path):
    primary = fits.PrimaryHDU()
    primary.header["EXPTIME"] = 20.0
    first, second = fits.ImageHDU(COUNTS.astype(np.uint16)), fits.ImageHDU(FLOATS, name="CHIP2")
    fits.HDUList([primary, first, second]).writeto(tmp_path / "a.fits")
    primary.header["EXPTIME"] = 30.0
    fits.HDUList([primary, first, second]).writeto(tmp_path / "b.fits")
    np.testing.assert_array_equal(open_darks(tmp_path).rows(3, 9)[1], COUNTS[3:9])
    darks = open_darks(tmp_path, ext="CHIP2")
    assert list(darks.exposure) == [20, 30]
    np.testing.assert_array_equal(darks.rows(3, 9)[1], FLOATS[3:9].astype(np.float32))
    text = message(tmp_path, ext="CHIP3")
    assert "a.fits" in text
    assert "CHIP2" in text
    assert "holds no image" in message(tmp_path, ext=0)


def test_axis_of_length_one_is_no_cube(tmp_path):
    darks = open_darks(two(tmp_path, COUNTS.astype(np.uint16)[None]))
    np.testing.assert_array_equal(darks.rows(1, 3)[1], COUNTS[1:3])


def test_rows_checks_its_arguments(tmp_path):
    darks = open_darks(two(tmp_path))
    out = np.zeros((2, 3, 7), np.uint16)
    assert darks.rows(4, 7, out) is out
    np.testing.assert_array_equal(out[1], COUNTS[4:7])
    for wrong in [out[:1], out.astype(np.float32), np.zeros((2, 3, 14), np.uint16)[..., ::2]]:
        with pytest.raises(ValueError, match="C-contiguous"):
            darks.rows(4, 7, wrong)
    for first, last in [(-1, 2), (0, 13), (5, 4)]:
        with pytest.raises(ValueError, match="not within"):
            darks.rows(first, last)


def test_threads_read_the_same_bits(tmp_path):
    images = RNG.integers(0, 65536, (6, 64, 50)).astype(np.uint16)
    for i, image in enumerate(images):
        save(tmp_path / f"{i}.fits", image, 1.0 + i)
    darks = open_darks(tmp_path)
    bands = [(first, first + 8) for first in range(0, 64, 8)] * 20
    with ThreadPoolExecutor(8) as pool:
        for band, got in zip(bands, pool.map(lambda band: darks.rows(*band), bands), strict=True):
            np.testing.assert_array_equal(got, images[:, slice(*band)])


FEW_HANDLES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from concurrent.futures import ThreadPoolExecutor
from hotfit.darks import open_darks
darks = open_darks(sys.argv[1])
with ThreadPoolExecutor(8) as pool:
    print(sum(int(rows.astype(int).sum()) for rows in pool.map(lambda i: darks.rows(i, i + 1), range(12))))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no RLIMIT_NOFILE")
def test_many_frames_few_handles(tmp_path):
    data = save(tmp_path / "0.fits").read_bytes()
    for i in range(1, 200):
        (tmp_path / f"{i}.fits").write_bytes(data)
    command = [sys.executable, "-c", FEW_HANDLES, str(tmp_path)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.stdout.strip() == str(200 * COUNTS.sum()), done.stderr


def test_unpacked_files_go_with_the_set(tmp_path):
    def unpacked(darks):
        return [frame.reader.path for frame in darks.frames]

    paths = [squeeze(".gz", path) for path in two(tmp_path)]
    darks = open_darks(paths)
    files = unpacked(darks)
    assert all(path.exists() and path not in paths for path in files)
    del darks
    gc.collect()
    assert not any(path.exists() for path in files)
    with open_darks(paths) as darks:
        files = unpacked(darks)
        assert files[0].exists()
    assert not files[0].parent.exists()


def test_file_cut_after_opening(tmp_path):
    darks = open_darks(two(tmp_path))
    (tmp_path / "odd.fits").write_bytes(b"SIMPLE")
    with pytest.raises(HotfitError, match=r"odd\.fits: cannot be read any more"):
        darks.rows(0, 3)
