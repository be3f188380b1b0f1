"""The oracle: one pixel at a time in float64, written from the definitions and not from the kernels.

Every estimate is linear in the samples: it is h @ y, and its variance is h @ covariance @ h.
"""

import numpy as np


def fit_pixel(
    y,
    exposure,
    group,
    *,
    offset,
    scale,
    weight,
    left,
    read_variance,
    shot,
    floor,
    saturation,
    bias_subtracted,
    outlier,
    hits,
    cured,
):
    """Fit one pixel; `y`, `exposure`, `group` are (N,), `exposure` the group's. Returns a dict.

    `dropped` are the samples that went as cosmic rays, and `end` tells how the search for them ended.
    """
    pedestal = floor if np.isfinite(floor) else 0.0
    usable, saturated = unsaturated(y, exposure, saturation, pedestal)
    usable &= np.isfinite(y)

    def fit_without(dropped):
        use = usable.copy()
        use[list(dropped)] = False
        terms = scale, weight, left[group], read_variance, shot, floor
        return fit(y - offset, use, exposure, group, *terms, bias_subtracted)

    result, dropped, end = without_rays(fit_without, usable, exposure, weight, outlier, hits, cured)
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


def without_rays(fit_without, usable, exposure, weight, outlier, hits, cured):
    """Drop the worst high outlier and refit, up to `hits` times, until the fit is good; else drop none.

    Returns the fit, what was dropped, and how the search ended: "clean" (no outlier), "cured", "second
    level" (hits of like height) or "not cured". A fit that lost an exposure must still be able to show a
    bend to count as good, and a pixel that woke up late was not hit.
    """
    whole = result = fit_without(())
    dropped = ()
    while len(dropped) < hits:
        worst = int(np.argmax(result["outlyingness"]))
        if not result["outlyingness"][worst] > outlier**2:
            return whole, (), "not cured" if dropped else "clean"
        dropped += (worst,)
        result = fit_without(dropped)
        if second_level(result, dropped, exposure, outlier):
            return whole, (), "second level"
        degrees = result["n_used"] - result["parameters"]
        bend_shows = result["groups"] == whole["groups"] or result["groups"] > result["parameters"]
        late = woke_late(usable, dropped, exposure, weight)
        if degrees > 0 and bend_shows and not late and result["chi_square"] < cured[degrees]:
            return result, dropped, "cured"
    return whole, (), "not cured"


def woke_late(usable, dropped, exposure, weight):
    """Whether the dropped samples are all of the longest exposure below saturation.

    A single frame at the longest exposure of the set may be hit by a cosmic ray: nothing contradicts it.
    """
    longest = exposure[usable].max()
    at_longest = set(np.flatnonzero(usable & (exposure == longest)))
    several = len(dropped) > 1 or weight[dropped[0]] > 1
    return at_longest <= set(dropped) and (several or longest < exposure.max())


def second_level(result, dropped, exposure, outlier):
    """Whether two dropped samples are equally high above the line, in counts or in counts per second.

    Equal: the intervals of `outlier` sigmas around the two heights, their shot noise included, overlap.
    """
    height, reach = result["residual"], outlier * result["sigma_as_high"]
    for n, i in enumerate(dropped):
        for j in dropped[:n]:
            if abs(height[i] - height[j]) < reach[i] + reach[j]:
                return True
            t, other_t = exposure[i], exposure[j]
            if t > 0 and other_t > 0:
                apart = abs(height[i] / t - height[j] / other_t)
                if apart < reach[i] / t + reach[j] / other_t:
                    return True
    return False


def fit(y, usable, exposure, group, scale, weight, left, read_variance, shot, floor, bias_subtracted):
    """Iterated weighted line through the usable samples, and what it leaves over."""
    x = exposure * scale
    known = np.where(usable, y, 0.0)
    times = np.unique(exposure[usable])
    parameters = 1 if bias_subtracted else 2
    result = {"n_used": int(usable.sum()), "groups": times.size, "parameters": parameters}
    if times.size < parameters or (bias_subtracted and not times.any()):
        nan = np.full(y.size, np.nan)
        return result | {
            "rate": np.nan, "chi_square": np.nan, "residual": nan, "sigma_as_high": nan, "outlyingness": nan
        }  # fmt: skip
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
    high = usable & (residual > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return result | {
            "rate": rate,
            "rate_error": np.sqrt(to_line[0] @ covariance @ to_line[0]),
            "intercept": intercept,
            "residual": residual,
            "sigma_as_high": np.sqrt((single + shot * np.maximum(residual, 0)) / weight),
            "outlyingness": np.where(high, outlyingness(x, y, variance, usable, bias_subtracted), 0.0),
            "chi_square": square[usable].sum(),
            "lack_of_fit": lack / degrees if degrees else np.nan,
            "scatter": scatter / spare if spare else np.nan,
            "misfit": misfit,
            "misfit_fraction": miss / abs(rate * times[-1]),
            "slope_residual": bend @ known / rate,
            "slope_residual_error": np.sqrt(bend @ covariance @ bend) / abs(rate),
        }


def columns_of(x, bias_subtracted):
    """Columns of the line: time and, for the intercept, ones."""
    return x[:, None] if bias_subtracted else np.column_stack([x, np.ones(x.size)])


def estimator(x, variance, use, exposure, bias_subtracted):
    """Weighted least squares as a matrix (2, N) that turns y into slope and intercept, or nan."""
    matrix = np.zeros((2, x.size))
    columns = columns_of(x, bias_subtracted)[use]
    parameters = columns.shape[1]
    if np.unique(exposure[use]).size < parameters or not x[use].any():
        return np.full(matrix.shape, np.nan)
    weighted = columns.T @ np.diag(1 / variance[use])
    matrix[:parameters, use] = np.linalg.solve(weighted @ columns, weighted)
    return matrix


def outlyingness(x, y, variance, use, bias_subtracted):
    """How far the least chi-square falls when a usable sample is left out, for each of them."""
    columns = columns_of(x, bias_subtracted)
    everything = least_chi_square(columns[use], y[use], variance[use])
    fall = np.zeros(x.size)
    for i in np.flatnonzero(use):
        rest = use.copy()
        rest[i] = False
        fall[i] = everything - least_chi_square(columns[rest], y[rest], variance[rest])
    return fall


def least_chi_square(columns, y, variance):
    """Chi-square of the line that fits best."""
    sigma = np.sqrt(variance)
    solution = np.linalg.lstsq(columns / sigma[:, None], y / sigma, rcond=None)[0]
    return (((y - columns @ solution) / sigma) ** 2).sum()
