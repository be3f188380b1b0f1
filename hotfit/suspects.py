"""Frames and samples that do not belong: copies, wrong exposures, light, jumps, counts cut off at zero.

Nothing is left out for it. The user is told, since all rates may have suffered.
"""

from hashlib import blake2b

import numpy as np

from hotfit.darkset import DarkSet
from hotfit.lines import Lines, blocks
from hotfit.robust import median, near_median, neighbours
from hotfit.terms import FrameTerms

LOOKED_AT = 20_000
"""Quiet pixels that are enough to judge a frame by."""

JUMP = 10.0
"""A quiet level off that of its exposure by so many robust sigmas of all such departures is strange,"""

WIDER = 1.3
"""and so are quiet pixels that scatter by this factor more than in the other frames of the exposure,"""

OTHER_RATE = 0.1
"""and a dark scale off the others' by this and by five of its errors."""

HOTTEST = 500
LONGER = 0.05
"""So many hottest pixels of a bias, brighter by this part of all they gather, have not waited 0 s."""

CUT_OFF = 0.05
"""Part of the quiet samples at zero from which noise and rates are biased."""

MOST_NOTES = 5
"""Strange frames that are named; the rest are counted."""


def suspicions(darks: DarkSet, lines: Lines, quiet, terms: FrameTerms, whole: bool) -> tuple[str, ...]:
    """Notes on what does not belong; `quiet`: indices of pixels; `whole`: the samples are whole numbers."""
    quiet = lines.of(quiet[:LOOKED_AT])
    hot = lines.of(hottest_pixels(lines.signal))
    zero_cut = cut_off(quiet) if whole else ()
    return (*strange_frames(quiet, darks, terms), *exposed_biases(hot, darks), *zero_cut)


def hottest_pixels(signal) -> np.ndarray:
    """Indices of the `HOTTEST` pixels, in order of their place."""
    last = neighbours(signal, max(signal.size - HOTTEST, 0))[0]
    hotter, equal = np.flatnonzero(signal > last), np.flatnonzero(signal == last)
    return np.sort(np.concatenate([hotter, equal[: HOTTEST - hotter.size]]))


def strange_frames(quiet: Lines, darks: DarkSet, terms: FrameTerms) -> tuple[str, ...]:
    """Notes on frames unlike the others of their exposure."""
    names = [frame.name for frame in darks.frames]
    notes = [*copies(quiet, darks.group, names), *unlike(quiet, darks, terms, names)]
    more = len(notes) - MOST_NOTES
    return tuple(notes[:MOST_NOTES]) + ((f"{more} more frames are strange like these",) if more > 0 else ())


def copies(quiet: Lines, group, names):
    """Yield a note for each frame whose samples are those of an earlier one of its exposure."""
    first = {}
    for i, counts in enumerate(quiet.counts()):
        original = first.setdefault((group[i], blake2b(counts).digest()), i)
        if original != i:
            yield f"{names[i]}: is a copy of {names[original]}; leave it out"


def unlike(quiet: Lines, darks: DarkSet, terms: FrameTerms, names):
    """Yield a note for each frame whose level, width or dark scale is unlike the others of its exposure."""
    sizes = np.bincount(darks.group)[darks.group]
    pattern = typical_frame(quiet)
    level = np.array([median(counts) for counts in quiet.counts()], float)
    width = np.array([clipped_width(counts - pattern) for counts in quiet.counts()])
    mates = [darks.group == group for group in darks.group]
    step = level - [np.median(level[others]) for others in mates]
    compared = np.flatnonzero(sizes > 2)
    usual = 1.4826 * float(np.median(np.abs(step[compared]))) if compared.size else 0.0
    steps = np.diff(np.unique(next(quiet.counts())))
    converter = float(steps.min()) if steps.size else np.inf
    for i in compared:
        others = mates[i]
        usual_width, usual_scale = np.median(width[others]), np.median(terms.scale[others])
        change = terms.scale[i] - usual_scale
        if abs(change) > max(OTHER_RATE, 5 * terms.scale_error[i]):
            yield (
                f"{names[i]}: has {100 * change:+.3g} % dark current against the others of its exposure: is "
                "its exposure time right?"
            )
        elif abs(step[i]) > max(JUMP * max(usual, 1.0), width[i], 2 * converter):
            yield f"{names[i]}: its level is {step[i]:+.3g} adu off the others of its exposure"
        elif width[i] > WIDER * usual_width > 0:
            yield (
                f"{names[i]}: its quiet pixels scatter by {width[i]:.3g} adu, the others' of its exposure by "
                f"{usual_width:.3g}: light, or another pattern"
            )


def exposed_biases(hot: Lines, darks: DarkSet):
    """Yield a note for each frame of 0 s whose hottest pixels have gathered charge that others' have not."""
    bright = np.array([np.median(counts) for counts in hot.counts()], float)
    zero = np.flatnonzero(darks.exposure == 0)
    if zero.size < 3:
        return
    usual = np.median(bright[zero])
    for i in zero:
        if bright[i] - usual > LONGER * (bright.max() - usual) > 0:
            yield (
                f"{darks.frames[i].name}: has hot pixels {bright[i] - usual:.3g} adu above those of other "
                "frames of 0 s: is its exposure time right?"
            )


def typical_frame(quiet: Lines) -> np.ndarray:
    """Median of every pixel over all frames, (P,) float32."""
    parts = [quiet.pixels[part] for part in blocks(quiet.pixels.size, len(quiet.values))]
    return np.concatenate([np.median(quiet.values[:, part], axis=0).astype(np.float32) for part in parts])


def clipped_width(values) -> float:
    """Standard deviation of what lies within five robust sigmas: smooth where a coarse converter steps."""
    return float(near_median(values, 5).std(dtype=float))


def cut_off(quiet: Lines) -> tuple[str, ...]:
    """A note if many quiet samples of whole numbers lie at zero."""
    share = float(np.mean([np.mean(counts == 0) for counts in quiet.counts()]))
    if share < CUT_OFF:
        return ()
    return (
        f"{100 * share:.2g} % of the quiet samples are cut off at 0: gain, noise and the rates of quiet "
        "pixels are biased; raise the camera's offset",
    )
