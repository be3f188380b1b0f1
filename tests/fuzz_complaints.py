"""What is wrong with the end of a run: no result and no clear line, remains, memory, a changed input."""

import gc
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from fuzz_cases import Case
from fuzz_run import Run

import hotfit

MEMORY = 2 * 10**9
LONGEST_LINE = 600
OUTPUT = {"dark_current.fits", "mask.fits", "bad_pixels.ecsv", "summary.json"}


def complaints(case: Case, run: Run) -> Iterator[str]:
    """What is wrong with the end of a run, nothing if all is well."""
    yield from faults_of_run(case, run)
    yield from faults_of_folder(case, run)


def faults_of_run(case: Case, run: Run) -> Iterator[str]:
    """What is wrong with the code, the text and the memory of a run."""
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


def faults_of_folder(case: Case, run: Run) -> Iterator[str]:
    """What is wrong with the files that a run leaves."""
    if remains := sorted(left_over()):
        yield f"left behind: {', '.join(remains)}"
    if any((Path("in") / name).read_bytes() != data for name, data in case.files.items()):
        yield "an input file was changed"
    if run.code == 0 and "--dry-run" not in case.options:
        for directory in Path("out").glob("*/") if "all" in case.options else [Path("out")]:
            yield from faults_of_result(directory)
    elif os.path.lexists("out"):
        yield "a partial output"


def peak() -> int:
    """Largest memory in use by this process so far, bytes."""
    import resource

    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


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
