"""What reports are made of: the page, pictures with their captions, tables."""

import html
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np

import hotfit
from hotfit.drawing import sketch
from hotfit.errors import HotfitError, printable

IN_WORDS = " class='words'"
"""Marks a cell whose text begins at the left."""

PICTURE = (5.0, 3.7)
"""Size in inches."""


def write_page(path: Path, title: str, subtitle: str, parts: Iterable[Iterable[str]], footer: str) -> None:
    """Write a page that needs no other file; `parts` are lines of HTML, title and subtitle words.

    The footer is HTML.
    """
    template = resources.files("hotfit").joinpath("report.html").read_text(encoding="utf-8")
    page = Template(template).substitute(
        version=hotfit.__version__,
        title=text(title),
        subtitle=text(subtitle),
        body="\n".join(line for part in parts for line in part),
        footer=footer,
    )
    path.write_text(page, encoding="utf-8")


def picture(caption: str, draw: Callable, size: tuple[float, float] = PICTURE) -> str:
    """A figure, drawn by ``draw(ax=axes)``, with its caption; where it cannot be drawn, the reason."""
    return framed(caption, lambda figure: draw(ax=figure.subplots()), size)


def framed(caption: str, fill: Callable, size: tuple[float, float]) -> str:
    """A figure that is filled by ``fill(figure)``, with its caption; where it cannot be, the reason."""
    try:
        drawn = sketch(fill, size, caption)
    except HotfitError as error:
        drawn = f"<p class='absent'>Not made: {text(str(error))}.</p>"
    return f"<figure>{drawn}<figcaption>{text(caption)}</figcaption></figure>"


def table(heads: Sequence[str], rows: Iterable[Sequence]) -> Iterator[str]:
    """A plain table."""
    yield "<div class='scroll'><table><thead><tr>"
    yield "".join(f"<th{IN_WORDS * (head in ('masked', 'meaning'))}>{text(head)}</th>" for head in heads)
    yield "</tr></thead><tbody>"
    for row in rows:
        yield "<tr>" + "".join(cell(value) for value in row) + "</tr>"
    yield "</tbody></table></div>"


def sortable(heads: Iterable[str], rows: Iterable[str], in_words: Sequence[str]) -> Iterator[str]:
    """A table whose heads sort it; `rows` are HTML, each a whole ``<tr>``, `in_words` the heads of words."""
    yield "<div class='scroll'><table class='sortable'><thead><tr>"
    for head in heads:
        yield f"<th{IN_WORDS * (head in in_words)}><button type='button'>{text(head)}</button></th>"
    yield "</tr></thead><tbody>"
    yield from rows
    yield "</tbody></table></div>"


def cell(value) -> str:
    """A cell of a table, with the number to sort by where that is rounded."""
    if isinstance(value, str):
        return f"<td{IN_WORDS * value[:1].isalpha()}>{text(value)}</td>"
    if isinstance(value, int | np.integer):
        return f"<td>{value}</td>"
    return f"<td data-value='{value:.7g}'>{value:.4g}</td>" if np.isfinite(value) else "<td></td>"


def text(words: str) -> str:
    """Words as HTML."""
    return html.escape(printable(str(words)))
