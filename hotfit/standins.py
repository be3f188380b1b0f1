"""Samples that stand in for those of files that are gone.

There are as many for each exposure as bring it to its sums, or, where the highest was saturated, that one. By
them a new outlier is told from a pixel that no longer repeats itself, but not which of the old samples was
one.
"""

import numpy as np

from hotfit.state import State


def stand_in(counts, state: State, sums, mates: list[int | None], here, missing) -> None:
    """Fill in the samples (P, N) of the frames that are missing, so that pixels have their sums.

    `here` and `missing` are (N,) bool; sums (4, exposures, P) are of the frames of both. Of an exposure that
    lacks but one frame, or two of unlike scales, the samples are what they were.
    """
    group, level = state.darks.group, state.calibration.detector.saturation
    weight, offset = state.darks.n_combined.astype(float), state.own_offset
    x = state.own_scale * state.darks.group_exposure[group]
    for (mean, square, moment, high), mate in zip(sums.transpose(1, 0, 2).astype(float), mates, strict=True):
        gone, known = (np.flatnonzero(which & (group == mate)) for which in (missing, here))
        if mate is None or gone.size == 0:
            continue
        both = np.append(known, gone)
        reach = x - np.average(x[both], weights=weight[both])
        away = counts[:, known] - offset[known] - mean[:, None]
        share, slant = weight[gone].sum(), np.average(reach[gone], weights=weight[gone])
        middle = -(away @ weight[known]) / share
        square = square - away**2 @ weight[known] - share * middle**2
        moment = moment - away @ (weight * reach)[known] - share * slant * middle
        departure = departures(weight[gone], reach[gone] - slant, square, moment)
        own = (mean + middle)[:, None] + departure + offset[gone]
        full = high + offset[both].max() >= level
        full &= ~(counts[:, known] >= level).any(axis=1)
        own[full] = high[full, None] + offset[gone]
        counts[:, gone] = own


def departures(weight, x, square, moment) -> np.ndarray:
    """Departures (P, n) from a mean with these sums (P,) of weighted squares, and of weighted x times them.

    The weighted mean of x is 0. Two frames have no freedom but a sign; of one, no departure.
    """
    squares, size = np.maximum(square, 0), weight.size
    flat = np.sqrt(weight) / np.sqrt(weight.sum())
    along = np.sqrt(weight) * x
    long = np.linalg.norm(along)
    if size == 1:
        return np.zeros((squares.size, 1))
    slanted = long > 1e-9 * np.abs(x).sum()
    base = [flat, along / long] if slanted else [flat]
    tilt = np.clip(moment / long, -np.sqrt(squares), np.sqrt(squares)) if slanted else np.zeros(squares.size)
    if size == 2 and slanted:
        tilt = np.copysign(np.sqrt(squares), moment)
    across = beside(base, np.sqrt(weight) * np.where(np.arange(size) % 2, -1.0, 1.0))
    found = np.sqrt(np.maximum(squares - tilt**2, 0))[:, None] * across
    if slanted:
        found += tilt[:, None] * base[1]
    return found / np.sqrt(weight)


def beside(base, wanted) -> np.ndarray:
    """A vector of length 1 at right angles to those of `base`, near the one wanted; 0 if there is none."""
    for vector in (wanted, *np.eye(wanted.size)):
        rest = vector / np.linalg.norm(vector)
        for each in base:
            rest = rest - (rest @ each) * each
        if np.linalg.norm(rest) > 1e-3:
            return rest / np.linalg.norm(rest)
    return np.zeros(wanted.size)
