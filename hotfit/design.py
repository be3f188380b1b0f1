"""What all pixels of a fit share: the design of their lines, for single pixels and for tiles, and limits."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import special

from hotfit import kernels
from hotfit.calibrate import Calibration
from hotfit.darkset import DarkSet

OUTLIER = 5.0
"""Sigmas above the line, leverage allowed for, beyond which one sample may be dropped."""

FRAMES_A_HIT = 10
"""One sample may be dropped, and one more for every so many frames."""

CURED = 1e-3
"""A fit is good when its chi-square has at least this probability."""


class Shared(NamedTuple):
    """All that the kernel needs beside samples: it fits any pixels of the set, in any thread or process."""

    design: kernels.Design
    groups: kernels.Groups
    noise: kernels.Noise
    limits: kernels.Limits
    unit: np.float32  # turns a slope into a rate


def make_shared(darks: DarkSet, calibration: Calibration, bias_subtracted: bool) -> Shared:
    """What all pixels of a set share."""
    design = make_design(darks, calibration, bias_subtracted)
    gain = calibration.detector.gain
    return Shared(
        design=design,
        groups=make_groups(design),
        noise=kernels.Noise(*map(np.float32, calibration.noise)),
        limits=make_limits(darks, calibration),
        unit=np.float32((gain if np.isfinite(gain) else 1.0) / darks.group_exposure[-1]),
    )


def fit_samples(shared: Shared, samples: np.ndarray, first: int, band: dict[str, np.ndarray]) -> np.ndarray:
    """Fit the pixels from column `first` of `samples` on into `band`, arrays by the names of the maps.

    `samples` is (N, pixels) as `DarkSet.samples` gives them. Returns the samples left out by frame, (2, N):
    saturated, dropped.
    """
    counts = np.zeros((2, len(samples)), np.int64)
    kernels.fit_pixels(samples, first, *shared, kernels.Maps(**band), counts)
    return counts


def make_design(darks: DarkSet, calibration: Calibration, bias_subtracted: bool) -> kernels.Design:
    """The design for single pixels, in the kernel's units: time over the longest exposure."""
    free = 0.0 if bias_subtracted else 1.0
    u = darks.group_exposure / darks.group_exposure[-1]
    centre = free * u[0]  # where the weight of a hot pixel is: float32 sums lose nothing
    return kernels.Design(
        order=darks.order,
        start=np.searchsorted(darks.group, np.arange(u.size + 1)).astype(np.intp),
        group=darks.group.astype(np.intp),
        u=u,
        x=calibration.scale * u[darks.group] - centre,
        offset=calibration.offset,
        weight=darks.n_combined.astype(float),
        left=calibration.left,
        centre=np.float64(centre),
        free=np.float64(free),
    )


def make_groups(design: kernels.Design) -> kernels.Groups:
    """The same design for tiles: what its groups add to sums, and the slots of their frames."""
    free, weight, x = design.free, design.weight, design.x
    sizes, group = np.diff(design.start), design.group
    n = np.bincount(group, weight)
    mean_x = np.bincount(group, weight * x) / n
    away = x - mean_x[group]
    spread = np.bincount(group, weight * away**2)
    centre_x = free * np.average(x, weights=weight)
    sum_xx = (weight * (x - centre_x) ** 2).sum()
    leverage = weight * (free / weight.sum() + (x - centre_x) ** 2 / sum_xx)
    frames, filled = fill_slots(design.start)
    degrees, spare = sizes.size - 1 - free, x.size - sizes.size
    half = (sizes.size + 1) // 2
    solvable = half > free and (free or design.u[half - 1] > 0)
    numbers = {
        "weight": np.where(filled, weight[frames], 0.0),
        "lever": np.where(filled, (weight * away)[frames], 0.0),
        "offset": design.offset[frames],
        "u": design.u,
        "left": design.left,
        "n": n,
        "x": mean_x,
        "sum_xx": n * mean_x**2 + spread,
        "spread": spread,
        "reach": np.maximum.reduceat(np.abs(away), design.start[:-1]),
        "gate": np.maximum.reduceat(weight / np.maximum(1 - leverage, 1e-6), design.start[:-1]),
        "lowest": np.minimum.reduceat(design.offset, design.start[:-1]),
        "highest": np.maximum.reduceat(design.offset, design.start[:-1]),
        "pull": (mean_x - centre_x) / sum_xx,
        "per_frame": free / weight.sum(),
        "per_moment": 1 / sum_xx,
        "mean_x": centre_x,
        "centre": design.centre,
        "free": free,
        "per_lack": 1 / degrees if degrees > 0 else np.nan,
        "per_spare": 1 / spare if spare > 0 else np.nan,
        "halves": 1.0 if solvable else 0.0,
        "last": design.u[-1],
    }
    return kernels.Groups(
        start=np.concatenate([[0], np.cumsum(slots_of(sizes))]).astype(np.intp),
        frame=design.order[frames].astype(np.intp),
        **{name: np.asarray(value, np.float32)[()] for name, value in numbers.items()},
    )


def slots_of(frames):
    """Slots that so many frames of a group take: two, and then fours."""
    return 2 + 4 * (np.maximum(np.asarray(frames) - 2, 0) + 3 >> 2)


def fill_slots(start) -> tuple[np.ndarray, np.ndarray]:
    """Frame of every slot, and whether it is not there just to fill up: those repeat the group's first."""
    frames, filled = [], []
    for first, stop in pairwise(start):
        slots = int(slots_of(stop - first))
        own = np.arange(slots) < stop - first
        frames.append(first + np.where(own, np.arange(slots), 0))
        filled.append(own)
    return np.concatenate(frames), np.concatenate(filled)


def make_limits(darks: DarkSet, calibration: Calibration) -> kernels.Limits:
    """Thresholds of the kernel from the detector's noise, converter step and saturation level.

    They are in sigmas of the noise that the darks show, whatever noise was given.
    """
    frames = len(darks.frames)
    degrees = np.arange(frames + 1)
    cured = np.zeros(degrees.size, np.float32)
    cured[1:] = special.chdtri(degrees[1:], CURED) * calibration.excess
    detector, floor = calibration.detector, calibration.noise.floor
    outlier = OUTLIER * np.sqrt(calibration.excess)
    pedestal = floor if np.isfinite(floor) else 0.0
    return kernels.Limits(
        saturation=np.float32(detector.saturation),
        stuck=np.int64(calibration.stuck),
        candidate=np.float32(0.8 * outlier),
        outlier=np.float32(outlier),
        hits=np.int64(np.clip(frames // FRAMES_A_HIT, 1, 255)),
        calm=np.float32((pedestal + detector.saturation) / 2),
        cured=cured,
    )
