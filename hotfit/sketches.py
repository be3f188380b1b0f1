"""Pictures as SVG text that stands in a page, in the page's own colour of ink."""

import re
from collections.abc import Callable
from hashlib import sha256
from io import StringIO

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


def sketch(draw: Callable, size: tuple[float, float]) -> str:
    """An SVG element that ``draw(figure)`` fills; `size` in inches."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained", dpi=DPI)
        draw(figure)
        stream = StringIO()
        figure.savefig(stream, format="svg", dpi=DPI, metadata={"Date": None})
    return inline(stream.getvalue())


def inline(svg: str) -> str:
    """The SVG element of a file of matplotlib's, with names that no other in the same page has."""
    own = sha256(svg.encode()).hexdigest()[:10]
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)  # named for people who edit them
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{own}-", svg)
    svg = re.sub(r'<svg ([^>]*?)\swidth="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r'<svg ([^>]*?)\sheight="[^"]*"', r"<svg \1", svg, count=1)
    return svg.replace(INK, "currentColor").strip()
