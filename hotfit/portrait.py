"""What the pictures of a fit show, in numbers: dark current by exposure, what a pixel's line leaves over."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special

from hotfit.curves import DROPPED, MISSING, USED
from hotfit.errors import HotfitError
from hotfit.flags import DQ
from hotfit.maps import blocks
from hotfit.verdict import moderated

if TYPE_CHECKING:
    from hotfit.findings import Findings

TINY = 1e-300
"""Least p-value that is shown."""


SEVERITY = {DQ.NONLINEAR: "misfit", DQ.TELEGRAPH: "scatter"}
"""What orders the pixels of a reason; the rate for all others."""


class ByExposure(NamedTuple):
    """Dark current of P pixels as each of K exposure times shows it, in the unit of the map."""

    exposure: np.ndarray  # (K,) s, ascending, above zero
    rate: np.ndarray  # (P, K), nan where there is no sample
    noise: np.ndarray  # (K,) standard error that the read noise leaves in it


class Residuals(NamedTuple):
    """Samples of one pixel about its line; all arrays (N,)."""

    exposure: np.ndarray  # s
    counts: np.ndarray  # adu, without the frame's offset where there is a line
    line: np.ndarray  # adu, at the frame's scale; nan where the pixel has no rate
    sigma: np.ndarray  # adu, of a single sample on the line
    state: np.ndarray  # see `hotfit.curves`


class Shares(NamedTuple):
    """p-values of complete pixels, sorted, and the share of all of them up to each."""

    p: np.ndarray
    share: np.ndarray


def curves_of(fit: "Findings"):
    """The samples that a fit keeps; raises HotfitError if it keeps none."""
    if fit.curves is None:
        raise HotfitError(
            "curves: this result is of an older version, which kept no samples for pictures; make it again"
        )
    return fit.curves


def in_map_unit(fit: "Findings") -> float:
    """What turns adu into electrons where the map is in these."""
    return fit.detector.gain if np.isfinite(fit.detector.gain) else 1.0


def by_exposure(fit: "Findings") -> ByExposure:
    """Dark current of the kept pixels, from each exposure time alone.

    It is what their mean has above that of the bias frames, or above the intercept of the fit where there are
    none; saturated samples are in it, those dropped as cosmic rays are not.
    """
    curves, frames = curves_of(fit), fit.frames
    group, weight = np.asarray(frames["group"]), np.asarray(frames["n_combined"]).astype(float)
    usable = ~np.isin(curves.state, (DROPPED, MISSING)) * weight
    values = np.where(usable > 0, curves.counts, 0) - np.asarray(frames["offset"])
    count = np.stack([usable[:, group == k].sum(axis=1) for k in np.unique(group)], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = [(usable * values)[:, group == k].sum(axis=1) for k in np.unique(group)] / count.T
    exposure = np.bincount(group, frames["exposure"]) / np.bincount(group)
    grown = np.bincount(group, frames["scale"] * frames["exposure"] * weight) / np.bincount(group, weight)
    level, spread = 0.0, 0.0
    if exposure[0] == 0 and not fit.bias_subtracted:
        level, spread = mean[0], 1 / weight[group == 0].sum()
    elif not fit.bias_subtracted:
        level = fit.values_at(curves.y, curves.x, ("intercept",))["intercept"]
    dark = exposure > 0
    factor = in_map_unit(fit) / grown[dark]
    sigma = np.sqrt((fit.detector.read_noise / in_map_unit(fit)) ** 2 + fit.detector.step**2 / 12)
    noise = factor * sigma * np.sqrt(1 / np.bincount(group, weight)[dark] + spread)
    return ByExposure(exposure[dark], ((mean - level)[dark] * factor[:, None]).T, noise)


def residuals(fit: "Findings", y: int, x: int) -> Residuals:
    """Samples of the pixel in row `y` and column `x` about its line."""
    curves, frames = curves_of(fit), fit.frames
    rows, columns = fit.dq.shape
    if not (0 <= y < rows and 0 <= x < columns):
        raise HotfitError(
            f"pixel ({y}, {x}): is outside the image, which has {rows} rows and {columns} columns"
        )
    index = curves.find(y, x)
    if index is None:
        near = np.argmin(np.hypot(curves.y.astype(float) - y, curves.x.astype(float) - x))
        raise HotfitError(
            f"pixel ({y}, {x}): no samples of it were kept; the nearest of fit.curves is "
            f"({curves.y[near]}, {curves.x[near]})"
        )
    values = fit.values_at(np.array([y]), np.array([x]), ("rate", "intercept"))
    rate, intercept = (float(values[name][0]) for name in ("rate", "intercept"))
    gain = in_map_unit(fit)
    grown = rate / gain * np.asarray(frames["exposure"] * frames["scale"])
    charge = np.maximum(grown + max(intercept - fit.charge_floor, 0), 0)
    shot = charge / gain if np.isfinite(fit.detector.gain) else 0.0
    sigma = np.sqrt((fit.detector.read_noise / gain) ** 2 + fit.detector.step**2 / 12 + shot)
    return Residuals(
        exposure=np.asarray(frames["exposure"]),
        counts=curves.counts[index] - (0.0 if np.isnan(rate) else np.asarray(frames["offset"])),
        line=intercept + grown,
        sigma=sigma / np.sqrt(np.asarray(frames["n_combined"])),
        state=curves.state[index],
    )


def p_values(fit: "Findings") -> dict[str, Shares]:
    """Of the kept pixels that are complete, by the name of the test; nothing of what was not tested."""
    curves, names = curves_of(fit), ("lack_of_fit", "scatter")
    values = fit.values_at(curves.y, curves.x, names)
    whole = (curves.weight > 0) & (curves.state == USED).all(axis=1)
    lack, scatter = (values[name][whole].astype(float) for name in names)
    groups = int(np.asarray(fit.frames["group"]).max()) + 1
    spare, degrees = len(fit.frames) - groups, groups - (1 if fit.bias_subtracted else 2)
    shared, found = fit.shared_degrees, {}
    if np.isfinite(fit.scatter_null):
        scatter = scatter / fit.scatter_null
        found["scatter"] = special.fdtrc(spare, shared, scatter)
        lack, shared = lack / moderated(scatter, spare, shared), shared + spare
    if np.isfinite(fit.lack_of_fit_null):
        found["lack of fit"] = special.fdtrc(degrees, shared, lack / fit.lack_of_fit_null)
    return {name: shares(p, curves.weight[whole]) for name, p in found.items()}


def shares(p, weight) -> Shares:
    """The p-values that there are, with what pixels of these weights have up to each."""
    p, weight = p[~np.isnan(p)], weight[~np.isnan(p)].astype(float)
    order = np.argsort(p)
    summed = np.cumsum(weight[order])
    return Shares(np.maximum(p[order], TINY), summed / (summed[-1] if summed.size else 1))


def rate_ceiling(fit: "Findings", exposure: float) -> float:
    """Dark current at which a typical pixel saturates in so many seconds; inf where no level is known."""
    level = 0.0 if fit.bias_subtracted else fit.typical.intercept
    return (fit.detector.saturation - level) * in_map_unit(fit) / exposure


def zoom_limit(fit: "Findings") -> float:
    """Dark current up to which a closer look shows what follows time and what does not."""
    ceiling = rate_ceiling(fit, float(fit.frames["exposure"][-1])) / 8
    return ceiling if np.isfinite(ceiling) else 40 * max(fit.hot_limit, fit.typical.rate_error)


def rates_above(fit: "Findings", low: float) -> tuple[np.ndarray, np.ndarray]:
    """Rates from `low` on, and the number of pixels of the map above each."""
    edges = np.geomspace(low, 1e9 * low, 901)
    counts = np.zeros(edges.size + 1, np.int64)
    for first, last in blocks(fit.dq.shape):
        rate = fit.map_rows("rate", first, last).ravel()
        counts += np.bincount(np.searchsorted(edges, rate[np.isfinite(rate)]), minlength=counts.size)
    above = counts[::-1].cumsum()[::-1][1:]
    if not above.any():
        raise HotfitError(f"no pixel has a dark current above {low:.3g} {fit.unit}")
    shown = np.flatnonzero(above)[-1] + 2
    return edges[:shown], above[:shown]


def reduced(fit: "Findings", side: int) -> tuple[np.ndarray, int]:
    """The rate in means of square blocks, at most `side` of them along each axis, and the side of a block."""
    rows, columns = fit.dq.shape
    step = -(-max(rows, columns) // side)
    edges = np.arange(0, columns, step)
    lines = []
    for first in range(0, rows, step):
        rate = fit.map_rows("rate", first, min(first + step, rows)).astype(float)
        known = np.isfinite(rate)
        number = np.add.reduceat(known.sum(axis=0), edges)
        total = np.add.reduceat(np.where(known, rate, 0).sum(axis=0), edges)
        lines.append(np.where(number > 0, total / np.maximum(number, 1), np.nan))
    if np.isnan(lines).all():
        raise HotfitError("no pixel has a rate")
    return np.array(lines), step


def frames_along(fit: "Findings", name: str) -> tuple[np.ndarray, str]:
    """A column of the frames that others can be drawn against, (N,), and its label."""
    if name == "temperature":
        column, label = np.asarray(fit.frames["temperature"], float), "temperature, degrees C"
    elif name == "time" and "mjd" not in fit.frames.colnames:
        raise HotfitError("this result is of an older version, which did not keep when frames were taken")
    elif name == "time":
        column, label = np.asarray(fit.frames["mjd"], float), "time since the first frame, hours"
        column = 24 * (column - np.nanmin(column)) if np.isfinite(column).any() else column
    elif name == "exposure":
        column, label = np.asarray(fit.frames["exposure"], float), "exposure, s"
    else:
        raise HotfitError(f"against={name!r}: choose temperature, time or exposure")
    if not np.isfinite(column).any():
        raise HotfitError(f"the headers of the frames do not tell their {name}")
    return column, label
