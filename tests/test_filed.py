"""A fit that goes to files as it is made: the same bytes as a fit in memory that is written."""

import json
import re
from dataclasses import fields

import numpy as np
import pytest
from astropy.io import fits

import hotfit
from hotfit import bands, maps, rawio, store
from hotfit.cubes import cube_darks
from hotfit.errors import HotfitError
from hotfit.filed import FiledMaps
from hotfit.findings import Findings, untested
from hotfit.fit import fit_set
from hotfit.flags import Rules
from hotfit.maps import ArrayMaps, Block

DATED = re.compile(rb"CHECKSUM= '.{16}'|updated \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")

NOTHING_GIVEN = {"gain": None, "read_noise": None, "saturation": None}


@pytest.fixture(scope="module")
def cube():
    """Frames of an odd width, some pixels of them saturated, with their exposures."""
    cube, exposure, _ = hotfit.simulate.cube("guide", shape=(61, 83), seed=3, odd=20)
    cube[:, 5, 5] = 65535
    cube[exposure > 200, 5, 7] = 65535
    return cube, exposure


SETS = {
    "all frames": slice(None),
    "two frames": [0, -1],  # nothing is tested, which takes two notes
    "two exposures": [0, 1, 2, -3, -2, -1],
    "single frames": [0, 8, 16, 24],
}


def file_fit(directory, cube, exposure, *, rules=None, memory=np.inf, **options):
    """Fit a cube into files."""
    with store.filing(directory) as keep:
        return fit_set(
            cube_darks(cube, exposure),
            keep,
            given=NOTHING_GIVEN | options,
            bias_subtracted=False,
            rules=rules or Rules(),
            workers=3,
            memory=memory,
            progress=None,
        )


def contents(directory):
    return {path.name: DATED.sub(b"", path.read_bytes()) for path in sorted(directory.iterdir())}


@pytest.mark.parametrize("rules", [{}, {"hot": 0.1, "bad": ("HOT", "NONLINEAR")}, {"bad": ()}], ids=str)
@pytest.mark.parametrize("name", SETS)
def test_the_files_are_those_of_a_fit_in_memory(cube, tmp_path, monkeypatch, name, rules):
    counts, exposure = (array[SETS[name]] for array in cube)
    monkeypatch.setattr(maps, "BLOCK", 5 * 83)
    monkeypatch.setattr(maps, "SAMPLE", 700)  # of 5063 pixels
    monkeypatch.setattr(bands, "BANDS", 7 * counts[0].nbytes)
    given = {"gain": 1.5, "read_noise": 10.0}
    filed = file_fit(tmp_path / "filed", counts, exposure, rules=Rules(**rules), **given)
    held = hotfit.fit_cube(counts, exposure, **given, **rules)
    held.write(tmp_path / "held")
    assert filed.summary() == held.summary()
    assert repr(filed) == repr(held).replace("DarkFit", "FiledFit")
    assert contents(tmp_path / "filed") == contents(tmp_path / "held")
    for file in ("dark_current.fits", "mask.fits"):
        with fits.open(tmp_path / "filed" / file, checksum=True) as opened:
            assert all(hdu.data is not None for hdu in opened)


def test_notes_that_come_with_the_verdict_have_room_in_the_header(cube, tmp_path):
    counts, exposure = (array[[0, -1]] for array in cube)
    held = hotfit.fit_cube(counts, exposure, gain=1.5, read_noise=10.0)
    findings = {field.name: getattr(held, field.name) for field in fields(Findings)}
    lengths = set()
    for number in range(36):  # of one card each: a header of every length within a block
        notes = ("note",) * number
        with FiledMaps(tmp_path / str(number), Findings(**findings | {"notes": notes})) as filed:
            filed.put(0, {name: getattr(held, name).ravel() for name in maps.TYPES})
            filed.finish(Findings(**findings | {"notes": (*notes, *untested(held))}), lambda _: held.curves)
        with fits.open(tmp_path / str(number) / "dark_current.fits", checksum=True) as opened:
            lengths.add(opened[0].fileinfo()["datLoc"])
            np.testing.assert_array_equal(opened[0].data, held.rate)
        assert hotfit.DarkFit.read(tmp_path / str(number)).notes == (*notes, *untested(held))
    assert len(lengths) > 1


def test_the_sample_and_the_blocks_are_those_of_maps_in_memory(cube, tmp_path, monkeypatch):
    monkeypatch.setattr(maps, "SAMPLE", 700)
    seen = []

    def keep(draft):
        seen.append((ArrayMaps(draft.dq.copy()), make(draft)))
        return Both(*seen[-1])

    with store.filing(tmp_path / "out") as make:
        fit_set(
            cube_darks(*cube),
            keep,
            given=NOTHING_GIVEN,
            bias_subtracted=False,
            rules=Rules(),
            workers=2,
            memory=np.inf,
            progress=None,
        )
        ((held, filed),) = seen
        for one, other in zip(held.sample(), filed.sample(), strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype
        for name in Block._fields[:-1]:
            one, other = getattr(held.rows(3, 17), name), getattr(filed.rows(3, 17), name)
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype
            assert other.dtype.isnative


class Both:
    """Keeps maps twice; flags and files are made from the second."""

    def __init__(self, held, filed):
        self.held, self.filed = held, filed
        self.dq, self.shape = filed.dq, filed.shape
        self.rows, self.sample, self.finish = filed.rows, filed.sample, filed.finish

    def band(self, first, last):
        return self.held.band(first, last)

    def put(self, first, band):
        self.filed.put(first, band)
        self.dq[first : first + band["dq"].size // self.shape[1]] = band["dq"].reshape(-1, self.shape[1])


def test_a_disk_that_is_full_in_a_thread_is_one_line(cube, tmp_path, monkeypatch):
    written = []

    def fill_up(descriptor, data, offset):
        written.append(len(data))
        if len(written) > 20:
            raise OSError(28, "No space left on device")
        return rawio.seek_and_write(descriptor, data, offset)

    monkeypatch.setattr(rawio, "pwrite", fill_up)
    with pytest.raises(HotfitError) as caught, store.new_directory(tmp_path / "out") as made:
        file_fit(made, *cube)
    assert str(caught.value).startswith(f"{tmp_path / 'out'}: cannot be written (No space left on device)")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_filed_is_read_back(cube, tmp_path):
    filed = file_fit(tmp_path / "out", *cube)
    read = hotfit.DarkFit.read(tmp_path / "out")
    np.testing.assert_array_equal(read.dq, filed.dq)
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["masked"] == np.count_nonzero(
        read.mask
    )
    assert read.summary()["flags"] == filed.flag_counts()
