"""Files and objects that cannot be used: one line that names them, and what is wrong."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from small_darks import SHAPE, STORED, make_hdu, message, save, squeeze


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])
    return path


def write(path, content):
    path.write_bytes(content)
    return path


def with_header_card(path, old, new):
    return write(path, path.read_bytes().replace(old, new))


NAXIS = b"NAXIS   =                    "


def tiles(path, **options):
    return save(path, hdu=lambda data: fits.CompImageHDU(data.astype(np.int32), **options))


def absurd_extension():
    image = fits.ImageHDU(np.zeros((3, 4), np.uint16))
    return image.header.tostring().encode().replace(NAXIS + b"2", NAXIS[:-7] + b"9" * 8) + bytes(2880)


def lying_tiles(path):
    """An HCOMPRESS stream begins with DD 99 and its numbers of rows and columns."""
    data = tiles(path, compression_type="HCOMPRESS_1", tile_shape=SHAPE).read_bytes()
    start = data.index(b"\xdd\x99")
    return write(path, data[: start + 2] + b"\x00\x10\x00\x00" + data[start + 6 :])


def promising_tiles(path):
    data = tiles(path).read_bytes()
    return write(path, data.replace(b"ZNAXIS2 =                   12", b"ZNAXIS2 =            999999999"))


def list_of(path):
    (path.parent / "list.txt").write_text(path.name)
    return f"@{path.parent / 'list.txt'}"


def no_data(path):
    fits.PrimaryHDU().writeto(path, overwrite=True)
    return path


BAD_FILES = {
    "missing": (lambda p: p, "no such file"),
    "text": (lambda p: write(p, b"just some text"), "is not a FITS file"),
    "empty": (lambda p: write(p, b""), "empty"),
    "cut in the data": (lambda p: cut(save(p), 2880 + 50), "cut short (2930 bytes of the 3048"),
    "cut in the header": (lambda p: cut(save(p), 1000), "cannot be read as FITS"),
    "cut gzip": (lambda p: cut(squeeze(".gz", save(p)), 200), "cannot be read as FITS"),
    "gzip of a cut file": (lambda p: squeeze(".gz", cut(save(p), 2930)), "cut short (2930 bytes of the 3048"),
    "folder in a list": (lambda p: p.mkdir() or list_of(p), "is a folder; name its files"),
    "cut tiles": (lambda p: cut(save(p, hdu=fits.CompImageHDU), -2880), "cut short"),
    "colour": (lambda p: save(p, np.zeros((3, 4, 5), np.uint16)), "colour image (NAXIS3 = 3)"),
    "colour last": (lambda p: save(p, np.zeros((4, 5, 3), np.uint16)), "colour image (NAXIS1 = 3)"),
    "cube": (lambda p: save(p, np.zeros((4, 5, 6), np.uint16)), "cube of 4 planes"),
    "one axis": (lambda p: save(p, np.zeros(4, np.uint16)), "no 2-D image"),
    "no data": (lambda p: write(p, save(p.with_name("x")).read_bytes()) and no_data(p), "no 2-D image"),
    "no columns": (
        lambda p: with_header_card(
            save(p), b"NAXIS1  =                    7", b"NAXIS1  =                    0"
        ),
        "no pixels",
    ),
    "no end of axes": (
        lambda p: with_header_card(save(p), NAXIS + b"2", NAXIS[:-7] + b"9" * 8),
        "NAXIS = 99999999",
    ),
    "no end of axes, packed": (
        lambda p: squeeze(".gz", with_header_card(save(p), NAXIS + b"2", NAXIS[:-7] + b"9" * 8)),
        "NAXIS = 99999999",
    ),
    "no end of axes behind the image": (
        lambda p: write(p, save(p).read_bytes() + absurd_extension()),
        "NAXIS = 99999999",
    ),
    "an axis of text": (
        lambda p: with_header_card(
            save(p), b"NAXIS1  =                    7", b"NAXIS1  =                  'x'"
        ),
        "NAXIS1 = 'x'",
    ),
    "a negative axis": (
        lambda p: with_header_card(
            save(p), b"NAXIS2  =                   12", b"NAXIS2  =                  -12"
        ),
        "NAXIS2 = -12",
    ),
    "columns wider than rows": (
        lambda p: with_header_card(tiles(p), b"TFORM1  = '1PB(", b"TFORM1  = '9PB("),
        "columns of",
    ),
    "not simple": (
        lambda p: squeeze(
            ".gz",
            with_header_card(save(p), b"SIMPLE  =                    T", b"SIMPLE  =                    F"),
        ),
        "SIMPLE or GROUPS",
    ),
    "tiles that lie": (lambda p: lying_tiles(p), "a size of its own"),
    "tiles that promise too much": (lambda p: promising_tiles(p), "cannot hold the"),
    "no scale": (lambda p: save(p, STORED["int16"], BSCALE="x"), "BSCALE"),
}


@pytest.mark.parametrize("bad", BAD_FILES)
def test_bad_file(tmp_path, bad):
    make, part = BAD_FILES[bad]
    path = make(tmp_path / "odd.fits")
    text = message([save(tmp_path / "good.fits"), path])
    assert text.startswith(f"{tmp_path / 'odd.fits'}" if isinstance(path, str) else f"{path}: ")
    assert part in text


@pytest.mark.parametrize("name", ["a\0b.fits", "a" * 300])
def test_what_cannot_be_a_name(name, tmp_path):
    assert "cannot be the name of a file" in message(name)
    (tmp_path / "list.txt").write_text(f"{name}\n", "utf-16-le")
    assert "list.txt: cannot read this list" in message(f"@{tmp_path / 'list.txt'}")


@pytest.mark.parametrize(
    ("item", "part"),
    [
        (np.zeros((3, 4)), "ndarray"),
        (CCDData(np.zeros((3, 4, 5)), unit="adu", meta={"EXPTIME": 1}), "colour image"),
        (CCDData(np.zeros((4, 5), complex), unit="adu", meta={"EXPTIME": 1}), "complex128"),
        (CCDData(np.zeros((4, 5)), unit="adu", meta={}), "no exposure time"),
        (fits.PrimaryHDU(), "0-D data"),
    ],
)
def test_bad_object(item, part):
    text = message([make_hdu(), item])
    assert text.startswith("frame 2: ")
    assert part in text


def test_folder_without_frames(tmp_path):
    (tmp_path / "notes.txt").write_text("no frame")
    assert f"{tmp_path}: no FITS files" in message(tmp_path)
