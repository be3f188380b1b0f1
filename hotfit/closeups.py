"""Pictures of the frames of a fit and of single pixels, each drawn on matplotlib axes."""

from typing import TYPE_CHECKING

import numpy as np

from hotfit.curves import DROPPED, LONGER, SATURATED, USED
from hotfit.drawing import new_axes, palette
from hotfit.errors import HotfitError
from hotfit.findings import Findings
from hotfit.flags import DQ
from hotfit.plots import COLOURS, LINE, QUIET
from hotfit.portrait import frames_along, residuals

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = {
    USED: ("o", "#6a7ba2", "used"),
    SATURATED: ("s", COLOURS[DQ.SATURATED], "saturated"),
    LONGER: ("v", COLOURS[DQ.SATURATED], "after saturation, not used"),
    DROPPED: ("X", COLOURS[DQ.NONLINEAR], "dropped as a cosmic ray"),
}
"""Marker, colour and label of a sample by its state."""


def plot_frames(
    fit: Findings, *, quantity: str = "scale", against: str = "temperature", ax: "Axes | None" = None
) -> "Axes":
    """Draw one column of `fit.frames` against another, coloured by exposure.

    Parameters
    ----------
    fit : DarkFit
    quantity : str
        "offset" (adu) or "scale", with their errors.
    against : str
        "temperature" (degrees C), "time" (hours since the first frame) or "exposure" (s).
    ax : Axes, optional
        Where to draw; a new figure by default.

    Raises
    ------
    HotfitError
        If matplotlib is missing, there is no such quantity, or the frames do not tell the other one.
    """
    known = {"offset": "offset, adu", "scale": "scale of the dark current"}
    if quantity not in known:
        raise HotfitError(f"quantity={quantity!r}: choose offset or scale")
    place, label = frames_along(fit, against)
    ax = new_axes(ax)
    frames = fit.frames
    if quantity == "scale":  # frames of no exposure have none
        dark = np.asarray(frames["exposure"]) > 0
        frames, place = frames[dark], place[dark]
    exposure = np.asarray(frames["exposure"], float)
    error = np.asarray(frames[f"{quantity}_error"], float)
    ax.errorbar(place, frames[quantity], error, fmt="none", ecolor=QUIET, elinewidth=0.8, zorder=1)
    for k in np.unique(frames["group"]):
        own = np.asarray(frames["group"]) == k
        colour = palette(k / max(int(frames["group"][-1]), 1))
        ax.scatter(
            place[own], frames[quantity][own], s=18, color=colour, label=f"{exposure[own][0]:g} s", zorder=2
        )
    ax.set(xlabel=label, ylabel=known[quantity])
    ax.legend(frameon=False, fontsize="small", ncols=2)
    return ax


def plot_pixel(fit: Findings, y: int, x: int, *, ax: "Axes | None" = None) -> "Axes":
    """Draw counts of one pixel against exposure time, with its line, errors, and what was left out.

    Parameters
    ----------
    fit : DarkFit
    y, x : int
        Row and column, from 0, of a pixel of `fit.curves`.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Raises
    ------
    HotfitError
        If matplotlib is missing, or no samples of this pixel were kept: the nearest one is named.
    """
    seen = residuals(fit, y, x)
    ax = new_axes(ax)
    order = np.argsort(seen.exposure, kind="stable")
    ax.plot(seen.exposure[order], seen.line[order], color=LINE, linewidth=1.4, label="fit")
    draw_samples(ax, seen, seen.counts, seen.sigma)
    ax.set(
        xlabel="exposure, s", ylabel="counts - offset, adu" if np.isfinite(seen.line).all() else "counts, adu"
    )
    return ax


def plot_residuals(fit: Findings, y: int, x: int, *, ax: "Axes | None" = None) -> "Axes":
    """Draw what the line of one pixel leaves of its samples, in single-frame sigmas, as in `plot_pixel`.

    Samples that were left out for saturation are not in it.
    """
    seen = residuals(fit, y, x)
    ax = new_axes(ax)
    ax.axhspan(-1, 1, color=QUIET, alpha=0.25, linewidth=0)
    ax.axhline(0, color=LINE, linewidth=1.4)
    left = np.where(np.isin(seen.state, (USED, DROPPED)), seen.counts - seen.line, np.nan)
    draw_samples(ax, seen, left / seen.sigma, None)
    ax.set(xlabel="exposure, s", ylabel="counts - fit, sigma")
    return ax


def draw_samples(ax, seen, values, sigma) -> None:
    """Draw the samples of a pixel by what became of them, with error bars where sigmas are given."""
    known = np.isfinite(values)
    for state, (marker, colour, label) in MARKS.items():
        own = (seen.state == state) & known
        if own.any():
            bars = None if sigma is None else sigma[own]
            ax.errorbar(
                seen.exposure[own],
                values[own],
                bars,
                fmt=marker,
                color=colour,
                markersize=5,
                elinewidth=0.8,
                fillstyle="full" if state == USED else "none",
                label=label,
            )
