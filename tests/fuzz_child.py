"""The process that runs cases, limited in memory, and its reports: a line of JSON for each case."""

import argparse
import json
import os
import signal
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from fuzz_cases import Case, make_case, make_whole
from fuzz_complaints import MEMORY, complaints, peak
from fuzz_faults import FAULTS
from fuzz_files import VARIANTS
from fuzz_run import Run, arguments, ring, run_main, write_case

from hotfit import cli

SECONDS = 20.0


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


def reached(case: Case, run: Run) -> int:
    """Changed files that were looked at: up to the one that the message names, or all."""
    names = list(case.files)
    named = next(
        (i for i, name in enumerate(names) if run.err.startswith(f"hotfit: in/{name}: ")), len(names)
    )
    return len(case.changed & set(names[: named + 1]))
