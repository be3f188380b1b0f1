"""What is measured on: cubes and files of simulated darks, of any size at once.

A patch is simulated and laid side by side: what a pixel costs depends on the pixel, not on its place.
"""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits

from hotfit import simulate

PATCH = 512
EXPOSURES = (30.0, 90.0, 200.0, 450.0, 1000.0)
REPEATS = 6
TWELVE = (0.0, 10.0, 20.0, 30.0, 60.0, 90.0, 120.0, 200.0, 300.0, 450.0, 700.0, 1000.0)
WARM = {
    "exposures": (0.0, 30.0, 60.0, 120.0, 300.0),
    "gain": 2.06,
    "read_noise": 14.2,
    "median_rate": 1.44,
    "rate_sigma": 0.3,
}
"""Like an SBIG STL-1001E: 6.9 adu of read noise, and every pixel at 0.7 adu/s."""

SETS = {
    "30 frames, 5 exposures": {"exposures": EXPOSURES, "repeats": REPEATS},
    "12 frames, 3 exposures": {"exposures": EXPOSURES[::2], "repeats": 4},
    "30 frames, 12 exposures": {"exposures": TWELVE, "repeats": (3,) * 6 + (2,) * 6},
    "30 frames of a warm camera": {**WARM, "repeats": REPEATS},
}


class Darks(NamedTuple):
    """Simulated darks: frames (N, rows, columns) uint16 sorted by exposure (N,) in seconds."""

    cube: np.ndarray
    exposure: np.ndarray

    @property
    def megasamples(self) -> float:
        return self.cube.size / 1e6


def simulate_darks(rows: int, columns: int | None = None, *, seed: int = 1, **changes) -> Darks:
    """Darks with hot pixels, saturation, drift and cosmic rays; 30 in 5 exposures unless changed."""
    shape = (rows, columns or rows)
    changes = {"exposures": EXPOSURES, "repeats": REPEATS, **changes}
    small = tuple(min(size, PATCH) for size in shape)
    patch, exposure, _ = simulate.cube("guide", shape=small, seed=seed, **changes)
    cube = np.empty((len(patch), *shape), patch.dtype)
    for image, part in zip(cube, patch, strict=True):
        image[:] = enlarged(part, shape)
    return Darks(cube, exposure)


def write_darks(directory: Path, side: int, frames: int) -> list[Path]:
    """Write that many frames, in five exposures, as plain FITS files; returns their paths."""
    with tempfile.TemporaryDirectory() as scratch:
        small = Path(scratch) / "darks"
        paths, _ = simulate.write(
            small,
            "guide",
            seed=1,
            shape=(min(side, PATCH),) * 2,
            exposures=EXPOSURES,
            repeats=-(-frames // len(EXPOSURES)),
        )
        directory.mkdir()
        for path in paths[:frames]:
            image, header = fits.getdata(path, header=True)
            fits.writeto(directory / path.name, enlarged(image, (side, side)), header)
    return sorted(directory.iterdir())


def enlarged(patch: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """An image of that shape, made of copies of the patch."""
    times = [-(-size // part) for size, part in zip(shape, patch.shape, strict=True)]
    return np.tile(patch, times)[: shape[0], : shape[1]]
