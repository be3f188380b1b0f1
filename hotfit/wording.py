"""What the command line tells: the table of frames and the summary, as lines of text and as data."""

import math
from collections.abc import Iterable, Iterator

from hotfit.darks import Roll
from hotfit.errors import printable
from hotfit.findings import Findings, number
from hotfit.flags import DQ, MEANING
from hotfit.frames import Frame, Skipped

COLUMNS = ("file", "type", "exposure", "temperature", "shape", "used")
RIGHT_ALIGNED = ("exposure", "temperature", "shape")


def table_of(roll: Roll) -> Iterator[str]:
    """Yield the table of frames, used and skipped."""
    rows = [COLUMNS, *(_cells(item) for item in (*roll.frames, *roll.skipped))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS) - 1)]
    for row in rows:
        aligned = [
            cell.rjust(width) if column in RIGHT_ALIGNED else cell.ljust(width)
            for column, cell, width in zip(COLUMNS, row, widths, strict=False)
        ]
        yield "  ".join((*aligned, row[-1]))


def in_columns(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Yield the rows of a table as lines: the first column at the left, the others at the right."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join((first.ljust(widths[0]), *cells)).rstrip()


def told(notes: Iterable[str]) -> Iterator[str]:
    """Yield each note as a line."""
    for note in notes:
        yield f"note: {printable(note)}"


def _cells(item: Frame | Skipped) -> tuple[str, ...]:
    return (
        printable(item.name),
        printable(item.image_type) or "-",
        "-" if math.isnan(item.exposure) else f"{item.exposure:g} s",
        "-" if math.isnan(item.temperature) else f"{item.temperature:.2f} C",
        " x ".join(map(str, item.shape)) or "-",
        _use(item),
    )


def _use(item: Frame | Skipped) -> str:
    if isinstance(item, Skipped):
        return f"no: {printable(item.reason)}"
    return "yes" if item.n_combined == 1 else f"yes, as {item.n_combined} frames"


def frames_as_data(roll: Roll, notes: Iterable[str]) -> dict:
    """The table of frames as plain types, ready for JSON."""
    return {
        "used": [{**_described(frame), "frames_combined": frame.n_combined} for frame in roll.frames],
        "skipped": [{**_described(item), "reason": item.reason} for item in roll.skipped],
        "notes": list(notes),
    }


def _described(item: Frame | Skipped) -> dict:
    return {
        "file": item.name,
        "type": item.image_type,
        "exposure": number(item.exposure),
        "temperature": number(item.temperature),
        "shape": list(item.shape),
    }


def frame_terms_of(fit: Findings) -> Iterator[str]:
    """Yield what the fit found of every frame."""
    for row in fit.frames:
        yield (
            f"{printable(row['file'])}: offset {row['offset']:+.2f} adu, scale {row['scale']:.4f}, "
            f"{row['saturated']} samples saturated, {row['dropped']} dropped"
        )


def summary_of(facts: dict) -> Iterator[str]:
    """Yield the summary of a fit in a few lines."""
    unit, noise_unit = facts["unit"], facts["read_noise_unit"]
    if facts["median_rate"] is not None:
        error = facts["median_rate_error"]
        yield f"dark current  {facts['median_rate']:.4g} {unit} in the median, error {error:.2g}"
    if facts["smallest_rate"] is not None:
        yield f"could see     dark currents from {facts['smallest_rate']:.2g} {unit}, {_seen_bend(facts)}"
    yield f"gain          {_gain_in_words(facts)}"
    yield f"read noise    {facts['read_noise']:.3g} {noise_unit} ({facts['read_noise_source']})"
    level = "none" if facts["saturation"] is None else f"{facts['saturation']:.0f} adu"
    yield f"saturation    {level} ({facts['saturation_source']})"
    share = 100 * facts["masked"] / facts["pixels"]
    yield f"masked        {facts['masked']} of {facts['pixels']} pixels ({share:.3g} %)"
    for flag in DQ:
        if flag is not DQ.DO_NOT_USE:
            bad = "*" if flag.name in facts["rules"]["bad"] else " "
            yield f"  {bad} {flag.name:16}  {facts['flags'][flag.name]:8}  {MEANING[flag]}"
    hot = math.nan if facts["hot_limit"] is None else facts["hot_limit"]
    yield f"HOT means above {hot:.3g} {unit}; flags with a * are masked"
    yield from told(facts["notes"])


def _gain_in_words(facts: dict) -> str:
    """The gain and its source, and what the darks themselves show of it."""
    own = facts["gain_of_darks"]
    shown = "none" if own is None else f"{own:.3g} +- {facts['gain_of_darks_error']:.1g}"
    if facts["gain"] is None:
        return "unknown: the map is in adu/s"
    if facts["gain_source"] == "darks":
        return f"{shown} e-/adu (darks)"
    return f"{facts['gain']:.3g} e-/adu ({facts['gain_source']}; the darks show {shown})"


def _seen_bend(facts: dict) -> str:
    """The smallest bend that could have been seen, in words."""
    bend = facts["smallest_slope_residual"]
    at = f"at {facts['smallest_slope_residual_rate']:g} {facts['unit']}"
    return f"no bend {at}" if bend is None else f"and slope residuals from {bend:.2g} {at}"
