"""The lists of masked pixels that other programs read."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from hotfit.errors import HotfitError
from hotfit.findings import Findings
from hotfit.flags import DQ

Lines = Callable[[Findings], Iterator[str]]


def siril_lines(fit: Findings) -> Iterator[str]:
    """Yield the masked pixels as a list for Siril's `cosme`: P, x, y, and H or C for hot and cold, from 0.

    Siril counts rows from the top of the picture, FITS from the bottom. It replaces hot pixels by the mean of
    their neighbours, cold ones by their median: all that are not HOT are called cold.
    """
    yield "# bad pixels found by hotfit, for Siril: cosme bad_pixels.lst"
    rows = fit.dq.shape[0]
    y, x = fit.masked()
    hot = (fit.dq[y, x] & np.uint32(DQ.HOT)) != 0
    for row, column, is_hot in zip(y.tolist(), x.tolist(), hot.tolist(), strict=True):
        yield f"P {column} {rows - 1 - row} {'H' if is_hot else 'C'}"


def ds9_lines(fit: Findings) -> Iterator[str]:
    """Yield the masked pixels as regions for DS9: a box around each, with its reasons as tags.

    Image coordinates count from 1, at the centre of the first pixel.
    """
    yield "# Region file format: DS9 version 4.1"
    yield "# bad pixels found by hotfit"
    yield "global color=red width=1 select=1 highlite=0 dash=0 fixed=0 edit=0 move=0 delete=1 include=1"
    yield "image"
    y, x = fit.masked()
    for row, column, bits in zip(y.tolist(), x.tolist(), fit.dq[y, x].tolist(), strict=True):
        tags = " ".join(f"tag={{{name}}}" for name in fit.rules.bad if bits & DQ[name])
        yield f"box({column + 1},{row + 1},1,1,0) # {tags}"


EXPORTS: dict[str, tuple[str, Lines]] = {
    "siril": ("bad_pixels.lst", siril_lines),
    "ds9": ("bad_pixels.reg", ds9_lines),
}
"""The name of the file for each program, and what makes its lines."""


def check_exports(names: Iterable[str]) -> tuple[str, ...]:
    """The names of the programs, each once; raises HotfitError if there is no list for one."""
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else tuple(names)
    for name in names:
        if name not in EXPORTS:
            raise HotfitError(f"export={name!r}: choose from {', '.join(EXPORTS)}")
    return tuple(dict.fromkeys(names))


def write_list(fit: Findings, name: str, directory: Path) -> None:
    """Write the list for a program into a directory."""
    file_name, lines = EXPORTS[name]
    text = "".join(f"{line}\n" for line in lines(fit))
    (directory / file_name).write_text(text, encoding="ascii", newline="\n")
