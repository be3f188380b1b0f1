"""Finding, checking and reading darks: every container, every refusal, real frames where they are at hand."""

import bz2
import gc
import gzip
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from ccdproc import ImageFileCollection

from hotfit.cubes import cube_darks
from hotfit.darks import open_darks
from hotfit.darkset import group_exposures
from hotfit.errors import HotfitError

REAL = Path(__file__).parents[2] / "shared" / "darks"
SHAPE = (12, 7)
RNG = np.random.default_rng(1)
COUNTS = RNG.integers(0, 65536, SHAPE)
COUNTS.flat[:3] = 0, 32768, 65535


def make_hdu(data=None, exposure=10.0, kind="Dark Frame", hdu=fits.PrimaryHDU, **cards):
    image = hdu(COUNTS.astype(np.uint16) if data is None else data)
    if exposure is not None:
        image.header["EXPTIME"] = exposure
    if kind is not None:
        image.header["IMAGETYP"] = kind
    for key, value in cards.items():
        image.header[key.replace("_", "-")] = value
    return image


def save(path, *args, **cards):
    path.parent.mkdir(exist_ok=True)
    make_hdu(*args, **cards).writeto(path)
    return path


def two(folder, *args, name="odd.fits", **cards):
    """A good dark and one made as told."""
    return [save(folder / "good.fits"), save(folder / name, *args, **cards)]


def message(frames, **options):
    """The refusal, which is always one line."""
    with pytest.raises(HotfitError) as caught:
        open_darks(frames, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


# --- reading

FLOATS = RNG.normal(1000, 300, SHAPE)
FLOATS[3, 4] = np.nan
STORED = {
    "uint8": (COUNTS % 256).astype(np.uint8),
    "uint16": COUNTS.astype(np.uint16),
    "int16": (COUNTS - 32768).astype(np.int16),
    "int32": (COUNTS * 7 - 1000).astype(np.int32),
    "uint32": (COUNTS * 11).astype(np.uint32),
    "int64": (COUNTS * 13).astype(np.int64),
    "float32": FLOATS.astype(np.float32),
    "float64": FLOATS,
}


def squeeze(container, path):
    """Put a plain FITS file into `container`; return the new file."""
    pack = {".gz": gzip.compress, ".bz2": bz2.compress}[container]
    packed = path.with_name(path.name + container)
    packed.write_bytes(pack(path.read_bytes()))
    path.unlink()
    return packed


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


# --- what is taken as frames


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


# --- headers


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


# --- groups


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


# --- refusals


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


def list_of(path):
    (path.parent / "list.txt").write_text(path.name)
    return f"@{path.parent / 'list.txt'}"


def no_data(path):
    fits.PrimaryHDU().writeto(path, overwrite=True)
    return path


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


# --- cubes in memory


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


# --- real frames


@pytest.mark.skipif(not REAL.is_dir(), reason="no real darks here")
class TestReal:
    def test_stl1001e(self):
        darks = open_darks(REAL / "stl1001e_0C")
        assert len(darks.frames) == 30
        assert list(darks.group_exposure) == [0, 10, 30, 60, 90, 120, 150, 180, 210, 240, 270, 300]
        assert darks.dtype == np.uint16
        assert [claim.value for claim in darks.claims.gain] == [2.06, 2.06]
        got = darks.rows(400, 410)
        assert list(got[[10, -1], 9, 329]) == [29076, 61805]
        for frame, rows in zip(darks.frames[::7], got[::7], strict=True):
            np.testing.assert_array_equal(rows, fits.getdata(frame.name)[400:410])

    def test_shapes_of_the_atik(self):
        text = message([REAL / "atik_m10C", REAL / "atik_unbinned_bias"])
        assert "Bias-0001.fit (1039 x 1391)" in text
        assert "519 x 695 in " in text
        assert "Dark-0001_1s.fit and 11 more" in text

    def test_st402(self):
        darks = open_darks(REAL / "st402_m15C")
        assert list(darks.group_exposure) == [240, 360, 1200]
        assert list(darks.group) == [0] * 5 + [1] * 5 + [2] * 5
