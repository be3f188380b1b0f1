"""Target 4: how long the command line takes to start, the first time and later."""

import shutil
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

from scenes import write_darks
from turns import Row, below, in_turn, python, seconds_text

SLOW_ROUNDS = 3
LIMITS = {"--help": 0.1, "ten darks of 512 x 512": 1.5, "the very first of them, compiling": 12.0}


def rows(rounds: int, shrink: int) -> list[Row]:
    """All targets of the start. They are small, whatever `shrink` is."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        names = write_darks(folder / "darks", 512, 10)
        fit = ("-m", "hotfit", *names, "-o", folder / "out", "--overwrite", "-q")

        def first_fit():
            shutil.rmtree(folder / "cache", ignore_errors=True)
            python(*fit, changes={"NUMBA_CACHE_DIR": str(folder / "cache")})

        help_text, later, first = LIMITS
        runs = {
            "python -c pass": partial(python, "-c", "pass"),
            help_text: partial(python, "-m", "hotfit", "--help"),
            later: partial(python, *fit),
            first: first_fit,
        }
        times = in_turn(runs, rounds, few={first: SLOW_ROUNDS})
    empty = median(times.pop("python -c pass"))
    table = [below(what, median(times[what]), limit, "s") for what, limit in LIMITS.items()]
    return [*table, Row("for scale: python -c pass", "", seconds_text(empty))]
