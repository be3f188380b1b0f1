"""The compiled fit: every njit function of hotfit and the one jit policy. Arrays in, arrays out.

A pixel without saturation, gaps or outliers is *plain*: sums over its exposure groups are all the fit
needs. Plain pixels are fitted a tile at a time in float32: the samples are read once, frames in the outer
loop and neighbouring pixels in the inner one, and everything else follows from the sums. The few other
pixels are fitted one by one in float64 (`fit_pixel`), where samples can be left out.

Times are in units of the longest exposure and measured from a centre, the shortest exposure: u = t / t_max,
x = scale * u - centre. A slope is therefore the dark signal in the longest exposure, in ADU.

All that a tile works on lies in two flat arrays, a block of rows for every exposure group and one for the
tile itself. Rows at fixed distances cannot overlap, which is what lets the compiler vectorise the loops.
"""

from typing import NamedTuple

import numpy as np

from hotfit.jit import entry, jit

TILE = 1088
"""Pixels in a tile: enough to read ahead in memory, few enough for its rows to stay in the cache of a core,
and no power of two, where rows would compete for the same cache lines."""

REWEIGHTINGS = 2
"""Times the weights are recomputed from the fitted slope; a third changes rates by less than 1e-3 errors."""

MOST_CHI = 1e4
"""Chi-square above which float32 does not know the sums well enough: such a pixel is not plain."""

SATURATED = 1 << 1
JUMP_DET = 1 << 2
UNRELIABLE_SLOPE = 1 << 24

FIRST, TOTAL, MOMENT, SQUARE, HIGH, INVERSE = (row * TILE for row in range(6))
"""Rows of a group's block: see `sum_group`, `centre_group` and `weigh_group`."""

BLOCK = 6 * TILE

ORIGIN, PIVOT, A, SLOPE, VARIANCE, CHARGE, TOP, MOVED, WITHIN, LACK, PEAK, MISFIT, MISS, DOUBT = (
    row * TILE for row in range(14)
)
"""Rows of the tile: its lines, and what tests them."""

SHORT, MIDDLE, LONG = (row * TILE for row in (14, 19, 24))
"""Weighted sums over groups, five rows each: the shorter half, the one between if any, the longer half."""

W, WX, WXX, WY, WXY = (row * TILE for row in range(5))
"""Those rows: sums of weight times 1, x, x**2, y and x * y."""

RESULTS = 29 * TILE
"""The maps in float32 begin here, a row each, in the order of `Maps`."""

WORK = 38 * TILE


class Design(NamedTuple):
    """What all pixels share: N frames sorted by exposure, in K groups."""

    order: np.ndarray  # (N,) intp, where each frame stands in the samples
    start: np.ndarray  # (K + 1,) intp, first frame of each group, then N
    group: np.ndarray  # (N,) intp, group of each frame
    u: np.ndarray  # (K,) float64, exposure of the group / longest exposure
    x: np.ndarray  # (N,) float64, scale * u - centre
    offset: np.ndarray  # (N,) float64, adu
    weight: np.ndarray  # (N,) float64, frames combined in each frame
    left: np.ndarray  # (K,) float64, squared relative error that the frame scales leave
    centre: np.float64
    free: np.float64  # 1: the intercept is fitted, 0: the line goes through the origin


class Groups(NamedTuple):
    """The design as tiles need it, in float32: frames as slots, which fill each group in twos and fours."""

    start: np.ndarray  # (K + 1,) intp, first slot of each group, then S
    frame: np.ndarray  # (S,) intp, where the frame stands in the samples
    weight: np.ndarray  # (S,) frames combined; 0: the slot only fills up
    lever: np.ndarray  # (S,) weight * (x - mean x of the group)
    offset: np.ndarray  # (S,) adu
    u: np.ndarray  # (K,) exposure / longest exposure
    left: np.ndarray  # (K,) squared relative error that the frame scales leave
    n: np.ndarray  # (K,) sum of weight
    x: np.ndarray  # (K,) mean x
    sum_xx: np.ndarray  # (K,) sum of weight * x**2
    spread: np.ndarray  # (K,) sum of weight * (x - mean x)**2
    reach: np.ndarray  # (K,) largest |x - mean x|
    gate: np.ndarray  # (K,) largest weight / (1 - leverage): squared residuals to squared outlyingness
    lowest: np.ndarray  # (K,) lowest offset, adu
    highest: np.ndarray  # (K,) highest offset, adu
    pull: np.ndarray  # (K,) what a group's sum adds to the slope of a line of equal weights
    per_frame: np.float32  # what it adds to the mean
    per_moment: np.float32  # what a moment adds to the slope
    mean_x: np.float32  # 0 for a line through the origin
    centre: np.float32
    free: np.float32
    per_lack: np.float32  # 1 / degrees of freedom of the lack of fit, nan without any
    per_spare: np.float32  # 1 / those of the scatter, nan without any
    halves: np.float32  # 1, or 0 if the halves of the exposures are too few for lines of their own
    last: np.float32  # longest exposure / longest exposure, as u has it


class Noise(NamedTuple):
    """The noise model of one frame: variance = read + shot * (dark signal + charge of the readout time).

    To it comes Design.left * dark signal**2.
    """

    read: np.float32  # adu**2
    shot: np.float32  # adu per adu of charge, 1 / gain
    floor: np.float32  # adu; what an intercept has above it is charge gathered during readout


class Line(NamedTuple):
    """A fitted line, in float64; nan where the samples fix none."""

    a: float  # adu at x = 0
    slope: float
    variance: float  # of the slope
    mean_x: float  # weighted; 0 for a line through the origin
    mean_variance: float  # of the weighted mean; 0 for a line through the origin


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


class Sums(NamedTuple):
    """What a run of pixels has gathered in K groups; every array has shape (K, pixels), float32.

    `y` is a sample less the offset of its frame, x that frame's scale * exposure in seconds.
    """

    mean: np.ndarray  # adu, weighted mean of y
    square: np.ndarray  # adu**2, sum of weight * (y - mean)**2
    moment: np.ndarray  # adu s, sum of weight * (x - mean x) * y
    high: np.ndarray  # adu, no y is higher


class Joining(NamedTuple):
    """A frame that joins a group of sums or, with a weight below 0, leaves it."""

    weight: np.float32  # frames combined in it
    before: np.float32  # weight of the group without it
    offset: np.float32  # adu
    x: np.float32  # s, x less the mean x of the group


@entry
def fit_pixels(samples, first, design, groups, noise, limits, unit, maps, counts):
    """Fit the pixels first .. first + len(maps.rate) of `samples` (N, pixels), uint16 or float32.

    `unit` turns a slope into a rate; `counts` (2, N) int64 gathers saturated and dropped samples by frame.
    """
    blocks = np.zeros(groups.u.size * BLOCK, np.float32)
    work = np.zeros(WORK, np.float32)
    for begin in range(0, maps.rate.size, TILE):
        size = min(TILE, maps.rate.size - begin)
        sum_tile(samples, first + begin, size, groups, blocks, work)
        fit_tile(size, groups, noise, blocks, work)
        test_tile(size, groups, noise, limits, unit, blocks, work)
        write_tile(samples.shape[0], size, groups, work, maps, begin)
        for p in range(size):
            if work[DOUBT + p]:
                fit_pixel(samples, first + begin + p, design, noise, limits, unit, maps, begin + p, counts)


@entry
def sum_pixels(samples, first, groups, noise, limits, unit, longest, sums, doubt):
    """Sums of the pixels first .. first + doubt.size of `samples`; `doubt` (bool) marks what is not plain.

    `longest` is the longest exposure in seconds, `unit` as in `fit_pixels`.
    """
    blocks = np.zeros(groups.u.size * BLOCK, np.float32)
    work = np.zeros(WORK, np.float32)
    for begin in range(0, doubt.size, TILE):
        size = min(TILE, doubt.size - begin)
        sum_tile(samples, first + begin, size, groups, blocks, work)
        for k in range(groups.u.size):
            store_group(size, groups.n[k], longest, blocks[k * BLOCK : (k + 1) * BLOCK], work, sums, k, begin)
        fit_tile(size, groups, noise, blocks, work)
        test_tile(size, groups, noise, limits, unit, blocks, work)
        for p in range(size):
            doubt[begin + p] = work[DOUBT + p] > 0


@entry
def fit_sums(sums, shift, longest, groups, noise, limits, unit, frames, maps, doubt):
    """Fit a run of pixels as if all were plain, from their sums; `doubt` (bool) marks those that are not.

    `shift` (K,) float32 is to be added to the offsets that the sums have, in adu; `longest` is the exposure
    in seconds, over the common factor of the scales, by which x is divided.
    """
    blocks = np.zeros(groups.u.size * BLOCK, np.float32)
    work = np.zeros(WORK, np.float32)
    for begin in range(0, doubt.size, TILE):
        size = min(TILE, doubt.size - begin)
        load_tile(size, groups, shift, longest, sums, begin, blocks, work)
        fit_tile(size, groups, noise, blocks, work)
        test_tile(size, groups, noise, limits, unit, blocks, work)
        write_tile(frames, size, groups, work, maps, begin)
        for p in range(size):
            doubt[begin + p] = work[DOUBT + p] > 0


@entry
def add_frame(samples, frame, first, joining, sums, k):
    """Let the pixels from column `first` on of one frame of `samples` (N, pixels) join the sums of group k.

    Mean, sum of squares and co-moment change as by Welford (1962, doi:10.2307/1266577), which is as exact
    backwards; the highest sample stays when a frame leaves.
    """
    mean, square, moment, high = sums.mean[k], sums.square[k], sums.moment[k], sums.high[k]
    row = samples[frame, first : first + mean.size]
    after = joining.before + joining.weight
    share = joining.weight / after
    common = share * joining.before
    for p in range(mean.size):
        y = np.float32(row[p]) - joining.offset
        away = y - mean[p]
        mean[p] += share * away
        square[p] += common * away * away
        moment[p] += common * joining.x * away
        if joining.weight > 0:
            high[p] = max(high[p], y)


@entry
def weighted_sum(words, first):
    """Sum of 32-bit words (uint32), each times its place, from `first` + 1 on, modulo 2**64.

    Unlike the checksums of FITS it changes when words change places.
    """
    total = np.uint64(0)
    for i in range(words.size):
        total += np.uint64(words[i]) * np.uint64(first + i + 1)
    return total


@jit
def store_group(size, n, longest, block, work, sums, k, begin):
    """Keep the sums of a tile in one group."""
    mean, square = sums.mean[k, begin : begin + size], sums.square[k, begin : begin + size]
    moment, high = sums.moment[k, begin : begin + size], sums.high[k, begin : begin + size]
    share = np.float32(1) / n
    for p in range(size):
        mean[p] = work[PIVOT + p] + block[TOTAL + p] * share
        square[p] = block[SQUARE + p]
        moment[p] = block[MOMENT + p] * longest
        high[p] = work[PIVOT + p] + block[HIGH + p]


@jit
def load_tile(size, groups, shift, longest, sums, begin, blocks, work):
    """Fill the blocks of a tile, and PIVOT, TOP and MOVED, from its sums: the inverse of `store_group`."""
    for p in range(size):
        work[PIVOT + p] = groups.free * (sums.mean[0, begin + p] - shift[0])
        work[TOP + p] = 0
        work[MOVED + p] = 1
    per_second = np.float32(1) / longest
    for k in range(groups.u.size):
        block, n, own, highest = blocks[k * BLOCK : (k + 1) * BLOCK], groups.n[k], shift[k], groups.highest[k]
        mean, square = sums.mean[k, begin : begin + size], sums.square[k, begin : begin + size]
        moment, high = sums.moment[k, begin : begin + size], sums.high[k, begin : begin + size]
        for p in range(size):
            block[TOTAL + p] = n * (mean[p] - own - work[PIVOT + p])
            block[SQUARE + p] = square[p]
            block[MOMENT + p] = moment[p] * per_second
            block[HIGH + p] = high[p] - own - work[PIVOT + p]
            work[TOP + p] = max(work[TOP + p], high[p] - own + highest)


@jit
def sum_tile(samples, first, size, groups, blocks, work):
    """Sums of the samples of all groups, the only pass over them, and ORIGIN, PIVOT, TOP and MOVED."""
    clear(work[TOP : MOVED + TILE])
    for k in range(groups.u.size):
        block = blocks[k * BLOCK : (k + 1) * BLOCK]
        sum_two(samples, first, size, groups, groups.start[k], block)
        for slot in range(groups.start[k] + 2, groups.start[k + 1], 4):
            sum_four(samples, first, size, groups, slot, block)
        if k == 0:
            for p in range(size):
                work[ORIGIN + p] = block[FIRST + p]
                work[PIVOT + p] = groups.free * block[FIRST + p]
        centre_group(size, groups, k, block, work)


@jit
def sum_two(samples, first, size, groups, slot, block):
    """Begin the sums of a group: z is what a sample has above the group's first one and its own offset.

    FIRST: the first sample; TOTAL, MOMENT and SQUARE: sums of weight times z, (x - mean x) * z and z**2;
    HIGH: the highest z. Samples of a group are alike, so that float32 holds even the squares.
    """
    row0 = samples[groups.frame[slot], first : first + size]
    row1 = samples[groups.frame[slot + 1], first : first + size]
    weight0, weight1 = groups.weight[slot], groups.weight[slot + 1]
    lever0, lever1 = groups.lever[slot], groups.lever[slot + 1]
    offset0, offset1 = groups.offset[slot], groups.offset[slot + 1]
    for p in range(size):
        z0 = -offset0
        z1 = np.float32(row1[p]) - np.float32(row0[p]) - offset1
        block[FIRST + p] = np.float32(row0[p])
        block[TOTAL + p] = weight0 * z0 + weight1 * z1
        block[MOMENT + p] = lever0 * z0 + lever1 * z1
        block[SQUARE + p] = weight0 * z0 * z0 + weight1 * z1 * z1
        block[HIGH + p] = max(z0, z1)


@jit
def sum_four(samples, first, size, groups, slot, block):
    """Go on with four frames in one pass over the sums, which then are loaded and stored but once."""
    row0 = samples[groups.frame[slot], first : first + size]
    row1 = samples[groups.frame[slot + 1], first : first + size]
    row2 = samples[groups.frame[slot + 2], first : first + size]
    row3 = samples[groups.frame[slot + 3], first : first + size]
    weight0, weight1 = groups.weight[slot], groups.weight[slot + 1]
    weight2, weight3 = groups.weight[slot + 2], groups.weight[slot + 3]
    lever0, lever1 = groups.lever[slot], groups.lever[slot + 1]
    lever2, lever3 = groups.lever[slot + 2], groups.lever[slot + 3]
    offset0, offset1 = groups.offset[slot], groups.offset[slot + 1]
    offset2, offset3 = groups.offset[slot + 2], groups.offset[slot + 3]
    for p in range(size):
        z0 = np.float32(row0[p]) - block[FIRST + p] - offset0
        z1 = np.float32(row1[p]) - block[FIRST + p] - offset1
        z2 = np.float32(row2[p]) - block[FIRST + p] - offset2
        z3 = np.float32(row3[p]) - block[FIRST + p] - offset3
        y0, y1, y2, y3 = weight0 * z0, weight1 * z1, weight2 * z2, weight3 * z3
        block[TOTAL + p] += (y0 + y1) + (y2 + y3)
        block[MOMENT + p] = block[MOMENT + p] + lever0 * z0 + lever1 * z1 + lever2 * z2 + lever3 * z3
        block[SQUARE + p] = block[SQUARE + p] + y0 * z0 + y1 * z1 + y2 * z2 + y3 * z3
        block[HIGH + p] = max(block[HIGH + p], max(max(z0, z1), max(z2, z3)))


@jit
def centre_group(size, groups, k, block, work):
    """Count TOTAL and HIGH from the pixel's pivot, SQUARE from the mean of the group.

    TOP: no sample is higher; MOVED: 0 if all samples of the pixel are equal.
    """
    n, share = groups.n[k], np.float32(1) / groups.n[k]
    lowest, highest = groups.lowest[k], groups.highest[k]
    for p in range(size):
        total, high, first = block[TOTAL + p], block[HIGH + p], block[FIRST + p]
        above = first - work[PIVOT + p]
        block[SQUARE + p] -= total * total * share
        block[TOTAL + p] = total + n * above
        block[HIGH + p] = high + above
        work[TOP + p] = max(work[TOP + p], first + high + highest)
        work[MOVED + p] += abs(first - work[ORIGIN + p]) + abs(high + lowest)


@jit
def fit_tile(size, groups, noise, blocks, work):
    """Weighted lines: from equal weights, then with those of the noise model at the fitted line."""
    clear(work[A : SLOPE + TILE])
    for k in range(groups.u.size):
        pull = groups.pull[k]
        block = blocks[k * BLOCK : (k + 1) * BLOCK]
        for p in range(size):
            work[A + p] += groups.per_frame * block[TOTAL + p]
            work[SLOPE + p] += pull * block[TOTAL + p] + groups.per_moment * block[MOMENT + p]
    for p in range(size):
        work[A + p] -= groups.mean_x * work[SLOPE + p]
    for _ in range(REWEIGHTINGS):
        weigh_tile(size, groups, noise, blocks, work)
        solve_tile(size, groups, work)


@jit
def weigh_tile(size, groups, noise, blocks, work):
    """Weighted sums over the shorter half of the groups, the longer half, and the one between, if any."""
    for p in range(size):
        pedestal = work[PIVOT + p] + work[A + p] - work[SLOPE + p] * groups.centre
        work[CHARGE + p] = max(pedestal - noise.floor, np.float32(0))
    count = groups.u.size
    half = count // 2
    clear(work[MIDDLE : MIDDLE + 5 * TILE])
    for k in range(count):
        place = SHORT if k < half else LONG
        if count % 2 == 1 and k == half:
            place = MIDDLE
        begins = k == 0 or k == count - half or place == MIDDLE
        sums = work[place : place + 5 * TILE]
        weigh_group(size, groups, k, noise, begins, work, blocks[k * BLOCK : (k + 1) * BLOCK], sums)


@jit
def weigh_group(size, groups, k, noise, begins, work, block, sums):
    """INVERSE variance of one sample of the group; its part of the weighted sums, which may begin with it."""
    u, left, n, x, xx = groups.u[k], groups.left[k], groups.n[k], groups.x[k], groups.sum_xx[k]
    for p in range(size):
        signal = max(work[SLOPE + p], np.float32(0)) * u
        variance = noise.read + noise.shot * (signal + work[CHARGE + p]) + left * signal * signal
        inverse = np.float32(1) / variance
        total = block[TOTAL + p] * inverse
        block[INVERSE + p] = inverse
        sums[W + p] = (np.float32(0) if begins else sums[W + p]) + n * inverse
        sums[WX + p] = (np.float32(0) if begins else sums[WX + p]) + n * x * inverse
        sums[WXX + p] = (np.float32(0) if begins else sums[WXX + p]) + xx * inverse
        sums[WY + p] = (np.float32(0) if begins else sums[WY + p]) + total
        sums[WXY + p] = (np.float32(0) if begins else sums[WXY + p]) + x * total + block[MOMENT + p] * inverse


@jit
def solve_tile(size, groups, work):
    """A, SLOPE and VARIANCE of the slope from the weighted sums."""
    free = groups.free
    for p in range(size):
        w = work[SHORT + W + p] + work[MIDDLE + W + p] + work[LONG + W + p]
        wx = work[SHORT + WX + p] + work[MIDDLE + WX + p] + work[LONG + WX + p]
        wxx = work[SHORT + WXX + p] + work[MIDDLE + WXX + p] + work[LONG + WXX + p]
        wy = work[SHORT + WY + p] + work[MIDDLE + WY + p] + work[LONG + WY + p]
        wxy = work[SHORT + WXY + p] + work[MIDDLE + WXY + p] + work[LONG + WXY + p]
        mean_x, spread, slope = line_of(w, wx, wxx, wy, wxy, free)
        work[VARIANCE + p] = np.float32(1) / spread
        work[SLOPE + p] = slope
        work[A + p] = free * wy / w - mean_x * slope


@jit
def line_of(w, wx, wxx, wy, wxy, free):
    """Mean x (0 for a line through the origin), sum of weight * (x - mean x)**2 and slope of a line."""
    mean_x = free * wx / w
    spread = wxx - mean_x * wx
    return mean_x, spread, (wxy - mean_x * wy) / spread


@jit
def test_tile(size, groups, noise, limits, unit, blocks, work):
    """Test the lines group by group; RESULTS get the maps, and DOUBT marks the pixels that are not plain."""
    clear(work[WITHIN : MISS + TILE])
    for k in range(groups.u.size):
        test_group(size, groups, k, blocks[k * BLOCK : (k + 1) * BLOCK], work)
    candidate, saturation, most = limits.candidate**2, limits.saturation, np.float32(MOST_CHI)
    for p in range(size):
        straight = (work[PEAK + p] < candidate) & (work[WITHIN + p] + work[LACK + p] < most)
        plain = straight & (work[TOP + p] < saturation) & (work[MOVED + p] > 0)
        work[DOUBT + p] = np.float32(0) if plain else np.float32(1)
    for p in range(size):
        slope = work[SLOPE + p]
        work[RESULTS + p] = slope * unit
        work[RESULTS + TILE + p] = np.sqrt(work[VARIANCE + p]) * unit
        level = work[PIVOT + p] + work[A + p] - slope * groups.centre
        work[RESULTS + 2 * TILE + p] = groups.free * level
        work[RESULTS + 5 * TILE + p] = work[LACK + p] * groups.per_lack
        work[RESULTS + 6 * TILE + p] = max(work[WITHIN + p], np.float32(0)) * groups.per_spare
        work[RESULTS + 7 * TILE + p] = np.sqrt(work[MISFIT + p])
        work[RESULTS + 8 * TILE + p] = work[MISS + p] / abs(slope * groups.last)
    compare_halves(size, groups, work)


@jit
def test_group(size, groups, k, block, work):
    """Add a group to the chi-squares WITHIN groups and LACK of fit; MISFIT and MISS are the largest so far.

    PEAK is a bound on the largest squared outlyingness: a sample lies no further above the line than the
    highest of its group, and the line there no lower than at the smallest x of the group.
    """
    n, x, spread = groups.n[k], groups.x[k], groups.spread[k]
    share, reach, gate = np.float32(1) / n, groups.reach[k], groups.gate[k]
    for p in range(size):
        slope, inverse = work[SLOPE + p], block[INVERSE + p]
        line = work[A + p] + slope * x
        mean = block[TOTAL + p] * share - line
        square = mean * mean * inverse
        bent = slope * (slope * spread - np.float32(2) * block[MOMENT + p])
        high = max(block[HIGH + p] - line + abs(slope) * reach, np.float32(0))
        work[WITHIN + p] += (block[SQUARE + p] + bent) * inverse
        work[LACK + p] += n * square
        work[PEAK + p] = max(work[PEAK + p], high * high * inverse * gate)
        work[MISFIT + p] = max(work[MISFIT + p], square)
        work[MISS + p] = max(work[MISS + p], abs(mean))


@jit
def compare_halves(size, groups, work):
    """Slope over the longer half of the exposures less that over the shorter; both hold the middle one."""
    if groups.halves == 0:
        for p in range(size):
            work[RESULTS + 3 * TILE + p] = np.nan
            work[RESULTS + 4 * TILE + p] = np.nan
        return
    for p in range(size):
        w, wx, wxx = work[MIDDLE + W + p], work[MIDDLE + WX + p], work[MIDDLE + WXX + p]
        wy, wxy = work[MIDDLE + WY + p], work[MIDDLE + WXY + p]
        near, short_spread, short = line_of(
            work[SHORT + W + p] + w,
            work[SHORT + WX + p] + wx,
            work[SHORT + WXX + p] + wxx,
            work[SHORT + WY + p] + wy,
            work[SHORT + WXY + p] + wxy,
            groups.free,
        )
        far, long_spread, long = line_of(
            work[LONG + W + p] + w,
            work[LONG + WX + p] + wx,
            work[LONG + WXX + p] + wxx,
            work[LONG + WY + p] + wy,
            work[LONG + WXY + p] + wxy,
            groups.free,
        )
        shared = wxx - (near + far) * wx + near * far * w
        square = (short_spread + long_spread - np.float32(2) * shared) / (short_spread * long_spread)
        per_slope = np.float32(1) / work[SLOPE + p]
        work[RESULTS + 3 * TILE + p] = (long - short) * per_slope
        work[RESULTS + 4 * TILE + p] = np.sqrt(square) * abs(per_slope)


@jit
def write_tile(frames, size, groups, work, maps, begin):
    """Copy the RESULTS of a tile to the maps, as those of plain pixels."""
    copy_row(work[RESULTS:], maps.rate, begin, size)
    copy_row(work[RESULTS + TILE :], maps.rate_error, begin, size)
    copy_row(work[RESULTS + 2 * TILE :], maps.intercept, begin, size)
    copy_row(work[RESULTS + 3 * TILE :], maps.slope_residual, begin, size)
    copy_row(work[RESULTS + 4 * TILE :], maps.slope_residual_error, begin, size)
    copy_row(work[RESULTS + 5 * TILE :], maps.lack_of_fit, begin, size)
    copy_row(work[RESULTS + 6 * TILE :], maps.scatter, begin, size)
    copy_row(work[RESULTS + 7 * TILE :], maps.misfit, begin, size)
    copy_row(work[RESULTS + 8 * TILE :], maps.misfit_fraction, begin, size)
    used, times = maps.n_used[begin : begin + size], maps.n_groups[begin : begin + size]
    dropped, dq = maps.n_dropped[begin : begin + size], maps.dq[begin : begin + size]
    for p in range(size):
        used[p] = frames
        times[p] = groups.u.size
    for p in range(size):
        dropped[p] = 0
        dq[p] = 0


@jit
def copy_row(source, target, begin, size):
    """Copy the row that begins there to pixels begin .. begin + size of a map."""
    part = target[begin : begin + size]
    for p in range(size):
        part[p] = source[p]


@jit
def clear(rows):
    """Set all of some rows to 0."""
    for p in range(rows.size):
        rows[p] = 0


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
    for i in range(frames):
        y[i] -= design.offset[i]
    inverse = np.empty(design.u.size)
    line = fit_usable(y, usable, design, noise, inverse)
    dropped, line = drop_hits(y, usable, design, noise, limits, inverse, line)
    maps.n_dropped[q] = dropped.size
    for i in dropped:
        dq |= JUMP_DET
        counts[1, i] += 1
    if constant and frames >= limits.stuck:
        dq |= UNRELIABLE_SLOPE
        line = Line(np.nan, np.nan, np.nan, np.nan, np.nan)
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
    """Weighted line through the usable samples, whose `inverse` variances (K,) it leaves behind."""
    groups = design.u.size
    a, slope = -np.inf, 0.0
    for _ in range(REWEIGHTINGS):
        weigh(a, slope, design, noise, inverse)
        line = fit_range(y, usable, design, inverse, design.start[0], groups)
        a, slope = line.a, line.slope
    weigh(a, slope, design, noise, inverse)
    return fit_range(y, usable, design, inverse, design.start[0], groups)


@jit
def weigh(a, slope, design, noise, inverse):
    """Inverse variance of one sample of every group, from the noise model at a line."""
    charge = max(a - slope * design.centre - noise.floor, 0.0)
    for k in range(design.u.size):
        signal = max(slope, 0.0) * design.u[k]
        inverse[k] = 1 / (noise.read + noise.shot * (signal + charge) + design.left[k] * signal * signal)


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
    mean_x, spread, slope = line_of(w, wx, wxx, wy, wxy, design.free)
    if not (groups > design.free and spread > 0):
        return Line(np.nan, np.nan, np.nan, np.nan, np.nan)
    a = pivot + design.free * wy / w - mean_x * slope
    return Line(a, slope, 1 / spread, mean_x, design.free / w)


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
    for i in range(y.size):
        if usable[i]:
            last = design.group[i]
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
        degrees = int(count_usable(usable, design.start[0]) - 1 - design.free)
        woken = count > 1 or last < design.u.size - 1 or design.weight[frame] > 1
        late = woken and not count_usable(usable, design.start[last])
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
    for i in range(y.size):
        residual = y[i] - line.a - line.slope * design.x[i]
        if usable[i] and residual > 0:
            weight = design.weight[i] * inverse[design.group[i]]
            far = design.x[i] - line.mean_x
            leverage = weight * (line.mean_variance + far * far * line.variance)
            square = weight * residual * residual / max(1 - leverage, 1e-6)
            if square > worst:
                worst, frame = square, i
    return frame


@jit
def alike(y, dropped, design, noise, limits, inverse, line):
    """Whether two of the dropped samples are equally high above the line, in counts or in counts per time.

    Samples that high have the shot noise of their height, too.
    """
    height, reach, u = np.empty(dropped.size), np.empty(dropped.size), np.empty(dropped.size)
    for n in range(dropped.size):
        i = dropped[n]
        k = design.group[i]
        height[n] = y[i] - line.a - line.slope * design.x[i]
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
def count_usable(usable, begin):
    """Usable samples from frame `begin` on."""
    found = 0
    for i in range(begin, usable.size):
        found += usable[i]
    return found


@jit
def count_groups(usable, design):
    """Exposure times with a usable sample."""
    groups, last = 0, -1
    for i in range(usable.size):
        if usable[i] and design.group[i] != last:
            groups, last = groups + 1, design.group[i]
    return groups


@jit
def chi_square(y, usable, design, inverse, line):
    """Chi-square in all and of the group means, largest squared misfit in sigmas, largest misfit in adu."""
    chi, lack, misfit, miss = 0.0, 0.0, 0.0, 0.0
    for k in range(design.u.size):
        n, group = 0.0, 0.0
        for i in range(design.start[k], design.start[k + 1]):
            if usable[i]:
                residual = y[i] - line.a - line.slope * design.x[i]
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
    chi, lack, misfit, miss = chi_square(y, usable, design, inverse, line)
    used, groups = count_usable(usable, design.start[0]), count_groups(usable, design)
    degrees, spare = groups - 1 - design.free, used - groups
    maps.rate[q] = line.slope * unit
    maps.rate_error[q] = np.sqrt(line.variance) * unit
    maps.intercept[q] = design.free * (line.a - line.slope * design.centre)
    maps.lack_of_fit[q] = lack / degrees if degrees > 0 else np.nan
    maps.scatter[q] = (chi - lack) / spare if spare > 0 else np.nan
    maps.misfit[q] = np.sqrt(misfit)
    maps.n_used[q] = used
    maps.n_groups[q] = groups
    half, seen, last, longest = (groups + 1) // 2, 0, -1, 0.0
    begin = design.start[0]  # for a literal 0 the compiler makes a second version of what gets it
    end_short, begin_long = begin, design.u.size
    for i in range(y.size):
        k = design.group[i]
        if usable[i] and k != last:
            if seen == groups - half:
                begin_long = k
            seen += 1
            last, longest = k, design.u[k]
            if seen == half:
                end_short = k + 1
    short = fit_range(y, usable, design, inverse, begin, end_short)
    long = fit_range(y, usable, design, inverse, begin_long, design.u.size)
    maps.misfit_fraction[q] = miss / (abs(line.slope) * longest)
    maps.slope_residual[q] = (long.slope - short.slope) / line.slope
    variance = difference_variance(usable, design, inverse, end_short, begin_long, short, long)
    maps.slope_residual_error[q] = np.sqrt(variance) / abs(line.slope)


@jit
def difference_variance(usable, design, inverse, end_short, begin_long, short, long):
    """Variance of the slope from group begin_long on - that before end_short; they may share a group."""
    total = 0.0
    for i in range(usable.size):
        if usable[i]:
            k = design.group[i]
            pull = (design.x[i] - long.mean_x) * long.variance if k >= begin_long else 0.0
            pull -= (design.x[i] - short.mean_x) * short.variance if k < end_short else 0.0
            total += design.weight[i] * inverse[k] * pull * pull
    return total
