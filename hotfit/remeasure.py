"""The detector of a fit that frames have joined or left, from the sums of evenly spaced rows.

The scatter within an exposure is in the sums, and so is that of single frames about the line, and where they
stop rising: what the samples show when a set is calibrated (`hotfit.noise`, `hotfit.saturation`), the sums of
all its frames show as well.
"""

from dataclasses import replace

import numpy as np

from hotfit import kernels
from hotfit.calibrate import FEWEST_PIXELS, Calibration, decide_detector, noise_model
from hotfit.hints import Decision, decide_saturation
from hotfit.lines import fit_lines
from hotfit.noise import CHARGED, NoiseEstimate, noise_bins, noise_of, residuals_of, stuck_length
from hotfit.planning import Plan, moves_of
from hotfit.saturation import EQUAL, ceiling, level_of, pedestal_and_width, plateaus_of
from hotfit.state import State
from hotfit.terms import QUIET, thinned

ROUNDING = 0.5
"""adu**2 that sums of squares of large counts have from float32 alone."""


def remeasured(plan: Plan) -> Plan:
    """The plan with detector and noise model as the frames of the new state show them."""
    samples = plan.moving.sample(plan.look.runs)
    samples.flags.writeable = False
    sums = moved(plan, samples)
    level = level_from(plan.new, sums)
    whole = np.flatnonzero(whole_pixels(plan.new, sums, level.value))
    if whole.size < FEWEST_PIXELS:
        return plan
    calibration = calibrated(plan.new, level, noise_from(plan.new, sums, whole))
    return plan._replace(new=replace(plan.new, calibration=calibration))


def moved(plan: Plan, samples) -> np.ndarray:
    """Sums (4, K, P) of the new state in some rows, where the moving frames have these samples.

    They take the place of those of the old state, which are not needed any more.
    """
    sums = plan.look.sums
    if plan.mates != list(range(sums.shape[1])):
        before, sums = sums, np.zeros((4, len(plan.mates), samples.shape[1]), np.float32)
        sums[3] = -np.inf
        for k, mate in enumerate(plan.mates):
            if mate is not None:
                sums[:, k] = before[:, mate]
    for frame, k, joining in moves_of(plan):
        kernels.add_frame(samples, frame, 0, joining, kernels.Sums(*sums), k)
    return sums


def level_from(state: State, sums: np.ndarray) -> Decision:
    """The saturation level, which is lower than that of the state if the sums show a lower one."""
    before, pedestal = state.calibration.detector, state.pedestal
    high = (sums[3] + lowest_offsets(state)[:, None]).max(axis=0)
    top = float(high[np.isfinite(high)].max(initial=0))
    level = state.level
    if before.step > 0:  # whole numbers, which sums have less an offset
        level = min(level, ceiling(float(np.rint(top)), before.step))
    blur = np.ptp(state.own_offset) + before.step  # so uncertain is a plateau for that
    level = level_of(plateaus_from(state, sums, high, top) + blur, level, top)
    given = before.saturation + pedestal if before.saturation_source == "user" else None
    return decide_saturation(given, state.darks.claims.saturation, level, top, pedestal=pedestal)


def lowest_offsets(state: State) -> np.ndarray:
    """(K,) adu: of a pixel that is full in all frames of an exposure the highest y is that of this frame."""
    group = state.darks.group
    return np.array([state.own_offset[group == k].min() for k in range(group[-1] + 1)], np.float32)


def plateaus_from(state: State, sums: np.ndarray, high: np.ndarray, top: float) -> np.ndarray:
    """As `hotfit.saturation.find_plateaus`, from the sums and the highest samples (P,) of pixels."""
    mean = sums[0]
    pedestal, width = pedestal_and_width(mean[0, thinned(np.isfinite(mean[0]), QUIET)])
    width *= np.sqrt(np.bincount(state.darks.group)[0])
    span = 0.4 * (top - pedestal)
    if span < 50 * width or len(mean) < 3:
        return np.empty(0)
    bright = np.flatnonzero(high > pedestal + span)
    bright = bright[np.isfinite(mean[:, bright]).all(axis=0)]
    mean, threshold = mean[:, bright].astype(float), pedestal + span
    equal = (mean > threshold) & (mean[0] < threshold) & equal_samples(state, sums[1][:, bright])
    return plateaus_of(mean, state.darks.group_exposure, threshold, span, width, mean[equal])


def equal_samples(state: State, square: np.ndarray) -> np.ndarray:
    """Where all samples of several frames are equal: their squares (K, P) are those of the offsets alone."""
    group, weight = state.darks.group, state.darks.n_combined
    mean = np.bincount(group, weight * state.own_offset) / np.bincount(group, weight)
    alone = np.bincount(group, weight * (state.own_offset - mean[group]) ** 2)
    several = np.bincount(group) >= EQUAL
    return several[:, None] & (square < (1.01 * alone + ROUNDING)[:, None])


def whole_pixels(state: State, sums: np.ndarray, level: float) -> np.ndarray:
    """(P,) bool: pixels without gaps that stay below that saturation level in all frames."""
    shift = state.shift.astype(np.float32)[:, None]
    top = (sums[3] - shift).max(axis=0) + state.calibration.offset.max()
    return np.isfinite(sums[0]).all(axis=0) & (top < level)


def noise_from(state: State, sums: np.ndarray, whole: np.ndarray) -> NoiseEstimate:
    """The noise that some pixels of sums (4, K, P) show, given by their indices."""
    darks, group = state.darks, state.darks.group
    sizes, weight = np.bincount(group), np.bincount(group, darks.n_combined)
    own_x = state.own_scale * darks.group_exposure[group]
    x = np.bincount(group, darks.n_combined * own_x) / weight
    spread = np.bincount(group, darks.n_combined * (own_x - x[group]) ** 2)
    stretch = state.stretch / darks.group_exposure[-1]
    shift = state.shift.astype(np.float32)[:, None]
    mean, square, moment, _ = sums
    u = x * stretch
    bins = noise_bins(fit_lines(mean[:, whole] - shift, u, weight, state.bias_subtracted), u)
    pixels, slope = whole[bins.lines.pixels], bins.lines.signal * np.float32(stretch)

    def squares_of():
        for k in np.flatnonzero(sizes > 1):
            straight = square[k, pixels] - slope * (2 * moment[k, pixels] - slope * np.float32(spread[k]))
            yield np.maximum(straight, 0), int(sizes[k] - 1), u[k]
        if not (sizes > 1)[u > CHARGED].any():
            yield from residuals_of(bins.lines, np.flatnonzero(sizes == 1), u, weight)

    return noise_of(bins, squares_of())


def calibrated(state: State, level: Decision, noise: NoiseEstimate) -> Calibration:
    """The calibration of a state with what level and noise say of its detector; what users gave stays."""
    before, frames = state.calibration.detector, state.darks.frames
    shown = noise
    if any(frame.master and frame.n_combined == 1 for frame in frames):
        shown = noise._replace(shot_error=np.inf)
    detector, doubts = decide_detector(
        before.gain if before.gain_source == "user" else None,
        before.read_noise if before.read_noise_source == "user" else None,
        level,
        state.darks.claims,
        shown,
        before.step,
        combined=any(frame.master for frame in frames),
    )
    model, excess = noise_model(detector, noise, state.bias_subtracted)
    pixels = state.darks.shape[0] * state.darks.shape[1]
    stuck = stuck_length(detector.step, np.sqrt(model.read), pixels)
    return replace(
        state.calibration, detector=detector, noise=model, excess=excess, stuck=stuck, doubts=doubts
    )
