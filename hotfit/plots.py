"""Pictures of all pixels of a fit, each drawn on matplotlib axes."""

from typing import TYPE_CHECKING

import numpy as np

from hotfit.drawing import new_axes, palette
from hotfit.errors import HotfitError
from hotfit.findings import Findings, spelled
from hotfit.flags import DQ
from hotfit.portrait import (
    by_exposure,
    curves_of,
    p_values,
    rate_ceiling,
    rates_above,
    reduced,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hotfit.compare import Comparison

COLOURS = {
    DQ.UNRELIABLE_SLOPE: "#0072b2",
    DQ.NONLINEAR: "#d55e00",
    DQ.TELEGRAPH: "#cc79a7",
    DQ.SATURATED: "#56b4e9",
    DQ.UNRELIABLE_BIAS: "#009e73",
    DQ.HOT: "#e69f00",
}
"""Of pixels with a flag, the first that they have: of Okabe and Ito, to be told apart by all eyes."""

CHANGES = {
    "drifted": ("o", COLOURS[DQ.HOT]),
    "recovered": ("v", COLOURS[DQ.UNRELIABLE_SLOPE]),
    "turned bad": ("^", COLOURS[DQ.NONLINEAR]),
}
"""Marker and colour of a pixel that changed from one night to another."""

QUIET = "#8c8c8c"
LINE = "#009e73"

MOST_EXPOSURES = 6
"""Histograms in one picture."""

BEYOND = 4.0
"""Times the ceiling of the longest exposure that its picture reaches."""

MAP_SIDE = 900
"""Pixels of the picture of a map, at most, along its longer side."""


def plot_histogram(fit: Findings, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the histogram of dark current as each exposure time shows it, both axes logarithmic.

    Parameters
    ----------
    fit : DarkFit
    ax : Axes, optional
        Where to draw; a new figure by default.

    Raises
    ------
    HotfitError
        If matplotlib is missing, or the result is of a version that kept no samples.
    """
    shown, weight = by_exposure(fit), curves_of(fit).weight
    ax = new_axes(ax)
    rate = np.where(shown.rate > 0, shown.rate, np.nan)
    low, high = shown.noise.min() / 3, np.nanmax(rate, initial=shown.noise.max())
    bins = np.geomspace(low, high * 1.01, 80)
    picked = np.unique(np.linspace(0, shown.exposure.size - 1, min(shown.exposure.size, MOST_EXPOSURES)))
    for order, k in enumerate(picked.astype(int)):
        counts, _ = np.histogram(rate[:, k], bins, weights=weight)
        colour = palette(order / max(picked.size - 1, 1))
        ax.stairs(counts, bins, label=f"{shown.exposure[k]:g} s", color=colour, linewidth=1.4)
    for noise, alpha in ((shown.noise.max(), 0.12), (shown.noise.min(), 0.18)):
        ax.axvspan(low, 3 * noise, color=QUIET, alpha=alpha, linewidth=0)
    ax.set(xscale="log", yscale="log", xlim=(low, high * 1.01))
    ax.set(xlabel=f"dark current, {spelled(fit.unit)}", ylabel="pixels")
    ax.legend(title="exposure", frameon=False)
    return ax


def plot_short_long(fit: Findings, *, limit: float | None = None, ax: "Axes | None" = None) -> "Axes":
    """Draw dark current from the longest against that from the shortest exposure above zero.

    Parameters
    ----------
    fit : DarkFit
    limit : float, optional
        Largest dark current to show, in the unit of the map; by default all of them, or up to well beyond the
        ceiling at which the longest exposure is saturated.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Raises
    ------
    HotfitError
        If matplotlib is missing, the result is of a version that kept no samples, or there is but one
        exposure time above zero.
    """
    shown, curves = by_exposure(fit), curves_of(fit)
    if shown.exposure.size < 2:
        raise HotfitError(f"all darks are of {shown.exposure[0]:g} s: there is no longer one to compare with")
    short, long = shown.rate[:, 0], shown.rate[:, -1]
    if not np.isfinite(short + long).any():
        raise HotfitError("no pixel has samples of both the shortest and the longest exposure")
    ax = new_axes(ax)
    ceiling = rate_ceiling(fit, shown.exposure[-1])
    top = min(np.nanmax([short, long]), BEYOND * ceiling) if limit is None else limit
    bottom = max(-0.05 * top, np.nanmin([short, long])) if limit is None else -0.1 * limit
    dq = fit.dq[curves.y, curves.x]
    for label, colour, chosen in by_flag(dq):
        quiet = colour == QUIET
        ax.scatter(
            short[chosen],
            long[chosen],
            s=3 if quiet else 7,
            color=colour,
            alpha=0.5 if quiet else 0.8,
            linewidths=0,
            label=label,
            rasterized=True,
        )
    ax.axline((0, 0), slope=1, color=LINE, linewidth=1.2, label="proportional to time")
    if np.isfinite(ceiling) and ceiling < 1.2 * top:
        ax.axhline(ceiling, color=COLOURS[DQ.SATURATED], linestyle="--", linewidth=1.2, label="saturation")
    ax.set(xlim=(bottom, 1.03 * top), ylim=(bottom, 1.03 * top))
    unit = spelled(fit.unit)
    ax.set_xlabel(f"dark current from {shown.exposure[0]:g} s, {unit}")
    ax.set_ylabel(f"dark current from {shown.exposure[-1]:g} s, {unit}")
    ax.legend(frameon=False, fontsize="small", markerscale=2)
    return ax


def plot_cumulative(fit: Findings, *, ax: "Axes | None" = None) -> "Axes":
    """Draw how many pixels have a dark current above each rate, with the limit of HOT."""
    ax = new_axes(ax)
    low = max(abs(fit.typical.rate_error), 1e-12)
    edges, above = rates_above(fit, low)
    ax.plot(edges, above, color=COLOURS[DQ.HOT], linewidth=1.6, drawstyle="steps-post")
    if fit.hot_limit > 0:
        ax.axvline(fit.hot_limit, color=LINE, linestyle="--", linewidth=1.2)
        place = (fit.hot_limit, np.interp(fit.hot_limit, edges, above))
        ax.annotate(f"HOT, above {fit.hot_limit:.3g}", place, (6, 6), textcoords="offset points")
    ax.set(xscale="log", yscale="log", xlabel=f"dark current, {spelled(fit.unit)}", ylabel="pixels above it")
    return ax


def plot_map(fit: Findings, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the dark-current map, made smaller by means of blocks, and the masked pixels on it."""
    ax = new_axes(ax)
    small, step = reduced(fit, MAP_SIDE)
    rows, columns = fit.dq.shape
    middle = np.nanmedian(small)
    spread = 5 * max(np.nanmedian(np.abs(small - middle)), 1e-6 * abs(middle), 1e-12)
    extent = (-0.5, small.shape[1] * step - 0.5, -0.5, small.shape[0] * step - 0.5)
    image = ax.imshow(
        small,
        origin="lower",
        extent=extent,
        cmap="cividis",
        vmin=middle - spread,
        vmax=middle + 3 * spread,
        interpolation="nearest",
    )
    y, x = fit.masked()
    size = float(np.clip(4000 / max(y.size, 1), 0.5, 12))
    for label, colour, chosen in by_flag(fit.dq[y, x], masking(fit)):
        ax.scatter(x[chosen], y[chosen], s=size, color=colour, linewidths=0, label=label, rasterized=True)
    ax.set(xlim=(-0.5, columns - 0.5), ylim=(-0.5, rows - 0.5), xlabel="x", ylabel="y")
    bar = ax.figure.colorbar(image, ax=ax, location="bottom", fraction=0.05, pad=0.02)
    bar.set_label(f"dark current, {spelled(fit.unit)}")
    if y.size:
        style = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 3, "frameon": False}
        ax.legend(**style, fontsize="small", markerscale=4 / np.sqrt(size), borderaxespad=0)
    return ax


def plot_statistics(fit: Findings, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the share of pixels with a p-value up to p against p: on the diagonal if the noise model holds.

    Raises
    ------
    HotfitError
        If matplotlib is missing, the result is of a version that kept no samples, or nothing was tested.
    """
    tests = p_values(fit)
    if not tests:
        raise HotfitError("nothing was tested: that takes frames of equal exposure, or three exposure times")
    ax = new_axes(ax)
    lowest = 1.0
    for name, found in tests.items():
        p = np.maximum(found.p, 1e-12)
        colour = COLOURS[DQ.TELEGRAPH if name == "scatter" else DQ.NONLINEAR]
        ax.plot(p, found.share, color=colour, linewidth=1.6, drawstyle="steps-post", label=name)
        lowest = min(lowest, found.share[found.share > 0].min(initial=1.0))
    ends = np.array([lowest, 1.0])
    ax.plot(ends, ends, color=QUIET, linestyle="--", linewidth=1.2, label="expected of good pixels")
    ax.set(xscale="log", yscale="log", xlim=(lowest / 30, 1.3), ylim=(lowest / 1.5, 1.5))
    ax.set(xlabel="p-value", ylabel="share of pixels up to it")
    ax.legend(frameon=False)
    return ax


def plot_comparison(comparison: "Comparison", *, ax: "Axes | None" = None) -> "Axes":
    """Draw rate after against rate before, both logarithmic: all good pixels, and those that changed.

    Hollow markers are pixels masked one night only that need not have changed: they are near a limit. What
    has no rate, or one too low for the picture, is at its edge. The dashed line is that of equal rates.

    Parameters
    ----------
    comparison : hotfit.compare.Comparison
    ax : Axes, optional
        Where to draw; a new figure by default.

    Raises
    ------
    HotfitError
        If matplotlib is missing.
    """
    ax = new_axes(ax)
    edges, counts = comparison.density.edges, comparison.density.counts
    shade = np.ma.masked_equal(np.where(counts > 0, 1 + np.log10(np.maximum(counts, 1)), 0), 0)
    ax.pcolormesh(edges, edges, shade.T, cmap="Greys", vmin=-0.5, vmax=7, rasterized=True)
    line = edges[0] * np.array([1.0, edges[-1] / edges[0] * 1.3])
    ax.plot(line, line, color=QUIET, linestyle="--", linewidth=1)
    draw_changes(ax, comparison, line[0])
    many = np.geomspace(*line, 400)  # the shift bends it
    label = f"times {comparison.ratio:.4g}"
    ax.plot(many, comparison.shift + comparison.ratio * many, color=LINE, linewidth=1.2, label=label)
    unit = spelled(comparison.unit)
    ax.set(xscale="log", yscale="log", xlim=line, ylim=line)
    ax.set(xlabel=f"dark current before, {unit}", ylabel=f"dark current after, {unit}")
    style = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 2, "frameon": False}
    ax.legend(**style, fontsize="small", borderaxespad=0, columnspacing=1, handlelength=1.2)
    return ax


def draw_changes(ax: "Axes", comparison: "Comparison", low: float) -> None:
    """Draw the pixels of a comparison by their kind; rates below `low`, and none, are drawn there."""
    table = comparison.table
    kinds, significant = np.asarray(table["change"]), np.asarray(table["significant"])
    rates = [np.asarray(table[name], float) for name in ("rate_before", "rate_after")]
    x, y = (np.maximum(np.nan_to_num(rate), low) for rate in rates)
    style = {"s": 14, "linewidths": 0.8, "clip_on": False, "rasterized": True, "zorder": 3}
    for kind, (marker, colour) in CHANGES.items():
        told, near = ((kinds == kind) & chosen for chosen in (significant, ~significant))
        label = f"{kind}, {np.count_nonzero(told)}"
        ax.scatter(x[told], y[told], marker=marker, color=colour, label=label, **style)
        ax.scatter(x[near], y[near], marker=marker, facecolors="none", edgecolors=colour, **style)
    if not significant.all():
        label = f"near a limit, {np.count_nonzero(~significant)}"
        ax.scatter([], [], marker="^", facecolors="none", edgecolors=QUIET, label=label, **style)


def by_flag(dq, flags=tuple(COLOURS)):
    """Yield label, colour and mask (pixels,) of the pixels by the first of these flags; others come first."""
    left = np.ones(dq.shape, bool)
    first = {}
    for flag in flags:
        first[flag] = left & ((dq & np.uint32(flag)) != 0)
        left &= ~first[flag]
    if left.any():
        yield "other pixels", QUIET, left
    for flag in reversed(list(first)):
        if first[flag].any():
            yield flag.name, COLOURS[flag], first[flag]


def masking(fit: Findings) -> tuple[DQ, ...]:
    """The flags that mask a pixel of this fit and have a colour."""
    return tuple(flag for flag in COLOURS if flag.name in fit.rules.bad)
