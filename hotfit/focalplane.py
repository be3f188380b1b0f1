"""All detectors of a run side by side: their key figures, the medians, and the odd ones out.

A detector is odd in a quantity in which it lies more than `LIMIT` sigmas from the median over the detectors.
A sigma is made of three, in quadrature: the spread of the detectors, which is 1.4826 times the median
distance from the median, and more where few detectors show it badly (`widening`); a floor, since detectors
that are nearly equal differ in what does not matter; and what is known of the figure's own error. Fewer than
`FEWEST` are not compared. Where the gain of any detector is unknown, dark currents and read noises are
compared in adu, which all have.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

import hotfit
from hotfit.flags import DQ

FEWEST = 6
"""Detectors with a figure in one unit, below which none can be called odd."""

LIMIT = 5.0
"""Sigmas from which a detector is odd."""

MAD_TO_SIGMA = 1.4826

FLAGS = tuple(flag.name for flag in DQ if flag is not DQ.DO_NOT_USE)

COPIED = (
    *(
        "unit",
        "median_rate",
        "median_rate_error",
        "gain",
        "read_noise",
        "read_noise_error",
        "read_noise_unit",
    ),
    *("saturation", "frames", "shape", "pixels"),
)
"""Key figures that are those of the summary."""

RATE_FLOOR = 0.05
"""Dark currents differ by this part with half a degree."""

PART_OF_ERROR = 0.1
"""Of the error of one pixel: half of it, at the limit, is no difference that a pixel shows."""

DETECTOR_FLOOR = 0.02
"""Of gain and read noise."""

LEVEL_FLOOR = 0.05
"""Of the saturation level: it is that of the lowest full well, or of the converter where none is full."""

CLUSTER = 10.0
"""Variance over mean of the pixels that cosmic rays hit: each hits several, and some hit many.

The saturated ones count alike: how many there are depends on the level that shows.
"""

SHARE_FLOOR, SMALLEST_SHARE = 0.1, 1e-5
"""Of pixels with a flag: a part of the median share, and a share of all pixels."""


class Quantity(NamedTuple):
    """What detectors are compared in: its value, its unit, and how far it is uncertain, from a summary."""

    name: str
    words: str
    value: Callable[[Mapping], float | None]
    unit: Callable[[Mapping], str]
    floor: float
    error: Callable[[Mapping, float], float]


class Odd(NamedTuple):
    """A detector that departs from the others in one quantity, by so many sigmas (signed)."""

    detector: str
    quantity: str
    words: str
    value: float
    median: float
    unit: str
    sigmas: float


def _share(flag: str) -> Callable[[Mapping], float]:
    return lambda facts: facts["flags"][flag] / facts["pixels"]


def _share_error(facts: Mapping, median: float, cluster: float = 1.0) -> float:
    """Of a share that is the median's: what counting so many pixels, in clusters, leaves open."""
    counted = max(median * facts["pixels"], 1.0)
    return np.hypot(SMALLEST_SHARE, np.sqrt(cluster * counted) / facts["pixels"])


def _gain_error(facts: Mapping, _median: float) -> float:
    return (facts["gain_of_darks_error"] or 0.0) if facts["gain_source"] == "darks" else 0.0


def _from_gain(facts: Mapping, unit: str, median: float) -> float:
    """Error of what is in electrons, like the median, from that of the gain."""
    return median * _gain_error(facts, median) / facts["gain"] if unit.startswith("electron") else 0.0


QUANTITIES = (
    Quantity(
        "median_rate",
        "dark current",
        lambda facts: facts["median_rate"],
        lambda facts: facts["unit"],
        RATE_FLOOR,
        lambda facts, median: np.hypot(
            PART_OF_ERROR * (facts["median_rate_error"] or 0.0), _from_gain(facts, facts["unit"], median)
        ),
    ),
    Quantity("gain", "gain", lambda facts: facts["gain"], lambda _: "e-/adu", DETECTOR_FLOOR, _gain_error),
    Quantity(
        "read_noise",
        "read noise",
        lambda facts: facts["read_noise"],
        lambda facts: facts["read_noise_unit"],
        DETECTOR_FLOOR,
        lambda facts, median: np.hypot(
            facts["read_noise_error"] or 0.0, _from_gain(facts, facts["read_noise_unit"], median)
        ),
    ),
    Quantity(
        "saturation",
        "saturation",
        lambda facts: facts["saturation"],
        lambda _: "adu",
        LEVEL_FLOOR,
        lambda *_: 0.0,
    ),
    Quantity("masked", "masked pixels", _share(DQ.DO_NOT_USE.name), lambda _: "", SHARE_FLOOR, _share_error),
    *(
        Quantity(
            flag,
            f"{flag} pixels",
            _share(flag),
            lambda _: "",
            SHARE_FLOOR,
            partial(_share_error, cluster=CLUSTER if DQ[flag] in (DQ.JUMP_DET, DQ.SATURATED) else 1.0),
        )
        for flag in FLAGS
    ),
)


def widening(detectors: int) -> float:
    """Factor on the spread that so many detectors show: 4 for 6 of them, 2.6 for 10, 1.4 for 30, 1 for many.

    Fitted to simulations: of 6 to 200 normal detectors the most distant is then beyond the limit no more than
    some twice in a thousand times.
    """
    return 1 + 31 * detectors**-1.3


def side_by_side(summaries: Mapping[str, Mapping]) -> dict:
    """The detectors of a focal plane in numbers: plain types, ready for JSON.

    Parameters
    ----------
    summaries : dict of str to dict
        `DarkFit.summary()` of each detector, by its name, which is that of its directory.

    Returns
    -------
    dict
        ``detectors``: key figures by name. ``medians``: over the detectors, with their unit; None where none
        is known. ``odd``: who departs in what, farthest first. ``rule``: how that was decided.
    """
    alike = in_one_unit(summaries)
    compared = [_compared(quantity, alike) for quantity in QUANTITIES]
    odd = sorted((one for _, found in compared for one in found), key=lambda one: -abs(one.sigmas))
    return {
        "version": hotfit.__version__,
        "detectors": {name: key_figures(name, facts) for name, facts in summaries.items()},
        "medians": {quantity.name: told for quantity, (told, _) in zip(QUANTITIES, compared, strict=True)},
        "odd": [one._asdict() for one in odd],
        "rule": {
            "fewest_detectors": FEWEST,
            "limit_sigmas": LIMIT,
            "floors": {quantity.name: quantity.floor for quantity in QUANTITIES},
        },
    }


def in_one_unit(summaries: Mapping[str, Mapping]) -> Mapping[str, Mapping]:
    """The summaries as they are if every gain is known, else with dark current and read noise in adu."""
    if all(facts["gain"] is not None for facts in summaries.values()):
        return summaries
    return {name: {**facts, **_in_adu(facts)} for name, facts in summaries.items()}


def _in_adu(facts: Mapping) -> dict:
    gain = facts["gain"] or 1.0
    values = {
        key: facts[key] for key in ("median_rate", "median_rate_error", "read_noise", "read_noise_error")
    }
    scaled = {key: None if value is None else value / gain for key, value in values.items()}
    return {**scaled, "unit": "adu/s", "read_noise_unit": "adu"}


def key_figures(name: str, facts: Mapping) -> dict:
    """What the table of detectors says of one of them."""
    return {
        "directory": name,
        **{key: facts[key] for key in COPIED},
        "masked_fraction": _share(DQ.DO_NOT_USE.name)(facts),
        "flag_fractions": {flag: _share(flag)(facts) for flag in FLAGS},
        "notes": len(facts["notes"]),
    }


def _compared(quantity: Quantity, summaries: Mapping[str, Mapping]) -> tuple[dict, list[Odd]]:
    """The median of a quantity over the detectors, and the odd ones."""
    values = {name: quantity.value(facts) for name, facts in summaries.items()}
    names = [name for name, value in values.items() if value is not None]
    unit = quantity.unit(next(iter(summaries.values())))
    value = np.array([values[name] for name in names], float)
    middle = float(np.median(value)) if names else None
    told = {"value": middle, "unit": unit, "detectors": len(names)}
    if len(names) < FEWEST:
        return told, []
    spread = MAD_TO_SIGMA * np.median(np.abs(value - middle)) * widening(len(names))
    error = np.array([quantity.error(summaries[name], middle) for name in names])
    sigma = np.hypot(np.hypot(spread, quantity.floor * middle), error)
    sigmas = np.divide(value - middle, sigma, out=np.zeros_like(value), where=sigma > 0)
    return told, [
        Odd(name, quantity.name, quantity.words, float(own), middle, unit, float(away))
        for name, own, away in zip(names, value, sigmas, strict=True)
        if abs(away) > LIMIT
    ]
