"""What a header says about a dark: tables of keys, and the rules for reading them."""

import math
import re
from collections.abc import Mapping
from copy import copy
from typing import Any, NamedTuple

from astropy.io import fits

# Header keys, first found wins. A new camera's habit is a new word in one of these tables.
TYPE_KEYS = (
    "IMAGETYP",
    "IMGTYPE",
    "FRAMETYP",
    "OBSTYPE",
    "FLAVOR",
    "FRAME",
    "DATA-TYP",
    "CALFRAME",
    "ESO PRO CATG",
    "ESO DPR TYPE",
)
TYPE_NUMBER_KEYS = ("PICTTYPE", "CCDSFPT")
TYPE_NUMBERS = {1: "light", 2: "bias", 3: "dark", 4: "flat"}
TEMPERATURE_KEYS = (
    "CCD-TEMP",
    "CCD_TEMP",
    "CCDTEMP",
    "TEMPERAT",
    "DET-TEMP",
    "DET_TEMP",
    "CAMTCCD",
    "CAMTEMP",
    "SET-TEMP",
)
COMBINED_KEYS = (
    "NCOMBINE",
    "STACKCNT",
    "SNAPSHOT",
    "DARK_CNT",
    "BIAS_CNT",
    "ESO PRO DATANCOM",
)
# Claims about the detector: hints, that `hints.py` checks against what the darks show.
GAIN_KEYS = ("EGAINSAV", "EGAIN", "E-GAIN", "CVF", "EPERADU", "SYSGAIN", "ESO DET OUT1 CONAD", "GAIN")
READ_NOISE_KEYS = ("RDNOISE", "READNOIS", "READNOISE", "ENOISE", "CCDNOISE", "RON", "ESO DET OUT1 RON")
SATURATION_KEYS = ("SATURATE", "SATLEVEL", "MAXLIN", "DATAMAX")
# What every frame of a set must share, wherever its header says it.
SETTING_KEYS = {
    "XBINNING": "binning",
    "YBINNING": "binning",
    "CCDSUM": "binning",
    "BINNING": "binning",
    "INSTRUME": "camera",
    "CAMERAID": "camera",
    "CAMID": "camera",
    "SERIAL": "camera",
    "GAIN": "gain setting",
    "OFFSET": "offset",
    "BLKLEVEL": "offset",
    "READOUTM": "readout mode",
    "READMODE": "readout mode",
    "XORGSUBF": "subframe origin",
    "YORGSUBF": "subframe origin",
}

DARK_TYPES = frozenset({"dark", "dark frame", "darkframe", "darks"})
BIAS_TYPES = frozenset({"bias", "bias frame", "biasframe", "biases", "zero", "zero frame", "offset"})
ABSOLUTE_ZERO, HOTTEST = -273.15, 1000.0
KINDS = frozenset({"dark", "bias", "zero", "light", "flat", "object", "science"})
UNKNOWN_TYPES = frozenset({"unknown", "none", "undefined", "n a", "na", "null"})
MASTER_WORDS = frozenset({"master", "super", "combined", "mean", "median", "stacked", "integration"})


# What `mixed` may name besides: a type that is no dark, and combined frames beside their constituents.
ANY_TYPE = "IMAGETYP"
MASTERS = "NCOMBINE"


class Options(NamedTuple):
    """What the user says about all frames of a set."""

    exposure_key: str | None = None
    exposure_unit: str | None = None
    ext: int | str | None = None
    trim: str | None = None
    overscan: str | None = None
    mixed: tuple[str, ...] = ()


class Claim(NamedTuple):
    """A number that a header claims, and the key that claims it."""

    key: str
    value: float


class Headers:
    """The headers that speak for one image, the most specific first."""

    def __init__(self, *headers: Mapping[str, Any]):
        self._headers = [_case_blind(header) for header in headers]
        # astropy takes long to say that there is no such key, and most keys are not there.
        self._keys = [{key.upper() for key in header} for header in self._headers]

    def first(self, keys: tuple[str, ...]) -> tuple[str, Any]:
        """Return the first of `keys` that has a value, and the value; ``("", None)`` if none has."""
        for key in keys:
            plain = key.upper().removeprefix("HIERARCH ")
            for header, known in zip(self._headers, self._keys, strict=True):
                if plain in known and (value := _value(header, plain)) is not None:
                    return key, value
        return "", None

    def value(self, key: str) -> Any:
        """Return the value of `key`, None if there is none."""
        return self.first((key,))[1]

    def number(self, keys: tuple[str, ...]) -> float:
        """Return the first value of `keys` as a number, NaN if absent or not one."""
        return as_number(self.first(keys)[1])

    def comment(self, key: str) -> str:
        """Return the comment behind `key`, as far as the header keeps one."""
        plain = key.upper().removeprefix("HIERARCH ")
        for header, known in zip(self._headers, self._keys, strict=True):
            if isinstance(header, fits.Header) and plain in known and _value(header, plain) is not None:
                return str(header.comments[plain])
        return ""


def _case_blind(header: Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(header, fits.Header):
        return header
    return {str(key).upper(): value for key, value in header.items()}


def _value(header: Mapping[str, Any], key: str) -> Any:
    try:
        value = header.get(key)
    except fits.VerifyError:
        # A card that breaks the standard (a bare NaN, a decimal comma) still has text to show.
        card = copy(header.cards[key])
        card.verify("silentfix")
        value = card.value
    if isinstance(value, fits.card.Undefined | fits.Header):
        return None
    return (value.strip() or None) if isinstance(value, str) else value


def as_number(value: Any) -> float:
    """Return `value` as a float, NaN if it is not a number."""
    if isinstance(value, bool) or "_" in str(value):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


# --- image types


def image_type_of(headers: Headers) -> str:
    """Return the image type as written; a FRAME that only counts frames is not one."""
    for key in TYPE_KEYS:
        value = headers.value(key)
        if isinstance(value, str) and _is_type(key, value):
            return value
    number = headers.number(TYPE_NUMBER_KEYS)
    # OBJECT names a star more often than a kind of image.
    kind = TYPE_NUMBERS.get(number) or str(headers.value("OBJECT") or "")
    return kind if number in TYPE_NUMBERS or called_dark(kind) else ""


def _is_type(key: str, value: str) -> bool:
    """Whether `value` says what an image is; FRAME may be a number, or say how much of the chip was read."""
    words = _words(value)
    if not any(word.isalpha() for word in words) or " ".join(words) in UNKNOWN_TYPES:
        return False
    return key != "FRAME" or bool(KINDS & set(words))


def _words(image_type: str) -> list[str]:
    """Split an image type into small words: 'MasterDark', 'master_dark' and 'Dark (master)' are alike."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", image_type)
    words = re.findall(r"[^\W_]+", spaced.casefold())
    return [part for word in words for part in _parted(word)]


def _parted(word: str) -> list[str]:
    for master in ("master", "super"):
        if word.startswith(master) and word != master:
            return [master, word.removeprefix(master)]
    return [word]


def _plain_type(image_type: str) -> str:
    """Return the type without the words that say it is a combination."""
    return " ".join(word for word in _words(image_type) if word not in MASTER_WORDS | {"raw"})


def is_bias(image_type: str) -> bool:
    """Whether the type says bias."""
    return _plain_type(image_type) in BIAS_TYPES


def is_master(image_type: str) -> bool:
    """Whether the type says that this is a combination of darks or biases."""
    return bool(MASTER_WORDS & set(_words(image_type)))


def not_dark(headers: Headers, options: Options) -> str:
    """Return why this is not a dark or bias to fit, or an empty string."""
    image_type = image_type_of(headers)
    if image_type and not called_dark(image_type) and ANY_TYPE not in options.mixed:
        return f"its image type is {image_type!r}"
    done = str(headers.value("CALSTAT") or "")
    calibrated = re.fullmatch("[BDFCM]+", done) and set("DF") & set(done)
    return f"it is calibrated already (CALSTAT = {done!r})" if calibrated else ""


def called_dark(image_type: str) -> bool:
    """Whether the type says dark or bias, combined or not."""
    return _plain_type(image_type) in DARK_TYPES | BIAS_TYPES


# --- claims about the detector and the set


def _claims(headers: Headers, keys: tuple[str, ...]) -> tuple[Claim, ...]:
    found = ((key, headers.number((key,))) for key in keys)
    return tuple(Claim(key, value) for key, value in found if math.isfinite(value) and value > 0)


def gain_claims(headers: Headers) -> tuple[Claim, ...]:
    """Return what the header says of the gain in e-/adu: no placeholders, words or camera settings."""
    return tuple(
        claim
        for claim in _claims(headers, GAIN_KEYS)
        # On many cameras GAIN is the number of a setting; a fraction, or a comment, tells that it is not.
        if claim.value != 1
        and (claim.key != "GAIN" or _is_gain(claim.value, headers.comment("GAIN").lower()))
    )


def _is_gain(value: float, comment: str) -> bool:
    if re.search(r"\be(-|lectrons?)?\s*(/|per)\s*(adu|dn|count)", comment):
        return True
    return bool(value % 1) and not re.search(r"(adu|dn|counts?)\s*(/|per)\s*e|\bdb\b", comment)


def read_noise_claims(headers: Headers) -> tuple[Claim, ...]:
    """Return what the header says of the read noise in e-."""
    return _claims(headers, READ_NOISE_KEYS)


def saturation_claims(headers: Headers) -> tuple[Claim, ...]:
    """Return what the header says of the saturation level in adu; 0 means unknown."""
    return _claims(headers, SATURATION_KEYS)


def is_combined(headers: Headers) -> bool:
    """Whether the header says that this is a combination, as ccdproc and the CCD Guide mark it."""
    return headers.value("COMBINED") is True or is_master(image_type_of(headers))


def n_combined_of(headers: Headers) -> int:
    """Return how many frames were combined into this one, 1 if the header says nothing."""
    return _count(headers.number(COMBINED_KEYS))


def n_averaged_of(headers: Headers) -> int:
    """Return how many exposures the camera itself averaged before it wrote one."""
    per_coadd = "per coadd" in str(headers.value("BUNIT") or "").lower()
    return _count(headers.number(("ESO DET NDIT", "COADDS") if per_coadd else ("ESO DET NDIT",)))


def _count(value: float) -> int:
    return int(value) if 1 <= value < 1e6 and not value % 1 else 1


def temperature_of(headers: Headers) -> float:
    """Return the temperature in degrees C, NaN if it is not known or none."""
    value = headers.number(TEMPERATURE_KEYS)
    return value if ABSOLUTE_ZERO < value < HOTTEST else math.nan


def settings_of(headers: Headers) -> dict[str, float | str]:
    """Return the camera settings that the header has, numbers as floats so that 1 and '1' are one."""
    found = {key: headers.value(key) for key in SETTING_KEYS}
    numbers = {key: as_number(value) for key, value in found.items()}
    return {
        key: " ".join(str(value).split()) if math.isnan(numbers[key]) else numbers[key]
        for key, value in found.items()
        if value is not None
    }
