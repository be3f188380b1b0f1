"""Images written by bands: the bytes of astropy's own writer, from any thread, in any order."""

import errno
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from hotfit import imagefile, rawio
from hotfit.imagefile import ImageFile, empty, encoded, fold, padded, word_sum
from hotfit.rawio import seek_and_read, seek_and_write

DATED = re.compile(rb"CHECKSUM= '.{16}'|updated \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
"""What differs between two files that are written at different times."""

TYPES = ("float32", "uint8", "uint16", "uint32", "int16", "float64")
SHAPES = [(1, 1), (7, 5), (64, 96), (33, 101), (720, 1)]


def images(shape, seed=0):
    """An image of every type, with NaN and the extremes of integers."""
    rng = np.random.default_rng(seed)
    for name in TYPES:
        dtype = np.dtype(name)
        if dtype.kind == "f":
            image = rng.normal(0, 1e3, shape).astype(dtype)
            image.flat[::7] = np.nan
        else:
            image = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)
            image.flat[::11], image.flat[1::11] = np.iinfo(dtype).min, np.iinfo(dtype).max
        yield image


def hdus_of(images):
    """HDUs of some images, each with a card of its own."""
    first, *others = images
    hdus = fits.HDUList(
        [fits.PrimaryHDU(first), *(fits.ImageHDU(image, name=f"I{i}") for i, image in enumerate(others))]
    )
    hdus.update_extend()
    for number, hdu in enumerate(hdus):
        hdu.header["ODD"] = (number / 3, "a number")
    return list(hdus)


def tables():
    """A table, as an HDU; a new one for every file."""
    hdu = fits.table_to_hdu(Table({"a": [1, 2, 3], "b": ["x", "yy", "zzz"]}))
    hdu.name = "TABLE"
    return [hdu]


def write_by_bands(path, images, bands, workers):
    """Write the images by bands of rows, the last ones first."""
    images = list(images)
    hdus = hdus_of([empty(image.shape, image.dtype) for image in images])
    with ImageFile(path, hdus) as file:

        def write(first, last):
            for hdu, image in zip(hdus, images, strict=True):
                file.write(hdu.name, first, image[first:last])
                same = file.read(hdu.name, first, last)
                assert same.dtype == image.dtype
                np.testing.assert_array_equal(same, image[first:last].ravel())
                index = np.arange(first * image.shape[1], last * image.shape[1])[::-3]
                picked = file.pick(hdu.name, index)
                assert picked.dtype == image.dtype
                np.testing.assert_array_equal(picked, image.ravel()[index])

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(write, *zip(*reversed(bands), strict=True)))
        file.finish(hdus, tables())


def test_values_of_pixels_are_read_where_no_file_can_be_mapped(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(19, "No such device")

    monkeypatch.setattr(np, "memmap", refuse)
    images = [np.arange(12, dtype=dtype).reshape(3, 4) for dtype in ("float32", "uint16")]
    write_by_bands(tmp_path / "a.fits", images, [(0, 3)], 1)


def cut(rows, height):
    return [(first, min(first + height, rows)) for first in range(0, rows, height)]


def assert_same_bytes(one, other):
    """But for the date, and the checksum over it."""
    one, other = (DATED.sub(b"", path.read_bytes()) for path in (one, other))
    assert len(one) == len(other)
    assert one == other


def assert_checksums(path):
    with fits.open(path, checksum=True) as opened:  # a checksum that fails warns, and that is an error
        for hdu in opened:
            assert {"CHECKSUM", "DATASUM"} <= set(hdu.header)
            assert hdu.data is not None


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("height", "workers"), [(1, 4), (3, 1), (3, 4), (1000, 1)])
def test_the_file_is_that_of_astropy_byte_for_byte(tmp_path, shape, height, workers):
    write_by_bands(tmp_path / "ours.fits", images(shape), cut(shape[0], height), workers)
    astropys = fits.HDUList([*hdus_of(list(images(shape))), *tables()])
    astropys.writeto(tmp_path / "astropys.fits", checksum=True)
    assert_same_bytes(tmp_path / "ours.fits", tmp_path / "astropys.fits")
    assert_checksums(tmp_path / "ours.fits")


def test_without_pwrite_and_pread_it_is_the_same(tmp_path, monkeypatch):
    write_by_bands(tmp_path / "one.fits", images((60, 41)), cut(60, 2), 4)
    monkeypatch.setattr(rawio, "pwrite", seek_and_write)
    monkeypatch.setattr(rawio, "preadv", seek_and_read)
    write_by_bands(tmp_path / "other.fits", images((60, 41)), cut(60, 2), 4)
    assert_same_bytes(tmp_path / "one.fits", tmp_path / "other.fits")


def test_without_pwrite_threads_wait_for_each_other(tmp_path, monkeypatch):
    seek = os.lseek

    def slow_seek(*arguments):
        seek(*arguments)
        time.sleep(0.01)  # enough for another thread to move the position

    monkeypatch.setattr(os, "lseek", slow_seek)
    with (tmp_path / "file").open("w+b", buffering=0) as file, ThreadPoolExecutor(4) as pool:
        written = [bytes([number]) * 8 for number in range(16)]
        list(pool.map(lambda number: seek_and_write(file.fileno(), written[number], 8 * number), range(16)))
        read = [bytearray(8) for _ in range(16)]
        list(pool.map(lambda i: seek_and_read(file.fileno(), [memoryview(read[i])], 8 * i), range(16)))
    assert (tmp_path / "file").read_bytes() == b"".join(written)
    assert read == written


def test_a_disk_that_takes_and_gives_little_at_a_time_gets_all(tmp_path, monkeypatch):
    write_by_bands(tmp_path / "one.fits", images((60, 41)), cut(60, 20), 1)
    monkeypatch.setattr(rawio, "pwrite", lambda file, data, at: seek_and_write(file, data[:999], at))
    monkeypatch.setattr(rawio, "preadv", lambda file, views, at: seek_and_read(file, [views[0][:999]], at))
    write_by_bands(tmp_path / "other.fits", images((60, 41)), cut(60, 20), 2)
    assert_same_bytes(tmp_path / "one.fits", tmp_path / "other.fits")


def test_a_header_that_ends_up_shorter_is_filled_with_blanks(tmp_path):
    image = np.arange(12, dtype=np.uint16).reshape(3, 4)
    longest = fits.PrimaryHDU(empty(image.shape, image.dtype))
    for number in range(100):
        longest.header[f"KEY{number}"] = number
    with ImageFile(tmp_path / "a.fits", [longest]) as file:
        file.write("PRIMARY", 0, image)
        file.finish([fits.PrimaryHDU(empty(image.shape, image.dtype))], tables())
    assert_checksums(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as opened:
        np.testing.assert_array_equal(opened[0].data, image)
        assert opened[0].fileinfo()["datLoc"] == 4 * imagefile.FITS_BLOCK
        assert "KEY0" not in opened[0].header


def test_a_header_that_ends_up_longer_than_it_could_is_an_error(tmp_path):
    hdu = fits.PrimaryHDU(empty((3, 4), np.uint8))
    with ImageFile(tmp_path / "a.fits", [hdu]) as file:
        for number in range(100):
            hdu.header[f"KEY{number}"] = number
        with pytest.raises(ValueError, match="longer than the room"):
            file.finish([hdu], [])


def test_placeholders_take_no_memory():
    assert empty((10**5, 10**5), np.float32).strides == (0, 0)
    assert fits.ImageHDU(empty((10**5, 10**5), np.uint16)).header["BZERO"] == 32768


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine.fits").write_text("mine")
    with pytest.raises(FileExistsError):
        ImageFile(tmp_path / "mine.fits", [])
    assert (tmp_path / "mine.fits").read_text() == "mine"


def test_a_full_disk_is_an_error_of_the_system(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    hdu = fits.PrimaryHDU(empty((3, 4), np.uint8))
    with ImageFile(tmp_path / "a.fits", [hdu]) as file:
        monkeypatch.setattr(rawio, "pwrite", refuse)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            file.write("PRIMARY", 0, np.zeros((3, 4), np.uint8))


# --- checksums


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 11, 2880])
def test_the_sum_of_parts_is_that_of_the_whole(size):
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    padding = bytes(-size % 4)
    words = np.frombuffer(data.tobytes() + padding, ">u4")
    expected = fold(int(words.sum(dtype=np.uint64)))
    for middle in range(size + 1):
        parts = word_sum(data[:middle], 0), word_sum(data[middle:], middle)
        assert fold(sum(parts)) == expected


def test_only_zeros_have_the_sum_zero():
    assert word_sum(np.zeros(8, np.uint8), 1) == 0
    assert word_sum(np.full(4, 255, np.uint8), 3) == imagefile.WORD
    assert fold(2 * imagefile.WORD) == imagefile.WORD


@pytest.mark.parametrize("seed", range(20))
def test_encoded_words_are_those_of_astropy(seed):
    words = [0, 1, imagefile.WORD, *np.random.default_rng(seed).integers(0, 2**32, 50).tolist()]
    hdu = fits.PrimaryHDU()
    for word in words:
        assert encoded(word) == hdu._char_encode(word)
        assert re.fullmatch("[0-9A-Za-z]{16}", encoded(word))


def test_blocks_are_full():
    assert [padded(size) for size in (0, 1, 2880, 2881)] == [0, 2880, 2880, 5760]
