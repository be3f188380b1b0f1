"""How well a fit predicts a dark it has not seen: ``python bench/leave_one_out.py [DIR...]``.

Each dark of a set is predicted from a fit of all others, and the standardised prediction errors of the pixels
that are not masked are summed up in a Markdown table: by exposure time and in all, for all pixels and for the
hot ones. `tests/prediction.py` does the work. Without DIR the darks are those of the simulated cameras.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

import hotfit
from hotfit import simulate
from hotfit.darks import open_darks

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the tests assert what is printed here

from prediction import Figures, figures, leave_one_out, predictable, read_cube

COLUMNS = ("set", "exposure, s", "frames", "width", "median", "beyond 6 sigma, ppm", "hits")
HOT_COLUMNS = ("hot: width", "median", "beyond 6 sigma, ppm", "hits")
SIDE = 512
"""Rows and columns of the simulated darks."""

FEWEST_HOT = 100
"""Fewer hot pixels have no figures of their own."""


class Row(NamedTuple):
    """Figures of the frames of one exposure time, or of all."""

    name: str
    exposure: str
    frames: int
    all: Figures
    hot: Figures | None


def summarise(name: str, cube, fit: hotfit.DarkFit) -> Iterator[Row]:
    """The rows of one set of darks (N, rows, columns): one for every exposure time, then one in all."""
    hot = fit.rate > fit.hot_limit
    left_out = list(leave_one_out(cube, fit, predictable(fit)))
    times = sorted({one.exposure for one in left_out})
    for exposure in (*times, None):
        chosen = [one for one in left_out if exposure in (None, one.exposure)]
        if not chosen:
            continue
        error, hit = (np.array([getattr(one, field) for one in chosen]) for field in ("error", "hit"))
        apart = np.count_nonzero(np.isfinite(error[:, hot]).any(axis=0)) >= FEWEST_HOT
        yield Row(
            name,
            "all" if exposure is None else f"{exposure:g}",
            len(chosen),
            figures(error, hit),
            figures(error[:, hot], hit[:, hot]) if apart else None,
        )


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    columns = COLUMNS + HOT_COLUMNS
    lines = ["| " + " | ".join(columns) + " |", "|---" + "|---:" * (len(columns) - 1) + "|"]
    for row in rows:
        cells = (row.name, row.exposure, str(row.frames), *cells_of(row.all), *cells_of(row.hot))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cells_of(found: Figures | None) -> tuple[str, ...]:
    """Width, median, share beyond 6 sigma in parts per million, and hits."""
    if found is None:
        return ("",) * 4
    return f"{found.width:.3f}", f"{found.median:+.3f}", f"{1e6 * found.beyond:.3g}", str(found.hits)


def load(directories: list[str]) -> Iterator[tuple[str, np.ndarray, hotfit.DarkFit]]:
    """Name, cube and full fit of each directory, or of each simulated camera."""
    for directory in directories:
        with open_darks(directory) as darks:
            yield Path(directory).name, read_cube(darks), hotfit.fit_darks(darks)
    if not directories:
        for camera in simulate.CAMERAS:
            cube, exposure, _ = simulate.cube(camera, shape=(SIDE, SIDE))
            yield f"simulated {camera}", cube, hotfit.fit_cube(cube, exposure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", nargs="*", help="darks of one camera; simulated ones by default")
    options = parser.parse_args()
    rows, remarks = [], []
    try:
        for name, cube, fit in load(options.directory):
            start = perf_counter()
            rows += summarise(name, cube, fit)
            skipped = len(cube) - len(predictable(fit))
            why = f", {skipped} frames skipped: without them no line can be tested" if skipped else ""
            remarks.append(f"{name}: {perf_counter() - start:.0f} s{why}")
    except hotfit.HotfitError as error:
        parser.exit(1, f"{error}\n")
    print(table(rows))
    print(f"\n{'; '.join(remarks)}. hotfit {hotfit.__version__}.")


if __name__ == "__main__":
    main()
