"""The compiled code and its cache: damaged, full, gone, shared by processes, or without any place to be.

`SUM` stands for the kernels, which take long to compile; its policy is theirs.
"""

import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numba
import pytest

import hotfit
from hotfit import simulate
from hotfit.jit import when_compiling

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")

SUM = """
import sys
import numpy as np
from hotfit.jit import entry


@entry
def total(values):
    result = 0.0
    for value in values:
        result += value
    return result


def start():
    found = total(np.arange(5.0))
    return found, sum(total.stats.cache_hits.values())


if __name__ == "__main__":
    sys.stdin.readline()
    print(*start())
"""
COMPILED, LOADED = (10.0, 0), (10.0, 1)


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The file of `SUM`, with its cache in __pycache__ beside it."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    path = tmp_path / "sum_of_test_start.py"
    path.write_text(SUM)
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    sys.modules.pop(path.stem, None)


def imported(script):
    """The module of the script, as a process finds it that begins now."""
    sys.modules.pop(script.stem, None)
    return importlib.import_module(script.stem)


def new_start(script):
    """The sum, and whether it came from the cache."""
    return imported(script).start()


def cache_files(script, suffix):
    return list((script.parent / "__pycache__").glob(f"{script.stem}.total-*{suffix}"))


def test_compiled_code_is_kept(script):
    assert new_start(script) == COMPILED
    assert new_start(script) == LOADED


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda code: b"",
        lambda code: code[: len(code) // 2],
        lambda code: code[:-1],
        lambda code: b"\x80\x05" + code[:1:-1],
        lambda code: b"not what it was",
        lambda code: code[: len(code) // 2] + bytes(512) + code[len(code) // 2 + 512 :],
    ],
    ids=["empty", "half", "one byte short", "reversed", "text", "a sector of zeros"],
)
def test_a_damaged_cache_is_made_anew(script, suffix, damage):
    new_start(script)
    (path,) = cache_files(script, suffix)
    path.write_bytes(damage(path.read_bytes()))
    assert new_start(script) == COMPILED
    assert new_start(script) == LOADED


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_a_cache_file_that_is_gone_is_made_anew(script, suffix):
    new_start(script)
    for path in cache_files(script, suffix):
        path.unlink()
    assert new_start(script) == COMPILED
    assert new_start(script) == LOADED


def test_a_cache_that_is_gone_when_it_is_needed_is_done_without(script):
    start = imported(script).start
    shutil.rmtree(script.parent / "__pycache__")
    (script.parent / "__pycache__").write_text("in the way")
    assert start() == COMPILED


@contextmanager
def file_size_limit(size):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on files")
def test_a_full_disk_is_done_without(script):
    start = imported(script).start
    with file_size_limit(100):
        assert start() == COMPILED
    assert not list((script.parent / "__pycache__").glob("*.tmp.*"))
    assert new_start(script) == COMPILED


def processes(script, number):
    """What that many processes print that start at once, when all of them are ready."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [
        subprocess.Popen([sys.executable, str(script)], env=environment, **pipes) for _ in range(number)
    ]
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120) for process in running]
    assert [(process.returncode, errors) for process, (_, errors) in zip(running, said, strict=True)] == [
        (0, "")
    ] * number
    return [output.split() for output, _ in said]


def test_six_processes_share_an_empty_cache(script):
    assert {found for found, _ in processes(script, 6)} == {"10.0"}
    assert new_start(script) == LOADED


# --- what is said


def test_compiling_is_told_once_and_loading_is_not(script):
    told = []
    with when_compiling(told.append):
        new_start(script)
        numba.njit(lambda: 1)()
    assert told == [True]
    with when_compiling(told.append):
        new_start(script)
    assert told == [True]


NOWHERE = {"unset": {}, "no folder": {"HOME": os.devnull}}
"""What HOME is; with the cache of the user in the way, not even root has a place to write."""


def without_a_place(folder, home):
    """The environment of who cannot write to `folder`, and has no home."""
    (folder / "__pycache__").write_text("in the way")
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "NUMBA_CACHE_DIR")}
    return {**kept, "XDG_CACHE_HOME": os.devnull, **NOWHERE[home]}


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="caches are elsewhere")
@pytest.mark.parametrize("home", NOWHERE)
def test_without_any_place_the_cache_is_done_without(script, home):
    environment = {**without_a_place(script.parent, home), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, input="go\n", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "10.0 0\n")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="caches are elsewhere")
def test_a_read_only_install_without_a_home_fits_and_says_why_it_takes_long(tmp_path):
    package = tmp_path / "install" / "hotfit"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(hotfit.__file__).parent, package, ignore=ignored)
    environment = {**without_a_place(package, "no folder"), "PYTHONPATH": str(package.parent)}
    package.chmod(0o555)
    simulate.write(tmp_path / "darks", "guide", seed=1, shape=(24, 24), exposures=(0, 60, 300), repeats=4)
    command = [sys.executable, "-m", "hotfit", "darks", "-o", "out"]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    package.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"compiling: .*NUMBA_CACHE_DIR.*\n", done.stderr)
    assert (tmp_path / "out" / "dark_current.fits").is_file()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["darks", "install", "out"]
