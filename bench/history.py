"""What ``fit.compare(other)`` tells of two simulated nights: ``python bench/history.py``, in a minute.

For each camera: two nights in which nothing changed but the temperature; and two in which pixels turned odd,
healed or got hotter. Five times the usual share of odd pixels in the first, ten times in the second.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the tests assert what is printed here

from nights import flat, night, pixels_of, story

from hotfit.compare import DRIFTED, RECOVERED, TURNED_BAD

SHAPE = (1000, 1000)
WARMER = 1.1
SEEDS = (1, 2)


def unchanged(camera: str, seed: int) -> None:
    """Print what is told of two nights of the same pixels."""
    pixels = pixels_of(camera, seed=seed, odd=5, shape=SHAPE)
    comparison = night(pixels, 100 + seed).compare(night(pixels, 200 + seed, warmer=WARMER))
    near = sum(comparison.counts(significant=False).values())
    factor = f"{comparison.ratio_in_adu:.4f} +- {comparison.ratio_in_adu_error:.4f}"
    print(f"| {camera}, unchanged, {seed} | {near} | {sum(comparison.counts().values())} | {factor} |")


def changed(camera: str, seed: int) -> None:
    """Print what is found of the pixels that changed, and how many others are told to have."""
    told = story(camera, seed=seed, warmer=WARMER, odd=10, shape=SHAPE)
    comparison = told.before.compare(told.after)
    for kind, true in ((TURNED_BAD, told.came), (RECOVERED, told.went), (DRIFTED, told.warmed)):
        listed = np.isin(true, np.concatenate([flat(comparison, kind, sure) for sure in (True, False)]))
        found = flat(comparison, kind)
        counts = (
            true.size,
            np.count_nonzero(listed),
            np.isin(true, found).sum(),
            (~np.isin(found, true)).sum(),
        )
        print(f"| {camera}, {kind}, {seed} | " + " | ".join(str(count) for count in counts) + " |")


if __name__ == "__main__":
    print("| | masked one night only, not significant | significant or drifted | factor, truly 1.1 |")
    print("|---|---:|---:|---:|")
    for camera in ("guide", "cmos"):
        for seed in SEEDS:
            unchanged(camera, seed)
    print("\n| | truly | in the table | significant | others |\n|---|---:|---:|---:|---:|")
    for camera in ("guide", "cmos"):
        for seed in SEEDS:
            changed(camera, seed)
