"""What a user should know before believing a comparison of two fits, as notes."""

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from hotfit.drift import Drift, gain_ratio
from hotfit.flips import same_times
from hotfit.terms import FEWEST_HOT

if TYPE_CHECKING:
    from hotfit.result import DarkFit

STRANGE_NULL = 1.2
"""Factor on the errors of good pixels, either way, that is told."""

OTHER_GAIN = 0.02
"""Relative difference of the gains that is told."""


def caveats(before: "DarkFit", after: "DarkFit", drift: Drift) -> Iterator[str]:
    """Yield what limits the comparison."""
    yield from of_frames(before, after)
    yield from of_rules(before, after)
    if abs(gain_ratio(before, after)[0] - 1) > OTHER_GAIN:
        gains = " and ".join(
            f"{fit.detector.gain:.3g} ({fit.detector.gain_source})" for fit in (before, after)
        )
        yield (
            f"the gains are {gains} e-/adu: if the setting was the same, believe ratio_in_adu, not ratio, or "
            "fit both with one gain"
        )
    if np.isnan(drift.common.error):
        yield (
            f"{drift.common.pixels} hot good pixels are too few to measure the factor between the nights, "
            f"which takes {FEWEST_HOT}: 1 is assumed"
        )
    if np.isnan(drift.null):
        yield "the rates of good pixels are the same in both, or there are none: no drift is tested"
    elif not 1 / STRANGE_NULL < drift.null < STRANGE_NULL:
        yield (
            f"the rates of good pixels differ by {drift.null:.3g} times what their errors say; the errors of "
            "all differences are multiplied by it"
        )


def of_frames(before: "DarkFit", after: "DarkFit") -> Iterator[str]:
    """Yield what their frames say: the same ones in both, in the wrong order, of other exposures."""
    same = len(frame_keys(before) & frame_keys(after))
    if same:
        yield f"{same} frames are in both fits: their errors are not independent, and changes look smaller"
    begun = [
        np.asarray(fit.frames["mjd"], float) if "mjd" in fit.frames.colnames else np.array([np.nan])
        for fit in (before, after)
    ]
    if np.isfinite(begun[0]).any() and np.isfinite(begun[1]).any():
        first, second = (float(np.nanmedian(times)) for times in begun)
        if first > second:
            yield "the frames of the earlier fit were taken after those of the later one: are they swapped?"
    if not same_times(before, after):
        yield "the exposure times differ: pixels that bend may be masked in one fit for that alone"


def frame_keys(fit: "DarkFit") -> set[tuple]:
    """Name, exposure and begin of the frames of which all three are known."""
    if "mjd" not in fit.frames.colnames:
        return set()
    names = [str(name).replace("\\", "/").rpartition("/")[2] for name in fit.frames["file"]]
    columns = (np.asarray(fit.frames[name], float).tolist() for name in ("exposure", "mjd"))
    return {key for key in zip(names, *columns, strict=True) if np.isfinite(key[2])}


def of_rules(before: "DarkFit", after: "DarkFit") -> Iterator[str]:
    """Yield which rules differ, and what was tested in one night alone."""
    names = [field.name for field in fields(before.rules)]
    other = [name for name in names if getattr(before.rules, name) != getattr(after.rules, name)]
    if other:
        yield (
            f"the fits were flagged with another {', '.join(other)}: pixels may be masked in one for that "
            "alone; reflag(...) makes the rules the same"
        )
    for test, name in (("lack of fit", "lack_of_fit_null"), ("scatter", "scatter_null")):
        if np.isnan(getattr(before, name)) != np.isnan(getattr(after, name)):
            yield f"{test} was tested in one of the fits alone: pixels may be masked in it for that alone"
