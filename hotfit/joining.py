"""Terms of frames that join a fit: measured against what is there, whose own terms stay as they are.

A frame is compared pixel by pixel with the mean of the frames of its exposure, so that no bend of a pixel
passes for a temperature; only the first frame of a new exposure is compared with the lines. What the terms of
all frames share with intercept and dark current (see `hotfit.terms`) is fixed anew over all of them.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hotfit.calibrate import Calibration, NoiseModel
from hotfit.darkset import DarkSet
from hotfit.lines import Lines, basis, fit_lines
from hotfit.robust import clipped_mean, median, robust_sigma
from hotfit.samples import check_frame, gaps
from hotfit.state import Look, State
from hotfit.suspects import JUMP, OTHER_RATE, WIDER, clipped_width
from hotfit.terms import (
    FEWEST_HOT,
    JITTER,
    PLAUSIBLE,
    QUIET,
    Change,
    biweight,
    drawn_back,
    jitter_rms,
    thermometers,
    thinned,
)


class Reference(NamedTuple):
    """What a new frame is compared with, pixel by pixel."""

    counts: np.ndarray  # (P,) adu
    scale: float  # relative dark current
    share: float  # its variance over that of one frame


class Terms(NamedTuple):
    """Terms of n frames that join, in the coordinates of the fit that they join."""

    offset: np.ndarray  # (n,) adu
    offset_error: np.ndarray  # (n,) adu
    scale: np.ndarray  # (n,) relative dark current
    scale_error: np.ndarray  # (n,)
    notes: tuple[str, ...]


def measure_terms(state: State, new: DarkSet, mates: list[int | None], look: Look) -> Terms:
    """Offsets and scales of new frames against the sums of a fit in some rows.

    `mates` has the exposure of the fit that each belongs to, None where there is none.
    """
    shift = state.shift.astype(np.float32)[:, None]
    means, top = look.sums[0] - shift, (look.sums[3] - shift).max(axis=0) + state.calibration.offset.max()
    lines = lines_of(state, means)
    lines.signal[np.isnan(lines.signal)] = 0
    quiet = cool_pixels(lines.signal)
    quiet_signal = float(lines.signal[quiet].mean())
    noise = state.calibration.noise
    hot = thermometers(lines.signal - max(quiet_signal, 0), noise.read, noise.shot)
    hot = hot[top[hot] < state.calibration.detector.saturation]
    jitter, found, notes = jitter_of(state), [], []
    for frame, values, exposure, k in zip(
        new.frames, new.sample(look.runs), new.exposure, mates, strict=True
    ):
        check_frame(frame.name, values)
        time = float(exposure / state.darks.group_exposure[-1])
        reference = reference_of(state, means, lines, k, time)
        left = values - reference.counts
        clean = left[quiet]
        offset, error = clipped_mean(clean[np.isfinite(clean)])
        change = Change(np.float64(0), np.float64(JITTER if time else 0))
        if time and hot.size >= FEWEST_HOT:
            share = 1 / frame.n_combined + reference.share
            seen = departure(lines.signal[hot] * time, left[hot] - offset, share, noise)
            change = drawn_back(plausible(seen, jitter) if k is None else seen, jitter)
            notes += strange(frame.name, seen, jitter, k)
        offset -= float(change.value) * time * quiet_signal
        notes += [*displaced(frame.name, offset, state, k), *gaps([frame.name], values[None])]
        if k is not None:
            signal = max(quiet_signal, 0) * time
            usual = np.sqrt((noise.read + noise.shot * signal) * (1 / frame.n_combined + reference.share))
            notes += wider(frame.name, clipped_width(clean[np.isfinite(clean)]), float(usual))
        found.append((offset, error, reference.scale + float(change.value), float(change.error)))
    return Terms(*np.array(found).T, notes=tuple(notes))


def cool_pixels(signal: np.ndarray) -> np.ndarray:
    """Indices of pixels of the bulk, thinned: as many above its middle as below.

    Those that noise made faint in the frames of the fit are not so in new ones.
    """
    return thinned(np.abs(signal - median(signal)) < 5 * robust_sigma(signal), QUIET)


def lines_of(state: State, means: np.ndarray) -> Lines:
    """Lines through the means of the exposures, weighted by their frames."""
    darks = state.darks
    weight = np.bincount(darks.group, darks.n_combined)
    scale = np.bincount(darks.group, darks.n_combined * state.calibration.scale) / weight
    u = scale * darks.group_exposure / darks.group_exposure[-1]
    return fit_lines(means, u, weight, state.bias_subtracted)


def reference_of(state: State, means: np.ndarray, lines: Lines, k: int | None, time: float) -> Reference:
    """The mean of exposure `k`, or the lines at `time`, in longest exposures, if there is none."""
    if k is None:
        return Reference(lines.intercept + np.float32(time) * lines.signal, 1.0, 0.0)
    of_group = state.darks.group == k
    weights = state.darks.n_combined[of_group]
    scale = np.average(state.calibration.scale[of_group], weights=weights)
    return Reference(means[k], float(scale), 1 / float(weights.sum()))


def departure(signal: np.ndarray, left: np.ndarray, share: float, noise: NoiseModel) -> Change:
    """Change of the dark scale that what is left (P,) of hot pixels of some signal shows, adu.

    `share` is the variance of what is left over that of one frame.
    """
    signal = np.maximum(signal, 1e-6)
    error = np.sqrt((noise.read + noise.shot * signal) * share) / signal
    known = np.isfinite(left)
    return Change(*map(np.float64, biweight((left / signal)[known], error[known])))


def plausible(seen: Change, jitter: float) -> Change:
    """A change against lines as far as temperature explains it: the rest is roll-off."""
    limit = PLAUSIBLE * (jitter + seen.error)
    return seen._replace(value=np.clip(seen.value, -limit, limit))


def jitter_of(state: State) -> float:
    """Rms of the scales of frames of equal exposure."""
    group, scale = state.darks.group, state.calibration.scale
    mean = np.bincount(group, scale) / np.bincount(group)
    error = np.where(state.darks.exposure > 0, state.calibration.scale_error, np.inf)
    return jitter_rms(Change(scale - mean[group], error), group)


def strange(name: str, seen: Change, jitter: float, k: int | None) -> Iterator[str]:
    """Yield a note on a scale that temperature does not explain."""
    value, error = float(seen.value), float(seen.error)
    if k is None and abs(value) > PLAUSIBLE * (jitter + error):
        yield (
            f"{name}: its hot pixels depart by {100 * value:+.3g} % from the lines of all others, which is "
            "taken for roll-off beyond what temperature explains: is its exposure time right?"
        )
    elif abs(value) > max(OTHER_RATE, 5 * error):
        yield (
            f"{name}: has {100 * value:+.3g} % dark current against the others of its exposure: is its "
            "exposure time right?"
        )


def displaced(name: str, offset: float, state: State, k: int | None) -> Iterator[str]:
    """Yield a note on a level that no frame of the exposure `k` of the fit comes near, or of all others."""
    offsets, group = state.calibration.offset, state.darks.group
    of_group = np.array([np.median(offsets[group == each]) for each in range(group[-1] + 1)])
    step = offset - (0.0 if k is None else of_group[k])
    usual = offsets if k is None else offsets - of_group[group]
    if abs(step) > JUMP * max(float(np.sqrt(np.mean(usual**2))), 1.0):
        others = "the others" if k is None else "the others of its exposure"
        yield f"{name}: its level is {step:+.3g} adu off {others}: light, or another setting"


def wider(name: str, width: float, usual: float) -> Iterator[str]:
    """Yield a note on quiet pixels that scatter more than noise does, both in adu."""
    if width > WIDER * usual:
        yield (
            f"{name}: its quiet pixels scatter by {width:.3g} adu about the others of its exposure, and by "
            f"{usual:.3g} are expected to: light, or another pattern"
        )


def fixed(calibration: Calibration, darks: DarkSet, bias_subtracted: bool) -> Calibration:
    """The same terms with mean offset 0, no trend of the offsets, and exposure-weighted mean scale 1."""
    u = (darks.group_exposure / darks.group_exposure[-1])[darks.group]
    weight = darks.n_combined.astype(float)
    columns, root = basis(u, bias_subtracted), np.sqrt(weight)
    shared = np.linalg.lstsq(columns * root[:, None], calibration.offset * root, rcond=None)[0]
    timed = u > 0
    mean = np.average(calibration.scale[timed], weights=(u * weight)[timed])
    noise = calibration.noise
    return replace(
        calibration,
        offset=calibration.offset - columns @ shared,
        scale=np.where(timed, calibration.scale / mean, calibration.scale),
        noise=noise if bias_subtracted else noise._replace(floor=noise.floor + shared[0]),
    )
