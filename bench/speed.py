"""How fast hotfit is, against its targets: ``python bench/speed.py [PART...]``.

Parts: kernel, program, memory, start, growth, update, dask, rivals; all by default. Both sides are measured
in turn, in one run. A ratio is the other side's time, or the limit, over hotfit's: larger is better.
"""

import argparse

import compare
import dasked
import growth
import kernel
import memory
import program
import start
import update
from turns import machine, print_table

PARTS = {
    "kernel": kernel,
    "program": program,
    "memory": memory,
    "start": start,
    "growth": growth,
    "update": update,
    "dask": dasked,
}
RIVALS = "rivals"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)}, {RIVALS}")
    parser.add_argument("--rounds", type=int, default=5, help="rounds in turn (5)")
    parser.add_argument("--shrink", type=int, default=1, help="divide all sides, for a quick look (1)")
    options = parser.parse_args()
    parts = options.parts or [*PARTS, RIVALS]
    if not {*parts} <= {*PARTS, RIVALS} or options.rounds < 1 or not 1 <= options.shrink <= 16:
        parser.error(f"PART is one of {', '.join(PARTS)}, {RIVALS}; --rounds from 1, --shrink 1 to 16")
    print(f"{machine()}. Medians of {options.rounds} rounds in turn, 3 of slow sides.")
    if options.shrink > 1:
        print(f"Sides divided by {options.shrink}: no measurement of the targets.")
    for name in parts:
        if name == RIVALS:
            print("\n### rivals\n", flush=True)
            compare.main(["--side", str(2048 // options.shrink), "--rounds", str(options.rounds)])
        else:
            module = PARTS[name]
            print_table(
                f"{name}. {module.__doc__.splitlines()[0]}", module.rows(options.rounds, options.shrink)
            )


if __name__ == "__main__":
    main()
