"""Frames that join a fit or leave it, against fits of all frames; what stands in for files that are gone."""

import gzip
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import hotfit
from hotfit.curves import DROPPED, MISSING, USED
from hotfit.errors import HotfitError
from hotfit.flags import DQ
from hotfit.maps import TYPES
from hotfit.standins import departures, stand_in
from hotfit.state import State, Suspects, in_order
from hotfit.witness import UNREAD

SHAPE = (160, 200)
MAPS = [name for name in TYPES if name != "dq"]


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Names of 8 simulated darks of each of 5 exposures."""
    folder = tmp_path_factory.mktemp("nights") / "darks"
    paths, _ = hotfit.simulate.write(
        folder, shape=SHAPE, repeats=8, exposures=EXPOSURES, seed=7, odd=10, **RAYS
    )
    return [str(path) for path in paths]


EXPOSURES = (0, 90, 300, 600, 1000)
RAYS = {"cosmic_rate": 0.05}  # many for so few pixels


def numbered(names, *numbers, of=""):
    return [name for name in names if int(Path(name).stem[-3:]) in numbers and of in name]


@pytest.fixture(scope="module")
def base(names):
    """A fit of 6 frames of each exposure."""
    return hotfit.fit_darks(numbered(names, *range(1, 7)), updatable=True)


@pytest.fixture(scope="module")
def updated(base, names):
    """The same after ten updates of one frame."""
    fit = base
    for name in numbered(names, 7, 8):
        fit = fit.update(name)
    return fit


@pytest.fixture(scope="module")
def full(names):
    return hotfit.fit_darks(names, updatable=True)


def assert_agrees(fit, full, *, flips=0, errors=0.05):
    """Rates of unflagged pixels within a part of their errors, and the same flags but for a few pixels."""
    quiet = (fit.dq == 0) & (full.dq == 0)
    assert np.abs((fit.rate - full.rate) / full.rate_error)[quiet].max() < errors
    odd = (fit.dq != 0) | (full.dq != 0)
    assert np.count_nonzero(odd) > 250
    assert np.count_nonzero(fit.dq != full.dq) <= flips
    assert list(fit.frames["file"]) == list(full.frames["file"])
    assert list(fit.frames["group"]) == list(full.frames["group"])


def assert_same(one, other, names=(*MAPS, "dq")):
    for name in names:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def refusal(call, *args, **options):
    """The refusal, which is always one line."""
    with pytest.raises(HotfitError) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- against fits of all frames


def test_keeping_sums_changes_nothing(base, names):
    assert_same(base, hotfit.fit_darks(numbered(names, *range(1, 7))))


def test_ten_updates_agree_with_the_full_fit(updated, full):
    assert_agrees(updated, full)
    np.testing.assert_allclose(updated.frames["offset"], full.frames["offset"], atol=0.15)
    change = np.abs(updated.frames["scale"] - full.frames["scale"])
    assert (change < 1.5 * full.frames["scale_error"] + 1e-9).all()
    assert updated.detector.read_noise == pytest.approx(full.detector.read_noise, rel=0.003)
    assert list(updated.frames["saturated"]) == list(full.frames["saturated"])


def test_one_update_of_ten_frames_agrees_too(base, names, full):
    assert_agrees(base.update(numbered(names, 7, 8)), full)


def test_removal_restores_what_was(updated, base, names):
    fit = updated.remove(numbered(names, 7, 8))
    assert np.nanmax(np.abs((fit.rate - base.rate) / base.rate_error)) < 0.005
    for name in ("lack_of_fit", "scatter"):
        np.testing.assert_allclose(getattr(fit, name), getattr(base, name), rtol=0.01, atol=0.01)
    np.testing.assert_array_equal(fit.dq, base.dq)
    np.testing.assert_array_equal(fit.n_used, base.n_used)
    for column in ("offset", "scale"):
        np.testing.assert_allclose(fit.frames[column], base.frames[column], atol=1e-9)
    plain = np.ones(base.dq.size, bool)
    plain[updated.state.suspects.index] = False
    for mine, theirs in zip(sums_of(fit.state), sums_of(base.state), strict=True):
        np.testing.assert_allclose(mine[0, plain], theirs[0, plain], atol=1e-3)
        np.testing.assert_allclose(mine[1, plain], theirs[1, plain], rtol=1e-3, atol=0.05)


def test_a_night_can_be_replaced(base, names, full):
    other = base.remove(numbered(names, 5, 6)).update(numbered(names, 7, 8)).update(numbered(names, 5, 6))
    assert_agrees(other, full)


def test_a_new_exposure(names, full):
    fit = hotfit.fit_darks([name for name in names if "0300s" not in name], updatable=True)
    fit = fit.update([name for name in names if "0300s" in name])
    assert_agrees(fit, full, flips=5)
    assert fit.n_groups.max() == 5


@pytest.mark.parametrize("filed", [False, True])
def test_an_exposure_vanishes(full, names, filed, tmp_path):
    if filed:
        full.write(tmp_path / "out")
        full = hotfit.read(tmp_path / "out")
    fit = full.remove([name for name in names if "0600s" in name])
    other = hotfit.fit_darks([name for name in names if "0600s" not in name])
    assert_agrees(fit, other, flips=5)
    assert fit.n_groups.max() == 4


def sums_of(state: State):
    """The sums (4, pixels) of each exposure."""
    rows, columns = state.darks.shape
    for keeper in state.sums:
        out = np.empty((4, rows * columns), np.float32)
        keeper.rows(0, rows, out)
        yield out


def test_sums_are_those_of_the_samples(updated):
    state = updated.state
    plain = np.ones(state.darks.shape[0] * state.darks.shape[1], bool)
    plain[state.suspects.index] = False
    group = state.darks.group
    x = state.own_scale * state.darks.group_exposure[group]
    counts = np.stack([fits.getdata(frame.name).ravel() for frame in state.darks.frames])[:, plain]
    y = counts - state.own_offset[:, None]
    for k, (mean, square, moment, high) in enumerate(out[:, plain] for out in sums_of(state)):
        own = y[group == k]
        away = (x - x[group == k].mean())[group == k]
        np.testing.assert_allclose(mean, own.mean(axis=0), atol=2e-3)
        np.testing.assert_allclose(square, ((own - own.mean(axis=0)) ** 2).sum(axis=0), rtol=2e-3, atol=0.3)
        np.testing.assert_allclose(moment, away @ own, rtol=2e-3, atol=20)
        np.testing.assert_allclose(high, own.max(axis=0), atol=0.01)


def test_suspects_keep_all_samples(updated):
    state = updated.state
    assert 20 < state.suspects.index.size < 0.1 * updated.dq.size
    assert (np.diff(state.suspects.index) > 0).all()
    for i in (0, 13, 39):
        image = fits.getdata(state.darks.frames[i].name).ravel()
        np.testing.assert_array_equal(state.suspects.counts[:, i], image[state.suspects.index])


def test_curves_follow(updated, base):
    curves = updated.curves
    assert curves.counts.shape == (curves.y.size, 40)
    assert set(zip(base.curves.y, base.curves.x, strict=True)) <= set(zip(curves.y, curves.x, strict=True))
    np.testing.assert_array_equal((curves.state == USED).sum(axis=1), updated.n_used[curves.y, curves.x])
    np.testing.assert_array_equal(
        (curves.state == DROPPED).sum(axis=1), updated.n_dropped[curves.y, curves.x]
    )
    assert (curves.state == DROPPED).any()
    assert not (curves.state == MISSING).any()
    updated.plot_pixel(curves.y[0], curves.x[0])


def test_threads_and_memory_do_not_matter(base, names, updated):
    new = numbered(names, 7)
    assert_same(base.update(new), base.update(new, workers=3, memory=2))
    assert "workers" in refusal(base.update, new, workers=0)


def test_progress_is_told(base, names):
    told = []
    base.update(numbered(names, 7), progress=lambda done, rows: told.append((done, rows)))
    assert told[-1] == (SHAPE[0], SHAPE[0])


@pytest.mark.parametrize("options", [{"bias_subtracted": True}, {"gain": 1.4, "read_noise": 9.0}])
def test_what_the_user_gave_stays(names, tmp_path, options):
    if "bias_subtracted" in options:
        names = without_bias(names, tmp_path)
    fit = hotfit.fit_darks(numbered(names, *range(1, 7)), updatable=True, **options)
    fit, full = fit.update(numbered(names, 7, 8)), hotfit.fit_darks(names, **options)
    assert_agrees(fit, full, flips=5)
    assert (fit.detector.gain, fit.detector.gain_source) == (full.detector.gain, full.detector.gain_source)
    assert fit.bias_subtracted == full.bias_subtracted


def without_bias(names, folder):
    """Darks less their intercept, as floats."""
    bias = np.median([fits.getdata(name) for name in names if "0000s" in name], axis=0)
    made = []
    for name in names:
        if "0000s" not in name:
            with fits.open(name) as hdus:
                hdus[0].data = (hdus[0].data - bias).astype(np.float32)
                hdus.writeto(folder / Path(name).name)
            made.append(str(folder / Path(name).name))
    return made


# --- how frames come


def with_gaps(names, folder):
    """Some frames with missing samples: a corner in all, single ones in others."""
    made = []
    for index, name in enumerate(names):
        with fits.open(name) as hdus:
            hdus[0].data = hdus[0].data.astype(np.float32)
            hdus[0].data[:4, :5] = np.nan
            hdus[0].data[20 + index, 30] = np.nan
            hdus.writeto(folder / Path(name).name)
        made.append(str(folder / Path(name).name))
    return made


def packed(names, folder):
    made = []
    for name in names:
        made.append(str(folder / f"{Path(name).name}.gz"))
        with gzip.open(made[-1], "wb", compresslevel=1) as out:
            out.write(Path(name).read_bytes())
    return made


@pytest.mark.parametrize("change", [with_gaps, packed])
def test_frames_of_other_kinds(change, names, tmp_path):
    names = change(names, tmp_path)
    fit = hotfit.fit_darks(numbered_of(names, range(1, 7)), updatable=True)
    fit.write(tmp_path / "out")
    fit = hotfit.read(tmp_path / "out").update(numbered_of(names, (7, 8)))
    full = hotfit.fit_darks(names)
    np.testing.assert_array_equal(fit.n_used, full.n_used)
    assert_agrees(fit, full, flips=1)
    assert not any("cannot be read" in note for note in fit.notes)


def numbered_of(names, numbers):
    return [name for name in names if int(Path(name).name.split(".")[0][-3:]) in numbers]


def test_trimmed_frames(names, tmp_path):
    trim = "[11:190,5:150]"
    fit = hotfit.fit_darks(numbered(names, *range(1, 7)), updatable=True, trim=trim)
    fit.write(tmp_path / "out")
    fit = hotfit.read(tmp_path / "out").update(numbered(names, 7, 8))  # trimmed alike, unasked
    assert_agrees(fit, hotfit.fit_darks(names, trim=trim), flips=1)


def test_frames_in_memory(names):
    frames, _ = hotfit.simulate.darks("guide", shape=(60, 70), seed=3, odd=20, repeats=5)
    fit = hotfit.fit_darks(frames[:-1], updatable=True)
    fit = fit.update([frames[-1]])
    assert len(fit.frames) == len(frames)
    gone = refusal(fit.remove, "frame 3")
    assert "frames in memory" in gone


def test_through_files(base, names, tmp_path):
    """What is written and read again is the same state, and shares unchanged sums."""
    new = numbered(names, 7, of="dark_1000s")
    base.write(tmp_path / "one")
    read = hotfit.read(tmp_path / "one")
    mine, theirs = read.update(new), base.update(new)
    assert_same(mine, theirs)
    assert list(mine.notes) == list(theirs.notes)
    mine.write(tmp_path / "two")
    one, two = (
        {path.name: path.stat().st_ino for path in sums_in(tmp_path / name)} for name in ("one", "two")
    )
    assert len(one) == len(two) == 5
    assert len(one.items() & two.items()) == len(one.keys() & two.keys()) == 4
    assert_same(hotfit.read(tmp_path / "two").remove(new), theirs.remove(new))
    mine.reflag(tolerance=0.05).write(tmp_path / "one", overwrite=True)
    assert len(hotfit.read(tmp_path / "one").update(numbered(names, 8)).frames) == 36


def sums_in(directory):
    return sorted(directory.glob("sums_*.fits"))


def test_a_fit_outlives_the_result_it_was_read_from(names, tmp_path):
    """New exposures move the sums of others; what is written in the place of a result leaves it usable."""
    some = [name for name in names if "0300s" not in name]
    hotfit.fit_darks(numbered(some, *range(1, 7)), updatable=True).write(tmp_path / "camera")
    fit = hotfit.read(tmp_path / "camera")
    fit = fit.update(numbered(names, *range(1, 7), of="0300s"))
    fit.write(tmp_path / "camera", overwrite=True)
    expected = hotfit.read(tmp_path / "camera").update(numbered(names, 7))
    assert_same(fit.update(numbered(names, 7)), expected)
    fit.write(tmp_path / "backup")
    assert_same(hotfit.read(tmp_path / "backup").update(numbered(names, 7)), expected)
    fit.reflag(tolerance=0.05).write(tmp_path / "camera", overwrite=True)
    assert len(hotfit.read(tmp_path / "camera").update(numbered(names, 7)).frames) == 35


def test_two_updates_of_one_fit(base, names, tmp_path):
    base.write(tmp_path / "camera")
    read = hotfit.read(tmp_path / "camera")
    one, same, other = (
        read.update(name) for name in (*numbered(names, 7, 8, of="0300s"), *numbered(names, 7, of="1000s"))
    )
    one.write(tmp_path / "camera", overwrite=True)
    same.write(tmp_path / "other")
    new = numbered(names, 8, of="0600s")
    assert_same(hotfit.read(tmp_path / "other").update(new), same.update(new))
    told = refusal(other.write, tmp_path / "lost")  # its sums of 300 s were in the camera's result alone
    assert "cannot be used for updates (No such file" in told
    told = refusal(read.write, tmp_path / "lost")
    assert "state.fits: is not that of this fit any more" in told
    assert not (tmp_path / "lost").exists()
    assert "belongs to another result" in refusal(read.update, new)


def test_an_update_can_be_tried_again(base, names, tmp_path):
    """What an update that ended with an error has read does not count in the next."""
    base.write(tmp_path / "out")
    read = hotfit.read(tmp_path / "out")
    state = read.state.load(read)
    read = replace(read, state=state)
    new = numbered(names, 7, of="dark_1000s")

    def stop(done, rows):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read.update(new, progress=stop)
    assert_same(read.update(new), base.update(new))


def test_without_links(base, tmp_path, monkeypatch):
    """Some file systems have no second names."""

    def no_link(*_):
        raise OSError("not supported")

    base.write(tmp_path / "one")
    monkeypatch.setattr("os.link", no_link)
    hotfit.read(tmp_path / "one").write(tmp_path / "two")
    assert len(sums_in(tmp_path / "one")) == 5
    for path in sums_in(tmp_path / "one"):
        copy = tmp_path / "two" / path.name
        assert path.read_bytes() == copy.read_bytes()
        assert path.stat().st_ino != copy.stat().st_ino
        with fits.open(copy, checksum=True) as hdus:
            assert hdus["MOMENT"].shape == SHAPE


# --- files that are gone


@pytest.fixture
def hit(base, names, tmp_path):
    """A new frame with a cosmic ray on 40 quiet pixels, and the places of these."""
    name = tmp_path / "hit_1000s_007.fits"
    quiet = np.flatnonzero((base.dq == 0).ravel())[100::500][:40]
    with fits.open(numbered(names, 7, of="dark_1000s")[0]) as hdus:
        hdus[0].data.reshape(-1)[quiet] += 800
        hdus.writeto(name)
    return str(name), np.divmod(quiet, SHAPE[1])


@pytest.fixture
def moved(names, tmp_path):
    """A fit of files that can be taken away."""
    folder = tmp_path / "moved"
    folder.mkdir()
    copies = [shutil.copy(name, folder) for name in numbered(names, *range(1, 7))]
    return hotfit.fit_darks(copies, updatable=True), folder


@pytest.mark.parametrize("gone", [False, True])
def test_a_new_cosmic_ray(moved, hit, gone):
    """It is dropped, whether the earlier samples are there or their sums must do."""
    fit, folder = moved
    name, (y, x) = hit
    full = hotfit.fit_darks([*fit.frames["file"], name])
    if gone:
        shutil.rmtree(folder)
    new = fit.update(name)
    assert (new.dq[y, x] & DQ.JUMP_DET).all()
    assert (new.n_dropped[y, x] == 1).all()
    assert not new.mask[y, x].any()
    assert np.abs((new.rate - full.rate) / full.rate_error)[y, x].max() < 0.05
    noted = [note for note in new.notes if UNREAD in note]
    assert len(noted) == gone
    assert all("moved" in note and "pixels" in note for note in noted)
    assert (((new.dq[y, x] & DQ.UNRELIABLE_ERROR) != 0) == gone).all()
    assert np.count_nonzero(new.dq & DQ.UNRELIABLE_ERROR) <= sum(
        int(note.split(" pixels")[0].split()[-1]) for note in noted
    )
    again = new.remove(name)
    assert np.abs((again.rate - fit.rate) / fit.rate_error)[y, x].max() < (0.05 if gone else 0.005)


def test_pixels_with_stand_ins_stay_known(moved, hit, names, tmp_path):
    """What stood in once is told of in every later result, in whatever way that is made."""
    fit, folder = moved
    shutil.rmtree(folder)
    fit = fit.update(hit[0])
    flag = np.uint32(DQ.UNRELIABLE_ERROR)
    expected = fit.dq & flag
    assert np.count_nonzero(expected) >= 40
    fit.write(tmp_path / "out")
    read = hotfit.read(tmp_path / "out")
    np.testing.assert_array_equal(read.dq & flag, expected)
    np.testing.assert_array_equal(read.reflag(tolerance=0.5).dq & flag, expected)
    later = read.update(numbered(names, 8, of="0300s"))
    np.testing.assert_array_equal(later.dq & flag & expected, expected)
    assert read.reflag(bad=("UNRELIABLE_ERROR",)).mask.sum() == np.count_nonzero(expected)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("change", ["bytes", "cut"])
def test_files_that_changed_are_not_believed(moved, hit, change, number):
    """Of one of an exposure sums and the others tell the samples; of two, only what they have in common."""
    fit, folder = moved
    expected = fit.update(hit[0])
    paths = sorted(folder.iterdir())[3 : 3 + number]
    for path in paths:
        content = path.read_bytes()
        path.write_bytes(content[:2880] + bytes(len(content) - 2880) if change == "bytes" else content[:9000])
    new = fit.update(hit[0])
    told = [note for note in new.notes if UNREAD in note]
    assert len(told) == number - 1
    assert all(paths[0].name in note and "nor 1 more frames" in note for note in told)
    assert ((new.dq[hit[1]] & DQ.UNRELIABLE_ERROR) != 0).all() == (number > 1)
    assert not new.mask[hit[1]].any()
    assert np.nanmax(np.abs((new.rate - expected.rate) / expected.rate_error)) < (
        1e-3 if number == 1 else 0.05
    )


@pytest.mark.parametrize("gone", [False, True])
def test_a_new_saturation_level(moved, names, gone):
    fit, folder = moved
    if gone:
        shutil.rmtree(folder)
    level = 20_000.0
    new = fit.update(numbered(names, 7), saturation=level)
    full = hotfit.fit_darks(numbered(names, *range(1, 8)), saturation=level)
    saturated = (full.dq & DQ.SATURATED) != 0
    assert np.count_nonzero(saturated) > np.count_nonzero(fit.dq & DQ.SATURATED) + 5
    np.testing.assert_array_equal((new.dq & DQ.SATURATED) != 0, saturated)
    np.testing.assert_array_equal(new.n_used, full.n_used)
    assert new.detector.saturation_source == "user"
    assert "saturation=-1" in refusal(fit.update, numbered(names, 7), saturation=-1)


@pytest.fixture(scope="module")
def filling(tmp_path_factory):
    """Names of darks in which wells are full in the longest exposure, and not before."""
    folder = tmp_path_factory.mktemp("filling") / "darks"
    hot = {"hot_fraction": 0.01, "hot_slope": 0.6, "max_rate": 100.0, "full_well": 30_000.0}
    paths, _ = hotfit.simulate.write(
        folder, shape=SHAPE, repeats=6, exposures=(0, 90, 300, 450, 1000), seed=3, saturated=0, **hot
    )
    return [str(path) for path in paths]


@pytest.mark.parametrize("at_once", [True, False])
def test_wells_that_are_full_in_new_frames_alone(filling, at_once):
    fit = hotfit.fit_darks([name for name in filling if "1000s" not in name], updatable=True)
    assert fit.detector.saturation == 65535
    assert not (fit.dq & DQ.SATURATED).any()
    new, full = [name for name in filling if "1000s" in name], hotfit.fit_darks(filling)
    for names in [new] if at_once else new:
        fit = fit.update(names)
    assert fit.detector.saturation == pytest.approx(full.detector.saturation, rel=0.01)
    saturated = (full.dq & DQ.SATURATED) != 0
    assert np.count_nonzero(saturated) > 20
    np.testing.assert_array_equal((fit.dq & DQ.SATURATED) != 0, saturated)
    np.testing.assert_array_equal(fit.mask, full.mask)
    back = fit.remove(new)
    assert back.detector.saturation == 65535
    assert not (back.dq & DQ.SATURATED).any()


def test_a_converter_that_is_full_stays_full(tmp_path):
    """Its ceiling less an offset is no lower plateau."""
    paths, _ = hotfit.simulate.write(tmp_path / "darks", "cmos", shape=SHAPE, repeats=6, seed=5, odd=20)
    names = [str(path) for path in paths]
    fit = hotfit.fit_darks(numbered(names, 1, 2, 3, 4), updatable=True)
    assert fit.detector.saturation == 65520
    assert np.count_nonzero(fit.dq & DQ.SATURATED) > 5
    new = fit.update(numbered(names, 5, 6))
    assert new.detector.saturation == 65520
    back = new.remove(numbered(names, 5, 6))
    np.testing.assert_array_equal((back.dq ^ fit.dq) & ~np.uint32(DQ.HOT), 0)


@pytest.mark.parametrize("top", [255, 1023, 4095, 16383, 32767])
def test_a_frame_that_ends_at_a_round_number_is_no_full_converter(base, names, tmp_path, top):
    """Others reach higher."""
    new = tmp_path / "new.fits"
    with fits.open(numbered(names, 7, of="0000s" if top < 2000 else "1000s")[0]) as hdus:
        hdus[0].data = hdus[0].data - np.uint16(800 if top == 255 else 0)
        hdus[0].data = np.minimum(hdus[0].data, top).astype(np.uint16)
        hdus.writeto(new)
    fit = base.update(new)
    assert fit.detector.saturation > 50_000
    assert np.count_nonzero(fit.dq & DQ.SATURATED) < 30


def test_a_converter_that_is_full_in_new_frames_alone(tmp_path):
    """One of 12 bits that are not shifted: 4095 is its end, once that is reached."""
    camera = {"bits": 12, "step": 1, "bias": 300.0, "gain": 1.5, "hot_fraction": 0.01, "saturated": 0}
    paths, _ = hotfit.simulate.write(
        tmp_path / "darks", shape=SHAPE, repeats=4, exposures=(0, 10, 30, 100, 1000), max_rate=30.0, **camera
    )
    new = [str(path) for path in paths if "1000s" in path.name]
    fit = hotfit.fit_darks([str(path) for path in paths if str(path) not in new], updatable=True)
    assert fit.detector.saturation == 65535
    full = hotfit.fit_darks([str(path) for path in paths])
    assert full.detector.saturation == 4095
    for name in new:
        fit = fit.update(name)
        assert fit.detector.saturation == 4095
    np.testing.assert_array_equal((fit.dq & DQ.SATURATED) != 0, (full.dq & DQ.SATURATED) != 0)


@pytest.fixture(scope="module")
def overscanned(tmp_path_factory):
    """Names of darks with an overscan strip, and how to read them; two pixels are stuck."""
    folder = tmp_path_factory.mktemp("overscan")
    frames, _ = hotfit.simulate.darks("guide", shape=(90, 100), repeats=8, seed=4, exposures=EXPOSURES, odd=5)
    rng, names = np.random.default_rng(4), []
    for index, frame in enumerate(frames):
        counts = np.concatenate([frame.data, np.full((90, 20), 1000)], axis=1).astype(float)
        counts[:, 100:] += rng.normal(0, 7, (90, 20))
        counts += rng.normal(0, 3, (90, 1))  # the level of each row
        counts[[0, 40], [30, 50]] = 7000, 5000
        hdu = fits.PrimaryHDU(np.rint(counts).clip(0, 65535).astype(np.uint16), frame.header)
        names.append(str(folder / f"dark_{index:02}.fits"))
        hdu.writeto(names[-1])
    return names, {"trim": "[1:100,*]", "overscan": "[101:120,*]"}


@pytest.mark.parametrize("filed", [False, True])
def test_frames_with_overscan(overscanned, tmp_path, filed):
    """However few join or leave, they are read as the others were."""
    names, sections = overscanned
    full = hotfit.fit_darks(names, **sections)
    fit = hotfit.fit_darks(names[:5] + names[6:], updatable=True, **sections)
    if filed:
        fit.write(tmp_path / "out")
        fit = hotfit.read(tmp_path / "out")
    new = fit.update(names[5])
    for one in (full, fit, new):
        assert one.mask[[0, 40], [30, 50]].all()
    np.testing.assert_array_equal(new.mask, full.mask)
    back = new.remove(names[5])
    assert not any(UNREAD in note for note in back.notes)
    np.testing.assert_array_equal(back.mask, fit.mask)
    level = fit.update(names[5], saturation=20_000).detector.saturation
    assert level == pytest.approx(hotfit.fit_darks(names, saturation=20_000, **sections).detector.saturation)
    assert level < 19_500


def test_frames_of_one_name_leave_by_their_paths(names, tmp_path, monkeypatch):
    for night, numbers in (("one", (1, 2)), ("two", (3, 4))):
        (tmp_path / night).mkdir()
        for number, name in enumerate(numbered(names, *numbers)):
            shutil.copy(name, tmp_path / night / f"dark_{number}.fits")
    monkeypatch.chdir(tmp_path / "one")
    fit = hotfit.fit_darks("*.fits", updatable=True)
    monkeypatch.chdir(tmp_path / "two")
    fit = fit.update("*.fits")
    assert list(fit.frames["file"]).count("dark_7.fits") == 2
    monkeypatch.chdir(tmp_path)
    assert "dark_7.fits: is the name of several frames" in refusal(fit.remove, "dark_7.fits")
    monkeypatch.chdir(tmp_path / "one")
    left = fit.remove("dark_7.fits")
    assert str(tmp_path / "two" / "dark_7.fits") in left.state.paths
    assert str(tmp_path / "one" / "dark_7.fits") not in left.state.paths


def test_a_set_of_the_caller_stays_open(base, names, tmp_path):
    new = packed(numbered(names, 7), tmp_path)
    with hotfit.darks.open_darks(new) as darks:
        one, other = base.update(darks), base.update(darks)
    assert_same(one, other)


def test_a_note_on_several_frames_stays_with_the_last(names, tmp_path):
    holed = with_gaps(numbered(names, 1, 2, 3), tmp_path)
    for name in holed[-2:]:
        with fits.open(name, mode="update") as hdus:
            hdus[0].data[:, :50] = np.nan
    fit = hotfit.fit_darks(holed, updatable=True)
    assert [note for note in fit.notes if "this part of the samples is missing" in note]
    fit = fit.remove(holed[-2])
    assert [note for note in fit.notes if "this part of the samples is missing" in note]
    fit = fit.remove(holed[-1])
    assert not [note for note in fit.notes if "this part of the samples is missing" in note]


def test_samples_that_stand_in_are_full_where_the_highest_was(base):
    state, place = base.state, np.arange(0, base.dq.size, 997)
    sums = np.stack(list(sums_of(state)), axis=1)[:, :, place]
    level = float(np.median(sums[3, 4]) + np.median(state.own_offset))
    detector = replace(state.calibration.detector, saturation=level)
    state = replace(state, calibration=replace(state.calibration, detector=detector))
    counts = np.full((place.size, 30), np.nan, np.float32)
    stand_in(counts, state, sums, list(range(5)), np.zeros(30, bool), np.ones(30, bool))
    longest = state.darks.group == 4
    full = sums[3, 4] + state.own_offset[longest].max() >= level
    assert 0.2 < full.mean() < 0.8
    expected = sums[3, 4, full, None] + state.own_offset[longest]
    np.testing.assert_allclose(counts[np.ix_(full, longest)], expected, rtol=1e-6)
    assert (counts[np.ix_(~full, longest)] < level + 1).all()


@pytest.mark.parametrize("gone", [1, 2, 4, 6])
def test_samples_that_stand_in_have_the_sums(base, gone):
    """Of one or two frames of an exposure they are what they were."""
    state = base.state
    place = np.arange(0, base.dq.size, 37)
    plain = ~np.isin(place, state.suspects.index)
    place = place[plain]
    sums = np.stack(list(sums_of(state)), axis=1)[:, :, place]
    read = np.stack([fits.getdata(path).ravel()[place] for path in state.paths], axis=1).astype(np.float32)
    missing = np.arange(30) % 6 < gone
    counts = np.where(missing, np.nan, read)
    stand_in(counts, state, sums, list(range(5)), ~missing, missing)
    np.testing.assert_array_equal(counts[:, ~missing], read[:, ~missing])
    if gone < 3:
        timed = state.darks.exposure > 0  # bias frames do not differ in x
        np.testing.assert_allclose(counts[:, timed], read[:, timed], atol=0.02 if gone == 1 else 0.3)
    y = counts - state.own_offset
    for k in range(5):
        own = y[:, state.darks.group == k].astype(float)
        np.testing.assert_allclose(own.mean(axis=1), sums[0, k], rtol=1e-4)
        np.testing.assert_allclose(own.var(axis=1) * own.shape[1], sums[1, k], rtol=0.01, atol=0.1)
        x = (state.own_scale * state.darks.exposure)[state.darks.group == k]
        np.testing.assert_allclose(own @ (x - x.mean()), sums[2, k], rtol=0.01, atol=5)


@pytest.mark.parametrize("lost", [slice(3, 4), slice(0, None, 5), slice(None)])
def test_removal_when_other_files_are_gone(names, tmp_path, lost):
    """What stands in for them has the sums of the frames that stay."""
    old, new = numbered(names, 1, 2), numbered(names, 3, 4)
    (tmp_path / "old").mkdir()
    old = [shutil.copy(name, tmp_path / "old") for name in old]
    before = hotfit.fit_darks(old, updatable=True)
    both = before.update(new)
    for name in old[lost]:
        Path(name).unlink()
    after = both.remove(new)
    quiet = (before.dq == 0) & (after.dq & ~np.uint32(DQ.UNRELIABLE_ERROR) == 0)
    assert np.count_nonzero(quiet) > 0.9 * quiet.size
    assert np.abs((after.rate - before.rate) / before.rate_error)[quiet].max() < 0.05
    assert np.count_nonzero((after.dq ^ before.dq) & ~np.uint32(DQ.UNRELIABLE_ERROR)) < 0.001 * before.dq.size
    several = lost == slice(None)  # of an exposure: one alone is what its sums lack
    assert any(UNREAD in note for note in after.notes) == several
    assert (after.dq & DQ.UNRELIABLE_ERROR).any() == several


@pytest.mark.parametrize("weight", [[1], [1, 1], [1, 1, 1], [4, 1, 1, 2, 9], [1] * 6])
@pytest.mark.parametrize("pattern", ["none", "ramp", "turns"])
def test_departures(weight, pattern):
    weight, rng = np.array(weight, float), np.random.default_rng(1)
    steps = np.arange(weight.size)
    x = {"none": 0 * steps, "ramp": steps / 50, "turns": steps % 2}[pattern].astype(float)
    x -= np.average(x, weights=weight)
    y = rng.normal(0, 7, (50, weight.size))
    y -= np.average(y, weights=weight, axis=1)[:, None]
    square, moment = y**2 @ weight, y @ (weight * x)
    made = departures(weight, x, square, moment)
    np.testing.assert_allclose(made @ weight, 0, atol=1e-9)
    np.testing.assert_allclose(made**2 @ weight, square, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(made @ (weight * x), moment, rtol=1e-9, atol=1e-9)
    if weight.size == 2 and pattern != "none":
        np.testing.assert_allclose(made, y)


def test_suspects_of_some_rows():
    suspects = Suspects(np.array([3, 5, 9]), np.arange(6.0).reshape(3, 2), np.array([False, True, False]))
    part = suspects.within(5, 9)
    assert list(part.index) == [5]
    assert part.counts.tolist() == [[2, 3]]
    assert part.stand_in.tolist() == [True]
    joined = in_order([part, suspects.within(9, 99), suspects.within(0, 5)])
    for mine, theirs in zip(joined, suspects, strict=True):
        np.testing.assert_array_equal(mine, theirs)


# --- refused


def test_frames_that_do_not_join(base, names, tmp_path):
    old = numbered(names, 3, of="0300s")[0]
    assert f"{old}: is in the fit already; leave it out" in refusal(base.update, old)
    copy = shutil.copy(old, tmp_path / "copy.fits")
    assert f"copy.fits: is in the fit already, as {old}" in refusal(base.update, copy)
    new = numbered(names, 7, of="0300s")[0]
    twin = shutil.copy(new, tmp_path / "twin.fits")
    assert "is in the fit already" in refusal(base.update, [new, twin])
    with fits.open(new) as hdus:
        hdus[0].data = hdus[0].data[:50]
        hdus.writeto(tmp_path / "small.fits")
    assert "50 x 200" in refusal(base.update, tmp_path / "small.fits")
    for key, value, part in (("XBINNING", 2, "binning"), ("CCD-TEMP", -10.0, "K apart")):
        fits.setval(twin, key, value=value)
        assert part in refusal(base.update, twin)
        shutil.copy(new, twin)
    fits.setval(twin, "IMAGETYP", value="Flat Field")
    assert "no darks" in refusal(base.update, twin)
    assert "no such file" in refusal(base.update, "nowhere.fits")


def test_a_wrong_exposure_time_is_told(base, names, tmp_path):
    new = shutil.copy(numbered(names, 7, of="0600s")[0], tmp_path / "wrong.fits")
    for key in ("EXPTIME", "EXPOSURE"):
        fits.setval(new, key, value=300.0)
    assert any("wrong.fits" in note and "exposure time right?" in note for note in base.update(new).notes)


def test_a_strange_level_is_told(base, names, tmp_path):
    new = tmp_path / "lit.fits"
    with fits.open(numbered(names, 7, of="0600s")[0]) as hdus:
        hdus[0].data += 200
        hdus.writeto(new)
    assert any("lit.fits: its level is +" in note for note in base.update(new).notes)


@pytest.mark.parametrize(("counts", "part"), [(0, "32768 adu in all pixels"), (np.nan, "no valid sample")])
def test_frames_without_counts(base, names, tmp_path, counts, part):
    new = tmp_path / "empty.fits"
    with fits.open(numbered(names, 7, of="0600s")[0]) as hdus:
        hdus[0].data = np.full(SHAPE, counts, np.float32)
        hdus.writeto(new)
    assert f"empty.fits: holds {part}" in refusal(base.update, new)


def test_a_common_roll_off_is_no_temperature(names, tmp_path):
    """Frames of a new exposure in which all pixels lose a fifth of their charge."""
    fit = hotfit.fit_darks([name for name in names if "1000s" not in name], updatable=True)
    made = []
    for name in numbered(names, 1, 2, 3, of="1000s"):
        with fits.open(name) as hdus:
            dark = np.nan_to_num(hdus[0].data - fit.intercept)
            hdus[0].data = (hdus[0].data - 0.2 * dark * (dark > 300)).astype(np.uint16)
            hdus.writeto(tmp_path / Path(name).name)
        made.append(str(tmp_path / Path(name).name))
    new = fit.update(made)
    assert any("taken for roll-off" in note for note in new.notes)
    warm = (fit.rate > 1) & (fit.dq & ~np.uint32(DQ.HOT) == 0)
    assert np.count_nonzero(warm) > 25
    assert np.mean((new.dq[warm] & DQ.NONLINEAR) != 0) > 0.9


def test_frames_that_do_not_leave(base, names, tmp_path):
    assert "nowhere.fits: is no frame of this fit" in refusal(base.remove, "nowhere.fits")
    assert "none is named" in refusal(base.remove, [])
    assert "two exposure times" in refusal(
        base.remove, [name for name in base.frames["file"] if "0000s" not in name]
    )


def test_a_frame_that_changed_does_not_leave(moved):
    fit, folder = moved
    path = sorted(folder.iterdir())[3]
    with fits.open(path, mode="update") as hdus:
        hdus[0].data[0] += 1
    assert "is not the frame that joined" in refusal(fit.remove, path)
    path.unlink()
    assert "is not there any more" in refusal(fit.remove, path)


def test_exposures_that_run_together():
    """100 and 100.4 s are one exposure, and so are 99.8 and 100 s, but not 99.8 and 100.4 s."""
    seconds = {"shape": (60, 70), "seed": 3, "repeats": 3, "exposures": (0, 100, 100.4, 300)}
    frames, _ = hotfit.simulate.darks("guide", **seconds)
    fit = hotfit.fit_darks(frames, updatable=True)
    assert len(set(fit.frames["group"])) == 3
    new, _ = hotfit.simulate.darks("guide", **{**seconds, "seed": 4})
    for exposure, groups in ((100.2, 3), (200.0, 4)):
        new[3].header["EXPTIME"] = new[3].header["EXPOSURE"] = exposure
        assert len(set(fit.update(new[3]).frames["group"])) == groups
    new[3].header["EXPTIME"] = new[3].header["EXPOSURE"] = 99.8
    assert "are and are not equal; fit all frames again" in refusal(fit.update, new[3])


def test_without_a_state(names, tmp_path):
    fit = hotfit.fit_darks(numbered(names, 1, 2))
    assert "--updatable" in refusal(fit.update, numbered(names, 3))
    assert "--updatable" in refusal(fit.remove, numbered(names, 1))


def test_notes_follow_the_frames(base, names, tmp_path):
    """What strange new frames are told of, and that it is forgotten when they leave."""
    noisy, holed = tmp_path / "noisy.fits", tmp_path / "holed.fits"
    for path, name in (
        (noisy, numbered(names, 7, of="0600s")[0]),
        (holed, numbered(names, 8, of="0600s")[0]),
    ):
        with fits.open(name) as hdus:
            counts = hdus[0].data.astype(np.float32)
            if path == noisy:
                counts += np.random.default_rng(1).normal(0, 25, counts.shape).round()
            else:
                counts[:, :100] = np.nan
            hdus[0].data = counts
            hdus.writeto(path)
    fit = base.update([noisy, holed])
    told = [note for note in fit.notes if str(tmp_path) in note]
    assert [note for note in told if "noisy.fits: its quiet pixels scatter by 2" in note]
    assert [note for note in told if "holed.fits (0.5): this part of the samples is missing" in note]
    assert len(told) == 2
    assert not [note for note in fit.remove([noisy, holed]).notes if str(tmp_path) in note]
    assert not set(base.update(numbered(names, 7)).notes) - set(base.notes)


def test_notes_on_stuck_pixels_follow_the_number_of_frames(names):
    fit = hotfit.fit_darks(numbered(names, 1), updatable=True)
    assert sum("stuck pixels are not told" in note for note in fit.notes) == 1
    more = fit.update(numbered(names, 2, 3))
    assert not any("stuck pixels are not told" in note for note in more.notes)
    assert sum("stuck pixels are not told" in note for note in more.remove(numbered(names, 2, 3)).notes) == 1


def test_stand_ins_are_told_once(moved, hit, names):
    fit, folder = moved
    shutil.rmtree(folder)
    fit = fit.update(hit[0])
    for number in (7, 8):
        fit = fit.update(numbered(names, number, of="0300s"))
    told = [note for note in fit.notes if UNREAD in note]
    assert len(told) == 1
    assert f"of {np.count_nonzero(fit.dq & DQ.UNRELIABLE_ERROR)} pixels" in told[0]


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (None, "frames=None: give names"),
        ([3], "frames=\\[3\\]: give names"),
        ("all", "all that this fit has"),
    ],
)
def test_what_cannot_leave(base, frames, message):
    frames = list(base.frames["file"]) if frames == "all" else frames
    with pytest.raises(HotfitError, match=message):
        base.remove(frames)


@pytest.mark.parametrize("level", ["x", -1, 0, np.nan])
def test_levels_that_make_no_sense(base, names, level):
    assert f"saturation={level!r}: give a number above zero" in refusal(
        base.update, numbered(names, 7), saturation=level
    )
