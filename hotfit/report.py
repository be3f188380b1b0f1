"""report.html: what a fit found, in words, pictures and a table, in one file that needs no other."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from astropy.table import Table

from hotfit import captions
from hotfit.drawing import check_matplotlib
from hotfit.findings import Findings, spelled
from hotfit.flags import DQ, MEANING
from hotfit.page import cell, framed, picture, sortable, table, text, write_page
from hotfit.portrait import SEVERITY, zoom_limit
from hotfit.wording import summary_of

REPORT_FILE = "report.html"

WORST_ROWS = 500
"""Masked pixels in the table."""

SHOWN, FEW = 6, 3
"""Pixels of each reason whose samples are shown, and of those that are fine."""

FRAMES_OPEN = 40
"""Frames beyond which their table is folded."""

SMALL = (3.6, 3.6)
"""Size of the picture of a pixel, inches."""


def write_report(fit: Findings, bad_pixels: Table, path: Path) -> None:
    """Write the report of a fit.

    Parameters
    ----------
    fit : DarkFit
    bad_pixels : Table
        As in `bad_pixels.ecsv`.
    path : Path

    Raises
    ------
    HotfitError
        If matplotlib is missing.
    """
    check_matplotlib()
    facts = fit.summary()
    rows, columns = facts["shape"]
    times = ", ".join(f"{number} of {seconds} s" for seconds, number in facts["exposures"].items())
    parts = (
        headline(facts),
        frames_part(fit),
        dark_current_part(fit, facts),
        map_part(fit),
        statistics_part(fit, facts),
        pixels_part(fit),
        table_part(fit, bad_pixels),
    )
    write_page(
        path,
        "Dark current and bad pixels",
        f"{facts['frames']} darks of {columns} x {rows} pixels: {times}",
        parts,
        captions.FILES,
    )


# --- the parts of the page


def headline(facts: dict) -> Iterator[str]:
    """What the console says: the main figures in words, others in boxes, and the table of flags."""
    yield f'<p class="lead">{" ".join(map(text, sentences(facts)))}</p>'
    yield '<dl class="facts">'
    for line in summary_of(facts):
        name, _, rest = line.partition("  ")
        if name in ("could see", "gain", "read noise", "saturation"):
            yield f"<div><dt>{text(name)}</dt><dd>{text(rest.strip())}</dd></div>"
    yield "</dl>"
    rows = (
        (flag.name, facts["flags"][flag.name], "yes" * (flag.name in facts["rules"]["bad"]), MEANING[flag])
        for flag in DQ
        if flag is not DQ.DO_NOT_USE
    )
    yield from table(("flag", "pixels", "masked", "meaning"), rows)
    rules = facts["rules"] | {"tolerance": 100 * facts["rules"]["tolerance"]}
    yield f"<p class='soft'>{text(captions.RULES.format(**rules))}</p>"
    if facts["notes"]:
        yield "<h3>Notes</h3><ul>"
        yield from (f"<li>{text(note)}</li>" for note in facts["notes"])
        yield "</ul>"


def sentences(facts: dict) -> Iterator[str]:
    """Yield the main figures in words."""
    unit = facts["unit"]
    share = 100 * facts["masked"] / facts["pixels"]
    yield f"{facts['masked']} of {facts['pixels']} pixels ({share:.3g} %) should not be used."
    if facts["median_rate"] is not None:
        yield f"The dark current of a typical pixel is {facts['median_rate']:.3g} {unit},"
        yield f"known to {facts['median_rate_error']:.2g}."
    if facts["hot_limit"] is not None:
        yield f"{facts['flags']['HOT']} pixels are HOT, above {facts['hot_limit']:.3g} {unit}"
        subtract = "they are masked." if "HOT" in facts["rules"]["bad"] else "that alone masks none of them."
        yield f"and their own errors; {subtract}"


def frames_part(fit: Findings) -> Iterator[str]:
    """Offsets and scales of the frames against time and temperature, and their table."""
    yield "<h2>The frames</h2><div class='pictures'>"
    for quantity, caption in (("offset", captions.OFFSET), ("scale", captions.SCALE)):
        for against in ("time", "temperature"):
            yield picture(
                f"Against {against}: {caption}", partial(fit.plot_frames, quantity=quantity, against=against)
            )
    opened = " open" if len(fit.frames) <= FRAMES_OPEN else ""
    yield f"</div><details{opened}><summary>Table of {len(fit.frames)} frames</summary>"
    heads = ("file", "exposure, s", "temperature, C", "offset, adu", "scale", "saturated", "dropped")
    rows = (
        (
            row["file"],
            f"{row['exposure']:g}",
            "" if np.isnan(row["temperature"]) else f"{row['temperature']:.2f}",
            f"{row['offset']:+.2f} ± {row['offset_error']:.2f}",
            f"{row['scale']:.4f} ± {row['scale_error']:.4f}",
            row["saturated"],
            row["dropped"],
        )
        for row in fit.frames
    )
    yield from table(heads, rows)
    yield "</details>"


def dark_current_part(fit: Findings, facts: dict) -> Iterator[str]:
    """The two pictures of the CCD Guide, and how many pixels are above a rate."""
    zoom = zoom_limit(fit)
    yield "<h2>Dark current, and whether it is proportional to time</h2><div class='pictures'>"
    yield picture(captions.HISTOGRAM, fit.plot_histogram)
    yield picture(captions.CUMULATIVE, fit.plot_cumulative)
    yield picture(captions.SHORT_LONG, fit.plot_short_long)
    yield picture(
        captions.ZOOM.format(limit=zoom, unit=facts["unit"]), partial(fit.plot_short_long, limit=zoom)
    )
    yield "</div>"


def map_part(fit: Findings) -> Iterator[str]:
    """Where dark current and bad pixels are."""
    rows, columns = fit.dq.shape
    height = float(np.clip(4.2 * rows / columns, 1.0, 8.0)) + 1.3  # and the legend and the scale
    yield "<h2>The map</h2><div class='pictures'>"
    yield picture(captions.MAP, fit.plot_map, (5.0, height))
    yield "</div>"


def statistics_part(fit: Findings, facts: dict) -> Iterator[str]:
    """Whether the noise model can be believed."""
    yield "<h2>Can the noise model be believed?</h2><div class='pictures'>"
    yield picture(captions.STATISTICS, fit.plot_statistics)
    yield "<div>"
    for test, null in (("Scatter", facts["scatter_null"]), ("Lack of fit", facts["lack_of_fit_null"])):
        if null is not None:
            yield f"<p>{captions.NULL.format(test=test, null=null)}</p>"
    yield f"<p>{captions.SHARED}</p>"
    yield "</div></div>"


def pixels_part(fit: Findings) -> Iterator[str]:
    """Samples of the worst pixels of each reason, and of some good ones."""
    yield "<h2>Pixels one by one</h2>"
    if fit.curves is None:
        yield f"<p class='absent'>{captions.NO_SAMPLES}</p>"
        return
    yield f"<p>{captions.PIXELS}</p>"
    dq = fit.dq[fit.curves.y, fit.curves.x]

    def has(flag):
        return (dq & np.uint32(flag)) != 0

    left = np.ones(dq.shape, bool)  # every pixel is shown once
    for name in fit.rules.bad:
        worst = most_of(fit, left & has(DQ[name]), SEVERITY.get(DQ[name], "rate"), SHOWN)
        left[worst] = False
        yield from pixel_pictures(fit, f"{name}: {MEANING[DQ[name]]}", worst)
    kept = ~has(DQ.DO_NOT_USE)
    yield from pixel_pictures(fit, "Kept: the hottest", most_of(fit, kept & has(DQ.HOT), "rate", SHOWN))
    hit = most_of(fit, kept & has(DQ.JUMP_DET) & ~has(DQ.HOT), "scatter", FEW)
    yield from pixel_pictures(fit, "Kept: hit by a cosmic ray", hit)
    quiet = np.flatnonzero(dq == 0)
    inside = np.linspace(0, quiet.size, FEW + 2).astype(int)[1:-1]  # not at the edges
    yield from pixel_pictures(fit, "Typical pixels", quiet[inside] if quiet.size > FEW else quiet)


def table_part(fit: Findings, bad_pixels: Table) -> Iterator[str]:
    """The worst masked pixels, to be sorted and filtered."""
    misfit = np.nan_to_num(bad_pixels["misfit"], nan=-1.0)
    worst = bad_pixels[np.argsort(-misfit, kind="stable")[:WORST_ROWS]]
    yield f"<h2>Masked pixels</h2><p>{captions.TABLE.format(shown=len(worst), all=len(bad_pixels))}</p>"
    reasons = "".join(f"<option>{name}</option>" for name in fit.rules.bad)
    yield "<p class='screen'><label for='reason'>Reason</label>"
    yield f"<select id='reason'><option value=''>all</option>{reasons}</select>"
    yield f"<span id='shown'>{len(worst)}</span> shown</p>"
    cells = ("".join(cell(row[name]) for name in worst.colnames) for row in worst)
    rows = (
        f"<tr data-reasons='{reasons}'>{inner}</tr>"
        for reasons, inner in zip(worst["reasons"], cells, strict=True)
    )
    yield from sortable(worst.colnames, rows, ("reasons",))


# --- what they are made of


def pixel_pictures(fit: Findings, title: str, index: np.ndarray) -> Iterator[str]:
    """Pictures of some of the kept pixels under a common head; nothing without pixels."""
    if index.size == 0:
        return
    yield f"<h3>{text(title)}</h3><div class='pictures pixels'>"
    names = ("rate", "rate_error", "misfit", "scatter")
    for y, x in zip(fit.curves.y[index].tolist(), fit.curves.x[index].tolist(), strict=True):
        values = fit.values_at(np.array([y]), np.array([x]), names)
        rate, error, misfit, scatter = (float(values[name][0]) for name in names)
        flags = ", ".join(flag.name for flag in DQ if fit.dq[y, x] & flag and flag is not DQ.DO_NOT_USE)
        found = "no rate"
        if np.isfinite(rate):
            found = f"{rate:.4g} ± {error:.2g} {spelled(fit.unit)}; largest miss {misfit:.3g} sigma"
        spread = f", scatter {scatter:.3g} times the expected" * bool(np.isfinite(scatter))
        caption = f"x = {x}, y = {y}: {found}{spread}. {flags or 'No flag.'}"
        yield framed(caption, partial(draw_pixel, fit, y, x), SMALL)
    yield "</div>"


def draw_pixel(fit: Findings, y: int, x: int, figure) -> None:
    """Counts of a pixel with its line, and below what the line leaves."""
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    fit.plot_pixel(y, x, ax=upper).set_xlabel("")
    fit.plot_residuals(y, x, ax=lower)


def most_of(fit: Findings, chosen: np.ndarray, name: str, most: int) -> np.ndarray:
    """Indices of at most that many of the chosen (P,) bool of the kept pixels, highest in a map first."""
    index = np.flatnonzero(chosen)
    values = fit.values_at(fit.curves.y[index], fit.curves.x[index], (name,))[name]
    return index[np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")[:most]]
