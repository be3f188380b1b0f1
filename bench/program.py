"""Target 2: the whole program on plain FITS files, against scripts that only average them, and `reflag`.

Files are in the disk cache and hotfit's compiled code in its own: every side runs once before it is measured.
The scripts are what people write, and write their mean; that of ccdproc is the one of the CCD Data Reduction
Guide for combining calibrated darks, with more memory than there.
"""

import tempfile
from functools import partial
from pathlib import Path

from scenes import write_darks
from turns import Row, against, in_turn, python

import hotfit

SUM = """
import sys
from astropy.io import fits

*names, result = sys.argv[1:]
total = fits.getdata(names[0]).astype(float)
for name in names[1:]:
    total += fits.getdata(name)
fits.writeto(result, (total / len(names)).astype("float32"), overwrite=True)
"""

STACK = """
import sys
import numpy as np
from astropy.io import fits

*names, result = sys.argv[1:]
mean = np.mean([fits.getdata(name) for name in names], axis=0)
fits.writeto(result, mean.astype("float32"), overwrite=True)
"""

COMBINE = """
import sys
import ccdproc
import numpy as np
from astropy.stats import mad_std

*names, result = sys.argv[1:]
combined = ccdproc.combine(
    names, unit="adu", method="average", sigma_clip=True, sigma_clip_low_thresh=5, sigma_clip_high_thresh=5,
    sigma_clip_func=np.ma.median, sigma_clip_dev_func=mad_std, mem_limit=2e9, dtype="float32",
)
combined.write(result, overwrite=True)
"""

SCRIPTS = {
    "sum of the frames": (SUM, 1.0),
    "np.mean of a stack": (STACK, None),
    "ccdproc.combine": (COMBINE, 20),
}
SLOW_ROUNDS = 3
FRAMES = 30


def rows(rounds: int, shrink: int) -> list[Row]:
    """All targets of the whole program; `shrink` divides the sides of the frames."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        names = write_darks(folder / "darks", 4096 // shrink, FRAMES)
        runs = {"hotfit": partial(python, "-m", "hotfit", *names, "-o", folder / "out", "--overwrite", "-q")}
        for label, (script, _) in SCRIPTS.items():
            runs[label] = partial(python, "-c", script, *names, folder / "mean.fits")
        runs["hotfit"]()
        stored = hotfit.DarkFit.read(folder / "out")
        runs["reflag"] = partial(stored.reflag, hot=4, bad=("HOT", "NONLINEAR"))
        times = in_turn(runs, rounds, few={"ccdproc.combine": SLOW_ROUNDS})
    table = [
        against(f"python -m hotfit, against {label}", times["hotfit"], times[label], demanded)
        for label, (_, demanded) in SCRIPTS.items()
    ]
    first = next(iter(SCRIPTS))
    return [*table, against(f"reflag in memory, against {first}", times["reflag"], times[first], 2.0)]
