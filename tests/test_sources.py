"""What is taken as frames: objects, collections, folders, patterns, lists, given exposures."""

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData
from ccdproc import ImageFileCollection
from small_darks import COUNTS, make_hdu, message, save, squeeze, two

from hotfit.darks import open_darks


def test_objects_in_memory():
    masked = CCDData(COUNTS.astype(np.uint16), unit="adu", meta={"exposure": 5.0}, mask=COUNTS > 60000)
    clean = CCDData(COUNTS.astype(np.uint16), unit="adu", meta={"exposure": 2.0})
    hdus = fits.HDUList([fits.PrimaryHDU(), make_hdu(exposure=3.0, hdu=fits.ImageHDU)])
    darks = open_darks([masked, make_hdu(exposure=1.0), clean, hdus])
    assert [frame.name for frame in darks.frames] == ["frame 2", "frame 3", "frame 4", "frame 1"]
    assert darks.dtype == np.float32
    got = darks.rows(0, 12)
    np.testing.assert_array_equal(got[0], COUNTS)
    np.testing.assert_array_equal(got[2], COUNTS)
    np.testing.assert_array_equal(got[3], np.where(COUNTS > 60000, np.nan, COUNTS))
    unmasked = open_darks([clean, make_hdu()])
    assert unmasked.dtype == np.uint16
    np.testing.assert_array_equal(unmasked.rows(2, 4), [COUNTS[2:4]] * 2)


def test_image_file_collection(tmp_path):
    two(tmp_path)
    darks = open_darks(ImageFileCollection(tmp_path))
    assert [Path(frame.name).name for frame in darks.frames] == ["good.fits", "odd.fits"]


def test_directory(tmp_path):
    for name in ["d10.fit", "d2.FITS", "d1.fts"]:
        save(tmp_path / name)
    squeeze(".gz", save(tmp_path / "d30.fits"))
    (tmp_path / "notes.txt").write_text("no frame")
    (tmp_path / "._d1.fits").write_text("left by a Mac")
    others = {
        "mask": "dark mask",
        "flat": "Flat",
        "light": "LIGHT",
        "master": "Master Dark",
        "truth": "truth",
    }
    for name, kind in others.items():
        save(tmp_path / f"{name}.fits", np.ones((2, 2), np.uint8), None, kind)
    darks = open_darks(tmp_path)
    assert [Path(frame.name).name for frame in darks.frames] == [
        "d1.fts",
        "d2.FITS",
        "d10.fit",
        "d30.fits.gz",
    ]
    reasons = {Path(item.name).stem: item.reason for item in darks.skipped}
    assert reasons.keys() == others.keys()
    for name, kind in others.items():
        assert reasons[name].startswith(f"its image type is {kind!r}")


def test_glob_and_literal_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ["dark_2.fits", "dark_10.fits", "dark_[12].fits", "@dark.fits"]:
        save(tmp_path / name)
    save(tmp_path / "dark_flat.fits", kind="flat")
    darks = open_darks("dark_*.fits")
    assert [frame.name for frame in darks.frames] == ["dark_2.fits", "dark_10.fits", "dark_[12].fits"]
    assert [item.name for item in darks.skipped] == ["dark_flat.fits"]
    darks = open_darks(["dark_[12].fits", Path("@dark.fits")])
    assert [frame.name for frame in darks.frames] == ["@dark.fits", "dark_[12].fits"]
    assert "bias_*.fits: no file matches" in message("bias_*.fits")


def test_list_with_exposures(tmp_path):
    for name in ["a.fits", "b 7.fits", "c.fits"]:
        save(tmp_path / "sub" / name, exposure=40.0)
    listed = tmp_path / "darks.txt"
    listed.write_text(
        "# my darks\nsub/a.fits 30\n\nsub/b 7.fits   # named so\nsub/c.fits\t2.5 # s\n", "utf-8-sig"
    )
    darks = open_darks(f"@{listed}", exposure_unit="ms")
    assert [(Path(frame.name).name, frame.exposure) for frame in darks.frames] == [
        ("b 7.fits", 0.04),
        ("c.fits", 2.5),
        ("a.fits", 30.0),
    ]
    listed.write_text("sub/a.fits, 60\nsub/b 7.fits 7s\nsub/c.fits , 8 s # eight\n")
    assert list(open_darks(f"@{listed}").exposure) == [7, 8, 60]
    for line, part in [("sub/a.fits nan", "a.fits: an exposure of nan"), ("sub/d.fits 3", "d.fits: no such")]:
        listed.write_text(line)
        assert part in message(f"@{listed}")
    listed.write_text("# nothing\n")
    assert "darks.txt: this list names no files" in message(f"@{listed}")
    listed.write_bytes(b"\xff\xfe\xff")
    assert "not UTF-8" in message(f"@{listed}")
    assert "other.txt: cannot read" in message(f"@{tmp_path / 'other.txt'}")


def test_given_exposures(tmp_path):
    good, odd = two(tmp_path, exposure=None)
    darks = open_darks([good, odd], exposure=[8, 4])
    assert [(frame.name, frame.exposure) for frame in darks.frames] == [(str(odd), 4), (str(good), 8)]
    assert "3 times for 2 frames" in message([good, odd], exposure=[1, 2, 3])
    assert "odd.fits: an exposure of -1 s" in message([good, odd], exposure=[1, -1])
