"""Target 3: peak resident size of the whole program, by number of frames and with little `--memory`."""

import sys
import tempfile
from pathlib import Path

from scenes import write_darks
from turns import Row, below, python

FEW, MANY = 10, 100
LIMIT = 900.0
LITTLE = 32
LOWERED = 1.02
"""Ratio from which the peak counts as lower."""

PEAK = """
import resource, sys
from pathlib import Path
from hotfit.cli import main

code = main(sys.argv[1:])
status = Path("/proc/self/status")  # ru_maxrss begins with the size of the process that started this one
if status.exists():
    print(next(int(line.split()[1]) * 1024 for line in status.open() if line.startswith("VmHWM")))
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
sys.exit(code)
"""


def rows(rounds: int, shrink: int) -> list[Row]:
    """All targets of memory; `shrink` divides the sides of the frames. A peak needs no rounds."""
    if sys.platform == "win32":
        return []
    side = 4096 // shrink
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        names = write_darks(folder / "darks", side, MANY)
        step = MANY // FEW
        peak(names, folder / "out")  # compiles
        few, many = peak(names[::step], folder / "out"), peak(names, folder / "out")
        little = peak(names, folder / "out", "--memory", LITTLE)
    return [
        below(f"peak of {MANY} frames of {side} x {side}, everything written", many, LIMIT, "MB"),
        below(f"the same, against 1.1 times that of {FEW} frames", many, 1.1 * few, "MB"),
        Row(
            f"the same with --memory {LITTLE}, against the default",
            f"{little:.4g} MB",
            f"{many:.4g} MB",
            many / little,
            LOWERED,
        ),
    ]


def peak(names: list[Path], output: Path, *options) -> float:
    """Peak resident size of the command line in MB (10**6 bytes)."""
    done = python("-c", PEAK, *names, "-o", output, "--overwrite", "-q", *options)
    return int(done.stdout.split()[-1]) / 1e6
