"""The state beside a result: read back as it was, and refused in one line when it is not."""

import json
import shutil
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from astropy.io import fits

import hotfit
from hotfit import cli, sums, updating
from hotfit.errors import HotfitError
from hotfit.sums import HeldSums

SHAPE = (60, 70)


def sums_file(directory, k):
    """The file with the sums of exposure `k`."""
    return directory / fits.getdata(directory / "state.fits", "SUMS")["file"][k]


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Names of one dark of each of 3 exposures, and the directory of an updatable result of 3 of each."""
    folder = tmp_path_factory.mktemp("night")
    paths, _ = hotfit.simulate.write(folder / "darks", shape=SHAPE, repeats=4, seed=2, odd=20)
    names = [str(path) for path in paths]
    hotfit.fit_darks([name for name in names if "004" not in Path(name).name], updatable=True).write(
        folder / "out"
    )
    return [name for name in names if "004" in Path(name).name], folder / "out"


@pytest.fixture
def result(night, tmp_path):
    """A copy of the result that may be spoilt, and the names of new darks."""
    new, directory = night
    return Path(shutil.copytree(directory, tmp_path / "out")), new


def refusal(directory, new):
    """What an update says; the result itself can be read all the same, and fitted anew."""
    fit = hotfit.read(directory)
    with pytest.raises(HotfitError) as caught:
        fit.update(new)
    text = str(caught.value)
    assert "\n" not in text
    assert "fit again with updatable (--updatable)" in text
    assert fit.reflag(tolerance=0.05).mask.any()
    assert hotfit.fit_darks([*fit.frames["file"], *new]).mask.any()
    return text


def test_read_back(night):
    new, directory = night
    fit = hotfit.fit_darks(list(hotfit.read(directory).frames["file"]), updatable=True)
    read = hotfit.read(directory).state.load(fit)
    mine = fit.state
    assert read.calibration.noise == mine.calibration.noise
    assert read.calibration.doubts == mine.calibration.doubts
    assert read.paths == mine.paths
    assert read.fingerprints == mine.fingerprints
    assert read.darks.options == mine.darks.options
    assert read.darks.claims == mine.darks.claims
    for one, other in zip(read.darks.frames, mine.darks.frames, strict=True):
        assert (one.name, one.exposure, dict(one.settings)) == (other.name, other.exposure, other.settings)
        assert one.reader == other.reader
    for name in ("own_offset", "own_scale", "part"):
        np.testing.assert_array_equal(getattr(read, name), getattr(mine, name))
    for name in ("offset", "scale", "left"):
        np.testing.assert_array_equal(getattr(read.calibration, name), getattr(mine.calibration, name))
    np.testing.assert_array_equal(read.suspects.index, mine.suspects.index)
    np.testing.assert_array_equal(read.suspects.counts, mine.suspects.counts)
    np.testing.assert_array_equal(read.suspects.stand_in, mine.suspects.stand_in)
    assert len(new) == 4


def spoil(path, offset, bits=0x10):
    content = bytearray(path.read_bytes())
    content[offset] ^= bits
    path.write_bytes(content)


@pytest.mark.parametrize("place", [0, 2, 3])
def test_damaged_sums(result, place):
    directory, new = result
    path = sums_file(directory, 2)
    with fits.open(path) as hdus:
        offset = hdus[place].fileinfo()["datLoc"]
    spoil(path, offset + 4 * 1234 + 2)
    assert f"{path}: cannot be used for updates (its checksum differs)" in refusal(directory, new)


def test_blocks_that_changed_places(result):
    """The checksums of FITS do not see it, in sums and state alike."""
    directory, new = result
    path = sums_file(directory, 1)
    content = bytearray(path.read_bytes())
    content[2880:6976], content[6976:11072] = content[6976:11072], content[2880:6976]
    path.write_bytes(content)
    with fits.open(path, checksum=True) as hdus:
        assert hdus[0].data.size
    assert f"{path}: cannot be used for updates (its checksum differs)" in refusal(directory, new)


@pytest.mark.parametrize("k", range(4))
def test_nonsense_in_sums(result, k):
    """Whatever it breaks before the sums are checked."""
    directory, new = result
    path = sums_file(directory, k)
    content = bytearray(path.read_bytes())
    content[5760:9856] = np.random.default_rng(k).bytes(4096)
    path.write_bytes(content)
    assert f"{path}: cannot be used for updates (its checksum differs)" in refusal(directory, new)


def test_samples_that_changed_places(result):
    directory, new = result
    path = directory / "state.fits"
    with fits.open(path) as hdus:
        place = hdus["SUSPECTS"].fileinfo()["datLoc"]
    content = bytearray(path.read_bytes())
    one, other = (slice(place + offset, place + offset + 4) for offset in (8, 40))
    content[one], content[other] = content[other], content[one]
    path.write_bytes(content)
    assert "state.fits: cannot be used for updates (it belongs to another result)" in refusal(directory, new)


@pytest.mark.parametrize("k", [None, 1])
def test_cut_short(result, k):
    directory, new = result
    path = directory / "state.fits" if k is None else sums_file(directory, k)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert str(path) in refusal(directory, new)


def test_a_file_is_missing(result):
    directory, new = result
    path = sums_file(directory, 0)
    path.unlink()
    assert f"{path}: cannot be used for updates (No such file" in refusal(directory, new)


@pytest.mark.parametrize("offset", [3000, 9000, -2870])
def test_damaged_state(result, offset):
    directory, new = result
    path = directory / "state.fits"
    spoil(path, offset % path.stat().st_size, 0x01)
    assert "state.fits: cannot be used" in refusal(directory, new)


def test_no_fits_at_all(result):
    directory, new = result
    (directory / "state.fits").write_text("nothing")
    assert "state.fits: cannot be used" in refusal(directory, new)


@pytest.mark.parametrize("version", [None, 0, 1, 3])
def test_another_version(result, version):
    directory, new = result
    with fits.open(directory / "state.fits", mode="update", checksum=True) as hdus:
        hdus[0].header["STATEVER"] = version
        hdus[0].header["CREATOR"] = "hotfit 0.0.9"
        hdus[0].add_checksum()
    assert "made by hotfit 0.0.9, in another version" in refusal(directory, new)


def test_the_same_state_has_the_same_bytes(night, tmp_path):
    """Whenever it is written; its checksums are right."""
    _, directory = night
    fit = hotfit.fit_darks(list(hotfit.read(directory).frames["file"]), updatable=True)
    for name in ("one", "two"):
        fit.write(tmp_path / name)
        with fits.open(tmp_path / name / "state.fits", checksum=True) as hdus:
            assert all(hdu.header["CHECKSUM"] and hdu.verify_checksum() == 1 for hdu in hdus)
        sleep(1.1)  # the time in the checksums of FITS has seconds
    one, two = ((tmp_path / name / "state.fits").read_bytes() for name in ("one", "two"))
    assert one == two
    assert fits.getval(tmp_path / "one" / "dark_current.fits", "STATEID") == fits.getval(
        tmp_path / "two" / "dark_current.fits", "STATEID"
    )


def test_of_another_result(result, tmp_path):
    """A state that strayed from a fit of other frames, and sums of another fit of the same frames."""
    directory, new = result
    names = list(hotfit.read(directory).frames["file"])
    hotfit.fit_darks(names[:-1], updatable=True).write(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "state.fits", directory)
    assert "it belongs to another result" in refusal(directory, new)


def test_sums_of_another_result(result, tmp_path):
    directory, new = result
    names = list(hotfit.read(directory).frames["file"])
    hotfit.fit_darks(names, updatable=True).update(new[0]).write(tmp_path / "other")
    path = sums_file(directory, 0)
    shutil.copy(sums_file(tmp_path / "other", 0), path)
    assert f"{path}: cannot be used for updates (its checksum differs)" in refusal(directory, new)


@pytest.mark.parametrize("options", [{"gain": 1.4}, {"saturation": 20_000.0}])
def test_state_of_other_options(result, tmp_path, options):
    """Same frames, same names: still another fit."""
    directory, new = result
    hotfit.fit_darks(list(hotfit.read(directory).frames["file"]), updatable=True, **options).write(
        tmp_path / "other"
    )
    for path in (tmp_path / "other").iterdir():
        if path.name.startswith(("state", "sums")):
            shutil.copy(path, directory)
    assert "state.fits: cannot be used for updates (it belongs to another result)" in refusal(directory, new)


@pytest.mark.parametrize("what", ["BIASSUB", "TOLERANC", "CURVES"])
def test_a_damaged_result(result, what):
    """Its numbers are needed for updates; what hotfit.read takes them for is not asked."""
    directory, new = result
    path = directory / "dark_current.fits"
    with fits.open(path) as hdus:
        table = hdus["CURVES"].fileinfo()["datLoc"]
    content = bytearray(path.read_bytes())
    place = table + 5 if what == "CURVES" else content.index(what.encode()) + 29
    content[place] = {"F": "T", "1": "2"}.get(chr(content[place]), "\x40").encode()[0]
    path.write_bytes(content)
    assert f"{directory}: cannot be used for updates (the checksums of its result differ)" in refusal(
        directory, new
    )


def test_sums_in_memory_and_in_a_file(tmp_path, monkeypatch):
    """Sums in memory and in a file give the same rows."""
    shape = (7, 5)
    monkeypatch.setattr(sums, "LOOKED_AT", 17)
    monkeypatch.setattr(sums, "STRIPE", 2)
    assert sums.stripes(shape) == [(0, 2), (4, 6)]
    held = HeldSums(shape)
    values = np.random.default_rng(1).normal(1000, 5, (4, 35)).astype(np.float32)
    held.put(0, values[:, :15])
    held.put(3, values[:, 15:])
    filed = held.write(tmp_path)
    for keeper in (held, filed):
        out = np.empty((4, 20), np.float32)
        keeper.rows(3, 7, out)
        np.testing.assert_array_equal(out, values[:, 15:])
        some = np.empty((4, 20), np.float32)
        keeper.look(some)
        np.testing.assert_array_equal(some, values[:, [*range(10), *range(20, 30)]])
    filed.rows(0, 3, np.empty((4, 15), np.float32))
    filed.check()
    filed.forget()
    with pytest.raises(HotfitError, match="its checksum differs"):
        filed.check()  # nothing was read since
    assert [path.name for path in tmp_path.iterdir()] == [filed.path.name]
    assert held.write(tmp_path).path == filed.path
    with fits.open(filed.path, checksum=True) as hdus:
        for name, expected in zip(sums.IMAGES.values(), values, strict=True):
            np.testing.assert_array_equal(hdus[name].data.ravel(), expected)


# --- the command line


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_update_in_place(result, capsys):
    directory, new = result
    expected = hotfit.read(directory).update(new)
    code, out, err = run(capsys, "--update", directory, *new, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["output"] == str(directory)
    assert [entry["file"] for entry in told["used"]] == new
    assert told["frames"] == 16
    fit = hotfit.read(directory)
    for name in ("rate", "dq", "scatter", "n_used"):
        np.testing.assert_array_equal(getattr(fit, name), getattr(expected, name))
    assert list(fit.notes) == list(expected.notes)
    code, out, err = run(capsys, "--update", directory, *new)
    assert code == 1
    assert err.count("\n") == 1
    assert "is in the fit already" in err
    assert hotfit.read(directory).frames["file"].tolist() == fit.frames["file"].tolist()


def test_update_elsewhere(result, capsys, tmp_path):
    directory, new = result
    output = tmp_path / "second"
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    code, out, _ = run(capsys, "--update", directory, *new, "-o", output, "--tolerance", 0.05)
    assert code == 0
    assert f"wrote {output}" in out
    assert before == {path.name: path.read_bytes() for path in directory.iterdir()}
    assert hotfit.read(output).rules.tolerance == 0.05
    assert run(capsys, "--update", directory, *new, "-o", output)[0] == 1
    assert run(capsys, "--update", directory, *new, "-o", output, "--overwrite", "-q")[:2] == (0, "")
    code, out, _ = run(capsys, "--update", directory, *new, "--dry-run")
    assert code == 0
    assert new[0] in out


def test_a_dry_run_refuses_what_an_update_would(result, capsys, tmp_path):
    directory, new = result
    old = hotfit.read(directory).frames["file"][3]
    code, _, err = run(capsys, "--update", directory, old, "--dry-run")
    assert (code, err.count("\n")) == (1, 1)
    assert "is in the fit already" in err
    other = shutil.copy(new[0], tmp_path / "other.fits")
    fits.setval(other, "INSTRUME", value="another")
    assert run(capsys, "--update", directory, other, "--dry-run")[0] == 1


def test_updatable_from_the_command_line(night, capsys, tmp_path):
    """Sums that are written as they are made are those of the library."""
    _, directory = night
    names = hotfit.read(directory).frames["file"]
    assert run(capsys, *names, "-o", tmp_path / "out", "--updatable", "-q")[0] == 0
    for k in range(3):
        mine, theirs = (fits.open(sums_file(folder, k)) for folder in (directory, tmp_path / "out"))
        with mine, theirs:
            for one, other in zip(mine, theirs, strict=True):
                np.testing.assert_array_equal(one.data, other.data)


def test_update_of_a_mosaic(tmp_path, capsys):
    """Each image has a state of its own, and finds its extension by itself."""
    frames, _ = hotfit.simulate.darks("guide", shape=(40, 50), repeats=3, seed=5, odd=20)
    others, _ = hotfit.simulate.darks("guide", shape=(30, 60), repeats=3, seed=6, odd=20)
    names = []
    for index, pair in enumerate(zip(frames, others, strict=True)):
        primary = fits.PrimaryHDU(header=pair[0].header)
        chips = [fits.ImageHDU(frame.data, name=f"CHIP{chip}") for chip, frame in enumerate(pair, start=1)]
        names.append(str(tmp_path / f"dark{index:02}.fits"))
        fits.HDUList([primary, *chips]).writeto(names[-1])
    output = tmp_path / "out"
    assert run(capsys, *names[:-1], "--ext", "all", "-o", output, "--updatable", "-q")[0] == 0
    assert run(capsys, "--update", output, names[-1], "-q")[0] == 0
    for chip, shape in (("CHIP1", (40, 50)), ("CHIP2", (30, 60))):
        fit = hotfit.read(output / chip)
        assert fit.rate.shape == shape
        assert len(fit.frames) == len(names)


@pytest.mark.parametrize(
    "option", [("--gain", "2"), ("--read-noise", "5"), ("--bias-subtracted",), ("--updatable",)]
)
def test_what_an_update_does_not_change(result, capsys, option):
    directory, new = result
    with pytest.raises(SystemExit) as ended:
        cli.main(["--update", str(directory), *new, *option])
    assert ended.value.code == 2
    assert f"{option[0]}: an update keeps" in capsys.readouterr().err


def test_update_of_nothing(tmp_path, capsys, night):
    new, _ = night
    code, _, err = run(capsys, "--update", tmp_path / "nowhere", *new)
    assert (code, err.count("\n")) == (1, 1)
    assert "no such file; give a directory that hotfit wrote" in err


def test_an_update_without_a_directory(capsys, night):
    """As of a shell's variable that is not set: not a fit of the new darks alone."""
    new, _ = night
    with pytest.raises(SystemExit) as ended:
        cli.main(["--update", "", *new])
    assert ended.value.code == 2
    assert "--update: give the directory of an updatable result" in capsys.readouterr().err


def test_an_update_of_the_working_directory(result, capsys, monkeypatch):
    directory, new = result
    monkeypatch.chdir(directory)
    assert run(capsys, "--update", ".", *new, "-q")[0] == 0
    assert len(hotfit.read(directory).frames) == 16


def test_a_result_that_is_replaced_during_an_update_stays(result, capsys, monkeypatch):
    directory, new = result
    real = updating.update

    def overtaken(*args, **options):
        if not frames:
            frames.append(new[1])
            assert run(capsys, "--update", directory, new[1], "-q")[0] == 0
        return real(*args, **options)

    frames = []
    monkeypatch.setattr(updating, "update", overtaken)
    code, _, err = run(capsys, "--update", directory, new[0], "-q")
    assert (code, err.count("\n")) == (1, 1)
    assert f"{directory}: another run has replaced this result meanwhile" in err
    assert set(hotfit.read(directory).frames["file"]) & set(new) == {new[1]}
    assert len(hotfit.read(directory).update(new[0]).frames) == 14


def test_an_update_puts_back_what_a_killed_one_had_moved(result, capsys):
    directory, new = result
    shop = directory.parent / f".{directory.name}.0123abcd.partial"
    shop.mkdir()
    (shop / "lock").touch()
    directory.rename(shop / "old")
    assert run(capsys, "--update", directory, *new, "-q")[0] == 0
    assert len(hotfit.read(directory).frames) == 16
    assert not shop.exists()


def test_results_of_several_sets_are_updated_one_by_one(night, tmp_path, capsys):
    new, directory = night
    names = hotfit.read(directory).frames["file"]
    for camera in ("red", "blue"):
        (tmp_path / camera).mkdir()
        for name in names:
            shutil.copy(name, tmp_path / camera)
    cameras, output = (tmp_path / "red", tmp_path / "blue"), tmp_path / "out"
    assert run(capsys, *cameras, "--apart", "-o", output, "--updatable", "-q")[0] == 0
    code, _, err = run(capsys, "--update", output, *new, "-q")
    assert (code, err.count("\n")) == (1, 1)
    assert "holds the results of several sets of darks" in err
    assert run(capsys, "--update", output / "red", *new, "-q")[0] == 0
    assert len(hotfit.read(output / "red").frames) == 16


def test_frames_that_differ_where_that_is_allowed(result, capsys):
    """The options that a refusal names help."""
    directory, new = result
    new = [shutil.copy(name, directory.parent) for name in new]
    for name, key, value in ((new[0], "INSTRUME", "another"), (new[1], "CCD-TEMP", -13.0)):
        fits.setval(name, key, value=value)
    for name, option, value in ((new[0], "--mixed", "INSTRUME"), (new[1], "--temperature-tolerance", "9")):
        code, _, err = run(capsys, "--update", directory, name, "-q")
        assert code == 1
        assert option in err
        assert run(capsys, "--update", directory, name, option, value, "-q")[0] == 0
    assert run(capsys, "--update", directory, new[2], "-q")[0] == 0
    assert len(hotfit.read(directory).frames) == 15
