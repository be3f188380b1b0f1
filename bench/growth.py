"""Target 5: how the time of a fit in memory grows with the number of frames and of pixels."""

from functools import partial
from statistics import median

import numpy as np
from rivals import WORKERS, prepare_kernel
from scenes import simulate_darks
from turns import Row, in_turn, seconds_text

import hotfit

FRAMES = (10, 20, 40, 80)
SIDES = (1024, 2048, 4096)
LINEAR = 1.1
"""Exponent up to which growth counts as linear."""


def rows(rounds: int, shrink: int) -> list[Row]:
    """The exponents of growth; `shrink` divides the sides of the cubes."""
    by_frames = {count: simulate_darks(1024 // shrink, repeats=count // 5) for count in FRAMES}
    table = growth("frames", by_frames, rounds)
    by_frames.clear()
    by_pixels = {side * side // shrink**2: simulate_darks(side // shrink, repeats=2) for side in SIDES}
    return [*table, *growth("pixels", by_pixels, rounds)]


def growth(what: str, sets: dict, rounds: int) -> list[Row]:
    """Exponents of the kernel's time and of all of fit_cube's."""
    kernel = {size: prepare_kernel(darks) for size, darks in sets.items()}
    whole = {size: partial(hotfit.fit_cube, *darks, workers=WORKERS) for size, darks in sets.items()}
    return [
        exponent(f"{name}, by {what}", in_turn(runs, rounds))
        for name, runs in (("kernel", kernel), ("fit_cube", whole))
    ]


def exponent(what: str, times: dict[int, list[float]]) -> Row:
    """The exponent of time against size, from medians."""
    sizes, seconds = list(times), [median(values) for values in times.values()]
    slope = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
    span = f"{seconds_text(seconds[0])} to {seconds_text(seconds[-1])}"
    what = f"exponent, {what} ({sizes[0]} to {sizes[-1]}: {span})"
    return Row(what, f"{slope:.2f}", f"limit {LINEAR}", LINEAR / max(slope, 1e-3), 1.0)
