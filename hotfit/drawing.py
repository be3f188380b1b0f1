"""The door to matplotlib: axes to draw on, colours, and pictures as SVG in a page's own colour of ink."""

import re
from collections.abc import Callable
from hashlib import sha256
from io import StringIO
from typing import TYPE_CHECKING

from hotfit.errors import HotfitError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#010203"
"""A colour that no picture uses otherwise: it becomes that of the text around the picture."""

STYLE = {
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "hotfit",
}

DPI = 160
"""Of what is drawn as an image within the SVG: many points, and maps."""


def check_matplotlib() -> None:
    """Raise HotfitError if matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise HotfitError("pictures need matplotlib: pip install 'hotfit[report]'") from error


def new_axes(ax) -> "Axes":
    """The axes given, or new ones in a figure of their own."""
    if ax is not None:
        return ax
    check_matplotlib()
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]


def palette(share: float):
    """Colour of an exposure that stands at this share of their row, visible on white and on black."""
    from matplotlib import colormaps

    return colormaps["plasma"](0.3 + 0.55 * share)


def sketch(draw: Callable, size: tuple[float, float], name: str) -> str:
    """An SVG element that ``draw(figure)`` fills; `size` in inches, `name` is unique in the page."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained", dpi=DPI)
        draw(figure)
        stream = StringIO()
        figure.savefig(stream, format="svg", dpi=DPI, metadata={"Date": None})
    return inline(stream.getvalue(), name)


def inline(svg: str, name: str) -> str:
    """The SVG element of a file of matplotlib's, with names that no other in the same page has."""
    own = "p" + sha256(name.encode()).hexdigest()[:10]
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)  # named for people who edit them
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{own}-", svg)
    svg = re.sub(r'<svg ([^>]*?)\swidth="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r'<svg ([^>]*?)\sheight="[^"]*"', r"<svg \1", svg, count=1)
    return svg.replace(INK, "currentColor").strip()
