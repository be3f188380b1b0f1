"""The compiled fit: every njit function of hotfit and the one jit policy. Arrays in, arrays out.

A pixel without saturation, gaps or outliers is *plain*: its sums over the exposure groups are all the
fit needs. Plain pixels are fitted a tile at a time in float32, frames in the outer loop and neighbouring
pixels in the inner one, so that the accumulators stay in cache and the loops vectorise. The few other
pixels are fitted one by one in float64 (`fit_pixel`), where samples can be left out.

Times are in units of the longest exposure and measured from a centre, the shortest exposure: u = t / t_max,
x = scale * u - centre. A slope is therefore the dark signal in the longest exposure, in ADU.
"""

from typing import NamedTuple

import numba
import numpy as np

TILE = 1024
"""Pixels in a tile: its accumulators fit the level-2 cache for a dozen exposure groups."""

REWEIGHTINGS = 2
"""Times the weights are recomputed from the fitted slope; a third changes rates by less than 1e-3 errors."""

SATURATED = 1 << 1
JUMP_DET = 1 << 2
UNRELIABLE_SLOPE = 1 << 24


def jit(function):
    """Compile serially, without the GIL, with numpy's division, and cached where a cache can be kept."""
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # a read-only install without a home has no place for the cache
        return numba.njit(nogil=True, error_model="numpy")(function)


class Design(NamedTuple):
    """What all pixels share: N frames sorted by exposure, in K groups. Tiles round it to float32."""

    order: np.ndarray  # (N,) intp, where each frame stands in the samples
    start: np.ndarray  # (K + 1,) intp, first frame of each group, then N
    u: np.ndarray  # (K,) float64, exposure of the group / longest exposure
    x: np.ndarray  # (N,) float64, scale * u - centre
    offset: np.ndarray  # (N,) float64, adu
    weight: np.ndarray  # (N,) float64, frames combined in each frame
    n: np.ndarray  # (K,) float64, sum of weight
    sum_x: np.ndarray  # (K,) float64, sum of weight * x
    sum_xx: np.ndarray  # (K,) float64, sum of weight * x**2
    gate: np.ndarray  # (N,) float64, weight / (1 - leverage): squared residuals to squared outlyingness
    left: np.ndarray  # (K,) float64, squared relative error that the frame scales leave
    centre: np.float64
    free: np.float64  # 1: the intercept is fitted, 0: the line goes through the origin


class Noise(NamedTuple):
    """The noise model of one frame: variance = read + shot * (dark signal + charge of the readout time).

    To it comes Design.left * dark signal**2.
    """

    read: np.float32  # adu**2
    shot: np.float32  # adu per adu of charge, 1 / gain
    floor: np.float32  # adu; what an intercept has above it is charge gathered during readout


class Limits(NamedTuple):
    """Where a pixel stops being plain, and what may be dropped."""

    saturation: np.float32  # adu; a sample at or above it is saturated
    stuck: np.int64  # so many equal samples are no coincidence
    candidate: np.float32  # sigma; above it the pixel is looked at sample by sample
    outlier: np.float32  # sigma; above it a sample may be dropped
    hits: np.int64  # samples of a pixel that may be dropped
    calm: np.float32  # adu; a pixel this low at an equal or longer exposure is not saturated
    cured: np.ndarray  # (N + 1,) float32, chi-square by degrees of freedom below which a fit is good


class Maps(NamedTuple):
    """The results of a run of pixels; every array has shape (pixels,)."""

    rate: np.ndarray  # float32
    rate_error: np.ndarray  # float32
    intercept: np.ndarray  # float32, adu
    slope_residual: np.ndarray  # float32
    slope_residual_error: np.ndarray  # float32
    lack_of_fit: np.ndarray  # float32, reduced
    scatter: np.ndarray  # float32, reduced
    misfit: np.ndarray  # float32, largest |group mean - line|, single-frame sigmas
    misfit_fraction: np.ndarray  # float32, the same over the largest usable dark signal
    n_used: np.ndarray  # uint16, samples
    n_groups: np.ndarray  # uint16, exposure times
    n_dropped: np.ndarray  # uint8, samples dropped as cosmic rays
    dq: np.ndarray  # uint32


@jit
def fit_pixels(samples, first, design, noise, limits, unit, maps, counts):
    """Fit the pixels first .. first + len(maps.rate) of `samples` (N, pixels), uint16 or float32.

    `unit` turns a slope into a rate; `counts` (2, N) int64 gathers saturated and dropped samples by frame.
    """
    groups = design.u.size
    sum_y = np.empty((groups, TILE), np.float32)
    sum_xy = np.empty((groups, TILE), np.float32)
    inverse = np.empty((groups, TILE), np.float32)
    work = np.empty((19, TILE), np.float32)
    for begin in range(0, maps.rate.size, TILE):
        size = min(TILE, maps.rate.size - begin)
        fit_tile(samples, first + begin, size, design, noise, unit, sum_y, sum_xy, inverse, work, maps, begin)
        lowest, highest, chi, peak = work[1], work[2], work[7], work[9]
        for p in range(size):
            plain = (
                highest[p] < limits.saturation
                and lowest[p] < highest[p]
                and peak[p] < limits.candidate**2
                and chi[p] < 1e4  # float32 cannot tell scatter from a larger lack of fit; false for nan
            )
            if not plain:
                fit_pixel(samples, first + begin + p, design, noise, limits, unit, maps, begin + p, counts)


@jit
def fit_tile(samples, first, size, design, noise, unit, sum_y, sum_xy, inverse, work, maps, begin):
    """Fit `size` pixels as if all were plain, and write their maps."""
    groups = design.u.size
    degrees = groups - 1 - design.free
    pivot, lowest, highest, a, slope, variance, chi, lack, peak, misfit, miss = (
        work[0], work[1], work[2], work[3], work[4], work[5], work[7], work[8], work[9], work[10], work[11]
    )  # fmt: skip
    sum_groups(samples, first, size, design, pivot, lowest, highest, sum_y, sum_xy)
    slope[:] = 0
    a[:] = -np.inf
    for _ in range(1 + REWEIGHTINGS):
        weigh(pivot, a, slope, size, design, noise, inverse)
        fit_groups(sum_y, sum_xy, inverse, 0, groups, size, design, work[12:17], a, slope, variance)
    test_line(samples, first, size, design, pivot, a, slope, inverse, chi, lack, peak, misfit, miss, work[6])
    for p in range(size):
        q = begin + p
        maps.rate[q] = slope[p] * unit
        maps.rate_error[q] = np.sqrt(variance[p]) * unit
        maps.intercept[q] = design.free * (pivot[p] + a[p] - slope[p] * design.centre)
        maps.lack_of_fit[q] = lack[p] / degrees if degrees > 0 else np.nan
        spare = samples.shape[0] - groups
        maps.scatter[q] = max(chi[p] - lack[p], np.float32(0)) / spare if spare > 0 else np.nan
        maps.misfit[q] = np.sqrt(misfit[p])
        maps.misfit_fraction[q] = miss[p] / (abs(slope[p]) * design.u[-1])
        maps.n_used[q] = samples.shape[0]
        maps.n_groups[q] = groups
        maps.n_dropped[q] = 0
        maps.dq[q] = 0
    half = (groups + 1) // 2
    short, short_variance, short_x, long, long_variance = work[10], work[17], work[18], work[11], variance
    sums = work[12:17]
    fit_groups(sum_y, sum_xy, inverse, 0, half, size, design, sums, a, short, short_variance)
    short_x[:] = sums[1] / sums[0]
    fit_groups(sum_y, sum_xy, inverse, groups - half, groups, size, design, sums, a, long, long_variance)
    k, shared = groups // 2, groups % 2  # an odd number of groups: the halves share the middle one
    for p in range(size):
        maps.slope_residual[begin + p] = (long[p] - short[p]) / slope[p]
        square = short_variance[p] + long_variance[p]
        if shared:
            near, far = design.free * short_x[p], design.free * sums[1, p] / sums[0, p]
            common = inverse[k, p] * (
                design.sum_xx[k] - (near + far) * design.sum_x[k] + near * far * design.n[k]
            )
            square -= 2 * common * short_variance[p] * long_variance[p]
        maps.slope_residual_error[begin + p] = np.sqrt(square) / abs(slope[p])


@jit
def sum_groups(samples, first, size, design, pivot, lowest, highest, sum_y, sum_xy):
    """Sums of y and x * y by exposure group, y counted from the pixel's first sample (exact in float32)."""
    row = samples[design.order[0], first : first + size]
    for p in range(size):
        lowest[p] = row[p]
        highest[p] = row[p]
        pivot[p] = np.float32(design.free) * np.float32(row[p])
    for k in range(design.u.size):
        total, moment = sum_y[k], sum_xy[k]
        total[:size] = 0
        moment[:size] = 0
        for i in range(design.start[k], design.start[k + 1]):
            row = samples[design.order[i], first : first + size]
            weight, offset = np.float32(design.weight[i]), np.float32(design.offset[i])
            weight_x = np.float32(design.weight[i] * design.x[i])
            for p in range(size):
                sample = np.float32(row[p])
                y = sample - pivot[p] - offset
                total[p] += weight * y
                moment[p] += weight_x * y
                lowest[p] = min(lowest[p], sample)
                highest[p] = max(highest[p], sample)


@jit
def weigh(pivot, a, slope, size, design, noise, inverse):
    """Inverse variance of one sample in every group, from the noise model at the fitted line."""
    for k in range(design.u.size):
        row, u, centre = inverse[k], np.float32(design.u[k]), np.float32(design.centre)
        left = np.float32(design.left[k])
        for p in range(size):
            charge = max(pivot[p] + a[p] - slope[p] * centre - noise.floor, np.float32(0))
            signal = max(slope[p], np.float32(0)) * u
            row[p] = np.float32(1) / (noise.read + noise.shot * (signal + charge) + left * signal * signal)


@jit
def fit_groups(sum_y, sum_xy, inverse, begin, end, size, design, sums, a, slope, variance):
    """Weighted line through the groups begin .. end of every pixel of a tile."""
    w, wx, wxx, wy, wxy = sums[0], sums[1], sums[2], sums[3], sums[4]
    sums[:] = 0
    for k in range(begin, end):
        n, x, xx = np.float32(design.n[k]), np.float32(design.sum_x[k]), np.float32(design.sum_xx[k])
        total, moment, row = sum_y[k], sum_xy[k], inverse[k]
        for p in range(size):
            w[p] += n * row[p]
            wx[p] += x * row[p]
            wxx[p] += xx * row[p]
            wy[p] += total[p] * row[p]
            wxy[p] += moment[p] * row[p]
    solvable, free = end - begin > design.free, np.float32(design.free)
    for p in range(size):
        a[p], slope[p], variance[p] = solve(w[p], wx[p], wxx[p], wy[p], wxy[p], free, solvable)


@jit
def solve(w, wx, wxx, wy, wxy, free, solvable):
    """Intercept (at x = 0), slope and its variance from weighted sums; nan where they fix no line."""
    spread = wxx - free * wx * wx / w
    if not (solvable and spread > 0):
        return np.nan, np.nan, np.nan
    slope = (wxy - free * wx * wy / w) / spread
    return free * (wy - slope * wx) / w, slope, 1 / spread


@jit
def test_line(samples, first, size, design, pivot, a, slope, inverse, chi, lack, peak, misfit, miss, group):
    """Chi-square in all and of the group means, largest outlyingness, largest misfit of a group mean."""
    for row in (chi, lack, peak, misfit, miss):
        row[:] = 0
    for k in range(design.u.size):
        group[:] = 0
        weight_k = inverse[k]
        for i in range(design.start[k], design.start[k + 1]):
            row = samples[design.order[i], first : first + size]
            weight, offset = np.float32(design.weight[i]), np.float32(design.offset[i])
            x, gate = np.float32(design.x[i]), np.float32(design.gate[i])
            for p in range(size):
                residual = np.float32(row[p]) - pivot[p] - offset - a[p] - slope[p] * x
                square = residual * residual * weight_k[p]
                chi[p] += weight * square
                group[p] += weight * residual
                peak[p] = max(peak[p], square * gate if residual > 0 else np.float32(0))
        n = np.float32(design.n[k])
        for p in range(size):
            mean = group[p] / n
            square = mean * mean * weight_k[p]
            lack[p] += n * square
            misfit[p] = max(misfit[p], square)
            miss[p] = max(miss[p], abs(mean))


@jit
def fit_pixel(samples, pixel, design, noise, limits, unit, maps, q, counts):
    """Fit one pixel sample by sample: mask saturation and gaps, drop cosmic rays if that cures the fit."""
    frames = samples.shape[0]
    y = np.empty(frames)
    usable = np.empty(frames, np.bool_)
    constant = True
    for i in range(frames):
        y[i] = np.float64(samples[design.order[i], pixel])
        constant &= y[i] == y[0]
        usable[i] = np.isfinite(y[i])
    dq = mask_saturated(y, design, limits, usable, counts[0])
    y -= design.offset
    inverse = np.empty(design.u.size)
    line = fit_usable(y, usable, design, noise, inverse)
    dropped, line = drop_hits(y, usable, design, noise, limits, inverse, line)
    maps.n_dropped[q] = dropped.size
    for i in dropped:
        dq |= JUMP_DET
        counts[1, i] += 1
    if constant and frames >= limits.stuck:
        dq |= UNRELIABLE_SLOPE
        line = (np.nan, np.nan, np.nan)
    write_pixel(y, usable, design, inverse, line, unit, maps, q)
    maps.dq[q] = dq


@jit
def mask_saturated(y, design, limits, usable, counts):
    """Mask the shortest saturated exposure and every longer one; returns SATURATED or 0.

    The whole group goes: what is left of a truncated group is biased low. A saturated sample whose
    equal or longer exposures stay calm is a cosmic ray, and is masked alone.
    """
    dq = 0
    for k in range(design.u.size):
        full, calm = False, False
        for i in range(design.start[k], design.start[k + 1]):
            full |= y[i] >= limits.saturation
        for i in range(design.start[k], y.size):
            calm |= y[i] < limits.calm
        if full:
            dq = SATURATED
            last = design.start[k + 1] if calm else y.size
            for i in range(design.start[k], last):
                hit = y[i] >= limits.saturation
                counts[i] += hit
                usable[i] &= calm and not hit
            if not calm:
                break
    return dq


@jit
def fit_usable(y, usable, design, noise, inverse):
    """Weighted line through the usable samples; returns (intercept at x = 0, slope, variance of slope)."""
    line = (-np.inf, 0.0, np.inf)
    for _ in range(1 + REWEIGHTINGS):
        a, slope, _ = line
        charge = max(a - slope * design.centre - noise.floor, 0.0)
        for k in range(design.u.size):
            signal = max(slope, 0.0) * design.u[k]
            inverse[k] = 1 / (noise.read + noise.shot * (signal + charge) + design.left[k] * signal * signal)
        line = fit_range(y, usable, design, inverse, 0, design.u.size)
    return line


@jit
def fit_range(y, usable, design, inverse, begin, end):
    """Weighted line through the usable samples of the groups begin .. end."""
    w, wx, wxx, wy, wxy = 0.0, 0.0, 0.0, 0.0, 0.0
    groups = 0
    pivot = design.free * y[0] if np.isfinite(y[0]) else 0.0
    for k in range(begin, end):
        seen = False
        for i in range(design.start[k], design.start[k + 1]):
            if usable[i]:
                weight, x = design.weight[i] * inverse[k], design.x[i]
                w += weight
                wx += weight * x
                wxx += weight * x * x
                wy += weight * (y[i] - pivot)
                wxy += weight * x * (y[i] - pivot)
                seen = True
        groups += seen
    a, slope, variance = solve(w, wx, wxx, wy, wxy, design.free, groups > design.free)
    return a + pivot, slope, variance


@jit
def drop_hits(y, usable, design, noise, limits, inverse, line):
    """Mask high outliers, the worst first, until the fit is good; if it never is, mask none.

    Returns the frames that were dropped and the line. Hits of like height are not cosmic rays: the pixel
    has a second level. Nor are those that make up the longest exposure, if they are several, or a master of
    several, or longer ones are full: the pixel woke up late.
    """
    first, count = line, 0
    groups = count_groups(usable, design)
    last = 0
    for k in range(design.u.size):
        if usable[design.start[k] : design.start[k + 1]].any():
            last = k
    dropped = np.empty(limits.hits, np.intp)
    while count < limits.hits:
        frame = most_outlying(y, usable, design, limits, inverse, line)
        if frame < 0:
            break
        usable[frame] = False
        dropped[count] = frame
        count += 1
        line = fit_usable(y, usable, design, noise, inverse)
        if alike(y, dropped[:count], design, noise, limits, inverse, line):
            break
        after = count_groups(usable, design)
        degrees = int(usable.sum() - 1 - design.free)
        woken = count > 1 or last < design.u.size - 1 or design.weight[frame] > 1
        late = woken and not usable[design.start[last] :].any()
        tested = degrees > 0 and not late and (after == groups or after - 1 - design.free > 0)
        if tested and chi_square(y, usable, design, inverse, line)[0] < limits.cured[degrees]:
            return dropped[:count], line
    for i in dropped[:count]:
        usable[i] = True
    if count:
        fit_usable(y, usable, design, noise, inverse)
    return dropped[:0], first


@jit
def most_outlying(y, usable, design, limits, inverse, line):
    """Frame of the sample furthest above the line, leverage allowed for, or -1 if none is an outlier."""
    worst, frame = limits.outlier**2, -1
    a, slope, variance = line
    w, wx = 0.0, 0.0
    for k in range(design.u.size):
        for i in range(design.start[k], design.start[k + 1]):
            if usable[i]:
                w += design.weight[i] * inverse[k]
                wx += design.weight[i] * inverse[k] * design.x[i]
    for k in range(design.u.size):
        for i in range(design.start[k], design.start[k + 1]):
            residual = y[i] - a - slope * design.x[i]
            if usable[i] and residual > 0:
                weight = design.weight[i] * inverse[k]
                far = design.x[i] - design.free * wx / w
                leverage = weight * (design.free / w + far * far * variance)
                square = weight * residual * residual / max(1 - leverage, 1e-6)
                if square > worst:
                    worst, frame = square, i
    return frame


@jit
def alike(y, dropped, design, noise, limits, inverse, line):
    """Whether two of the dropped samples are equally high above the line, in counts or in counts per time.

    Samples that high have the shot noise of their height, too.
    """
    a, slope, _ = line
    height, reach, u = np.empty(dropped.size), np.empty(dropped.size), np.empty(dropped.size)
    for n in range(dropped.size):
        i = dropped[n]
        k = np.searchsorted(design.start, i, side="right") - 1
        height[n] = y[i] - a - slope * design.x[i]
        variance = (1 / inverse[k] + noise.shot * max(height[n], 0.0)) / design.weight[i]
        reach[n] = limits.outlier * np.sqrt(variance)
        u[n] = design.u[k]
        for m in range(n):
            in_counts = abs(height[n] - height[m]) < reach[n] + reach[m]
            difference = abs(height[n] * u[m] - height[m] * u[n])
            if in_counts or (u[n] * u[m] > 0 and difference < reach[n] * u[m] + reach[m] * u[n]):
                return True
    return False


@jit
def count_groups(usable, design):
    """Exposure times with a usable sample."""
    groups = 0
    for k in range(design.u.size):
        groups += usable[design.start[k] : design.start[k + 1]].any()
    return groups


@jit
def chi_square(y, usable, design, inverse, line):
    """Chi-square in all and of the group means, largest squared misfit in sigmas, largest misfit in adu."""
    a, slope, _ = line
    chi, lack, misfit, miss = 0.0, 0.0, 0.0, 0.0
    for k in range(design.u.size):
        n, group = 0.0, 0.0
        for i in range(design.start[k], design.start[k + 1]):
            if usable[i]:
                residual = y[i] - a - slope * design.x[i]
                chi += design.weight[i] * residual * residual * inverse[k]
                group += design.weight[i] * residual
                n += design.weight[i]
        if n > 0:
            lack += group * group / n * inverse[k]
            misfit = max(misfit, group * group / (n * n) * inverse[k])
            miss = max(miss, abs(group) / n)
    return chi, lack, misfit, miss


@jit
def write_pixel(y, usable, design, inverse, line, unit, maps, q):
    """Write the maps of one pixel from its line."""
    a, slope, variance = line
    chi, lack, misfit, miss = chi_square(y, usable, design, inverse, line)
    used, groups = usable.sum(), count_groups(usable, design)
    degrees, spare = groups - 1 - design.free, used - groups
    maps.rate[q] = slope * unit
    maps.rate_error[q] = np.sqrt(variance) * unit
    maps.intercept[q] = design.free * (a - slope * design.centre)
    maps.lack_of_fit[q] = lack / degrees if degrees > 0 else np.nan
    maps.scatter[q] = (chi - lack) / spare if spare > 0 else np.nan
    maps.misfit[q] = np.sqrt(misfit)
    maps.n_used[q] = used
    maps.n_groups[q] = groups
    half, seen, longest = (groups + 1) // 2, 0, 0.0
    end_short, begin_long = 0, design.u.size
    for k in range(design.u.size):
        if usable[design.start[k] : design.start[k + 1]].any():
            if seen == groups - half:
                begin_long = k
            seen += 1
            longest = design.u[k]
            if seen == half:
                end_short = k + 1
    short = fit_range(y, usable, design, inverse, 0, end_short)
    long = fit_range(y, usable, design, inverse, begin_long, design.u.size)
    maps.misfit_fraction[q] = miss / (abs(slope) * longest)
    maps.slope_residual[q] = (long[1] - short[1]) / slope
    variance = difference_variance(usable, design, inverse, end_short, begin_long, short[2], long[2])
    maps.slope_residual_error[q] = np.sqrt(variance) / abs(slope)


@jit
def difference_variance(usable, design, inverse, end_short, begin_long, short_variance, long_variance):
    """Variance of slope(groups from begin_long) - slope(groups before end_short), which may share a group."""
    near = mean_time(usable, design, inverse, 0, end_short)
    far = mean_time(usable, design, inverse, begin_long, design.u.size)
    total = 0.0
    for k in range(design.u.size):
        for i in range(design.start[k], design.start[k + 1]):
            if usable[i]:
                pull = (design.x[i] - far) * long_variance if k >= begin_long else 0.0
                pull -= (design.x[i] - near) * short_variance if k < end_short else 0.0
                total += design.weight[i] * inverse[k] * pull * pull
    return total


@jit
def mean_time(usable, design, inverse, begin, end):
    """Weighted mean x of the usable samples of the groups begin .. end, 0 for a line through the origin."""
    w, wx = 0.0, 0.0
    for k in range(begin, end):
        for i in range(design.start[k], design.start[k + 1]):
            if usable[i]:
                w += design.weight[i] * inverse[k]
                wx += design.weight[i] * inverse[k] * design.x[i]
    return design.free * wx / w
