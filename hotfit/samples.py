"""The sample of rows that a set is calibrated on: which rows, what is wrong with it, and its whole pixels."""

from collections.abc import Sequence

import numpy as np

from hotfit.checks import some_of
from hotfit.darkset import DarkSet
from hotfit.errors import HotfitError
from hotfit.readers import MOST_COUNTS, runs
from hotfit.saturation import below, known

SAMPLES = 30_000_000
"""Samples (pixels times frames) to calibrate on: a million pixels of 30 frames, for their hot ones."""

AT_ONCE = 2_000_000
"""Samples that are read at once."""

ROWS, QUANTILE = 64, 0.999
"""A pixel above this quantile of the longest frame, of about so many of its rows, is bright."""

FEWEST_WHOLE, ENOUGH_WHOLE = 0.1, 2000
"""Part of the sampled pixels that must be unsaturated and without gaps in all frames, or so many of them."""

A_COUNT = 100.0
"""Frames that reach this do not belong to others that end at 1, as some programs scale them."""

MANY_GAPS = 0.01
"""Part of a frame's samples beyond which missing ones are told."""


def sample_rows(darks: DarkSet) -> np.ndarray:
    """Samples (N, P) of some rows: half spread evenly, half those with most bright pixels."""
    rows, columns = darks.shape
    wanted = int(np.clip(SAMPLES // (len(darks.frames) * columns), 1, rows))
    chosen = np.arange(rows) if wanted == rows else choose_rows(darks, wanted)
    return darks.sample(runs(chosen, max(1, AT_ONCE // columns)))


def choose_rows(darks: DarkSet, wanted: int) -> np.ndarray:
    """That many rows or a few less, in order: half spread evenly, half those with most bright pixels."""
    rows = darks.shape[0]
    bright = darks.count_above(len(darks.frames) - 1, QUANTILE, max(1, rows // ROWS))
    brightest = np.argsort(-bright, kind="stable")[: wanted // 2]
    evenly = np.linspace(0, rows - 1, wanted - brightest.size).astype(int)
    return np.unique(np.concatenate([brightest, evenly]))


def check_frame(name: str, row) -> float:
    """Raise HotfitError if the samples of a frame cannot be counts of a dark; returns the highest."""
    samples = known(row)
    if samples.size == 0:
        raise HotfitError(f"{name}: holds no valid sample; leave it out")
    low, top = float(samples.min()), float(samples.max())
    if max(-low, top) > MOST_COUNTS:
        worst = low if -low > top else top
        raise HotfitError(f"{name}: holds {worst:g} adu, which are no counts; leave it out")
    if low == top:
        raise HotfitError(f"{name}: holds {top:g} adu in all pixels; leave it out")
    return top


def check_samples(darks: DarkSet, values) -> None:
    """Raise HotfitError if a frame is empty, or all of them are the same."""
    tops = [check_frame(frame.name, row) for frame, row in zip(darks.frames, values, strict=True)]
    if min(tops) <= 1 and max(tops) > A_COUNT:
        name = darks.frames[int(np.argmin(tops))].name
        raise HotfitError(
            f"{name}: holds numbers up to {min(tops):g}, others counts up to {max(tops):g}; leave it out"
        )
    if all(np.array_equal(row, values[0], equal_nan=True) for row in values):
        raise HotfitError(
            f"{darks.frames[0].name} and the {len(values) - 1} other frames do not differ: are they copies?"
        )


def gaps(names: Sequence[str], values) -> tuple[str, ...]:
    """A note on frames with many missing samples (N, P), which damage makes as well as a mask."""
    if values.dtype == np.uint16:  # holds no nan
        return ()
    missing = [(np.isnan(row).mean(), name) for name, row in zip(names, values, strict=True)]
    poor = [f"{name} ({share:.2g})" for share, name in missing if share > MANY_GAPS]
    return (f"{some_of(poor)}: this part of the samples is missing",) if poor else ()


def whole_pixels(values, level: float) -> np.ndarray:
    """(P,) bool: pixels without gaps and below saturation in all frames; raises if there are too few."""
    whole = np.ones(values.shape[1], bool)
    for row in values:
        whole &= below(row, level) & np.isfinite(row)
    found = np.count_nonzero(whole)
    if found < max(2, min(FEWEST_WHOLE * whole.size, ENOUGH_WHOLE)):
        raise HotfitError(
            f"only {found} of {whole.size} pixels have no gaps and stay below saturation={level:g} adu in "
            "all frames: give the true level, or leave out the frames with most of them"
        )
    return whole


def moved_together(values, chosen) -> np.ndarray:
    """The chosen columns of `values`, moved to its front: there is no memory for a second sample."""
    found = np.count_nonzero(chosen)
    if found < chosen.size:
        for row in values:
            row[:found] = row[chosen]
    return values[:, :found]
