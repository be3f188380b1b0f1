"""Counts of some pixels against time, which a result keeps so that its pictures can show single samples."""

from dataclasses import dataclass

import numpy as np

USED, SATURATED, LONGER, DROPPED, MISSING = range(5)
"""What became of a sample: in the fit; saturated; not used since a shorter exposure, or one of equal length,
was saturated; dropped as a cosmic ray; not there."""

SAMPLES = 600_000
"""Samples that a result keeps, about: 20 000 pixels of 30 frames, in some MB."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Curves:
    """Samples of P pixels in the N frames of a fit, in the order of its table of frames.

    Attributes
    ----------
    y, x : (P,) int32 array
        Row and column, from 0.
    weight : (P,) float32 array
        Pixels of the image that this one stands for; 0 if it was chosen for being among the worst.
    counts : (P, N) uint16 or float32 array
        adu, as they were read.
    state : (P, N) uint8 array
        What became of each sample: `USED`, `SATURATED`, `LONGER`, `DROPPED` or `MISSING`.
    """

    y: np.ndarray
    x: np.ndarray
    weight: np.ndarray
    counts: np.ndarray
    state: np.ndarray

    def find(self, y: int, x: int) -> int | None:
        """Where the pixel in row `y` and column `x` is among these, None if it is not."""
        found = np.flatnonzero((self.y == y) & (self.x == x))
        return int(found[0]) if found.size else None
