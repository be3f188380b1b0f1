"""Thousands of spoiled files end in a result or in one clear line: no traceback, hang, remains or 2 GB.

`fuzz_cases.py` makes the sets. They run through `cli.main` in processes of their own, with limits on memory
and on the time of a case. To repeat a case, and to keep its files in a new folder:

    python tests/test_fuzz.py 1234 --folder FOLDER
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fuzz_cases import FILE_MUTATORS
from fuzz_child import SECONDS, child, described
from fuzz_faults import FAULTS
from fuzz_files import VARIANTS
from fuzz_sets import SET_MUTATORS

CASES = 1400
FEWEST_FILES = 2000
PROCESSES = 2
STRICT = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}  # as a terminal has it, and not a container

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux limits the memory of a process so"
)


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


if __name__ == "__main__":
    child(read_command())
