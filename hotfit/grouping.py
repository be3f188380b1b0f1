"""Groups of frames of equal exposure."""

import numpy as np
from numpy.typing import ArrayLike

from hotfit.errors import HotfitError
from hotfit.exposures import SAME_EXPOSURE

SUMS_BYTES = 16
"""Of a pixel in the sums of one group, see `hotfit.sums`."""


def group_exposures(exposure: ArrayLike, tolerance: float = SAME_EXPOSURE) -> tuple[np.ndarray, np.ndarray]:
    """Put exposures that are equal but for clock jitter into groups.

    Parameters
    ----------
    exposure : array_like, (N,)
        Seconds, in any order.
    tolerance : float
        A time joins a group while it exceeds the group's shortest by no more than this fraction, so that
        zero is equal to zero alone.

    Returns
    -------
    group : ndarray, (N,) intp
        Index of each exposure's group, in the order of the input.
    group_exposure : ndarray, (K,) float64
        Mean exposure of each group in seconds, ascending.

    Raises
    ------
    HotfitError
        The exposures are not one row of numbers, or one is negative, NaN or infinite.
    """
    times = np.asarray(exposure, dtype=np.float64)
    if times.ndim != 1:
        raise HotfitError(f"exposure: has shape {times.shape}; give one number of seconds per frame")
    bad = np.flatnonzero(~(np.isfinite(times) & (times >= 0)))
    if bad.size:
        raise HotfitError(f"exposure: frame {bad[0] + 1} has {times[bad[0]]:g} s; give zero or more seconds")
    order = np.argsort(times, kind="stable")
    group = np.empty(times.size, dtype=np.intp)
    shortest: list[float] = []
    for index in order:
        if not shortest or times[index] > shortest[-1] * (1 + tolerance):
            shortest.append(times[index])
        group[index] = len(shortest) - 1
    # Averaging the excess over the shortest keeps a group of equal times exactly at that time.
    base = np.array(shortest, dtype=np.float64)
    excess = np.bincount(group, weights=times - base[group], minlength=base.size)
    return group, base + excess / np.bincount(group, minlength=base.size)


def check_exposures(exposure: ArrayLike) -> None:
    """Raise HotfitError if all frames have the same exposure time (seconds)."""
    times = group_exposures(exposure)[1]
    if times[-1] == 0 or times.size < 2:
        raise HotfitError(
            f"{np.size(exposure)} frames, all of {times[0]:g} s: a dark rate needs two exposure times; add "
            "darks of another exposure, or bias frames"
        )
