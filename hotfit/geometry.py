"""Trim and overscan: FITS sections, applied by ccdproc to one band of rows after the other."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hotfit.errors import HotfitError
from hotfit.headers import Headers, Options
from hotfit.readers import FLOAT32, Coding, Rows

AXIS = re.compile(r"(\d+):(\d+)|(-?)\*|:?")


class Span(NamedTuple):
    """Part of an axis: `first` to `last` (exclusive) from 0, and whether the section runs it backwards."""

    first: int
    last: int
    backwards: bool = False

    @property
    def size(self) -> int:
        """Number of rows or columns."""
        return self.last - self.first

    def covers(self, other: "Span") -> bool:
        """Whether all of `other` lies within."""
        return self.first <= other.first and other.last <= self.last


class Section(NamedTuple):
    """A rectangle of an image."""

    rows: Span
    columns: Span

    def meets(self, other: "Section") -> bool:
        """Whether the two have a pixel in common."""
        pairs = zip(self, other, strict=True)
        return all(one.first < two.last and two.first < one.last for one, two in pairs)


class Cut(NamedTuple):
    """What is left of a stored image: `trim`, minus the level of `overscan` if there is one."""

    rows: int
    columns: int
    trim: Section
    overscan: Section | None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns that are left."""
        return self.trim.rows.size, self.trim.columns.size

    @property
    def overscan_columns(self) -> slice:
        """Columns that hold a level of each row."""
        return slice(self.overscan.columns.first, self.overscan.columns.last)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Whether the overscan is left in the image."""
        kept = self.overscan is not None and self.trim.meets(self.overscan)
        return ("the overscan is kept in the image: trim it off with --trim",) * kept


def cut_of(headers: Headers, shape: tuple[int, int], name: str, options: Options) -> Cut | None:
    """Return what `options.trim` and `options.overscan` leave of an image, None if neither was given.

    Raises
    ------
    HotfitError
        A section cannot be read, does not fit the image, or its overscan ends before the trimmed image.
    """
    if options.trim is None and options.overscan is None:
        return None
    trim = _section(options.trim or "[*,*]", headers, shape, name, "--trim")
    overscan = None
    if options.overscan is not None:
        overscan = _section(options.overscan, headers, shape, name, "--overscan")
        along, needed = (overscan.rows, trim.rows) if by_rows(overscan) else (overscan.columns, trim.columns)
        if not along.covers(needed):
            raise HotfitError(
                f"{name}: the overscan {options.overscan} ends before the image does; trim the image to the "
                f"same {'rows' if by_rows(overscan) else 'columns'} with --trim"
            )
    return Cut(*shape, trim, overscan)


def by_rows(overscan: Section) -> bool:
    """Whether an overscan gives a level to each row: it is a strip of columns."""
    return overscan.rows.size >= overscan.columns.size


def _section(text: str, headers: Headers, shape: tuple[int, int], name: str, option: str) -> Section:
    """Read ``[x1:x2,y1:y2]``, ``[x1:x2]`` for all rows, or the header key that holds one of these."""
    said = text
    if not set("[:*") & set(text):
        value = headers.value(text.strip())
        if value is None:
            raise HotfitError(f"{name}: has no {text} in its header; give {option} as [x1:x2,y1:y2]")
        said = f"{text} = {value}"
        text = str(value)
    axes = re.sub(r"\s", "", text).removeprefix("[").removesuffix("]").split(",")
    if len(axes) > 2 or not all(AXIS.fullmatch(axis) for axis in axes) or not any(axes):
        raise HotfitError(f"{name}: {option} {said} is not a FITS section; give it as [x1:x2,y1:y2]")
    columns, rows = (_span(axis, size) for axis, size in zip((*axes, "*")[:2], shape[::-1], strict=True))
    if rows is None or columns is None:
        raise HotfitError(
            f"{name}: {option} {said} does not fit its {shape[1]} columns and {shape[0]} rows, counted from 1"
        )
    return Section(rows, columns)


def _span(axis: str, size: int) -> Span | None:
    start, stop, minus = AXIS.fullmatch(axis).groups()
    if start is None:
        return Span(0, size, backwards=bool(minus))
    low, high = sorted((int(start), int(stop)))
    return Span(low - 1, high, int(start) > int(stop)) if low > 0 and high <= size else None


class Wells(NamedTuple):
    """What the stored counts of a set show, where overscan levels blur them.

    Attributes
    ----------
    full : float
        Stored counts from which on a sample is beyond the converter: infinite, whatever its overscan.
    pedestal : float
        Overscan level of all frames together, adu.
    stuck : ndarray or None
        True where a pixel never changes, (rows, columns) as stored: it keeps one count, less `pedestal`.
    """

    full: float = math.inf
    pedestal: float = 0.0
    stuck: np.ndarray | None = None


NOTHING_SEEN = Wells()


@dataclass(frozen=True, eq=False)
class CutRows:
    """Rows of an image after overscan subtraction (median, as in the CCD Guide) and trimming.

    Attributes
    ----------
    whole : Rows
        The image as it is stored.
    cut : Cut
    strip : ndarray or None
        Rows of overscan, as they are stored, where these give a level to each column.
    wells : Wells
        What all frames of a set have in common.
    """

    whole: Rows
    cut: Cut
    strip: np.ndarray | None = None
    wells: Wells = NOTHING_SEEN

    @property
    def coding(self) -> Coding:
        """Counts less an overscan level are floats."""
        return Coding(self.whole.coding.native if self.cut.overscan is None else FLOAT32)

    def read(self, first: int, last: int, out: np.ndarray) -> None:
        """Write rows `first` to `last` (exclusive) of what is left into `out`, (last - first, columns)."""
        from astropy.nddata import CCDData
        from ccdproc import subtract_overscan, trim_image

        rows, columns = self.cut.trim
        if rows.backwards:
            first, last = rows.last - last, rows.last - first
        else:
            first, last = rows.first + first, rows.first + last
        counts = stored_rows(self.whole, first, last, self.cut.columns)
        band = CCDData(counts, unit="adu")
        if self.cut.overscan is not None:
            level = CCDData(
                counts[:, self.cut.overscan_columns] if self.strip is None else self.strip, unit="adu"
            )
            axis = 1 if self.strip is None else 0
            # Infinite counts less infinite levels are no numbers, and nothing to warn of.
            with np.errstate(invalid="ignore"):
                band = subtract_overscan(
                    band, overscan=level, overscan_axis=axis, median=True, add_keyword=None
                )
            if self.wells.stuck is not None:
                stuck = self.wells.stuck[first:last]
                band.data[stuck] = counts[stuck] - self.wells.pedestal
            band.data[counts >= self.wells.full] = math.inf
        ends = (columns.last, columns.first + 1) if columns.backwards else (columns.first + 1, columns.last)
        section = f"[{ends[0]}:{ends[1]},{'-*' if rows.backwards else '*'}]"
        out[...] = trim_image(band, fits_section=section, add_keyword=None).data


def cut_rows(whole: Rows, cut: Cut) -> CutRows:
    """Return the reader of what `cut` leaves of an image whose rows `whole` reads."""
    if cut.overscan is None or by_rows(cut.overscan):
        return CutRows(whole, cut)
    rows = cut.overscan.rows
    return CutRows(whole, cut, strip=stored_rows(whole, rows.first, rows.last, cut.columns))


def stored_rows(whole: Rows, first: int, last: int, columns: int) -> np.ndarray:
    """Read rows `first` to `last` (exclusive) of an image as it is stored."""
    counts = np.empty((last - first, columns), whole.coding.native)
    whole.read(first, last, counts)
    return counts


def _stored(reader: CutRows) -> np.ndarray:
    return stored_rows(reader.whole, 0, reader.cut.rows, reader.cut.columns)


def never_changing(readers: Sequence[CutRows]) -> np.ndarray:
    """Return where all images hold the same count as they are stored, (rows, columns) bool."""
    first, *others = readers
    counts = _stored(first)
    same = np.ones(counts.shape, bool)
    for reader in others:
        same &= _stored(reader) == counts
    return same


def overscan_of(reader: CutRows) -> tuple[np.ndarray, float]:
    """Return all counts of an image as it is stored, and the median of its overscan, in adu."""
    counts = _stored(reader)
    where = reader.cut.overscan
    part = counts[where.rows.first : where.rows.last, where.columns.first : where.columns.last]
    known = part[np.isfinite(part)]
    return counts, float(np.median(known)) if known.size else 0.0
