"""What a header says about a dark: tables of keys, and the rules for reading them."""

import math
from collections.abc import Mapping
from copy import copy
from typing import Any, NamedTuple

from astropy.io import fits

from hotfit.errors import HotfitError

# Header keys, first found wins. A new camera's habit is a new word in one of these tables.
EXPOSURE_KEYS = ("EXPTIME", "EXPOSURE", "EXP_TIME", "ESO DET DIT", "DARKTIME")
# These two mean the same, so they must agree; DARKTIME may rightly exceed them.
SAME_EXPOSURE = ("EXPTIME", "EXPOSURE")
TYPE_KEYS = ("IMAGETYP", "OBSTYPE", "FRAME", "ESO DPR TYPE")
TEMPERATURE_KEYS = ("CCD-TEMP", "CCD_TEMP", "CCDTEMP", "TEMPERAT", "DET-TEMP", "DET_TEMP", "SET-TEMP")
GAIN_KEYS = ("EGAIN", "E-GAIN")
COMBINED_KEYS = ("NCOMBINE",)
# What every frame of a set must share, wherever its header says it.
SETTING_KEYS = {
    "XBINNING": "binning",
    "YBINNING": "binning",
    "INSTRUME": "camera",
    "GAIN": "gain setting",
    "OFFSET": "offset",
    "READOUTM": "readout mode",
    "XORGSUBF": "subframe origin",
    "YORGSUBF": "subframe origin",
}

DARK_TYPES = frozenset({"dark", "dark frame", "darkframe", "darks"})
BIAS_TYPES = frozenset({"bias", "bias frame", "biasframe", "biases", "zero", "zero frame"})

UNIT_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0}
EXPOSURE_REMEDY = "give --exposure-key KEY, or list the exposures in an @list file"


class Options(NamedTuple):
    """What the user says about all headers of a set."""

    exposure_key: str | None = None
    exposure_unit: str = "s"
    ext: int | str | None = None


class Headers:
    """The headers that speak for one image, the most specific first."""

    def __init__(self, *headers: Mapping[str, Any]):
        self._headers = [_case_blind(header) for header in headers]

    def first(self, keys: tuple[str, ...]) -> tuple[str, Any]:
        """Return the first of `keys` that has a value, and the value; ``("", None)`` if none has."""
        for key in keys:
            for header in self._headers:
                if (value := _value(header, key)) is not None:
                    return key, value
        return "", None

    def number(self, keys: tuple[str, ...]) -> float:
        """Return the first value of `keys` as a number, NaN if absent or not one."""
        return as_number(self.first(keys)[1])


def _case_blind(header: Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(header, fits.Header):
        return header
    return {str(key).upper(): value for key, value in header.items()}


def _value(header: Mapping[str, Any], key: str) -> Any:
    try:
        value = header.get(key.upper())
    except fits.VerifyError:
        # A card that breaks the standard (a bare NaN, a decimal comma) still has text to show.
        card = copy(header.cards[key])
        card.verify("silentfix")
        value = card.value
    if isinstance(value, fits.card.Undefined):
        return None
    return (value.strip() or None) if isinstance(value, str) else value


def as_number(value: Any) -> float:
    """Return `value` as a float, NaN if it is not a number."""
    if isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def image_type_of(headers: Headers) -> str:
    """Return the image type as written; a FRAME that only counts frames is not one."""
    for key in TYPE_KEYS:
        value = headers.first((key,))[1]
        if isinstance(value, str) and any(letter.isalpha() for letter in value):
            return value
    return ""


def _folded(image_type: str) -> str:
    return " ".join(image_type.casefold().replace("_", " ").replace("-", " ").split())


def not_dark(headers: Headers) -> str:
    """Return why this is not a dark or bias, or an empty string."""
    image_type = image_type_of(headers)
    usable = not image_type or _folded(image_type) in DARK_TYPES | BIAS_TYPES
    return "" if usable else f"its image type is {image_type!r}"


def exposure_of(headers: Headers, name: str, options: Options) -> float | None:
    """Return the exposure in seconds, None for a bias whose header has none."""
    keys = (options.exposure_key,) if options.exposure_key else EXPOSURE_KEYS
    key, value = headers.first(keys)
    if value is None:
        if _folded(image_type_of(headers)) in BIAS_TYPES:
            return None
        raise HotfitError(
            f"{name}: no exposure time in its header (looked for {', '.join(keys)}); {EXPOSURE_REMEDY}"
        )
    exposure = as_number(value)
    if not (math.isfinite(exposure) and exposure >= 0):
        raise HotfitError(f"{name}: {key} = {value!r} is not an exposure time; {EXPOSURE_REMEDY}")
    if not options.exposure_key:
        _check_agreement(headers, name)
    return exposure * UNIT_SECONDS[options.exposure_unit]


def _check_agreement(headers: Headers, name: str) -> None:
    one, two = (headers.number((key,)) for key in SAME_EXPOSURE)
    # Written so that an absent key, which is NaN, agrees with anything.
    if abs(one - two) > 0.01 * max(one, two):
        raise HotfitError(
            f"{name}: {SAME_EXPOSURE[0]} = {one:g} but {SAME_EXPOSURE[1]} = {two:g};"
            " say which is right with --exposure-key"
        )


def gain_hint_of(headers: Headers) -> float:
    """Return the header's gain in e-/adu, NaN for a placeholder or a word."""
    gain = headers.number(GAIN_KEYS)
    return gain if math.isfinite(gain) and gain > 0 and gain != 1 else math.nan


def settings_of(headers: Headers) -> dict[str, float | str]:
    """Return the camera settings that the header has, numbers as floats so that 1 and '1' are one."""
    found = {key: headers.first((key,))[1] for key in SETTING_KEYS}
    numbers = {key: as_number(value) for key, value in found.items()}
    return {
        key: str(value) if math.isnan(numbers[key]) else numbers[key]
        for key, value in found.items()
        if value is not None
    }
