"""Updates: one new dark joins 30, against reading it and writing the result, and against fitting all 31.

All sides run in one process that has run each before, on files in the disk cache, and write their results. An
update writes maps and lists, and what it keeps for the next: state, and sums of the exposure that changed.
"""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from astropy.io import fits
from scenes import write_darks
from turns import Row, against, in_turn

import hotfit
from hotfit import cli

SIDE = 2048
FRAMES = 30


def rows(rounds: int, shrink: int) -> list[Row]:
    """Both targets, and what updates cost beside larger sets; `shrink` divides the sides of the frames."""
    table = []
    for frames in (FRAMES, 100):
        with tempfile.TemporaryDirectory() as scratch:
            table += targets(Path(scratch), SIDE // shrink, frames, rounds)
    return table


def targets(folder: Path, side: int, frames: int, rounds: int) -> list[Row]:
    """An update of so many frames against what it may cost."""
    *old, new = write_darks(folder / "darks", side, frames + 1)
    fit(*old, "-o", folder / "base", "--updatable")
    base = hotfit.read(folder / "base")
    result, updated = replace(base, state=None), base.update(new)

    def read_and_write(fit):
        fits.getdata(new)
        fit.write(folder / "copy", overwrite=True)

    runs = {
        "update": partial(fit, "--update", folder / "base", new, "-o", folder / "new", "--overwrite"),
        "maps": partial(read_and_write, result),
        "all": partial(read_and_write, updated),
        "fit": partial(fit, *old, new, "-o", folder / "all", "--overwrite"),
        "updatable fit": partial(fit, *old, new, "-o", folder / "all", "--overwrite", "--updatable"),
    }
    times = in_turn(runs, rounds)
    what = f"one dark of {side} x {side} joins {frames}"
    return [
        against(f"{what}, against reading it and writing all of that", times["update"], times["all"], 1 / 3),
        against(f"{what}, against reading it and writing maps and lists", times["update"], times["maps"]),
        against(f"{what}, against fitting all", times["update"], times["fit"], 4.0),
        against(f"{what}, against fitting all with --updatable", times["update"], times["updatable fit"]),
    ]


def fit(*arguments) -> None:
    """Run the command line in this process."""
    if cli.main([*map(str, arguments), "-q"]):
        raise RuntimeError("hotfit did not fit")
