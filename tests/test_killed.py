"""What a run leaves that is killed at any moment or fills the disk: the old result, the new one, or none.

As a script, in a process of its own, this file does what it tests: kill and fill.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

import hotfit
from hotfit import store
from hotfit.errors import HotfitError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no fork, no SIGKILL, no limit on files")

TOUCH_FILES = ("open", "os.", "shutil.", "fcntl.")
"""How the names of such audit events begin."""


def write_one(fit, directory):
    fit.write(directory, overwrite=True)


def write_mosaic(fit, directory):
    """Copies of one file stand for what each chip takes long to write."""
    with store.new_directory(directory, overwrite=True) as made:
        for name in ("CHIP1", "CHIP2"):
            (made / name).mkdir()
            (made / name / "summary.json").write_text(json.dumps(fit.summary()))


WRITERS = {"one": write_one, "mosaic": write_mosaic}


def contents(directory):
    """What is in every file, but for the cards that hold the time of writing; None without a directory."""
    if not directory.exists():
        return None
    files = [path for path in directory.rglob("*") if path.is_file()]
    dated = re.compile(rb"(CHECKSUM|DATASUM )= .{70}", re.DOTALL)
    return {str(path.relative_to(directory)): dated.sub(b"", path.read_bytes()) for path in files}


def names(directory):
    return sorted(path.name for path in directory.iterdir())


# --- in a process of its own


def killed_at(number, write, fit, directory):
    """Write in a child that is killed as it touches files for the nth time; False if it ends before."""
    child = os.fork()
    if not child:
        die_at(number)
        write(fit, directory)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), code
    return code != 0


def die_at(number):
    seen = count(1)

    def hook(event, _arguments):
        if event.startswith(TOUCH_FILES) and next(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def kill_everywhere(stored, here, writer, start):
    """Yield what a kill at each event leaves in the place of a result, and what the next run leaves there."""
    write, old = WRITERS[writer], hotfit.DarkFit.read(stored)
    new = old.reflag(hot=4, bad=("HOT", "NONLINEAR"))
    write(old, here / "old")
    write(new, here / "new")
    known = {"nothing": None} | {name: contents(here / name) for name in ("old", "new")}
    for number in count(1):
        place = here / str(number) / "out"
        place.parent.mkdir()
        if start == "old":
            shutil.copytree(here / "old", place)
        killed = killed_at(number, write, new, place)
        found = [name for name, expected in known.items() if contents(place) == expected]
        kept = [contents(old) == known["old"] for old in place.parent.glob(".*/old")]
        with store.new_directory(place, overwrite=True):
            pass
        yield {"killed": killed, "found": found, "kept": kept, "left": names(place.parent)}
        if not killed:
            return


def fill_up(stored, here):
    """Yield what is said and left when no file may hold more than so many bytes."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    fit, size = hotfit.DarkFit.read(stored), (stored / "dark_current.fits").stat().st_size
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 1, 2880, 10_000, size // 2, size - 2880, size - 1, size):
        said = None
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most[1]))
        try:
            fit.reflag(bad=()).write(here / "out", overwrite=True)
        except HotfitError as error:
            said = str(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
        old = contents(here / "out") == contents(stored)
        yield {"limit": limit, "said": said, "old": old, "left": names(here)}


# --- what it reports


def reports(task, *arguments):
    done = subprocess.run(
        [sys.executable, __file__, task, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A small result on disk."""
    cube, exposure, _ = hotfit.simulate.cube("guide", shape=(32, 48), seed=3, odd=20)
    return hotfit.fit_cube(cube, exposure).write(tmp_path_factory.mktemp("stored") / "out")


@pytest.mark.parametrize(("writer", "start"), [("one", "nothing"), ("one", "old"), ("mosaic", "old")])
def test_a_kill_at_any_moment_leaves_a_whole_result_or_none(stored, tmp_path, writer, start):
    seen = reports("kill", stored, tmp_path, writer, start)
    assert len(seen) > 15
    assert [report["killed"] for report in seen] == [True] * (len(seen) - 1) + [False]
    found = [report["found"] for report in seen]
    place = found.index(["new"])
    between = [["nothing"]] if start == "old" else []  # two renames
    assert found[:place] == [[start]] * (place - len(between)) + between
    assert found[place:] == [["new"]] * (len(found) - place)
    assert [report["kept"] for report in seen[:place]] == [[]] * (place - len(between)) + [[True]] * len(
        between
    )
    assert all(report["left"] == ["out"] for report in seen)


def test_a_full_disk_is_one_line_and_the_old_result_stays(stored, tmp_path):
    shutil.copytree(stored, tmp_path / "out")
    *failed, whole = reports("fill", stored, tmp_path)
    assert len(failed) == 7
    for report in failed:
        assert report["said"].startswith(f"{tmp_path / 'out'}: cannot be written ("), report
        assert "\n" not in report["said"]
        assert report["old"], report
        assert report["left"] == ["out"]
    assert whole["said"] is None
    assert not whole["old"]


if __name__ == "__main__":
    task, stored, here, *how = sys.argv[1:]
    for report in {"kill": kill_everywhere, "fill": fill_up}[task](Path(stored), Path(here), *how):
        print(json.dumps(report), flush=True)
