"""The oracle: one pixel at a time in float64, written from the definitions and not from the kernels."""

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
    saturation=np.inf,
    bias_subtracted=False,
    outlier=5.0,
    cured=None,
):
    """Fit one pixel; `y`, `exposure`, `group` are (N,), `exposure` the group's. Returns a dict."""
    y = np.asarray(y, float)
    offset = np.zeros(y.size) if offset is None else np.asarray(offset, float)
    scale = np.ones(y.size) if scale is None else np.asarray(scale, float)
    weight = np.ones(y.size) if weight is None else np.asarray(weight, float)
    usable, saturated = unsaturated(y, exposure, saturation)
    usable &= np.isfinite(y)
    model = exposure, group, scale, weight, read_variance, shot, floor, bias_subtracted
    result = fit(y - offset, usable, *model)
    result |= {"dropped": None, "saturated": saturated}
    if cured is not None and np.isfinite(result["rate"]):
        square = np.where(usable & (result["residual"] > 0), result["outlyingness"], 0)
        hit = int(np.argmax(square))
        without = usable.copy()
        without[hit] = False
        if square[hit] > outlier**2:
            trial = fit(y - offset, without, *model)
            degrees = without.sum() - trial["parameters"]
            same_groups = trial["groups"] == result["groups"]
            tested = degrees > 0 and (same_groups or trial["groups"] > trial["parameters"])
            if tested and trial["chi_square"] < cured[degrees]:
                result = trial | {"dropped": hit, "saturated": saturated}
    return result


def unsaturated(y, exposure, saturation):
    """Samples below saturation: a saturated exposure goes whole, with all longer ones, unless it is a hit."""
    usable, saturated = np.ones(y.size, bool), False
    for t in np.unique(exposure):
        full = (exposure == t) & (y >= saturation)
        if full.any():
            saturated = True
            if (y[exposure >= t] < saturation / 2).any():
                usable &= ~full
            else:
                usable &= exposure < t
                break
    return usable, saturated


def fit(y, usable, exposure, group, scale, weight, read_variance, shot, floor, bias_subtracted):
    """Iterated weighted line through the usable samples, and what it leaves over."""
    x = exposure * scale
    times = np.unique(exposure[usable])
    parameters = 1 if bias_subtracted else 2
    result = {"n_used": int(usable.sum()), "groups": times.size, "parameters": parameters}
    if times.size < parameters or (bias_subtracted and not times.any()):
        return result | {"rate": np.nan}
    rate, intercept = 0.0, -np.inf
    for _ in range(3):
        charge = max(intercept - floor, 0.0)
        variance = read_variance + shot * (max(rate, 0.0) * exposure + charge)
        intercept, rate, error = line(x, y, weight / variance, usable, exposure, bias_subtracted)
    residual = y - intercept - rate * x
    square = weight * residual**2 / variance
    lack = misfit = miss = 0.0
    for g in np.unique(group[usable]):
        members = usable & (group == g)
        n, v = weight[members].sum(), variance[members][0]
        mean = (weight[members] * residual[members]).sum() / n
        lack += n * mean**2 / v
        misfit = max(misfit, abs(mean) / np.sqrt(v))
        miss = max(miss, abs(mean))
    scatter = square[usable].sum() - lack
    degrees, spare = times.size - parameters, usable.sum() - times.size
    half = (times.size + 1) // 2
    short, long = usable & (exposure <= times[half - 1]), usable & (exposure >= times[-half])
    slopes = [line(x, y, weight / variance, part, exposure, bias_subtracted)[1] for part in (short, long)]
    leverage = 1 - hat_diagonal(x, weight / variance, usable, bias_subtracted)
    with np.errstate(divide="ignore", invalid="ignore"):
        return result | {
            "rate": rate,
            "rate_error": error,
            "intercept": intercept,
            "residual": residual,
            "outlyingness": square / np.maximum(leverage, 1e-6),
            "chi_square": square[usable].sum(),
            "lack_of_fit": lack / degrees if degrees else np.nan,
            "scatter": scatter / spare if spare else np.nan,
            "misfit": misfit,
            "misfit_fraction": miss / abs(rate * times[-1]),
            "slope_residual": (slopes[1] - slopes[0]) / rate,
        }


def line(x, y, weight, use, exposure, bias_subtracted):
    """Weighted least squares by the normal equations: intercept, slope, standard error of the slope."""
    columns = x[:, None] if bias_subtracted else np.column_stack([x, np.ones(x.size)])
    columns = columns[use]
    w = weight[use]
    if np.unique(exposure[use]).size < columns.shape[1] or not x[use].any():
        return np.nan, np.nan, np.nan
    information = columns.T @ (w[:, None] * columns)
    solution = np.linalg.solve(information, columns.T @ (w * y[use]))
    error = np.sqrt(np.linalg.inv(information)[0, 0])
    return (0.0 if bias_subtracted else solution[1]), solution[0], error


def hat_diagonal(x, weight, use, bias_subtracted):
    """Leverage of each sample: the diagonal of the hat matrix."""
    columns = x[:, None] if bias_subtracted else np.column_stack([x, np.ones(x.size)])
    inner = np.linalg.inv(columns[use].T @ (weight[use, None] * columns[use]))
    return weight * np.einsum("ij,jk,ik->i", columns, inner, columns)
