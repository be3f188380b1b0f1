"""hotfit and its rivals in turn on one cube of simulated darks: ``python bench/compare.py``.

Every round runs each of them once, so that whatever else the machine does meets all alike; medians of the
rounds are printed as a Markdown table.
"""

import argparse
import os
import platform
from pathlib import Path
from statistics import median
from time import perf_counter

import numba
import numpy as np
from rivals import EXPOSURES, HOTFIT, RIVALS, WORKERS, Darks, check_agreement, simulate_darks

import hotfit

COLUMNS = (
    "",
    "fit",
    "weights",
    "saturation",
    "cosmic rays",
    "tests",
    "seconds",
    "Msamples/s",
    "speed, fit_cube = 1",
)


def measure(darks: Darks, rounds: int) -> dict[str, float]:
    """Median seconds of each rival by name, after a first run that is not counted."""
    runs = {rival.name: rival.prepare(darks) for rival in RIVALS}
    check_agreement({name: run() for name, run in runs.items()})
    seconds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = perf_counter()
            run()
            seconds[name].append(perf_counter() - start)
    return {name: median(times) for name, times in seconds.items()}


def table(seconds: dict[str, float], megasamples: float) -> str:
    """The measurement as a Markdown table."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * 6 + "|---:" * 3 + "|"]
    for rival in RIVALS:
        time = seconds[rival.name]
        cells = (
            rival.name,
            rival.fit,
            rival.weights,
            rival.saturation,
            rival.cosmic_rays,
            rival.tests,
            f"{time:.3f}",
            f"{megasamples / time:.0f}",
            f"{seconds[HOTFIT.name] / time:.2f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def processor() -> str:
    """The model of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=2048, help="rows and columns of the darks (2048)")
    parser.add_argument("--rounds", type=int, default=5, help="times each rival is run (5)")
    options = parser.parse_args()
    if options.side < 64 or options.rounds < 1:
        parser.error("--side must be at least 64 and --rounds at least 1")
    darks = simulate_darks(options.side)
    seconds = measure(darks, options.rounds)
    print(table(seconds, darks.megasamples))
    print(
        f"\n{len(darks.cube)} frames of {options.side} x {options.side} uint16, {len(EXPOSURES)} exposures, "
        f"in memory; medians of {options.rounds} rounds in turn; {WORKERS} threads on {processor()}, "
        f"{os.cpu_count()} cores; {platform.system()}, Python {platform.python_version()}, "
        f"numpy {np.__version__}, numba {numba.__version__}, hotfit {hotfit.__version__}."
    )
    print(f"Made by `python bench/compare.py --side {options.side} --rounds {options.rounds}`.")


if __name__ == "__main__":
    main()
