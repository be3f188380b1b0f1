"""The flags, and what a user may ask of them: the table of bits and the rules."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntFlag

import numpy as np

from hotfit.errors import HotfitError


class DQ(IntFlag):
    """Bits of the data quality map, as in JWST and Roman; `DQ["HOT"]` works as astropy's flag_name_map."""

    DO_NOT_USE = 1 << 0
    SATURATED = 1 << 1
    JUMP_DET = 1 << 2
    UNRELIABLE_ERROR = 1 << 8
    HOT = 1 << 11
    TELEGRAPH = 1 << 15
    NONLINEAR = 1 << 16
    UNRELIABLE_BIAS = 1 << 22
    UNRELIABLE_SLOPE = 1 << 24


MEANING = {
    DQ.DO_NOT_USE: "bad: at least one of the flags named as bad is set",
    DQ.SATURATED: "a sample was saturated; it and longer exposures were not used",
    DQ.JUMP_DET: "a high sample was dropped as a cosmic ray",
    DQ.UNRELIABLE_ERROR: "earlier samples could not be read for an update; others with their sums stood in",
    DQ.HOT: "dark current above the limit",
    DQ.TELEGRAPH: "does not repeat itself: scatter within equal exposures is significant and large",
    DQ.NONLINEAR: "does not follow the line: lack of fit is significant and large",
    DQ.UNRELIABLE_BIAS: "intercept far outside the frame's population",
    DQ.UNRELIABLE_SLOPE: "no slope: too few usable exposure times, or the pixel does not respond",
}

OBSERVED = DQ.SATURATED | DQ.JUMP_DET | DQ.UNRELIABLE_ERROR | DQ.UNRELIABLE_SLOPE
"""Flags that the fit itself sets; the others follow from maps and rules."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is flagged, and which flags make a pixel bad.

    Attributes
    ----------
    hot : float or None
        HOT above this rate, in the unit of the map. None: robust median + 5 robust sigmas of the map, and
        5 of the pixel's own errors.
    fdr : float
        Accepted share of false ones among the significant pixels of a frame (Benjamini-Hochberg), half of it
        for each of the two tests.
    tolerance : float
        NONLINEAR only if the line misses a group by more than this part of the largest usable dark signal,
    min_sigma : float
        and by more than so many single-frame sigmas. TELEGRAPH only if the scatter holds more than so many
        sigmas beyond the noise.
    bad : tuple of str
        Names of the flags that set DO_NOT_USE.
    """

    hot: float | None = None
    fdr: float = 0.01
    tolerance: float = 0.01
    min_sigma: float = 1.0
    bad: tuple[str, ...] = ("TELEGRAPH", "NONLINEAR", "UNRELIABLE_SLOPE")

    def __post_init__(self):
        known = [flag.name for flag in DQ if flag is not DQ.DO_NOT_USE]
        bad = (self.bad,) if isinstance(self.bad, str) or not isinstance(self.bad, Iterable) else self.bad
        bad = tuple(dict.fromkeys(bad))
        unknown = [name for name in bad if name not in known]
        if unknown:
            raise HotfitError(f"bad={unknown[0]!r}: no such flag; choose from {', '.join(known)}")
        object.__setattr__(self, "bad", bad)
        self._check("fdr", 0, 1, "a share above 0 and below 1")
        for name in ("tolerance", "min_sigma"):
            self._check(name, -np.finfo(float).tiny, np.inf, "a number that is not negative")
        if self.hot is not None:
            self._check("hot", -np.inf, np.inf, "a rate in the unit of the map")

    def _check(self, name, low, high, wanted):
        object.__setattr__(self, name, check_number(name, getattr(self, name), low, high, wanted))


def check_number(name: str, value, low: float, high: float, wanted: str) -> float:
    """The value of that argument as a number between `low` and `high`; else HotfitError says what to give."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if isinstance(value, str) or not low < number < high:
        raise HotfitError(f"{name}={value!r}: give {wanted}")
    return number


def reasons(dq, bad: Iterable[str]) -> list[str] | np.ndarray:
    """Names of the flags in `bad` that each of these pixels has, (pixels,), one blank between them."""
    found = np.full(dq.size, "", dtype=object)
    for name in bad:
        found[(dq & np.uint32(DQ[name])) != 0] += f" {name}"
    return [text.strip() for text in found] if dq.size else np.empty(0, "U1")
