"""What a set of darks could have shown: the smallest dark current, and the smallest bend of a warm pixel."""

from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from hotfit.findings import Findings

SIGMAS = 5.0
"""Errors by which a dark current must stand above zero to be seen."""

CHANCE = 0.9
"""Chance of being found that a bend must have to count as one that could have been shown."""

RATE = 10.0
"""Dark current of the warm pixel, in the unit of the map."""


def statement(fit: "Findings") -> dict[str, float | None]:
    """The smallest dark current (unit of the map), and the smallest |slope_residual| at `RATE`, or None.

    The bend is that of a pixel whose rate falls linearly with the charge it has gathered. None where the
    exposures leave nothing to test it by.
    """
    pedestal = pedestal_of(fit)
    rate = 0.0
    for _ in range(20):  # its own shot noise counts too
        rate = SIGMAS * rate_error(fit, rate, pedestal)
    return {
        "smallest_rate": rate if np.isfinite(rate) else None,
        "smallest_slope_residual": smallest_bend(fit, RATE, pedestal),
        "smallest_slope_residual_rate": RATE,
    }


def pedestal_of(fit: "Findings") -> float:
    """Counts of a typical pixel at zero exposure, adu."""
    return 0.0 if fit.bias_subtracted else fit.typical.intercept


def rate_error(fit: "Findings", rate: float, pedestal: float) -> float:
    """Standard error of the rate of a pixel of that rate, in the unit of the map; nan where there is none."""
    columns, weight = design_of(fit, rate, pedestal)
    if np.unique(columns[:, 0]).size < columns.shape[1] or not columns[:, 0].any():
        return np.nan
    return float(np.sqrt(np.linalg.inv(columns.T @ (weight[:, None] * columns))[0, 0]))


def design_of(fit: "Findings", rate: float, pedestal: float) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the line (N, 1 or 2), time first, and weights (N,), for the unsaturated frames of that rate.

    Counts are in electrons where the gain is known, else in adu; `pedestal` is in adu.
    """
    detector, frames = fit.detector, fit.frames
    gain = detector.gain if np.isfinite(detector.gain) else 1.0
    exposure, scale = np.asarray(frames["exposure"]), np.asarray(frames["scale"])
    quantisation = (detector.step * gain) ** 2 / 12
    shot = 1.0 if np.isfinite(detector.gain) else 0.0
    signal = rate * exposure
    variance = detector.read_noise**2 + quantisation + shot * signal
    variance = variance / np.asarray(frames["n_combined"]) + (frames["scale_error"] * signal) ** 2
    whole = pedestal + signal / gain < detector.saturation
    columns = (exposure * scale)[:, None]
    if not fit.bias_subtracted:
        columns = np.column_stack([columns, np.ones_like(exposure)])
    return columns[whole], 1 / np.asarray(variance)[whole]


def smallest_bend(fit: "Findings", rate: float, pedestal: float) -> float | None:
    """Smallest |slope_residual| that is NONLINEAR with the chance `CHANCE` at that rate, or None."""
    columns, weight = design_of(fit, rate, pedestal)
    exposure = np.asarray(fit.frames["exposure"])[: weight.size]
    group = np.asarray(fit.frames["group"])[: weight.size]
    degrees = np.unique(group).size - columns.shape[1]
    if degrees < 1 or not np.isfinite(fit.lack_of_fit_limit):
        return None
    bend = rate * exposure * exposure / exposure[-1]  # of a roll-off by all of the signal
    left = np.abs(bend - line(columns, weight, bend)(columns))
    if left.max() < 1e-6 * bend.max():
        return None
    depth = max(significant_depth(fit, left, weight, degrees), large_depth(fit, left, weight, rate))
    if depth > 1:
        return None
    fitted = line(columns, weight, rate * exposure - depth * bend)(np.eye(columns.shape[1])[0])
    return float(depth * abs(slope_residual(columns, weight, group, bend)) / fitted)


def significant_depth(fit: "Findings", left, weight, degrees: int) -> float:
    """Part of the bend, which leaves `left` (N,) over the line, whose lack of fit is significant."""
    spare = weight.size - degrees - (1 if fit.bias_subtracted else 2)
    limit = special.fdtri(degrees, fit.shared_degrees + spare, 1 - fit.lack_of_fit_limit) * degrees
    if not limit < 1e6:
        return np.inf
    wanted = special.chndtrinc(limit, degrees, 1 - CHANCE)  # noncentrality of a chi-square that passes it
    return float(np.sqrt(fit.lack_of_fit_null * wanted / (weight * left**2).sum()))


def large_depth(fit: "Findings", left, weight, rate: float) -> float:
    """Part of the bend that the rules on its size, `tolerance` and `min_sigma`, let pass."""
    frames = fit.frames[: weight.size]
    group = np.asarray(frames["group"])
    scatter_null = fit.scatter_null if np.isfinite(fit.scatter_null) else 1.0
    single = np.sqrt(scatter_null * np.asarray(frames["n_combined"]) / weight)
    margin = special.ndtri(CHANCE) * np.sqrt(fit.lack_of_fit_null / np.bincount(group, weight)[group])
    worst = np.argmax(left)
    signal = rate * frames["exposure"][-1]
    by_part = (fit.rules.tolerance * signal + margin[worst]) / left[worst]
    by_sigma = np.min((fit.rules.min_sigma * single + margin) / np.maximum(left, 1e-12))
    return float(max(by_part, by_sigma))


def line(columns, weight, values):
    """The weighted line through the values, as a function of other columns."""
    solution = np.linalg.solve(columns.T @ (weight[:, None] * columns), columns.T @ (weight * values))
    return lambda other: other @ solution


def slope_residual(columns, weight, group, values) -> float:
    """Slope over the longer half of the exposures - that over the shorter half."""
    times = np.unique(group)
    half = (times.size + 1) // 2
    unit = np.eye(columns.shape[1])[0]
    slopes = [
        line(columns[part], weight[part], values[part])(unit)
        for part in (np.isin(group, times[-half:]), np.isin(group, times[:half]))
    ]
    return float(slopes[0] - slopes[1])
