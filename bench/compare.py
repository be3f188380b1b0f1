"""hotfit and its rivals in turn on one cube of simulated darks, with what each does: a Markdown table.

``python bench/compare.py``, or as one part of ``python bench/speed.py``.
"""

import argparse
from statistics import median

from rivals import HOTFIT, RIVALS, WORKERS, check_agreement
from scenes import Darks, simulate_darks
from turns import in_turn, machine

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
    """Median seconds of each rival by name."""
    runs = {rival.name: rival.prepare(darks) for rival in RIVALS}
    check_agreement({name: run() for name, run in runs.items()})
    return {name: median(times) for name, times in in_turn(runs, rounds).items()}


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


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=2048, help="rows and columns of the darks (2048)")
    parser.add_argument("--rounds", type=int, default=5, help="times each rival is run (5)")
    options = parser.parse_args(arguments)
    if options.side < 64 or options.rounds < 1:
        parser.error("--side must be at least 64 and --rounds at least 1")
    darks = simulate_darks(options.side)
    print(table(measure(darks, options.rounds), darks.megasamples))
    print(
        f"\n{len(darks.cube)} frames of {options.side} x {options.side} uint16, "
        f"{len(set(darks.exposure))} exposures, in memory; medians of {options.rounds} rounds in turn; "
        f"{WORKERS} threads on {machine()}."
    )
    print(f"Made by `python bench/compare.py --side {options.side} --rounds {options.rounds}`.")


if __name__ == "__main__":
    main()
