"""report.html of a focal plane: its detectors side by side, and the odd ones, with links to their reports."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import quote

import numpy as np

from hotfit import captions
from hotfit.drawing import check_matplotlib
from hotfit.flags import DQ
from hotfit.focalplane import FLAGS, in_one_unit
from hotfit.page import cell, picture, sortable, text, write_page
from hotfit.planewords import figure, odd_in_words, percent
from hotfit.plots import COLOURS, LINE, QUIET

HEADS = (
    "detector",
    "dark current",
    "error",
    "unit",
    "gain, e-/adu",
    "read noise",
    "saturation, adu",
    "masked, %",
)

SIZE = (7.0, 3.6)
"""Of a picture, inches."""

MOST_NAMES = 24
"""Detectors that are named on the axis."""

LOGARITHMIC = 4.0
"""Largest over smallest value from which an axis is logarithmic."""


def write_overview(plane: Mapping, path: Path, report: str) -> None:
    """Write the report of a focal plane.

    Parameters
    ----------
    plane : dict
        From `hotfit.focalplane.side_by_side`.
    path : Path
    report : str
        Name of the report in the directory of each detector.

    Raises
    ------
    HotfitError
        If matplotlib is missing.
    """
    check_matplotlib()
    pixels = sum(own["pixels"] for own in plane["detectors"].values())
    parts = headline(plane), odd_part(plane), pictures_part(plane), table_part(plane, report)
    subtitle = f"{len(plane['detectors'])} detectors, {pixels} pixels"
    write_page(path, "Dark current and bad pixels of a focal plane", subtitle, parts, captions.EACH)


def headline(plane: Mapping) -> Iterator[str]:
    """The medians, in boxes."""
    yield '<dl class="facts">'
    for name, words in (
        ("median_rate", "dark current"),
        ("masked", "masked pixels"),
        ("HOT", "HOT pixels"),
        ("gain", "gain"),
        ("read_noise", "read noise"),
        ("saturation", "saturation"),
    ):
        middle = plane["medians"][name]
        if middle["value"] is None:
            shown = "unknown"
        elif middle["unit"]:
            shown = figure(middle["value"], middle["unit"])
        else:
            shown = percent(middle["value"])
        yield f"<div><dt>{text(words)}, median</dt><dd>{text(shown)}</dd></div>"
    yield "</dl>"


def odd_part(plane: Mapping) -> Iterator[str]:
    """Who departs from the others, in words, and what counts as odd."""
    rule = plane["rule"]
    floors = {
        "rate": 100 * rule["floors"]["median_rate"],
        "detector": 100 * rule["floors"]["gain"],
        "level": 100 * rule["floors"]["saturation"],
        "share": 100 * rule["floors"]["masked"],
    }
    yield "<h2>The odd ones out</h2><ul>"
    yield from (f"<li>{text(sentence)}.</li>" for sentence in odd_in_words(plane))
    told = captions.ODD.format(limit=rule["limit_sigmas"], fewest=rule["fewest_detectors"], **floors)
    yield f"</ul><p class='soft'>{text(told)}</p>"


def pictures_part(plane: Mapping) -> Iterator[str]:
    """Dark current and masked share by detector."""
    yield "<h2>Detector by detector</h2><div class='pictures'>"
    yield picture(captions.RATES, partial(plot_rates, plane), SIZE)
    yield picture(captions.SHARES, partial(plot_shares, plane), SIZE)
    yield "</div>"


def table_part(plane: Mapping, report: str) -> Iterator[str]:
    """The key figures of every detector, to be sorted."""
    yield f"<h2>The detectors</h2><p class='screen'>{captions.DETECTORS}</p>"
    odd = {name: [] for name in plane["detectors"]}
    for one in plane["odd"]:
        odd[one["detector"]].append(one["words"])
    rows = (row_of(name, own, odd[name], report) for name, own in plane["detectors"].items())
    heads = (*HEADS, *(f"{flag}, %" for flag in FLAGS), "notes", "odd in")
    yield from sortable(heads, rows, ("unit", "odd in"))


def row_of(name: str, own: Mapping, odd: list[str], report: str) -> str:
    """The row of a detector, with the link to its report."""
    link = f"{quote(own['directory'])}/{quote(report)}"
    values = (
        own["median_rate"],
        own["median_rate_error"],
        own["unit"],
        own["gain"],
        own["read_noise"],
        None if own["saturation"] is None else round(own["saturation"]),
        100 * own["masked_fraction"],
        *(100 * own["flag_fractions"][flag] for flag in FLAGS),
        own["notes"],
        ", ".join(odd),
    )
    cells = "".join(cell(np.nan if value is None else value) for value in values)
    return f"<tr><td><a href='{link}'>{text(name)}</a></td>{cells}</tr>"


# --- the pictures


def plot_rates(plane: Mapping, *, ax):
    """Draw the median dark current of every detector, all in one unit."""
    shown = in_one_unit(plane["detectors"])
    rates, errors = (
        np.array([np.nan if own[key] is None else own[key] for own in shown.values()], float)
        for key in ("median_rate", "median_rate_error")
    )
    ax.errorbar(np.arange(len(rates)), rates, errors, fmt="none", ecolor=QUIET, elinewidth=1.0)
    _draw(ax, plane, list(shown), rates, "median_rate")
    ax.set_ylabel(f"dark current, {plane['medians']['median_rate']['unit']}")
    return ax


def plot_shares(plane: Mapping, *, ax):
    """Draw the share of masked pixels of every detector."""
    shares = [100 * own["masked_fraction"] for own in plane["detectors"].values()]
    _draw(ax, plane, list(plane["detectors"]), shares, "masked", 100)
    ax.set_ylabel("masked pixels, %")
    if ax.get_yscale() == "linear":
        ax.set_ylim(0, 1.08 * max(shares) or 1.0)
    return ax


def _draw(ax, plane: Mapping, names: list[str], values: list[float], quantity: str, factor: float = 1.0):
    """Draw a point for each detector, filled and named if it is odd, and the median."""
    values, odd = (
        np.array(values, float),
        {one["detector"] for one in plane["odd"] if one["quantity"] == quantity},
    )
    marked = np.array([name in odd for name in names], bool)
    place, middle = np.arange(len(names)), plane["medians"][quantity]["value"]
    ax.scatter(
        place[~marked], values[~marked], s=22, facecolors="none", edgecolors=COLOURS[DQ.UNRELIABLE_SLOPE]
    )
    ax.scatter(place[marked], values[marked], s=26, color=COLOURS[DQ.NONLINEAR])
    if middle is not None:
        ax.axhline(factor * middle, color=LINE, linewidth=1.2)
    for index in np.flatnonzero(marked):
        ax.annotate(names[index], (place[index], values[index]), (5, 4), textcoords="offset points")
    known = values[np.isfinite(values)]
    if known.size and known.min() > 0 and known.max() > LOGARITHMIC * known.min():
        ax.set_yscale("log")
    if len(names) <= MOST_NAMES:
        ax.set_xticks(place, names, rotation=90 if len(names) > 8 else 0)
    else:
        ax.set_xlabel("detector, in the order of the table")
