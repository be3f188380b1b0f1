"""The oracle: one pixel at a time in float64, written from the definitions and not from the kernels.

Every estimate is a vector h with estimate = h @ y, and its variance is h @ covariance of y @ h.
"""

import numpy as np


def fit_pixel(
    y,
    exposure,
    group,
    *,
    read_variance,
    shot=0.0,
    floor=np.inf,
    offset=None,
    scale=None,
    weight=None,
    left=None,
    saturation=np.inf,
    bias_subtracted=False,
    outlier=5.0,
    hits=0,
    cured=None,
):
    """Fit one pixel; `y`, `exposure`, `group` are (N,), `exposure` the group's. Returns a dict.

    Its `dropped` are the samples that went as cosmic rays; `end` says how the search for them ended.
    """
    y = np.asarray(y, float)
    offset = np.zeros(y.size) if offset is None else np.asarray(offset, float)
    scale = np.ones(y.size) if scale is None else np.asarray(scale, float)
    weight = np.ones(y.size) if weight is None else np.asarray(weight, float)
    left = np.zeros(y.size) if left is None else np.asarray(left, float)[group]
    pedestal = floor if np.isfinite(floor) else 0.0
    usable, saturated = unsaturated(y, exposure, saturation, pedestal)
    usable &= np.isfinite(y)

    def fit_without(dropped):
        use = usable.copy()
        use[list(dropped)] = False
        return fit(
            y - offset, use, exposure, group, scale, weight, read_variance, shot, floor, left, bias_subtracted
        )

    result, dropped, end = without_rays(fit_without, exposure, outlier, hits, cured)
    return result | {"dropped": dropped, "end": end, "saturated": saturated}


def unsaturated(y, exposure, saturation, pedestal):
    """Samples below saturation: a saturated exposure goes whole, with all longer ones, unless it is a hit.

    It is a hit if an equal or longer exposure is less than half full.
    """
    half_full = pedestal + 0.5 * (saturation - pedestal)
    usable = ~(y >= saturation)
    for t in np.unique(exposure[~usable]):
        if not (y[exposure >= t] < half_full).any():
            return usable & (exposure < t), True
    return usable, not usable.all()


def without_rays(fit_without, exposure, outlier, hits, cured):
    """Drop the highest outlier and refit, up to `hits` times, until the fit is good; else drop none.

    Returns the fit, what was dropped, and why the search ended: "clean" (no outlier), "cured", "second
    level" (hits of like height), "no more outliers" or "too many" of them.
    """
    whole = result = fit_without(())
    dropped = ()
    while len(dropped) < hits:
        worst = int(np.argmax(result["outlyingness"]))
        if not result["outlyingness"][worst] > outlier**2:
            return whole, (), "no more outliers" if dropped else "clean"
        dropped += (worst,)
        result = fit_without(dropped)
        if second_level(result, dropped, exposure, outlier):
            return whole, (), "second level"
        degrees = result["n_used"] - result["parameters"]
        lost_none, bend_shows = result["groups"] == whole["groups"], result["groups"] > result["parameters"]
        if degrees > 0 and (lost_none or bend_shows) and result["chi_square"] < cured[degrees]:
            return result, dropped, "cured"
    return whole, (), "too many"


def second_level(result, dropped, exposure, outlier):
    """Whether two dropped samples are equally high above the line, in counts or in counts per second.

    Equal: the intervals of `outlier` sigmas about the two heights overlap.
    """
    height, reach = result["residual"], outlier * result["sigma"]
    for n, i in enumerate(dropped):
        for j in dropped[:n]:
            if abs(height[i] - height[j]) < reach[i] + reach[j]:
                return True
            if exposure[i] > 0 and exposure[j] > 0:
                apart = abs(height[i] / exposure[i] - height[j] / exposure[j])
                if apart < reach[i] / exposure[i] + reach[j] / exposure[j]:
                    return True
    return False


def fit(y, usable, exposure, group, scale, weight, read_variance, shot, floor, left, bias_subtracted):
    """Iterated weighted line through the usable samples, and what it leaves over."""
    x = exposure * scale
    known = np.where(usable, y, 0.0)
    times = np.unique(exposure[usable])
    parameters = 1 if bias_subtracted else 2
    result = {"n_used": int(usable.sum()), "groups": times.size, "parameters": parameters}
    if times.size < parameters or (bias_subtracted and not times.any()):
        nan = np.full(y.size, np.nan)
        return result | {"rate": np.nan, "chi_square": np.nan} | dict.fromkeys(HEIGHTS, nan)
    rate, intercept = 0.0, -np.inf
    for _ in range(3):
        signal, charge = max(rate, 0.0) * exposure, max(intercept - floor, 0.0)
        single = read_variance + shot * (signal + charge) + left * signal**2
        variance = single / weight
        to_line = estimator(x, variance, usable, exposure, bias_subtracted)
        rate, intercept = to_line @ known
    covariance = np.diag(variance)
    residual = y - intercept - rate * x
    square = residual**2 / variance
    lack = misfit = miss = 0.0
    for g in np.unique(group[usable]):
        members = usable & (group == g)
        n, v = weight[members].sum(), single[members][0]
        mean = (weight[members] * residual[members]).sum() / n
        lack += n * mean**2 / v
        misfit = max(misfit, abs(mean) / np.sqrt(v))
        miss = max(miss, abs(mean))
    scatter = square[usable].sum() - lack
    degrees, spare = times.size - parameters, usable.sum() - times.size
    half = (times.size + 1) // 2
    short, long = (
        estimator(x, variance, usable & part, exposure, bias_subtracted)[0]
        for part in (exposure <= times[half - 1], exposure >= times[-half])
    )
    bend = long - short
    above = usable & (residual > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return result | {
            "rate": rate,
            "rate_error": np.sqrt(to_line[0] @ covariance @ to_line[0]),
            "intercept": intercept,
            "residual": residual,
            "sigma": np.sqrt(variance),
            "outlyingness": np.where(above, outlyingness(x, y, variance, usable, bias_subtracted), 0.0),
            "chi_square": square[usable].sum(),
            "lack_of_fit": lack / degrees if degrees else np.nan,
            "scatter": scatter / spare if spare else np.nan,
            "misfit": misfit,
            "misfit_fraction": miss / abs(rate * times[-1]),
            "slope_residual": bend @ known / rate,
            "slope_residual_error": np.sqrt(bend @ covariance @ bend) / abs(rate),
        }


HEIGHTS = ("residual", "sigma", "outlyingness")


def columns_of(x, bias_subtracted):
    """Columns of the line: time, and one for the intercept."""
    return x[:, None] if bias_subtracted else np.column_stack([x, np.ones(x.size)])


def estimator(x, variance, use, exposure, bias_subtracted):
    """Weighted least squares as a matrix (2, N): @ y it gives slope and intercept; nan where no line is."""
    matrix = np.zeros((2, x.size))
    columns = columns_of(x, bias_subtracted)[use]
    parameters = columns.shape[1]
    if np.unique(exposure[use]).size < parameters or not x[use].any():
        return np.full(matrix.shape, np.nan)
    weighted = columns.T @ np.diag(1 / variance[use])
    matrix[:parameters, use] = np.linalg.solve(weighted @ columns, weighted)
    return matrix


def outlyingness(x, y, variance, use, bias_subtracted):
    """By how much the least chi-square falls if this one sample is left out, for each usable sample."""
    columns = columns_of(x, bias_subtracted)
    everything = least_chi_square(columns[use], y[use], variance[use])
    fall = np.zeros(x.size)
    for i in np.flatnonzero(use):
        rest = use.copy()
        rest[i] = False
        fall[i] = everything - least_chi_square(columns[rest], y[rest], variance[rest])
    return fall


def least_chi_square(columns, y, variance):
    """Chi-square of the best line, refitted."""
    sigma = np.sqrt(variance)
    solution = np.linalg.lstsq(columns / sigma[:, None], y / sigma, rcond=None)[0]
    return (((y - columns @ solution) / sigma) ** 2).sum()
