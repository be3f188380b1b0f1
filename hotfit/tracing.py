"""Chooses the pixels whose samples a result keeps, reads these once more, and says what became of each.

Chosen are pixels of evenly spaced rows, odd ones before quiet ones, each with the number of pixels that it
stands for, and the worst of each reason wherever they are.
"""

from dataclasses import replace

import numpy as np

from hotfit import kernels
from hotfit.calibrate import Calibration
from hotfit.curves import DROPPED, LONGER, MISSING, SAMPLES, SATURATED, USED, Curves
from hotfit.darkset import DarkSet
from hotfit.design import make_design, make_groups, make_limits
from hotfit.findings import Findings
from hotfit.flags import DQ
from hotfit.maps import TYPES, blocks
from hotfit.portrait import SEVERITY

SCANNED = 1_000_000
"""Pixels of the rows that they are taken from."""

WORST = 64
"""Pixels of each reason that are kept wherever they are."""

ODD = np.uint32(sum(DQ) - DQ.JUMP_DET)
"""A pixel with any flag but that of a cosmic ray is odd."""


def take_curves(darks: DarkSet, calibration: Calibration, bias_subtracted: bool, fit: Findings) -> Curves:
    """The samples of some pixels of a fit, all arrays in the order of the rows."""
    y, x, weight = choose(fit, max(1, SAMPLES // len(darks.frames)))
    return told(
        darks,
        calibration,
        bias_subtracted,
        fit,
        Curves(
            y=y.astype(np.int32),
            x=x.astype(np.int32),
            weight=weight.astype(np.float32),
            counts=darks.pixels(y, x),
            state=np.empty(0, np.uint8),
        ),
    )


def told(darks, calibration: Calibration, bias_subtracted: bool, fit: Findings, curves: Curves) -> Curves:
    """The same samples with what became of each."""
    limits = make_limits(darks, calibration)
    design = make_design(darks, calibration, bias_subtracted)._replace(order=np.arange(len(darks.frames)))
    state = states(curves.counts, darks.group, limits)
    hit = np.flatnonzero(fit.dq[curves.y, curves.x] & np.uint32(DQ.JUMP_DET))
    lost = dropped(curves.counts[hit], design, limits, calibration.noise)
    state[hit] = np.where(lost, DROPPED, state[hit])
    return replace(curves, state=state)


# --- which pixels


def choose(fit: Findings, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and weight of about `most` pixels, by rows."""
    rows, columns = fit.dq.shape
    scanned = np.unique(np.linspace(0, rows - 1, min(rows, -(-SCANNED // columns))).astype(int))
    odd = (fit.dq[scanned] & ODD) != 0
    all_odd = sum(np.count_nonzero(fit.dq[first:last] & ODD) for first, last in blocks(fit.dq.shape))
    weight_of = {}
    few = thinned(np.flatnonzero(odd), most // 2)
    for picked, total in (
        (few, all_odd),
        (thinned(np.flatnonzero(~odd), most - few.size), fit.dq.size - all_odd),
    ):
        row, column = np.divmod(picked, columns)
        weight = total / max(picked.size, 1)
        weight_of.update(dict.fromkeys((scanned[row] * columns + column).tolist(), weight))
    for index in worst(fit).tolist():
        weight_of.setdefault(index, 0.0)
    chosen = np.array(sorted(weight_of), dtype=np.intp)
    y, x = np.divmod(chosen, columns)
    return y, x, np.array([weight_of[index] for index in chosen.tolist()])


def thinned(index: np.ndarray, most: int) -> np.ndarray:
    """At most that many of them, evenly."""
    return index[np.linspace(0, index.size - 1, min(index.size, most)).astype(np.intp)]


def worst(fit: Findings) -> np.ndarray:
    """The worst pixels of each reason, counted row by row; those that have no measure, evenly."""
    y, x = fit.masked()
    values = fit.values_at(y, x, ("rate", *SEVERITY.values()))
    found = []
    for name in fit.rules.bad:
        of_reason = np.flatnonzero(fit.dq[y, x] & np.uint32(DQ[name]))
        severity = values[SEVERITY.get(DQ[name], "rate")][of_reason]
        if np.isnan(severity).all():
            found.append(thinned(of_reason, WORST))
        else:
            found.append(of_reason[np.argsort(-np.nan_to_num(severity, nan=-np.inf), kind="stable")][:WORST])
    index = np.concatenate(found) if found else np.empty(0, np.intp)
    return np.ravel_multi_index((y[index], x[index]), fit.dq.shape)


# --- what became of their samples


def states(counts, group, limits: kernels.Limits) -> np.ndarray:
    """What saturation and gaps make of samples (P, N), by the rules of the kernel."""
    full = counts >= limits.saturation
    state = np.where(full, SATURATED, USED).astype(np.uint8)
    state[~np.isfinite(counts)] = MISSING
    calm = counts < limits.calm
    ended = np.zeros(len(counts), bool)
    for k in range(group[-1] + 1):
        start, stop = np.searchsorted(group, (k, k + 1))
        ended |= full[:, start:stop].any(axis=1) & ~calm[:, start:].any(axis=1)
        own = state[:, start:stop]
        own[ended[:, None] & (own == USED)] = LONGER
    return state


def dropped(counts, design: kernels.Design, limits: kernels.Limits, noise) -> np.ndarray:
    """(P, N) bool: samples that the kernel drops; each pixel is fitted alone, and its losses counted."""
    samples = np.ascontiguousarray(counts.T)
    samples.flags.writeable = False
    groups, noise = make_groups(design), kernels.Noise(*map(np.float32, noise))
    maps = kernels.Maps(**{name: np.empty(1, dtype) for name, dtype in TYPES.items()})
    lost = np.zeros((len(counts), 2, counts.shape[1]), np.int64)
    for pixel, own in enumerate(lost):
        kernels.fit_pixels(samples, pixel, design, groups, noise, limits, np.float32(1), maps, own)
    return lost[:, 1] > 0
