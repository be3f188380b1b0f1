"""The output directory: complete or not at all, readable by others, and read back bit for bit."""

import errno
import inspect
import json
import os
import re
import shutil
import warnings
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import ccdproc
import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table

import hotfit
from hotfit import store
from hotfit.errors import HotfitError
from hotfit.flags import DQ, MEANING
from hotfit.imagefile import ImageFile
from hotfit.power import statement

FILES = {"dark_current.fits", "mask.fits", "bad_pixels.ecsv", "summary.json"}

HDUS = {
    "PRIMARY": ("float32", "rate"),
    "UNCERT": ("float32", "rate_error"),
    "MASK": ("uint8", "mask"),
    "DQ": ("uint32", "dq"),
    "INTERCEPT": ("float32", "intercept"),
    "SLOPERES": ("float32", "slope_residual"),
    "SLOPEERR": ("float32", "slope_residual_error"),
    "LACKFIT": ("float32", "lack_of_fit"),
    "SCATTER": ("float32", "scatter"),
    "MISFIT": ("float32", "misfit"),
    "MISFRAC": ("float32", "misfit_fraction"),
    "NUSED": ("uint16", "n_used"),
    "NGROUPS": ("uint16", "n_groups"),
    "NDROPPED": ("uint8", "n_dropped"),
}
"""The images of dark_current.fits, their types and what they hold."""

COLUMNS = {
    "rate": "rate",
    "error": "rate_error",
    "slope_residual": "slope_residual",
    "slope_residual_error": "slope_residual_error",
    "misfit": "misfit",
    "misfit_fraction": "misfit_fraction",
    "scatter": "scatter",
}
"""The columns of bad_pixels.ecsv that hold values of maps."""

RULES = {
    "default": {},
    "the design's": {"hot": 4, "bad": ("HOT", "NONLINEAR")},
    "none is bad": {"bad": ()},
    "all are bad": {"hot": -1.5, "fdr": 0.1, "bad": [flag.name for flag in DQ if flag is not DQ.DO_NOT_USE]},
}


@pytest.fixture(scope="module")
def fits_by_unit():
    """Fits with the gain given and unknown, with saturated pixels, one of them without a rate."""
    cube, exposure, _ = hotfit.simulate.cube("guide", shape=(64, 96), seed=3, odd=20)
    cube[:, 5, 5] = 65535
    cube[exposure > 200, 5, 7] = 65535
    given = hotfit.fit_cube(cube, exposure, gain=1.4567890123456789, read_noise=10.3)
    detector = replace(given.detector, gain=np.nan, gain_source="unknown", read_noise_source="darks")
    unknown = replace(given, unit=units.Unit("adu/s"), detector=detector)
    assert given.unit == units.Unit("electron/s")
    assert np.isnan(given.rate).any()
    assert 10 < given.mask.sum() < 200
    return {"adu/s": unknown, "electron/s": given}


@pytest.fixture(scope="module")
def fit(fits_by_unit):
    return fits_by_unit["adu/s"]


@pytest.fixture(params=["adu/s", "electron/s"])
def either(request, fits_by_unit):
    return fits_by_unit[request.param]


@pytest.fixture(scope="module")
def stored(fit, tmp_path_factory):
    """A result on disk that no test changes."""
    return fit.write(tmp_path_factory.mktemp("stored") / "hotfit-out")


def with_frames(fit, **columns):
    table = fit.frames.copy()
    for name, values in columns.items():
        table[name] = values
    return replace(fit, frames=table)


def snapshot(directory):
    """What is in a directory: every path, and every file's bytes."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
    }


def assert_same_bits(one, other, name):
    assert one.dtype == other.dtype, name
    assert one.dtype.isnative, name
    assert one.shape == other.shape, name
    assert one.tobytes() == other.tobytes(), name


def assert_same_number(one, other, name):
    assert type(one) is type(other), name
    assert one == (pytest.approx(other, rel=1e-14, nan_ok=True) if isinstance(other, float) else other), name


def assert_same_fit(read, written):
    """Every attribute but the frames, whose table has a test of its own.

    A FITS card has 20 characters for a number, one or two too few for some.
    """
    for field in fields(written):
        one, other = getattr(read, field.name), getattr(written, field.name)
        if isinstance(other, np.ndarray):
            assert_same_bits(one, other, field.name)
        elif field.name == "curves":
            for name, array in vars(other).items():
                assert_same_bits(getattr(one, name), array, name)
        elif field.name == "detector":
            for name, value in vars(other).items():
                assert_same_number(getattr(one, name), value, name)
        elif field.name != "frames":
            assert_same_number(one, other, field.name)


# --- there and back


def test_read_gives_back_every_map_and_number(either, tmp_path):
    assert_same_fit(hotfit.DarkFit.read(either.write(tmp_path / "out")), either)


@pytest.mark.parametrize("rules", RULES)
def test_read_gives_back_the_rules(fit, tmp_path, rules):
    written = fit.reflag(**RULES[rules])
    read = hotfit.DarkFit.read(written.write(tmp_path / "out"))
    assert_same_fit(read, written)
    assert read.rules == written.rules
    np.testing.assert_array_equal(read.reflag(**vars(fit.rules)).dq, fit.dq)


def test_read_gives_back_what_is_unknown(fit, tmp_path):
    unknown = replace(
        fit,
        detector=replace(fit.detector, gain=np.nan, saturation=np.inf, step=0.0),
        hot_limit=np.nan,
        lack_of_fit_null=np.nan,
        scatter_null=np.nan,
        shared_degrees=np.nan,
        lack_of_fit_limit=np.nan,
        bias_subtracted=True,
    )
    assert_same_fit(hotfit.DarkFit.read(unknown.write(tmp_path / "out")), unknown)


def test_read_gives_back_any_nan_and_infinity(fit, tmp_path):
    odd = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38], np.float32)
    names = ("rate", "scatter", "slope_residual", "slope_residual_error", "misfit")
    maps = {name: getattr(fit, name).copy() for name in names}
    for values in maps.values():
        values[0, : odd.size] = odd
    dq = fit.dq.copy()
    dq[0, 0] = 2**32 - 1
    n_used = fit.n_used.copy()
    n_used[0, :2] = 0, 65535
    written = replace(fit, **maps, dq=dq, n_used=n_used)
    assert_same_fit(hotfit.DarkFit.read(written.write(tmp_path / "out")), written)


FRAMES = {
    "as fitted": {},  # temperatures are nan
    "temperatures": {"temperature": np.linspace(-10, -9.7, 32)},
    "some without temperature": {"temperature": np.where(np.arange(32) % 3, -10.0, np.nan)},
    "long names": {"file": [f"{'a' * 200}/dark {i}.fits" for i in range(32)]},
    "names that look escaped": {"file": [f"100%41 '\\n'/{i}.fits" for i in range(32)]},
    "non-ASCII names": {"file": [f"Dünkelbilder/暗 {i}.fits" for i in range(32)]},
}


@pytest.mark.parametrize("case", FRAMES)
def test_read_gives_back_the_frames(fit, tmp_path, case):
    written = with_frames(fit, **FRAMES[case])
    read = hotfit.DarkFit.read(written.write(tmp_path / "out")).frames
    assert type(read) is type(written.frames)
    assert read.colnames == written.frames.colnames
    for name in read.colnames:
        one, other = read[name], written.frames[name]
        assert one.unit == other.unit, name
        assert not np.ma.isMaskedArray(one), name
        assert one.tolist() == other.tolist() or np.array_equal(one, other, equal_nan=True), name
        if other.dtype.kind != "U":
            assert one.dtype == other.dtype, name
            assert one.dtype.isnative, name
    assert read.meta == written.frames.meta


@pytest.mark.parametrize(
    "notes",
    [
        (),
        ("short",),
        ("one", "two"),
        ("a long one: " + "word " * 40 + "end",),
        ("a word of " + "x" * 150,),
        ("gain 1.5 ± 0.1 e⁻/adu, from Grün/暗.fits",),
        ("first: " + "long " * 30 + "end", "second", "third: " + "y" * 72),
        ("100%41 & 'quoted'\\n\n\ttext&",),
        ("x" * 10 + "'/" + "y" * 70,),  # astropy cuts such text where it continues on a second card
    ],
    ids=["none", "short", "two", "long", "long word", "non-ASCII", "several", "escapes", "quote and slash"],
)
def test_read_gives_back_the_notes(fit, tmp_path, notes):
    directory = replace(fit, notes=notes).write(tmp_path / "out")
    assert json.loads((directory / "summary.json").read_text(encoding="utf-8"))["notes"] == list(notes)
    assert hotfit.DarkFit.read(directory).notes == notes


def test_read_takes_the_file_or_its_directory_as_path_or_text(stored, fit):
    for path in (stored, str(stored), stored / "dark_current.fits", str(stored / "dark_current.fits")):
        np.testing.assert_array_equal(hotfit.DarkFit.read(path).dq, fit.dq)


def test_a_fit_read_back_can_be_reflagged_and_written(either, tmp_path):
    read = hotfit.DarkFit.read(either.write(tmp_path / "one"))
    said = statement(either)
    assert statement(read) == pytest.approx(said)
    assert said.items() <= either.summary().items()
    new = read.reflag(**RULES["the design's"])
    np.testing.assert_array_equal(new.dq, either.reflag(**RULES["the design's"]).dq)
    assert_same_fit(hotfit.DarkFit.read(new.write(tmp_path / "two")), new)


# --- dark_current.fits


def test_the_directory_holds_these_files(stored):
    assert {path.name for path in stored.iterdir()} == FILES


@pytest.mark.parametrize("name", HDUS)
def test_images_have_the_names_and_types_of_the_design(stored, fit, name):
    dtype, attribute = HDUS[name]
    with fits.open(stored / "dark_current.fits") as opened:
        data = opened[name].data
        assert data.dtype.newbyteorder("=") == dtype
        np.testing.assert_array_equal(data, getattr(fit, attribute))


def test_no_extension_confuses_the_reader_of_astropy(stored):
    with fits.open(stored / "dark_current.fits") as opened:
        names = [hdu.name for hdu in opened]
    assert len(set(names)) == len(names)
    assert not [name for name in names if name.startswith("DQ_")]


def test_units(either, tmp_path):
    unit = str(either.unit).replace(" ", "")
    assert unit in ("adu/s", "electron/s")
    with fits.open(either.write(tmp_path / "out") / "dark_current.fits") as opened:
        assert opened[0].header["BUNIT"] == unit
        assert units.Unit(opened["UNCERT"].header["BUNIT"]) == either.unit
        assert opened["INTERCEPT"].header["BUNIT"] == "adu"


def test_header_of_a_calibrated_fit(fits_by_unit, tmp_path):
    fit = fits_by_unit["electron/s"].reflag(**RULES["the design's"])
    header = fits.getheader(fit.write(tmp_path / "out") / "dark_current.fits")
    assert header["EGAIN"] == pytest.approx(1.4567890123456789, rel=1e-15)
    expected = {
        "GAINSRC": "user",
        "RDNOISE": 10.3,
        "RNSRC": "user",
        "SATSRC": "darks",
        "HOT": 4,
        "HOTLIMIT": 4,
    }
    expected |= {"FDR": 0.01, "TOLERANC": 0.01, "MINSIGMA": 1, "BADFLAGS": "HOT,NONLINEAR"}
    expected |= {"SATURATE": fit.detector.saturation, "NFRAMES": 32, "NCURVES": fit.dq.size}
    decided = {"NULLLOF": fit.lack_of_fit_null, "NULLSCAT": fit.scatter_null}
    decided |= {"NOISEDOF": fit.shared_degrees, "PLIMIT": fit.lack_of_fit_limit}
    assert {key: header[key] for key in decided} == pytest.approx(decided, rel=1e-14)
    expected |= {f"NBIT{int(f).bit_length() - 1}": int(((fit.dq & f) != 0).sum()) for f in DQ}
    assert {key: header[key] for key in expected} == expected
    assert hotfit.__version__ in header["CREATOR"]
    assert not {"CTYPE1", "CRVAL1", "CD1_1", "WCSAXES", "OBJECT"} & set(header)


def test_header_of_an_uncalibrated_fit(stored, fit):
    header = fits.getheader(stored / "dark_current.fits")
    assert header["EGAIN"] is None
    assert header["RDNOISE"] == pytest.approx(fit.detector.read_noise)
    assert "adu" in header.comments["RDNOISE"]


def test_tables(stored, fit):
    with fits.open(stored / "dark_current.fits") as opened:
        frames, flagdef = opened["FRAMES"].data, opened["FLAGDEF"].data
        assert {"file", "exposure", "temperature", "offset", "scale", "saturated", "dropped"} <= set(
            frames.names
        )
        assert list(frames["file"]) == list(fit.frames["file"])
        np.testing.assert_array_equal(frames["offset"], fit.frames["offset"])
        assert frames["saturated"].sum() >= 32 + 8
        rows = [(int(bit), str(name), str(meaning)) for bit, name, meaning in flagdef]
    assert rows == [(int(f).bit_length() - 1, f.name, MEANING[f]) for f in DQ]


def test_ccddata_reads_it_in_one_call(either, tmp_path):
    path = either.write(tmp_path / "out") / "dark_current.fits"
    ccd = CCDData.read(path)
    assert ccd.unit == either.unit
    np.testing.assert_array_equal(ccd.data, either.rate)
    assert isinstance(ccd.uncertainty, StdDevUncertainty)
    np.testing.assert_array_equal(ccd.uncertainty.array, either.rate_error)
    assert ccd.uncertainty.unit == either.unit
    assert ccd.mask.dtype == bool
    np.testing.assert_array_equal(ccd.mask, either.mask)
    dark = ccd.multiply(100 * units.s)  # units and errors go on
    np.testing.assert_allclose(dark.uncertainty.array, 100 * either.rate_error, rtol=1e-6)


# --- the other files


def test_mask(stored, fit):
    with fits.open(stored / "mask.fits") as opened:
        assert len(opened) == 1
        header, data = opened[0].header, opened[0].data
        assert data.dtype == np.uint8
        np.testing.assert_array_equal(data, fit.mask.astype(np.uint8))
        assert header["IMAGETYP"] == "dark mask"
        assert header["BUNIT"] == ""


@pytest.mark.parametrize("given", [{}, {"unit": units.dimensionless_unscaled}, {"unit": ""}], ids=str)
def test_mask_as_ccddata(stored, fit, given):
    ccd = CCDData.read(stored / "mask.fits", **given)
    assert ccd.unit == units.dimensionless_unscaled
    assert ccd.mask is None
    np.testing.assert_array_equal(ccd.data.astype(bool), fit.mask)


def test_mask_as_the_guide_finds_it(stored, fit):
    collection = ccdproc.ImageFileCollection(stored)
    (path,) = collection.files_filtered(imagetyp="dark mask", include_path=True)
    np.testing.assert_array_equal(CCDData.read(path).data.astype("bool"), fit.mask)
    (ccd,) = collection.ccds(imagetyp="dark mask", ccd_kwargs={"unit": ""})
    np.testing.assert_array_equal(ccd.data.astype("bool"), fit.mask)


@pytest.mark.parametrize("rules", RULES)
def test_bad_pixels(fit, tmp_path, rules):
    fit = fit.reflag(**RULES[rules])
    table = Table.read(fit.write(tmp_path / "out") / "bad_pixels.ecsv")
    y, x = np.nonzero(fit.mask)
    assert table.colnames == ["x", "y", *COLUMNS, "reasons"]
    assert list(zip(table["x"], table["y"], strict=True)) == list(zip(x, y, strict=True))
    for name, attribute in COLUMNS.items():
        np.testing.assert_array_equal(np.asarray(table[name], np.float32), getattr(fit, attribute)[y, x])
    assert table["rate"].unit == table["error"].unit == fit.unit
    expected = [{name for name in fit.rules.bad if bits & DQ[name]} for bits in fit.dq[y, x]]
    assert [set(reasons.split()) for reasons in table["reasons"]] == expected
    assert all(expected)
    assert (len(table) == 0) == (rules == "none is bad")


def test_summary_is_json(either, tmp_path):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    path = either.write(tmp_path / "out") / "summary.json"
    summary = json.loads(path.read_bytes().decode("utf-8"), parse_constant=refuse)
    assert summary == {"version": hotfit.__version__, **either.summary()}


@pytest.mark.parametrize("name", ["dark_current.fits", "mask.fits"])
def test_checksums(stored, tmp_path, name):
    # Warnings are errors here, and a checksum that fails warns.
    with fits.open(stored / name, checksum=True) as opened:
        for hdu in opened:
            assert {"CHECKSUM", "DATASUM"} <= set(hdu.header)
            assert hdu.data is not None
    spoilt = bytearray((stored / name).read_bytes())
    with fits.open(stored / name) as opened:
        spoilt[opened[0].fileinfo()["datLoc"] + 1] ^= 1
    (tmp_path / name).write_bytes(spoilt)
    with pytest.warns(UserWarning, match="[Cc]hecksum|Datasum"), fits.open(tmp_path / name, checksum=True):
        pass


# --- what is in the way


@pytest.mark.parametrize("kind", ["a result", "an empty directory", "a file", "a foreign directory"])
def test_what_exists_is_refused(stored, fit, tmp_path, kind):
    target = tmp_path / "out"
    if kind == "a result":
        shutil.copytree(stored, target)
    elif kind == "a file":
        target.write_text("mine")
    else:
        target.mkdir()
        if kind == "a foreign directory":
            (target / "mine.txt").write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(HotfitError) as caught:
        fit.write(target)
    assert str(target) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert snapshot(tmp_path) == before


def test_overwrite_replaces_a_result(stored, fit, tmp_path):
    target = tmp_path / "out"
    shutil.copytree(stored, target)
    (target / "mask.fits").unlink()  # not even a whole one
    (tmp_path / "mine.txt").write_text("mine")
    new = fit.reflag(**RULES["the design's"])
    assert new.write(target, overwrite=True) == target
    assert {path.name for path in target.iterdir()} == FILES
    np.testing.assert_array_equal(hotfit.DarkFit.read(target).dq, new.dq)
    assert {path.name for path in tmp_path.iterdir()} == {"out", "mine.txt"}


@pytest.mark.parametrize("start", ["nothing", "an empty directory"])
def test_overwrite_needs_nothing_to_overwrite(fit, tmp_path, start):
    if start != "nothing":
        (tmp_path / "out").mkdir()
    fit.write(tmp_path / "out", overwrite=True)
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES


@pytest.mark.parametrize(
    "foreign", ["notes.txt", "dark_current.fit", ".hidden", "raw/dark.fits", "mask.fits~"]
)
def test_overwrite_touches_nothing_of_others(stored, fit, tmp_path, foreign):
    target = tmp_path / "out"
    shutil.copytree(stored, target)
    (target / foreign).parent.mkdir(exist_ok=True)
    (target / foreign).write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(HotfitError) as caught:
        fit.write(target, overwrite=True)
    assert str(target) in str(caught.value)
    assert foreign.split("/")[0] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert snapshot(tmp_path) == before


def test_overwrite_does_not_replace_a_file_or_a_link(stored, fit, tmp_path):
    (tmp_path / "file").write_text("mine")
    shutil.copytree(stored, tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    before = snapshot(tmp_path)
    said = {"file": "file: is a file", "link": f"link: is a link to {tmp_path / 'real'}; name that"}
    for name in said:
        with pytest.raises(HotfitError, match=re.escape(said[name])):
            fit.write(tmp_path / name, overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert snapshot(tmp_path) == before


# --- what goes wrong

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def failing(monkeypatch, owner, name, error):
    """Let a writer do its work and then fail: its file is there, or a part of it."""
    original = inspect.getattr_static(owner, name)

    def write(self, *args, **kwargs):
        original.__get__(self, type(self))(*args, **kwargs)
        raise error

    monkeypatch.setattr(owner, name, write)


WRITERS = {
    "images": (ImageFile, "write"),
    "headers": (ImageFile, "finish"),
    "tables": (fits.HDUList, "writeto"),
    "bad_pixels.ecsv": (Table, "write"),
    "summary.json": (Path, "write_text"),
}


@pytest.mark.parametrize("old", [False, True], ids=["new", "overwrite"])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_leaves_everything_as_it_was(stored, fit, tmp_path, monkeypatch, writer, old):
    target = tmp_path / "out"
    if old:
        shutil.copytree(stored, target)
    before = snapshot(tmp_path)
    failing(monkeypatch, *WRITERS[writer], FULL)
    with pytest.raises(HotfitError) as caught:
        fit.reflag(hot=1).write(target, overwrite=old)
    assert str(caught.value).startswith(str(target))
    assert f"({os.strerror(errno.ENOSPC)});" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError])
def test_any_other_end_leaves_nothing_behind(stored, fit, tmp_path, monkeypatch, error):
    target = tmp_path / "out"
    shutil.copytree(stored, target)
    before = snapshot(tmp_path)
    failing(monkeypatch, *WRITERS["bad_pixels.ecsv"], error())
    with pytest.raises(error):
        fit.write(target, overwrite=True)
    assert snapshot(tmp_path) == before


def stubborn(monkeypatch, refuses):
    """Renames fail where `refuses(source, target)`; on Windows an open file is enough for that."""
    original = Path.rename
    refused = []

    def rename(self, target):
        if refuses(self, Path(target)):
            refused.append(self)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return original(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    return refused


@pytest.mark.parametrize("which", ["old", "new"])
def test_an_old_result_that_cannot_be_replaced_stays(stored, fit, tmp_path, monkeypatch, which):
    target = tmp_path / "out"
    shutil.copytree(stored, target)
    before = snapshot(tmp_path)
    refused = stubborn(
        monkeypatch,
        lambda source, to: source == target if which == "old" else to == target and source.name == "new",
    )
    with pytest.raises(HotfitError, match="cannot be written"):
        fit.write(target, overwrite=True)
    assert refused
    assert snapshot(tmp_path) == before


def test_an_old_result_that_cannot_be_put_back_is_not_deleted(stored, fit, tmp_path, monkeypatch):
    target = tmp_path / "out"
    shutil.copytree(stored, target)
    refused = stubborn(monkeypatch, lambda source, to: to == target)
    with pytest.raises(HotfitError, match="move the earlier result back from") as caught:
        fit.write(target, overwrite=True)
    assert len(refused) > 1
    kept = Path(str(caught.value).rpartition(" from ")[2])
    assert snapshot(kept) == snapshot(stored)
    assert "\n" not in str(caught.value)


def test_several_results_take_one_place_and_are_replaced_as_one(either, tmp_path):
    out = tmp_path / "out"
    for fit in (either, either.reflag(**RULES["the design's"])):
        with store.new_directory(out, overwrite=out.exists()) as made:
            for name in ("CHIP1", "CHIP2"):
                store.write_files(fit, made / name)
        assert {path.name for path in tmp_path.iterdir()} == {"out"}
        assert {path.name for path in out.iterdir()} == {"CHIP1", "CHIP2"}
        for name in ("CHIP1", "CHIP2"):
            assert {path.name for path in (out / name).iterdir()} == FILES
            assert_same_fit(hotfit.DarkFit.read(out / name), fit)


def test_parents_are_made(fit, tmp_path):
    target = fit.write(tmp_path / "a" / "b" / "out")
    assert {path.name for path in target.iterdir()} == FILES


def test_the_directory_has_the_users_permissions(stored, tmp_path):
    (tmp_path / "made").mkdir()
    assert stored.stat().st_mode == (tmp_path / "made").stat().st_mode


def test_a_parent_that_is_a_file(fit, tmp_path):
    (tmp_path / "file").write_text("mine")
    before = snapshot(tmp_path)
    for target in (tmp_path / "file" / "out", tmp_path / "file" / "a" / "out"):
        with pytest.raises(HotfitError) as caught:
            fit.write(target)
        assert str(caught.value).startswith(str(target))
        assert "\n" not in str(caught.value)
    assert snapshot(tmp_path) == before


def test_a_parent_that_cannot_be_written(fit, tmp_path, monkeypatch):
    # Root may write everywhere: let the system call refuse.
    original = os.mkdir

    def mkdir(path, *args, **kwargs):
        if Path(path).parent == tmp_path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        original(path, *args, **kwargs)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(HotfitError) as caught:
        fit.write(tmp_path / "out")
    assert str(caught.value).startswith(str(tmp_path / "out"))
    assert os.strerror(errno.EACCES) in str(caught.value)
    assert snapshot(tmp_path) == {}


# --- how much room it takes


@pytest.fixture
def free(monkeypatch):
    """Let the file system say that so many bytes are free."""

    def say(free, total=10**12):
        usage = SimpleNamespace(total=total, used=total - free, free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda place: Path(place).is_dir() and usage)

    return say


def test_the_room_of_a_result_is_known_before(tmp_path, free):
    cube, exposure, _ = hotfit.simulate.cube("guide", shape=(600, 500), repeats=3, seed=3, odd=200)
    directory = hotfit.fit_cube(cube, exposure).write(tmp_path / "out")
    real = sum(path.stat().st_size for path in directory.iterdir())
    free(int(1.1 * real))
    store.check_room(tmp_path / "new", 600 * 500)
    free(real)
    with pytest.raises(HotfitError) as caught:
        store.check_room(tmp_path / "new", 600 * 500)
    assert str(caught.value).startswith(str(tmp_path / "new"))
    assert "\n" not in str(caught.value)
    needed, there = map(int, re.findall(r"(\d+) MB", str(caught.value)))
    assert there <= real / 1e6 < needed < 1.1 * real / 1e6 + 1


def test_every_image_of_a_result_is_counted_in_its_room(stored):
    with fits.open(stored / "dark_current.fits") as maps, fits.open(stored / "mask.fits") as mask:
        images = [hdu.data for hdu in (*maps, *mask) if hdu.is_image]
        assert sum(image.dtype.itemsize for image in images) == store.BYTES_PER_PIXEL


def test_room_that_a_killed_run_holds_is_free(tmp_path):
    left = tmp_path / ".out.0123abcd.partial" / "new" / "dark_current.fits"
    left.parent.mkdir(parents=True)
    left.write_bytes(bytes(1000))
    store.check_room(tmp_path / "out", 1)
    assert not left.exists()


@pytest.mark.parametrize("place", ["out", "a/b/out", ".", "../out"])
def test_the_room_is_looked_for_where_the_result_will_be(tmp_path, monkeypatch, free, place):
    monkeypatch.chdir(tmp_path)
    free(10**7)
    store.check_room(place, 1000)
    with pytest.raises(HotfitError, match="10 MB are free"):
        store.check_room(place, 10**6)
    assert snapshot(tmp_path) == {}


def test_room_that_nobody_knows_is_no_error(tmp_path, monkeypatch, free):
    free(0, total=0)
    store.check_room(tmp_path / "out", 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: (tmp_path / "nothing").stat())
    store.check_room(tmp_path / "out", 10**9)


def test_the_real_disk_has_room_for_one_pixel_and_not_for_all(tmp_path):
    store.check_room(tmp_path / "out", 1)
    with pytest.raises(HotfitError, match="free some space"):
        store.check_room(tmp_path / "out", 10**15)


# --- what is no result


def refusal(path):
    """The message of the refusal, which is one line that names the file and comes without warnings."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(HotfitError) as caught:
            hotfit.DarkFit.read(path)
    assert not seen
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


def test_read_of_nothing(tmp_path):
    assert "no such file" in refusal(tmp_path / "nothing")
    assert "no such file" in refusal(tmp_path / "nothing.fits")
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty" / "dark_current.fits") in refusal(tmp_path / "empty")


FOREIGN = {
    "empty": lambda path, fit: path.write_bytes(b""),
    "text": lambda path, fit: path.write_text("one\ntwo\n"),
    "image": lambda path, fit: fits.writeto(path, np.ones((4, 5))),
    "no data": lambda path, fit: fits.PrimaryHDU().writeto(path),
    "ccddata": lambda path, fit: fit.to_ccddata().write(path),
    "table": lambda path, fit: Table({"a": [1]}).write(path),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_read_of_something_else(fit, tmp_path, kind):
    path = tmp_path / "foreign.fits"
    FOREIGN[kind](path, fit)
    assert "not a whole result" in refusal(path)


def test_read_of_the_mask(stored):
    assert "not a whole result" in refusal(stored / "mask.fits")


@pytest.mark.parametrize("place", ["in a header", "before data", "in data", "after data"])
def test_read_of_a_truncated_file(stored, tmp_path, place):
    whole = (stored / "dark_current.fits").read_bytes()
    with fits.open(stored / "dark_current.fits") as opened:
        infos = [hdu.fileinfo() for hdu in opened if hdu.name != "FLAGDEF"]
    cuts = {
        "in a header": [info["hdrLoc"] + 1000 for info in infos] + [100],
        "before data": [info["datLoc"] for info in infos],
        "in data": [info["datLoc"] + info["datSpan"] // 2 for info in infos],
        "after data": [info["datLoc"] + info["datSpan"] for info in infos[:-1]],
    }
    path = tmp_path / "dark_current.fits"
    for cut in cuts[place]:
        path.write_bytes(whole[:cut])
        assert "not a whole result" in refusal(path), cut


def edited(stored, path, edit):
    with fits.open(stored / "dark_current.fits") as opened:
        edit(opened)
        opened.writeto(path)
    return path


SPOILT = {
    "a map without data": lambda hdus: setattr(hdus["SCATTER"], "data", None),
    "a map of another shape": lambda hdus: setattr(hdus["DQ"], "data", hdus["DQ"].data[:3]),
    "a map is missing": lambda hdus: hdus.pop(hdus.index_of("SLOPEERR")),
    "no frames": lambda hdus: hdus.pop(hdus.index_of("FRAMES")),
    "no gain": lambda hdus: hdus[0].header.remove("EGAIN"),
    "an unknown flag": lambda hdus: hdus[0].header.set("BADFLAGS", "HOT,WARM"),
    "a strange unit": lambda hdus: hdus[0].header.set("BUNIT", "furlong"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_read_of_a_spoilt_result(stored, tmp_path, kind):
    assert "not a whole result" in refusal(edited(stored, tmp_path / "spoilt.fits", SPOILT[kind]))


def test_what_an_older_version_did_not_write_is_named(stored, tmp_path):
    def as_of_old(hdus):
        for name in ("SLOPEERR", "MISFIT"):
            del hdus[name]
        hdus[0].header["CREATOR"] = "hotfit 0.0.3"

    said = refusal(edited(stored, tmp_path / "old.fits", as_of_old))
    assert "it lacks SLOPEERR, MISFIT, and was made by hotfit 0.0.3" in said
    assert said.endswith("make it again")


def test_results_of_before_there_were_pictures_are_read(stored, fit, tmp_path):
    def as_of_old(hdus):
        del hdus["CURVES"], hdus[0].header["NCURVES"]
        frames = Table.read(hdus["FRAMES"])
        frames.remove_column("mjd")
        hdus["FRAMES"] = fits.table_to_hdu(frames)
        hdus[-2].name = "FRAMES"

    read = hotfit.read(edited(stored, tmp_path / "old.fits", as_of_old))
    assert_same_bits(read.rate, fit.rate, "rate")
    assert read.curves is None
    with pytest.raises(HotfitError, match="older version, which kept no samples for pictures; make it again"):
        read.plot_histogram()
    with pytest.raises(HotfitError, match="older version, which did not keep when"):
        read.plot_frames(against="time")
    assert hotfit.read(read.write(tmp_path / "again")).curves is None


def test_a_file_that_lost_its_samples_is_not_taken_for_an_old_one(stored, tmp_path):
    path = edited(stored, tmp_path / "cut.fits", lambda hdus: hdus.pop(hdus.index_of("CURVES")))
    assert "it lacks CURVES" in refusal(path)


def test_read_of_an_unreadable_header(stored, tmp_path):
    spoilt = bytearray((stored / "dark_current.fits").read_bytes())
    place = spoilt.index(b"RDNOISE =") + 10
    spoilt[place : place + 20] = b"   12 34 'abc       "
    (tmp_path / "spoilt.fits").write_bytes(spoilt)
    assert "not a whole result" in refusal(tmp_path / "spoilt.fits")


def test_read_of_a_file_that_may_not_be_read(stored, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(fits, "open", refuse)
    with pytest.raises(HotfitError) as caught:
        hotfit.DarkFit.read(stored)
    assert os.strerror(errno.EACCES) in str(caught.value)
    assert str(caught.value).startswith(str(stored / "dark_current.fits"))
