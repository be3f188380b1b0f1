"""How darks are named: shells that expand nothing, backslashes, blanks, other alphabets, lists."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ccdproc import ImageFileCollection

import hotfit
from hotfit import cli, simulate
from hotfit.darks import open_darks

ODD_NAMES = [
    "dark 1.fits",
    "dunkel_\u00fc\u00df.fits",
    "\u6697\u5834 02.FIT",
    "t\u00e9mno #3 (2).fts",
    "a[1]b.fits",
]
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="backslashes separate folders there by themselves")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets") / "plain"
    simulate.write(folder, "guide", shape=(30, 40), exposures=(0.0, 90.0, 300.0), repeats=3, seed=5)
    (folder / "truth.fits").unlink()
    return folder


@pytest.fixture
def here(plain, tmp_path, monkeypatch):
    """A working directory with the darks of `plain` under odd names, in folders with odd names."""
    folder = tmp_path / "meine Bilder" / "T\u00e4g 1"
    folder.mkdir(parents=True)
    paths = sorted(plain.iterdir())
    names = ODD_NAMES + [path.name for path in paths[len(ODD_NAMES) :]]
    for path, name in zip(paths, names, strict=True):
        shutil.copy(path, folder / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rate_of(*arguments):
    """Run the command line; returns the map."""
    assert cli.main([*arguments, "-o", "out", "-q", "--overwrite"]) == 0
    return hotfit.DarkFit.read("out").rate


def assert_same(rate, expected):
    """Equal but for the order in which frames of one exposure are added up, which is that of their names."""
    np.testing.assert_allclose(rate, expected, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def expected(plain):
    return hotfit.fit_darks(plain).rate


@pytest.mark.parametrize(
    "argument",
    [
        "meine Bilder/T\u00e4g 1",
        "meine Bilder/T\u00e4g 1/*.f*ts",
        "meine*/**/*.[fF]*",
        pytest.param("meine Bilder\\T\u00e4g 1", marks=POSIX),
        pytest.param("meine Bilder\\T\u00e4g 1\\", marks=POSIX),
        pytest.param("meine Bilder\\T*\\*.[fF]*", marks=POSIX),
        pytest.param(".\\meine Bilder\\**\\*.[fF]*", marks=POSIX),
    ],
)
def test_folders_and_patterns_as_a_windows_shell_hands_them_over(here, expected, argument):
    rate = rate_of(argument)
    if "f*ts" in argument:
        assert np.isfinite(rate).any()
    else:
        assert_same(rate, expected)


def test_every_name_reaches_the_table_of_frames(here):
    assert cli.main(["meine Bilder", "-q"]) == 1
    assert cli.main(["meine Bilder/T\u00e4g 1", "-q"]) == 0
    named = {Path(name).name for name in hotfit.DarkFit.read("hotfit-out").frames["file"]}
    assert named >= set(ODD_NAMES)


@POSIX
def test_a_backslash_that_belongs_to_a_name(plain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, path in enumerate(sorted(plain.iterdir())):
        shutil.copy(path, f"dark\\{i}.fits")
    assert len(open_darks(["dark\\0.fits", "dark\\5.fits"]).frames) == 2
    assert len(open_darks("*.fits").frames) == 9


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", ["/", pytest.param("\\", marks=POSIX)])
def test_lists_that_windows_wrote(here, expected, encoding, separator):
    lines = [
        f'"{name}"' if i % 2 else str(name)
        for i, name in enumerate(path.relative_to(here) for path in sorted(here.glob("*/*/*")))
    ]
    (here / "my list.txt").write_bytes("\r\n".join(lines).replace("/", separator).encode(encoding))
    assert_same(rate_of("@my list.txt"), expected)


def test_a_list_in_a_code_page_is_refused(here, capsys):
    (here / "list.txt").write_bytes("meine Bilder/T\u00e4g 1/dark 1.fits".encode("cp1252"))
    assert cli.main(["@list.txt"]) == 1
    assert "not UTF-8 text" in capsys.readouterr().err


def test_collections_of_ccdproc(plain, expected):
    collection = ImageFileCollection(plain)
    np.testing.assert_array_equal(hotfit.fit_darks(collection).rate, expected)
    some = collection.filter(imagetyp="Dark Frame")
    assert len(open_darks(some).frames) == 6


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_names_and_consoles_that_know_no_such_letters(plain, tmp_path):
    """A name that is not UTF-8, and a console that is ASCII: still a table, a result and no traceback."""
    folder = tmp_path / "darks"
    folder.mkdir()
    for i, path in enumerate(sorted(plain.iterdir())):
        shutil.copy(path, os.fsencode(folder) + b"/d\xff\xc3\xa4\n%d.fits" % i)
    command = [sys.executable, "-m", "hotfit", "darks", "--json"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    fit = hotfit.DarkFit.read(tmp_path / "hotfit-out")
    assert sorted(fit.frames["file"]) == sorted(item["file"] for item in json.loads(done.stdout)["used"])
    assert all((tmp_path / name).exists() for name in fit.frames["file"])
    again = [*command[:-1], "--dry-run"]
    done = subprocess.run(again, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 10


def test_arrays_of_dask_are_arrays(plain):
    dask_array = pytest.importorskip("dask.array")
    cube, exposure, _ = simulate.cube("guide", shape=(30, 40), repeats=3, seed=5)
    chunked = dask_array.from_array(cube, chunks=(4, 10, 40))
    np.testing.assert_array_equal(
        hotfit.fit_cube(chunked, exposure).rate, hotfit.fit_cube(cube, exposure).rate
    )
