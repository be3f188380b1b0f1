"""The output directory: what may be replaced, who may see it, and what is left of runs that ended badly."""

import errno
import os
import re
import shutil
import sys

import pytest

from hotfit import places
from hotfit.errors import HotfitError
from hotfit.places import check_output, clear_rubbish, new_directory

FILE = "dark_current.fits"


def fill(directory, *names, text="mine"):
    """Make files in a directory, with the directories in it that they need."""
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


def tree(directory):
    """Every path in a directory, and every file's text."""
    return {
        path.relative_to(directory).as_posix(): path.read_text() if path.is_file() else None
        for path in directory.rglob("*")
    }


def make(directory, work, *, overwrite=False):
    """A directory whose block is `work`, a function of what was made."""
    with new_directory(directory, overwrite=overwrite) as made:
        work(made)


@pytest.fixture
def out(tmp_path):
    """A place for output in a directory of its own."""
    return tmp_path / "out"


# --- made whole


def test_a_directory_takes_its_place_when_the_block_ends(out):
    with new_directory(out) as made:
        assert tree(made) == {}
        assert made.is_relative_to(out.parent)
        assert made.relative_to(out.parent).parts[0].startswith(".")
        fill(made, FILE, f"CHIP1/{FILE}")
        assert not out.exists()
    assert tree(out.parent) == {
        "out": None,
        f"out/{FILE}": "mine",
        "out/CHIP1": None,
        f"out/CHIP1/{FILE}": "mine",
    }


@pytest.mark.parametrize(
    "error",
    [HotfitError("bad darks"), KeyboardInterrupt(), ValueError("x"), OSError(errno.EIO, "lost", "dark.fits")],
    ids=repr,
)
@pytest.mark.parametrize("old", [False, True], ids=["new", "overwrite"])
def test_an_error_in_the_block_passes_and_leaves_all_as_it_was(out, error, old):
    if old:
        fill(out, FILE)
    before = tree(out.parent)

    def work(made):
        fill(made, FILE, text="new")
        raise error

    with pytest.raises(type(error)) as caught:
        make(out, work, overwrite=old)
    assert caught.value is error
    assert tree(out.parent) == before


@pytest.mark.parametrize("name", [None, "the file"])
def test_an_error_of_writing_is_one_line(out, name):
    def work(made):
        raise OSError(errno.ENOSPC, "disk full", *([made / FILE] if name else []))

    with pytest.raises(HotfitError, match=r"out: cannot be written \(disk full\); free some space") as caught:
        make(out, work)
    assert str(caught.value).startswith(str(out))
    assert tree(out.parent) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="no permissions of this kind")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_everything_has_the_users_permissions(out, umask):
    before = os.umask(umask)
    try:
        with new_directory(out) as made:
            fill(made, f"CHIP1/{FILE}")
    finally:
        os.umask(before)
    for path, most in ((out, 0o777), (out / "CHIP1", 0o777), (out / "CHIP1" / FILE, 0o666)):
        assert path.stat().st_mode & 0o777 == most & ~umask


def test_an_interrupt_between_the_renames_puts_the_old_result_back(out, monkeypatch):
    fill(out, FILE)
    rename = type(out).rename

    def interrupted(self, target):
        if self.name == "new":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(type(out), "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(out, lambda made: fill(made, FILE, text="new"), overwrite=True)
    assert tree(out.parent) == {"out": None, f"out/{FILE}": "mine"}


# --- what may be replaced


@pytest.mark.parametrize(
    "names",
    [[], [FILE, "mask.fits"], [f"CHIP1/{FILE}", "CHIP2/summary.json"], [FILE, "mask.fits/summary.json"]],
)
def test_an_earlier_result_is_replaced(out, names):
    out.mkdir()
    fill(out, *names)
    with new_directory(out, overwrite=True) as made:
        fill(made, FILE, text="new")
    assert tree(out.parent) == {"out": None, f"out/{FILE}": "new"}


@pytest.mark.parametrize(
    "foreign", ["notes.txt", "CHIP1/notes.txt", f"CHIP1/deep/{FILE}", "mask.fits/notes.txt", f"CHIP1/.{FILE}"]
)
def test_what_is_foreign_is_named_and_refused(out, foreign):
    fill(out, FILE, f"CHIP0/{FILE}", foreign)
    with pytest.raises(HotfitError) as caught:
        check_output(out, overwrite=True)
    named = re.search(r"holds (\S+), which", str(caught.value))[1].replace(os.sep, "/")
    assert foreign.startswith(named)
    assert named.count("/") == min(1, foreign.count("/"))


@pytest.mark.parametrize("name", ["raw", "mask.fits", "CHIP1/raw", "CHIP1/mask.fits"])
def test_empty_directories_are_foreign(out, name):
    fill(out, f"CHIP1/{FILE}")
    (out / name).mkdir()
    with pytest.raises(HotfitError, match="which is not a result"):
        check_output(out, overwrite=True)


@pytest.mark.parametrize("name", ["CHIP1", "mask.fits"])
def test_a_linked_directory_is_foreign(out, tmp_path, name):
    fill(out, FILE)
    (out / name).symlink_to(fill(tmp_path / "elsewhere", FILE))
    with pytest.raises(HotfitError, match=name):
        check_output(out, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("target", ["real", "nothing", "out"])
def test_a_link_is_named_with_what_it_leads_to(out, overwrite, target):
    fill(out.parent / "real", FILE)
    out.symlink_to(target)
    with pytest.raises(
        HotfitError, match=f"out: is a link to .*{target}; name that or choose another directory"
    ):
        check_output(out, overwrite=overwrite)


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_appears_while_the_block_runs_is_not_replaced(out, overwrite):
    with pytest.raises(HotfitError, match="diary" if overwrite else "exists"):
        make(out, lambda made: fill(out, "diary.txt"), overwrite=overwrite)
    assert tree(out.parent) == {"out": None, "out/diary.txt": "mine"}


# --- what other runs left


def dead_run(out, *names):
    """What a killed run leaves beside `out`."""
    return fill(out.parent / f".{out.name}.0123abcd.partial", "lock", *names)


def test_an_old_result_that_a_dead_run_had_moved_is_put_back(out):
    dead_run(out, f"new/{FILE}", f"old/{FILE}")
    with pytest.raises(HotfitError, match="out: exists"):
        make(out, lambda made: pytest.fail("the old result is in the way"))
    assert tree(out.parent) == {"out": None, f"out/{FILE}": "mine"}
    make(out, tree, overwrite=True)
    assert tree(out.parent) == {"out": None}


def test_an_old_result_beside_another_goes_when_that_is_replaced(out):
    """It was replaced, or a user has put something else in its place: who knows?"""
    shop = dead_run(out, f"new/{FILE}", f"old/{FILE}")
    fill(out, FILE, text="another")
    kept = {"lock": "mine", "old": None, f"old/{FILE}": "mine"}

    def work(made):
        assert tree(shop) == kept
        raise HotfitError("bad darks")

    with pytest.raises(HotfitError, match="bad darks"):
        make(out, work, overwrite=True)
    assert tree(shop) == kept
    make(out, tree, overwrite=True)
    assert tree(out.parent) == {"out": None}


@pytest.mark.parametrize("change", ["replaced", "removed", "moved"])
def test_a_result_that_another_run_replaced_meanwhile_stays(out, change):
    fill(out, FILE, f"CHIP1/{FILE}")
    mark = places.mark_of(out)

    def work(made):
        fill(made, FILE, text="second")
        if change == "replaced":
            make(out, lambda first: fill(first, FILE, text="first"), overwrite=True)
        else:
            out.rename(out.with_name("away"))
            if change == "removed":
                shutil.rmtree(out.with_name("away"))

    with (
        pytest.raises(HotfitError, match="another run has replaced this result"),
        new_directory(out, overwrite=True, replaces=mark) as made,
    ):
        work(made)
    left = {"out": None, f"out/{FILE}": "first"} if change == "replaced" else {}
    assert {name: text for name, text in tree(out.parent).items() if not name.startswith("away")} == left


def test_a_result_that_nobody_touched_is_replaced(out):
    fill(out, FILE, f"CHIP1/{FILE}")
    with new_directory(out, overwrite=True, replaces=places.mark_of(out)) as made:
        fill(made, FILE, text="second")
    assert tree(out) == {FILE: "second"}


def test_what_has_no_lock_yet_is_dead_too(out):
    shop = dead_run(out)
    (shop / "lock").unlink()
    make(out, tree)
    assert tree(out.parent) == {"out": None}


def test_a_run_that_lives_is_left_alone(out):
    with new_directory(out, overwrite=True) as first:
        fill(first, FILE, text="first")
        with new_directory(out) as second:
            fill(second, FILE, text="second")
        assert tree(first) == {FILE: "first"}
        assert tree(out) == {FILE: "second"}
    assert tree(out.parent) == {"out": None, f"out/{FILE}": "first"}


@pytest.mark.parametrize(
    "name", [".out.b.0123abcd.partial", ".ou.0123abcd.partial", ".out.mine.partial", "out.0123abcd.partial"]
)
def test_what_belongs_to_others_is_left_alone(out, name):
    other = fill(out.parent / name, "lock", f"new/{FILE}", f"old/{FILE}")
    before = tree(other)
    make(out, tree)
    assert tree(other) == before


@pytest.mark.parametrize("name", ["[a-z]ut", "o*t", "?ut"])
def test_a_name_is_no_pattern(out, name):
    if sys.platform == "win32" and not name.startswith("["):
        pytest.skip("no such names")
    before = tree(dead_run(out, f"old/{FILE}").parent)
    dead_run(out.with_name(name), f"new/{FILE}")
    make(out.with_name(name), tree)
    assert tree(out.parent) == {**before, name: None}


def test_without_locks_results_are_written_and_what_may_be_dead_stays(out, monkeypatch):
    refusal = OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    def refuse(*_arguments):
        raise refusal

    system = places.msvcrt if sys.platform == "win32" else places.fcntl
    monkeypatch.setattr(system, "locking" if sys.platform == "win32" else "flock", refuse)
    shop = dead_run(out, f"new/{FILE}", f"old/{FILE}")
    before = tree(shop)
    with new_directory(out) as made:
        fill(made, FILE)
    assert tree(shop) == before
    shutil.rmtree(shop)
    assert tree(out.parent) == {"out": None, f"out/{FILE}": "mine"}


def test_asking_for_rubbish_where_there_is_nothing(tmp_path):
    clear_rubbish(tmp_path / "no" / "such" / "out")
