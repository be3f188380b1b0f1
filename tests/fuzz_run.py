"""Runs one case in a folder of this process: its files and command line, an alarm clock, all it prints."""

import faulthandler
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from fuzz_cases import Case


class Run(NamedTuple):
    """How a run of the command line ended; `code` is a word where it did not end by itself."""

    code: int | str
    out: str
    err: str


class Hang(BaseException):
    """Raised by the alarm clock; not an Exception, so that nobody takes it for a damaged file."""


def write_case(case: Case, folder: Path) -> None:
    """Write the files of a case; the folders `in` and `tmp` are made anew."""
    for name in ("in", "tmp", "out"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "in").mkdir(parents=True)
    (folder / "tmp").mkdir()
    for name, data in case.files.items():
        (folder / "in" / name).write_bytes(data)
    if case.listed is not None:
        (folder / "in" / "list.txt").write_text(case.listed, "utf-8", "surrogateescape")


def arguments(case: Case) -> list[str]:
    """The command line of a case."""
    frames = [f"in/{name}" for name in case.files]
    if case.listed is not None:
        frames = ["@in/list.txt"]
    elif case.whole_folder:
        frames = ["in"]
    return [*frames, "--workers", "1", "-o", "out", *case.options]


def run_main(main: Callable, argv: list[str], seconds: float) -> Run:
    """Call `main` with an alarm clock, and catch all that it prints, from C too."""
    with captured() as streams:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        faulthandler.dump_traceback_later(3 * seconds + 10, exit=True)
        try:
            code = main(argv)
        except Hang:
            code = f"no end within {seconds:g} s"
            traceback.print_exc()
        except BaseException as error:
            code = type(error).__name__
            traceback.print_exc()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.cancel_dump_traceback_later()
    return Run(code, *(stream.decode("utf-8", "backslashreplace") for stream in streams))


@contextmanager
def captured() -> Iterator[list[bytes]]:
    """Send file descriptors 1 and 2 to files; their content is in the list afterwards."""
    kept = [os.dup(1), os.dup(2)]
    contents: list[bytes] = []
    with tempfile.TemporaryFile(dir="/tmp") as out, tempfile.TemporaryFile(dir="/tmp") as err:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        try:
            yield contents
        finally:
            for number, (stream, file) in enumerate(((sys.stdout, out), (sys.stderr, err)), start=1):
                stream.flush()
                os.dup2(kept[number - 1], number)
                os.close(kept[number - 1])
                file.seek(0)
                contents.append(file.read())


def ring(*_) -> None:
    """End a case that takes too long."""
    raise Hang
