"""The exposure time of one frame: which key, in which unit, and when not to believe it; when it began."""

import math
import re
from datetime import UTC, datetime
from typing import NamedTuple

from hotfit.errors import HotfitError
from hotfit.headers import Headers, Options, as_number, image_type_of, is_bias, n_averaged_of

EXPOSURE_KEYS = (
    "ESO DET DIT",
    "ESO DET SEQ1 DIT",
    "ESO DET WIN1 DIT1",
    "EXPREQ",
    "EXPTIME",
    "EXPOSURE",
    "EXP_TIME",
    "TRUITIME",
    "IMG_EXP",
    "DARKTIME",
)
"""Keys of the exposure time, first found wins; all but DARKTIME, which may exceed it, must agree."""

AGREEING_KEYS = EXPOSURE_KEYS[:-1]

OWN_UNIT = {"IMG_EXP": "ms"}
"""Keys that are not in seconds."""

MJD_KEYS = ("MJD-BEG", "MJD-OBS", "MJD_OBS", "MJD")
TIME_KEYS = ("TIME-OBS", "UT", "UTSTART", "UTC")
"""Keys of the begin; the time of day counts where DATE-OBS is a date alone."""

MJD_ZERO = datetime(1858, 11, 17, tzinfo=UTC)
LATEST = 1e6
DAY = 86400.0

MAYBE_KEYS = ("ITIME", "INTTIME", "TINT", "ELAPTIME", "EXPOTIME", "SHUTTIME", "EXP")
"""Keys whose unit differs between observatories: used only where the comment tells it."""

UNIT_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0}
UNIT_NAMES = {
    "s": ("s", "sec", "secs", "second", "seconds"),
    "ms": ("ms", "msec", "msecs", "millisec", "millisecs", "millisecond", "milliseconds"),
    "us": ("us", "usec", "usecs", "microsec", "microsecs", "microsecond", "microseconds"),
    "min": ("min", "mins", "minute", "minutes"),
}
UNIT_OF_NAME = {name: unit for unit, names in UNIT_NAMES.items() for name in names}
NAMES = "|".join(
    f"(?i:{name})" if len(name) > 2 else name for name in sorted(UNIT_OF_NAME, key=len, reverse=True)
)
TEXT_WITH_UNIT = re.compile(rf"([-+.\d]+(?:e[-+]?\d+)?)\s*({NAMES})", re.IGNORECASE | re.ASCII)
# In brackets, as the FITS standard asks; "in ms", "in 10us periods"; behind a comma; or nothing else.
COMMENT_WITH_UNIT = re.compile(
    rf"[\[(]\s*(?P<bracketed>{NAMES})\s*[\])]|\b[iI]n\s+(?P<times>\d*)\s*(?P<named>{NAMES})(?![\w:/-])"
    rf"|(?:^|[,;:])\s*(?P<last>{NAMES})\.?\s*$",
    re.ASCII,
)
AGREEMENT = 0.01
SAME_EXPOSURE = 0.005
"""Relative difference up to which frames count as of one exposure."""

ZERO = 0.01
"""Seconds: keys of a bias say 0 and the shortest time that the shutter knows."""

SHORTEST, LONGEST = 1e-9, 1e7
"""Seconds; anything beyond is no exposure time."""

REMEDY = "give --exposure-key KEY, list the exposures in an @list file, or leave it out"


class Exposure(NamedTuple):
    """Seconds, and what was assumed to get them."""

    seconds: float
    remarks: tuple[str, ...] = ()


class Unit(NamedTuple):
    """What an exposure is counted in: 'ms', or '10 us'."""

    name: str
    seconds: float


def exposure_of(headers: Headers, name: str, options: Options) -> Exposure:
    """Return the exposure time that the headers give.

    Parameters
    ----------
    headers : Headers
    name : str
        What messages call the frame.
    options : Options
        A key or a unit that the user gave wins.

    Raises
    ------
    HotfitError
        There is none, it is no time, two keys disagree, or what was added up is not known.
    """
    given = options.exposure_key
    key = _found(headers, given)
    if not key:
        if is_bias(image_type_of(headers)):
            return Exposure(0.0, ("a bias frame without an exposure time, taken as 0 s",))
        looked = f"looked for {given or ', '.join(EXPOSURE_KEYS)}{_maybe(headers)}"
        raise HotfitError(f"{name}: no exposure time in its header ({looked}); {REMEDY}")
    exposure = _read(headers, key, name, options.exposure_unit)
    if not given:
        _check_agreement(headers, key, exposure.seconds, name, options.exposure_unit)
        _check_sums(headers, exposure.seconds, name)
        _check_dark_time(headers, key, exposure.seconds, name)
    return exposure


def _found(headers: Headers, given: str | None) -> str:
    """Return the key to believe, an empty string if there is none."""
    if given:
        return given if headers.value(given) is not None else ""
    key = headers.first(EXPOSURE_KEYS)[0]
    if key == "DARKTIME" and not headers.number((key,)) > 0:
        key = ""
    maybe = (key for key in MAYBE_KEYS if headers.value(key) is not None and _unit_in(headers.comment(key)))
    return key or next(maybe, "")


def _read(headers: Headers, key: str, name: str, given: str | None) -> Exposure:
    number, unit = _number_and_unit(headers, key, given)
    remarks = () if given or unit.name == "s" else (f"{key} is taken in {unit.name}",)
    if -LONGEST < number < 0 and number != -1 and image_type_of(headers):
        # Some cameras mark a dark by the sign; -1 alone is more often "unknown".
        remarks = (*remarks, f"{key} is negative, taken without its sign")
        number = -number
    seconds = number * unit.seconds
    if not is_exposure(seconds):
        raise HotfitError(f"{name}: {key} = {headers.value(key)!r} is not an exposure time; {REMEDY}")
    return Exposure(seconds, remarks)


def is_exposure(seconds: float) -> bool:
    """Whether this can be an exposure time."""
    return seconds == 0 or SHORTEST <= seconds <= LONGEST


def _number_and_unit(headers: Headers, key: str, given: str | None = None) -> tuple[float, Unit]:
    """Return the number behind `key`, and the unit that the user, the value, the comment or the key tell."""
    value = headers.value(key)
    match = TEXT_WITH_UNIT.fullmatch(str(value))
    number, named = (as_number(match[1]), match[2].lower()) if match else (as_number(value), "")
    own = OWN_UNIT.get(key.upper(), "s")
    for name in (given, UNIT_OF_NAME.get(named)):
        if name:
            return number, Unit(name, UNIT_SECONDS[name])
    return number, _unit_in(headers.comment(key)) or Unit(own, UNIT_SECONDS[own])


def _unit_in(comment: str) -> Unit | None:
    """Return the unit that a comment tells."""
    match = COMMENT_WITH_UNIT.search(comment)
    if not match:
        return None
    unit = UNIT_OF_NAME[(match["bracketed"] or match["named"] or match["last"]).lower()]
    times = match["times"]
    return (
        Unit(f"{times} {unit}", int(times) * UNIT_SECONDS[unit]) if times else Unit(unit, UNIT_SECONDS[unit])
    )


def _check_agreement(headers: Headers, key: str, seconds: float, name: str, given: str | None) -> None:
    if key not in AGREEING_KEYS:
        return
    averaged = n_averaged_of(headers)
    for other in AGREEING_KEYS:
        number, unit = _number_and_unit(headers, other, given)
        also = abs(number) * unit.seconds
        # An absent key is NaN and differs from nothing; one that counts all of several exposures agrees too.
        differs = not _agree(also, seconds) and not _agree(also, averaged * seconds)
        if differs and also >= 0:
            raise HotfitError(
                f"{name}: {key} = {headers.value(key)} but {other} = {headers.value(other)};"
                " say which is right with --exposure-key"
            )


def begun_of(headers: Headers) -> float:
    """Return the modified Julian date (UTC) at which a frame began, NaN if the header does not say."""
    begun = headers.number(MJD_KEYS)
    if 0 < begun < LATEST:
        return begun
    date, time = (str(headers.first(keys)[1] or "").strip() for keys in (("DATE-OBS",), TIME_KEYS))
    try:
        moment = datetime.fromisoformat(date if "T" in date else f"{date}T{time}")
    except ValueError:
        return math.nan
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - MJD_ZERO).total_seconds() / DAY


def _agree(one: float, other: float) -> bool:
    low, high = sorted((one, other))
    return high <= ZERO if low == 0 else high - low <= AGREEMENT * high


def _check_sums(headers: Headers, seconds: float, name: str) -> None:
    """Refuse a frame that the camera program added up from several, if it may be a sum or a mean."""
    coadds, part = headers.number(("COADDS",)), headers.number(("SUBEXP",))
    if coadds > 1 and n_averaged_of(headers) == 1:
        raise HotfitError(f"{name}: COADDS = {coadds:g}, and whether it is a sum is not known; {REMEDY}")
    if part > 0 and not _agree(part, seconds):
        raise HotfitError(
            f"{name}: is a stack (SUBEXP = {part:g} but {seconds:g} s in all); give the single frames"
        )


def _check_dark_time(headers: Headers, key: str, seconds: float, name: str) -> None:
    """Refuse a dark of 0 s that has waited; a bias may wait for its readout."""
    waited, image_type = headers.number(("DARKTIME",)), image_type_of(headers)
    if seconds == 0 and waited > 1 and image_type and not is_bias(image_type):
        raise HotfitError(
            f"{name}: {key} = 0 but DARKTIME = {waited:g} in what is called a dark;"
            " say which is right with --exposure-key"
        )


def _maybe(headers: Headers) -> str:
    """Name a key that may hold the exposure, for the user to decide."""
    key, value = headers.first(MAYBE_KEYS)
    return f"; {key} = {value!r} may be one, --exposure-unit says in which unit" if key else ""
