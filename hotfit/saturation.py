"""The saturation level that the darks show: a plateau of full wells, the converter's ceiling, or none."""

import numpy as np

from hotfit.robust import median, robust_sigma

STALL = 0.1
"""A pixel that gathers less than this part of what its steepest stretch promises has stopped."""

SEEN = 10.0
"""Robust sigmas of the first frame that a pixel must have gathered before its rate promises anything."""

EQUAL = 5
"""So many equal samples of a bright pixel are no coincidence."""

CUT = 0.8
FEWEST_CUT = 3
"""At least so many pixels must have stopped, or end together at less than this part of what they promise."""

MARGIN = 0.99
"""The level lies this far below the lowest plateau: wells soften before they are full."""


def converter_step(values) -> float:
    """Largest power of two that divides all differences of whole-numbered samples: 16 for 12 bits in 16."""
    whole = known(values).astype(np.uint16, copy=False)
    if whole.size == 0:
        return 1.0
    differing = int(np.bitwise_or.reduce(whole, axis=None) ^ np.bitwise_and.reduce(whole, axis=None))
    return float(min(differing & -differing, 256)) if differing else 1.0


def is_whole(values) -> bool:
    """Whether all samples, missing ones aside, are numbers that a 16-bit converter can give."""
    if values.dtype == np.uint16:
        return True
    frames = (known(row) for row in values)
    return all(((row == np.rint(row)) & (row >= 0) & (row <= 65535)).all() for row in frames)


def highest(values) -> float:
    """Highest finite sample: what lies beyond the converter is infinite, what is missing is nan."""
    return max(float(known(row).max(initial=0)) for row in values)


def known(values) -> np.ndarray:
    """The finite ones of the samples, not copied if all are."""
    if values.dtype.kind == "u":
        return values
    finite = np.isfinite(values)
    return values if finite.all() else values[finite]


def below(values, level: float) -> np.ndarray:
    """Where samples lie below a level above 0 adu; see `exceed`."""
    return ~exceed(values, np.ceil(level) - 1) if values.dtype == np.uint16 else values < level


def exceed(values, level: float) -> np.ndarray:
    """Where samples lie above a level of 0 adu or more: whole numbers are much faster compared as such."""
    return values > (int(min(level, 65535)) if values.dtype == np.uint16 else level)


def saturation_level(values, group, group_exposure, step: float) -> float:
    """Level in adu from samples (N, P) sorted by exposure; inf where floats show no plateau.

    A plateau is believed where a pixel stops rising although its own earlier rate promises much more, and
    where it lies among the highest plateaus: a strong roll-off ends lower, and alone.
    """
    top = highest(values)
    level = ceiling(top, step) if step > 0 else np.inf
    return level_of(find_plateaus(values, group, group_exposure), level, top)


def level_of(plateaus, level: float, top: float) -> float:
    """Level in adu below the lowest of the plateaus that are full wells, or `level` if that is lower."""
    if plateaus.size:
        wells = plateaus[plateaus > 0.85 * np.quantile(plateaus, 0.9)]
        lowest = float(wells.min())
        if lowest < level and (wells.size > 1 or lowest > 0.8 * top):
            level = MARGIN * lowest
    return level


def ceiling(top: float, step: float) -> float:
    """Largest value of the converter whose largest sample is `top`: exact if reached, else 16 bits.

    15 bits are what 16 bits without BZERO hold.
    """
    for bits in (8, 10, 12, 14, 15):
        if top == 2**bits - 1:
            return top
    return 2**16 - max(step, 1.0) if top < 2**16 - max(step, 1.0) else min(top, 2.0**16 - 1)


def find_plateaus(values, group, group_exposure) -> np.ndarray:
    """Level in adu at which each pixel stays that has stalled, or has equal samples; see `plateaus_of`."""
    pedestal, width = pedestal_and_width(known(values[0]))
    span = 0.4 * (highest(values) - pedestal)
    if span < 50 * width or group_exposure.size < 3:
        return np.empty(0)
    threshold = pedestal + span
    bright = bright_pixels(values, threshold)
    mean = np.zeros((group_exposure.size, bright.size))
    for k, frame in zip(group, values, strict=True):
        mean[k] += frame[bright]
    mean /= np.bincount(group)[:, None]
    equal = clipped(values, bright, mean, group, threshold)
    return plateaus_of(mean, group_exposure, threshold, span, width, equal)


def plateaus_of(mean, group_exposure, threshold: float, span: float, width: float, equal) -> np.ndarray:
    """Level in adu at which each stalled pixel stays, lowest group mean after it stopped; and those `equal`.

    `mean` (K, P) is of bright pixels, which reach the `threshold`, so much (`span`) above the pedestal;
    `width` is the noise of one sample. All in adu.
    """
    rise = np.diff(mean, axis=0)
    wait = np.diff(group_exposure)[:, None]
    since = mean[1:] - mean[0]
    seen = np.where(since > SEEN * width, since, 0)
    promised = np.max(seen / (group_exposure[1:] - group_exposure[0])[:, None], axis=0) * wait
    stalled = (mean[:-1] > threshold) & (promised > 0.2 * span) & (rise < STALL * promised)
    lowest = np.minimum.accumulate(mean[::-1], axis=0)[::-1]
    first = np.argmax(stalled, axis=0)
    found = np.flatnonzero(stalled.any(axis=0))
    level = lowest[first[found] + 1, found]
    level = np.append(level[level > threshold], equal)  # a cosmic ray does not stay
    others = ~stalled.any(axis=0)
    short = cut_short(mean[:, others], rise[:, others], promised[:, others], mean[-1].max(initial=0))
    short = short[short > threshold]
    return np.concatenate([level, short]) if level.size + short.size >= FEWEST_CUT else level


def pedestal_and_width(samples) -> tuple[float, float]:
    """Median and robust sigma, adu; of uint16 counts from how often each occurs, which is much faster."""
    if samples.dtype != np.uint16:
        return float(median(samples)), robust_sigma(samples)
    often = np.bincount(samples)
    counts = np.flatnonzero(often)
    often = often[counts]
    middle = median_of(counts, often)
    away = np.abs(counts - middle)
    order = np.argsort(away)
    return middle, 1.4826 * median_of(away[order], often[order])


def median_of(values, often) -> float:
    """Median of rising values, each of which occurs so often."""
    last = np.cumsum(often)
    middle = np.searchsorted(last, [(last[-1] - 1) // 2, last[-1] // 2], side="right")
    return float(values[middle].mean())


def bright_pixels(values, threshold) -> np.ndarray:
    """Indices of pixels without gaps that are above the threshold in some frame."""
    above, whole = np.zeros(values.shape[1], bool), np.ones(values.shape[1], bool)
    for frame in values:
        above |= exceed(frame, threshold)
        whole &= np.isfinite(frame)
    return np.flatnonzero(above & whole)


def clipped(values, bright, mean, group, threshold) -> np.ndarray:
    """Levels at which all samples of one exposure agree, of pixels that were lower before: full wells."""
    levels = [np.empty(0)]
    for k in np.flatnonzero(np.bincount(group) >= EQUAL):
        first, *others = np.flatnonzero(group == k)
        same = (mean[k] > threshold) & (mean[0] < threshold)
        for i in others:
            same &= values[i, bright] == values[first, bright]
        levels.append(mean[k, same])
    return np.concatenate(levels)


def cut_short(mean, rise, promised, highest) -> np.ndarray:
    """Levels of pixels that promise more than the highest one and end in the longest exposure near it.

    One such pixel may be a roll-off; several that end together are not.
    """
    beyond = mean[-2] + promised[-1] > 1.1 * highest
    return mean[-1, beyond & (rise[-1] < CUT * promised[-1]) & (mean[-1] > 0.9 * highest)]
