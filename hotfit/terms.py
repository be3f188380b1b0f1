"""Frame terms: how each frame's bias level (offset) and dark current (scale) departs from the set's.

The quiet bulk of the pixels gives the offsets. The hot pixels are a thermometer: what they leave over the
line, divided by their dark signal, gives the scales.

An offset that is constant or grows with exposure cannot be told from intercept and dark current, nor a
common scale from the rates. Offsets therefore have mean 0 and no trend with exposure, and the
exposure-weighted mean scale is 1.

A roll-off that many hot pixels share must not pass for temperature. Frames of equal exposure differ by
temperature alone, so that their scales are free, and their spread is the jitter. How far the mean scale of
an exposure may depart follows from it: by jitter / sqrt(frames). Hot pixels that depart further bend
themselves, and have no say in it.
"""

from typing import NamedTuple

import numpy as np

from hotfit.lines import Lines, basis
from hotfit.robust import clipped_mean, quantile, robust_sigma

HOT_SIGMA = 20.0
"""Dark signal in the longest exposure, in sigmas of that sample, that makes a pixel a thermometer.

Fainter ones are biased: a pixel taken for hot because of its noise is not linear for the same noise.
"""

QUIET = 100_000
"""Quiet pixels that are enough for the offsets."""

FEWEST_HOT = 30
"""With fewer thermometers every scale is 1."""

MOST_HOT = 7_000
"""More are not needed: the hottest are the least noisy."""

JITTER = 0.01
"""Rms of the scales that is expected before any is measured,"""

PRIOR_DEGREES = 4.0
"""and the degrees of freedom that this expectation counts for."""

PLAUSIBLE = 4.0
"""Sigmas of jitter and of its own noise by which a hot pixel may depart and still count as a thermometer."""


class QuietTerms(NamedTuple):
    """What quiet pixels say of N frames before anything else is known."""

    pixels: np.ndarray  # indices
    signal: float  # adu, their mean
    common: np.ndarray  # (N,) adu, what their lines leave
    error: np.ndarray  # (N,) adu


class FrameTerms(NamedTuple):
    """How N frames in K exposures depart from the set, and what is left of it."""

    offset: np.ndarray  # (N,) adu
    offset_error: np.ndarray  # (N,) adu
    scale: np.ndarray  # (N,) relative dark current
    scale_error: np.ndarray  # (N,)
    left: np.ndarray  # (K,) squared relative error of one sample of that exposure
    notes: tuple[str, ...]


class Change(NamedTuple):
    """Change of the dark scale by frame or by exposure, and its error; inf where it cannot be seen."""

    value: np.ndarray
    error: np.ndarray


def quiet_terms(lines: Lines, each=map) -> QuietTerms:
    """Find the quiet pixels, and what they say; `each` works on the frames: map, or that of a thread pool."""
    pixels = quiet_pixels(lines.signal)
    quiet = lines.of(pixels)
    left = each(lambda i: clipped_mean(quiet.residual(i)), range(lines.u.size))
    common, error = np.array(list(left)).T
    return QuietTerms(pixels, float(quiet.signal.mean()), common, error)


def frame_terms(
    lines: Lines, quiet: QuietTerms, u, group, weight, read, shot, bias_subtracted: bool
) -> FrameTerms:
    """Offsets from the quiet pixels, scales from the hot ones; `read` adu**2 and `shot` model the noise."""
    frames = np.bincount(group)
    time = np.bincount(group, u) / frames
    hot = thermometers(lines.signal - max(quiet.signal, 0), read, shot)
    if hot.size < FEWEST_HOT:
        offset = untrended(quiet.common, u, weight, bias_subtracted)
        expected = np.where(u > 0, JITTER, 0.0)
        left = JITTER**2 * (time > 0)
        return FrameTerms(offset, quiet.error, np.ones_like(u), expected, left, cool(hot.size))
    ratio, error = departures(lines.of(hot), quiet, weight, read, shot)
    within = within_exposures(ratio, error, u, group, weight)
    jitter = jitter_rms(within, group)
    between, notes = between_exposures(ratio, error, u, group, weight, jitter, bias_subtracted)
    within, between = drawn_back(within, jitter), drawn_back(between, jitter / np.sqrt(frames))
    change = within.value + between.value[group]
    offset = untrended(quiet.common - change * u * quiet.signal, u, weight, bias_subtracted)
    scale = 1 + change
    scale[u > 0] /= np.average(scale[u > 0], weights=(u * weight)[u > 0])
    scale_error = np.where(u > 0, np.hypot(within.error, between.error[group]), 0.0)
    # What the frames of an exposure share is not averaged down: it counts once for each of them.
    left = np.bincount(group, within.error**2) / frames + frames * between.error**2
    return FrameTerms(offset, quiet.error, scale, scale_error, np.where(time > 0, left, 0.0), notes)


def quiet_pixels(signal) -> np.ndarray:
    """Indices of pixels that are neither warm nor strangely dark, thinned."""
    low, high = quantile(signal, 0.02), quantile(signal, 0.6)
    return thinned((signal >= low) & (signal <= high), QUIET)


def thinned(chosen, enough: int) -> np.ndarray:
    """Indices of about `enough` of `chosen` (P,) bool: which ones go does not depend on the others."""
    stride = max(1, np.count_nonzero(chosen) // enough) | 1  # odd: does not stay in one column
    return stride * np.flatnonzero(chosen[::stride])


def thermometers(above, read, shot) -> np.ndarray:
    """Indices of the hottest pixels; `above` is their dark signal above that of the quiet ones, adu."""
    above = np.maximum(above, 0)
    hot = np.flatnonzero(above > HOT_SIGMA * np.sqrt(read + shot * above))
    return hot[np.argsort(-above[hot])[:MOST_HOT]]


def departures(hot: Lines, quiet: QuietTerms, weight, read, shot) -> tuple[np.ndarray, np.ndarray]:
    """What lines of hot pixels leave over, as a part of their dark signal, and its error: (N, P) float32."""
    excess = hot.signal - np.float32(quiet.signal)
    ratio, error = np.empty((2, hot.u.size, excess.size), np.float32)
    for i, residual in enumerate(hot.residuals()):
        ratio[i] = (residual - np.float32(quiet.common[i])) / excess
        error[i] = np.sqrt((read + shot * float(hot.u[i]) * hot.signal) / float(weight[i])) / excess
    return ratio, error


def within_exposures(ratio, error, u, group, weight) -> Change:
    """Departure of each frame's scale from the mean of its exposure; `ratio`, `error` (N, P): hot pixels."""
    value, spread = np.zeros_like(u), np.full_like(u, np.inf)
    for k in np.unique(group[u > 0]):
        part = group == k
        if np.count_nonzero(part) < 2:
            spread[part] = 0.0  # all of its change is that of the exposure
            continue
        share = weight[part] / weight[part].sum()
        departure = ratio[part] - share @ ratio[part]
        for i, row, own, s in zip(np.flatnonzero(part), departure, error[part], share, strict=True):
            value[i], spread[i] = biweight(row, own * np.sqrt(1 - s)) / u[i]
        value[part] -= share @ value[part]
    return Change(value, spread)


def jitter_rms(within: Change, group) -> float:
    """Rms of the scales from frames of equal exposure, with `JITTER` as what is expected beforehand."""
    frames = np.bincount(group)[group]
    seen = (frames > 1) & np.isfinite(within.error)
    degrees = 1 - 1 / frames[seen]
    noise = within.error[seen] ** 2
    say = (JITTER**2 / (JITTER**2 + noise)) ** 2
    square = (say * (within.value[seen] ** 2 - degrees * noise)).sum()
    square = max(square, 0.0) + PRIOR_DEGREES * JITTER**2
    return float(np.sqrt(square / ((say * degrees).sum() + PRIOR_DEGREES)))


def between_exposures(ratio, error, u, group, weight, jitter, bias_subtracted: bool):
    """Departure of each exposure's mean scale, (K,), from hot pixels whose departure can be temperature.

    What a pixel's own line took up of it is added back as the smallest jitter. Frames of zero exposure have
    none, which fixes the constant; the smallest sum of squared scale changes fixes the rest.
    """
    frames = np.bincount(group)
    time = np.bincount(group, u) / frames
    mean, noise = exposure_means(ratio, error, group, weight)
    allowed = jitter / np.sqrt(frames) * time
    departure = completed(mean, time, allowed, np.median(noise, axis=1), bias_subtracted)
    timed = time > 0
    limit = PLAUSIBLE * (allowed[timed, None] + noise[timed])
    plausible = (np.abs(departure[timed]) < limit).all(axis=0)
    found = np.count_nonzero(plausible)
    value, spread, bent = np.zeros_like(time), np.full_like(time, np.inf), False
    if found >= FEWEST_HOT:
        rows = zip(mean[:, plausible], noise[:, plausible], strict=True)
        shared, shared_error = np.array([biweight(*row) for row in rows]).T
        shared = completed(shared, time, allowed, shared_error, bias_subtracted)[timed]
        limit = PLAUSIBLE * (allowed + shared_error)[timed]
        bent = (np.abs(shared) > limit).any()
        value[timed] = np.clip(shared, -limit, limit) / time[timed]
        spread[timed] = shared_error[timed] / time[timed]
    notes = bending(plausible.size - found, jitter) if bent or found < plausible.size / 2 else ()
    return Change(value, spread), notes


def exposure_means(ratio, error, group, weight) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean of the frames of each exposure, and its error: (K, P) float64."""
    mean, noise = np.empty((2, group.max() + 1, ratio.shape[1]))
    for k in range(len(mean)):
        part = group == k
        share = weight[part] / weight[part].sum()
        mean[k] = share @ ratio[part]
        noise[k] = np.sqrt(share**2 @ error[part] ** 2)
    return mean, noise


def completed(values, time, allowed, error, bias_subtracted: bool) -> np.ndarray:
    """Add back what lines took up of changes (K,) or (K, P), as the smallest one of the rms `allowed`."""
    return untrended(values, time, 1 / (allowed**2 + error**2), bias_subtracted)


def cool(hot: int) -> tuple[str, ...]:
    """The note for a set with too few thermometers for the hot pixels that it has."""
    if hot == 0:
        return ()
    return (
        f"{hot} hot pixels are too few to measure the frames' dark scales: {100 * JITTER:g} % is assumed",
    )


def bending(pixels: int, jitter: float) -> tuple[str, ...]:
    """The note for hot pixels that depart from the line together by more than temperature explains."""
    return (
        f"hot pixels, {pixels} of them plainly, bend together by more than a temperature jitter of "
        f"{100 * jitter:.2g} % explains: taken for roll-off, not for a warmer sensor",
    )


def drawn_back(change: Change, rms) -> Change:
    """A change with an error, drawn back to none as far as it is noise; its error is what is then left."""
    share = rms**2 / (rms**2 + change.error**2)
    left = np.where(np.isfinite(change.error), np.sqrt(share) * np.minimum(change.error, 1e9), rms)
    return Change(share * change.value, left)


def untrended(values, u, weight, bias_subtracted: bool) -> np.ndarray:
    """What a weighted fit of intercept and dark current leaves of `values`, (N,) or (N, P)."""
    columns = basis(u, bias_subtracted)
    root = np.sqrt(weight)
    solver = np.linalg.pinv(columns * root[:, None]) * root
    return values - columns @ (solver @ values)


def biweight(values, errors) -> tuple[float, float]:
    """Location that most values share, and its error: Tukey's biweight in units of each value's own error.

    Values further off than five of their errors have no say: the roll-off of single pixels stays in their
    own residuals. The best tenth of them have the same say: the few brightest pixels, which bend as they near
    their full well, would else decide alone. Where values scatter by more than their errors, so does this.
    """
    typical = np.quantile(errors, 0.1)
    centre = float(np.median(values[errors <= np.median(errors)]))
    for _ in range(20):
        z = (values - centre) / (5 * errors)
        say = np.where(np.abs(z) < 1, (1 - z**2) ** 2, 0) / np.maximum(errors, typical) ** 2
        if not say.any():
            break
        before, centre = centre, float(np.average(values, weights=say))
        if centre == before:
            break
    noise = max(1.0, robust_sigma((values - centre) / errors))
    return centre, float(noise / np.sqrt(max(say.sum(), 1e-30)))
