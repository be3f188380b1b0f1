"""Trim and overscan: FITS sections, applied by ccdproc to one band of rows after the other."""

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hotfit.errors import HotfitError
from hotfit.headers import Headers, Options
from hotfit.readers import FLOAT32, UINT16, Coding, Rows

TOP = 2**16 - 1
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

    columns: int
    trim: Section
    overscan: Section | None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns that are left."""
        return self.trim.rows.size, self.trim.columns.size

    @property
    def remarks(self) -> tuple[str, ...]:
        """Whether the overscan is left in the image."""
        kept = self.overscan is not None and self.trim.meets(self.overscan)
        return ("the overscan is kept in the image: give --trim to leave it out",) * kept


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
    return Cut(shape[1], trim, overscan)


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


@dataclass(frozen=True, eq=False)
class CutRows:
    """Rows of an image after overscan subtraction (median, as in the CCD Guide) and trimming."""

    whole: Rows
    cut: Cut

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
        band = CCDData(self._stored(first, last), unit="adu")
        if self.cut.overscan is not None:
            full = (band.data == TOP) & (band.data.dtype == UINT16)
            level = CCDData(self._overscan(band.data), unit="adu")
            axis = 1 if by_rows(self.cut.overscan) else 0
            band = subtract_overscan(band, overscan=level, overscan_axis=axis, median=True, add_keyword=None)
            # What the converter cut off stays beyond any level.
            band.data[full] = math.inf
        ends = (columns.last, columns.first + 1) if columns.backwards else (columns.first + 1, columns.last)
        section = f"[{ends[0]}:{ends[1]},{'-*' if rows.backwards else '*'}]"
        out[...] = trim_image(band, fits_section=section, add_keyword=None).data

    def _stored(self, first: int, last: int) -> np.ndarray:
        counts = np.empty((last - first, self.cut.columns), self.whole.coding.native)
        self.whole.read(first, last, counts)
        return counts

    def _overscan(self, band: np.ndarray) -> np.ndarray:
        rows, columns = self.cut.overscan
        if by_rows(self.cut.overscan):
            return band[:, columns.first : columns.last]
        return self._stored(rows.first, rows.last)
