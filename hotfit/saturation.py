"""The saturation level that the darks show: a plateau of full wells, the converter's ceiling, or none."""

import numpy as np

STALL = 0.1
"""A pixel that gathers less than this part of what its steepest stretch promises has stopped."""

MARGIN = 0.99
"""The level lies this far below the lowest plateau: wells soften before they are full."""


def converter_step(values) -> float:
    """Largest power of two that divides all differences of whole-numbered samples: 16 for 12 bits in 16."""
    whole = values.astype(np.int64)
    rest = int(np.bitwise_or.reduce((whole - whole.flat[0]).ravel()))
    return float(min(rest & -rest, 256)) if rest else 1.0


def saturation_level(values, group, group_exposure, step: float) -> float:
    """Level in adu from samples (N, P) sorted by exposure; inf where floats show no plateau.

    A plateau is believed where a pixel stops rising although its own earlier rate promises much more, and
    where it lies among the highest plateaus: a strong roll-off ends lower, and alone.
    """
    level = np.inf
    top = float(np.nanmax(values))
    if step > 0:
        level = ceiling(top, step)
    plateaus = find_plateaus(values, group, group_exposure, 0.4 * top)
    if plateaus.size:
        wells = plateaus[plateaus > 0.85 * np.quantile(plateaus, 0.9)]
        if wells.size > 1 or wells.min() > 0.8 * top:
            level = min(level, MARGIN * float(wells.min()) if wells.min() < ceiling(top, step) else level)
    return level


def ceiling(top: float, step: float) -> float:
    """Largest value of the converter whose largest sample is `top`: exact if reached, else 16 bits."""
    for bits in (8, 10, 12, 14):
        if top == 2**bits - 1:
            return top
    return 2**16 - max(step, 1.0) if top < 2**16 - max(step, 1.0) else min(top, 2.0**16 - 1)


def find_plateaus(values, group, group_exposure, threshold: float) -> np.ndarray:
    """Level in adu at which each stalled pixel came to rest, lowest group mean since it stopped."""
    bright = values[:, np.nanmax(values, axis=0) > threshold]
    count = np.bincount(group)
    total = np.zeros((count.size, bright.shape[1]))
    np.add.at(total, group, bright)
    mean = total / count[:, None]
    rise = np.diff(mean, axis=0)
    wait = np.diff(group_exposure)[:, None]
    if rise.size == 0:
        return np.empty(0)
    promised = np.max(rise / wait, axis=0) * wait
    stalled = (mean[:-1] > threshold) & (promised > 0.2 * threshold) & (rise < STALL * promised)
    lowest = np.minimum.accumulate(mean[::-1], axis=0)[::-1]
    first = np.argmax(stalled, axis=0)
    found = stalled.any(axis=0)
    return lowest[first[found], np.flatnonzero(found)]
