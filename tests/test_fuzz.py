"""Thousands of spoiled files end in a result or in one clear line: no traceback, hang, remains or 2 GB.

`mutations.py` makes the sets. They run through `cli.main` in processes of their own, with limits on memory
and on the time of a case. To repeat a case, and to keep its files in a new folder:

    python tests/test_fuzz.py 1234 --folder FOLDER
"""

import argparse
import faulthandler
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from mutations import FILE_MUTATORS, SET_MUTATORS, VARIANTS, Case, make_case, make_whole

import hotfit
from hotfit import cli

CASES = 1400
FEWEST_FILES = 2000
PROCESSES = 2
MEMORY = 2 * 10**9
SECONDS = 20.0
LONGEST_LINE = 600
OUTPUT = {"dark_current.fits", "mask.fits", "bad_pixels.ecsv", "summary.json"}
STRICT = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}  # as a terminal has it, and not a container

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux limits the memory of a process so"
)


class Run(NamedTuple):
    """How a run of the command line ended; `code` is a word where it did not end by itself."""

    code: int | str
    out: str
    err: str


class Hang(BaseException):
    """Raised by the alarm clock; not an Exception, so that nobody takes it for a damaged file."""


# --- one case, in a process of its own


def run_case(case: Case, folder: Path, main: Callable, seconds: float) -> dict:
    """Run a case in an empty folder and report how it ended."""
    write_case(case, folder)
    os.chdir(folder)
    tempfile.tempdir = str(folder / "tmp")
    run = run_main(main, arguments(case), seconds)
    return {
        **described(case.seed),
        "code": run.code,
        "changed": len(case.changed),
        "reached": reached(case, run),
        "peak": peak(),
        "said": run.err[-2000:],
        "complaints": list(complaints(case, run)),
    }


def described(seed: int) -> dict:
    """What a case is, without running it."""
    case = make_case(seed)
    return {"case": seed, "variant": case.variant, "mutations": case.mutations, "options": case.options}


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


def peak() -> int:
    """Largest memory in use by this process so far, bytes."""
    import resource

    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reached(case: Case, run: Run) -> int:
    """Changed files that were looked at: up to the one that the message names, or all."""
    names = list(case.files)
    named = next(
        (i for i, name in enumerate(names) if run.err.startswith(f"hotfit: in/{name}: ")), len(names)
    )
    return len(case.changed & set(names[: named + 1]))


def complaints(case: Case, run: Run) -> Iterator[str]:
    """What is wrong with the end of a run, nothing if all is well."""
    if run.code not in (0, 1):
        yield f"ended with {run.code}"
    if run.code == 0 and run.err:
        yield "text on stderr"
    if run.code == 1 and not clear(run.err):
        yield "not one clear line on stderr"
    if re.search("unable to allocate|cannot allocate|out of memory|MemoryError", run.err, re.IGNORECASE):
        yield "asked for too much memory"
    if peak() > MEMORY:
        yield f"{peak()} bytes in use"
    if run.code == 1 and not case.mutations:
        yield "a whole set was refused"
    if "--json" in case.options and not (is_json(run.out) if run.code == 0 else run.out == ""):
        yield "stdout is not JSON"
    if remains := sorted(left_over()):
        yield f"left behind: {', '.join(remains)}"
    if any((Path("in") / name).read_bytes() != data for name, data in case.files.items()):
        yield "an input file was changed"
    if run.code == 0 and "--dry-run" not in case.options:
        for directory in Path("out").glob("*/") if "all" in case.options else [Path("out")]:
            yield from faults_of_result(directory)
    elif os.path.lexists("out"):
        yield "a partial output"


def clear(text: str) -> bool:
    """Whether this is one line that a user can read."""
    line = text.removesuffix("\n")
    return line.startswith("hotfit: ") and line.isprintable() and line != text and len(line) < LONGEST_LINE


def is_json(text: str) -> bool:
    """Whether this is JSON as the standard has it, without NaN."""
    try:
        json.loads(text, parse_constant=float.fromhex)
    except ValueError:
        return False
    return True


def left_over() -> set[str]:
    """Files in the working and the temporary folder that nobody asked for."""
    gc.collect(0)
    return {*os.listdir(), *os.listdir("tmp")} - {"in", "tmp", "out"}  # noqa: PTH208


def faults_of_result(directory: Path) -> Iterator[str]:
    """What is wrong with an output directory."""
    names = {entry.name for entry in directory.iterdir()} if directory.is_dir() else set()
    if names != OUTPUT:
        yield f"the output is {sorted(names)}"
        return
    if not is_json((directory / "summary.json").read_text("utf-8")):
        yield "summary.json is not JSON"
    try:
        fit = hotfit.DarkFit.read(directory)
    except Exception as error:
        yield f"the output cannot be read: {error}"
        return
    if not fit.mask[~np.isfinite(fit.rate)].all():
        yield "a pixel without a rate is not masked"
    if not (fit.rate_error[np.isfinite(fit.rate)] > 0).all():
        yield "a rate without an error"


# --- the process that runs cases, and its faults


def fail_in_two_lines(_argv):
    print("hotfit: one\nhotfit: two", file=sys.stderr)
    return 1


def fail_silently(_argv):
    return 1


def raise_error(_argv):
    raise ValueError("a traceback")


def sleep_on(_argv):
    time.sleep(100)


def warn(_argv):
    warnings.warn("overflow encountered in divide", RuntimeWarning, stacklevel=1)
    return 0


def take_memory(_argv):
    try:
        np.ones(MEMORY // 8 + 1)
    except MemoryError as error:
        print(f"hotfit: in/0.fits: cannot be read ({error})", file=sys.stderr)
    return 1


def leave_scratch(_argv):
    tempfile.mkdtemp(prefix="hotfit-")
    return 0


def leave_half(_argv):
    Path("out").mkdir()
    Path("out/mask.fits").touch()
    print("hotfit: sorry", file=sys.stderr)
    return 1


def succeed_by_half(_argv):
    Path("out").mkdir()
    return 0


def spoil_input(_argv):
    Path("in/0.fits").write_bytes(b"")
    return 0


def refuse(_argv):
    print("hotfit: no", file=sys.stderr)
    return 1


def crash(_argv):
    os.kill(os.getpid(), signal.SIGSEGV)


FAULTS = {
    fail_in_two_lines: "not one clear line",
    fail_silently: "not one clear line",
    raise_error: "ended with ValueError",
    sleep_on: "ended with no end",
    warn: "text on stderr",
    take_memory: "too much memory",
    leave_scratch: "left behind: hotfit-",
    leave_half: "a partial output",
    succeed_by_half: "the output is []",
    spoil_input: "an input file was changed",
    refuse: "a whole set was refused",
    crash: "died",
}
"""Programs that do what must not be, and the complaint."""


def child(options: argparse.Namespace) -> None:
    """Run cases, and print a line of JSON for each."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, ring)
    show_warnings()
    report = os.fdopen(os.dup(1), "w")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        for variant in ("uint16", "float32") if not options.faults else ():
            whole = make_whole(-1, variant, 6)
            run_case(whole, folder, cli.main, 10 * SECONDS)  # compiles, or loads, the kernels
        for seed in range(*options.cases):
            main = list(FAULTS)[seed] if options.faults else cli.main
            case = make_case(-len(VARIANTS) if options.faults else seed)
            print(json.dumps(run_case(case, folder, main, options.seconds)), file=report, flush=True)
        os.chdir("/")


def show_warnings() -> None:
    """Show every warning that Python shows by itself, however often."""
    warnings.simplefilter("always")
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)


def ring(*_) -> None:
    """End a case that takes too long."""
    raise Hang


def cases_of(text: str) -> tuple[int, int, int]:
    """7 or 0:1000 or 0:1000:2, as bounds of a range."""
    first, *more = (int(number) for number in text.split(":"))
    return (first, *more, *(1,) * (2 - len(more))) if more else (first, first + 1, 1)


def read_command() -> argparse.Namespace:
    """The command line of the process that runs cases."""
    parser = argparse.ArgumentParser(description="Run cases of the fuzz test.")
    parser.add_argument("cases", type=cases_of, metavar="FIRST[:STOP[:STEP]]")
    parser.add_argument("--folder", type=lambda text: Path(text).resolve(), help="new folder for the files")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for one case (default: %(default)s)")
    parser.add_argument("--faults", action="store_true", help="run the faulty programs instead")
    return parser.parse_args()


# --- the tests


def run_cases(first: int, stop: int, step: int, *options: str) -> list[dict]:
    """Reports on cases; a process that dies is replaced by one for the cases that are left."""
    reports: list[dict] = []
    while first < stop:
        command = [sys.executable, __file__, *options, "--", f"{first}:{stop}:{step}"]
        done = subprocess.run(command, env=STRICT, capture_output=True, text=True, check=False)
        got = [json.loads(line) for line in done.stdout.splitlines()]
        reports += got
        if done.returncode == 0:
            break
        first += step * len(got)
        said = " ".join(done.stderr.split())[-500:]
        reports.append(
            {**described(first), "complaints": [f"the process died with {done.returncode}: {said}"]}
        )
        first += step
    return reports


def told(report: dict) -> str:
    """A failure in one line, and how to see it again."""
    what = f"{report.get('variant')}, {report.get('mutations')}, {report.get('options')}"
    said = " ".join(report.get("said", "").split())[-300:]
    return f"python tests/test_fuzz.py {report.get('case')}  # {what}: {report['complaints']} {said}"


def test_spoiled_files_end_in_a_result_or_in_one_line():
    whole = -len(VARIANTS)
    with ThreadPoolExecutor(PROCESSES) as pool:
        parts = pool.map(lambda i: run_cases(whole + i, CASES, PROCESSES), range(PROCESSES))
        reports = [report for part in parts for report in part]
    failures = [told(report) for report in reports if report["complaints"]]
    assert not failures, "\n".join([f"{len(failures)} cases", *failures[:30]])
    assert sum(report.get("reached", 0) for report in reports) >= FEWEST_FILES
    assert sum(report.get("code") == 0 for report in reports) > CASES // 4
    assert {word for report in reports for word in report.get("mutations", ())} >= {
        *FILE_MUTATORS,
        *SET_MUTATORS,
    }


def test_what_must_not_be_is_found():
    reports = run_cases(0, len(FAULTS), 1, "--faults", "--seconds", "1")
    for report, (fault, part) in zip(reports, FAULTS.items(), strict=True):
        assert part in " ".join(report["complaints"]), fault.__name__


if __name__ == "__main__":
    child(read_command())
