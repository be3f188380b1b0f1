"""How far updates and removals lead from a fit of all frames: ``python bench/agreement.py [DIR...]``.

Two simulated cameras of a million pixels, four frames of each of five exposures: two more of each join, one
at a time, in any order; then they leave. With directories of darks: every third frame of these joins and
leaves. Told are the largest difference of a rate, in its errors, in pixels without a flag, and the share of
pixels with one whose flags are the same.
"""

import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from turns import machine

import hotfit
from hotfit import simulate

SIDE, BEFORE, AFTER = 1024, 4, 6
SEEDS = (11, 12, 13)
CAMERAS = {"guide": (0.0, 90.0, 300.0, 600.0, 1000.0), "cmos": (0.0, 30.0, 60.0, 120.0, 300.0)}


def agreement(names: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    """How alike fits are that `new` joined one at a time, and that they left together."""
    before = hotfit.fit_darks([name for name in names if name not in new], updatable=True)
    fit = before
    for name in new:
        fit = fit.update(name)
    full, again = hotfit.fit_darks(list(names)), fit.remove(list(new))
    return (
        f"{len(before.frames)} + {len(new)}",
        *compared(fit, full),
        *compared(again, before),
    )


def compared(fit, other) -> tuple[str, str]:
    """Largest difference of rates without a flag, in errors, and percentage of flagged pixels alike."""
    quiet, odd = (fit.dq | other.dq) == 0, (fit.dq | other.dq) != 0
    away = np.abs((fit.rate - other.rate) / other.rate_error)[quiet].max()
    return f"{away:.3f}", f"{100 * np.mean((fit.dq == other.dq)[odd]):.2f}"


def simulated(camera: str, seed: int, folder: Path) -> tuple[str, ...]:
    """Of darks of a camera, of which the last of each exposure join."""
    of_set = {"shape": (SIDE, SIDE), "repeats": AFTER, "exposures": CAMERAS[camera]}
    paths, _ = simulate.write(folder, camera, seed=seed, **of_set)
    names = [str(path) for path in paths]
    new = [name for name in names if int(Path(name).stem[-3:]) > BEFORE]
    random.Random(seed).shuffle(new)
    return agreement(names, new)


def real(folder: str) -> tuple[str, ...]:
    """Of the darks in a directory, of which every third joins."""
    names = list(hotfit.fit_darks(folder).frames["file"])
    return agreement(names, names[1::3])


def main() -> None:
    print(
        f"{machine()}\n\n| darks | frames | joined: errors | flags alike, % | left: errors | flags alike, % |"
    )
    print("|---|---|---:|---:|---:|---:|", flush=True)
    for folder in sys.argv[1:]:
        print(f"| {Path(folder).name} | {' | '.join(real(folder))} |", flush=True)
    for camera in CAMERAS if len(sys.argv) == 1 else ():
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as scratch:
                cells = simulated(camera, seed, Path(scratch) / "darks")
            print(f"| {camera}, seed {seed} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
