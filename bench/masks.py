"""hotfit and its rivals as functions from the same frames to a mask of bad pixels.

The rivals are told the true gain and read noise; hotfit gets nothing but the files. They combine exposures as
the astropy CCD Data Reduction Guide does ("Combine calibrated dark images"): the average of what lies within
five sigmas of the median, sigma from the median absolute deviation. Like the Guide's camera with hot pixels
these have no overscan to subtract; where there are no bias frames, the shortest exposure takes their place.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import ccdproc
import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.stats import sigma_clip
from scipy import stats

import hotfit

HOT = 4.0
"""e-/s above which the Guide calls a pixel bad."""

SIGMA = 5.0
IMPROBABLE = 1e-3
BLOCK = 1 << 16


class Group(NamedTuple):
    """The frames of one exposure time, combined."""

    seconds: float
    frames: int
    mean: np.ndarray  # (rows, columns) float32, adu


@dataclass(frozen=True, eq=False)
class Frames:
    """Darks in files, and what the rivals are told about their camera."""

    paths: list[Path]  # sorted by exposure
    exposure: np.ndarray  # (N,) float64, s
    gain: float  # true, e-/adu
    variance: float  # of one sample from true read noise and quantisation, e-**2

    @cached_property
    def cube(self) -> np.ndarray:
        """(N, rows, columns) uint16."""
        return np.stack([fits.getdata(path) for path in self.paths])

    @cached_property
    def groups(self) -> list[Group]:
        """One combined frame for each exposure time, shortest first."""
        times, first = np.unique(self.exposure, return_index=True)
        parts = np.split(self.cube, first[1:])
        return [Group(float(t), len(part), combine(part)) for t, part in zip(times, parts, strict=True)]


def combine(frames) -> np.ndarray:
    """Average (N, rows, columns) over the frames without outliers, float32."""
    kept = sigma_clip(
        frames.astype(np.float32),
        sigma=SIGMA,
        maxiters=1,
        cenfunc="median",
        stdfunc="mad_std",
        axis=0,
        masked=False,
        copy=False,
    )
    return np.nanmean(kept, axis=0)


def fit_hotfit(frames: Frames, **options) -> hotfit.DarkFit:
    """hotfit with nothing but the files, and the options without which it refuses them."""
    return hotfit.fit_darks(frames.paths, **options)


def mask_hot(frames: Frames) -> np.ndarray:
    """Dark current above 4 e-/s: the mask that the Guide's "Identifying hot pixels" ends with.

    The dark current is that of the longest exposure less the bias. (The Guide has its threshold on the
    shorter of two darks because the longer one saturates, which makes no difference at 4 e-/s here.)
    """
    bias, *_, longest = frames.groups
    rate = frames.gain * (longest.mean - bias.mean) / (longest.seconds - bias.seconds)
    return rate > HOT


def mask_disagreeing(frames: Frames) -> np.ndarray:
    """Dark currents of the shortest and the longest dark differ by more than five of their errors.

    The Guide's "Identifying hot pixels" plots one against the other and judges by eye. The error that takes
    the eye's place is that of true read noise and true gain, of all three combined frames. As there, the
    bias is subtracted, no frame is levelled, and what is saturated in the longer dark disagrees.
    """
    bias, short, *_, longest = frames.groups
    after_short, after_longest = short.seconds - bias.seconds, longest.seconds - bias.seconds
    rate = frames.gain * (longest.mean - bias.mean) / after_longest
    difference = frames.gain * (short.mean - bias.mean) / after_short - rate
    variance = 0
    for group, share in (
        (short, 1 / after_short),
        (longest, 1 / after_longest),
        (bias, 1 / after_short - 1 / after_longest),
    ):
        charge = np.maximum(rate, 0) * group.seconds
        variance = variance + share**2 * (frames.variance + charge) / group.frames
    return np.abs(difference) > SIGMA * np.sqrt(variance)


def mask_improbable(frames: Frames) -> np.ndarray:
    """Chi-square of an unweighted line through all samples has p < 0.001 at the pixel.

    Only the test is weighted: by true read noise, and by the true shot noise of the charge on the line,
    which is what that has above the typical bias.
    """
    pedestal = np.median(frames.groups[0].mean)
    columns = np.stack([np.ones_like(frames.exposure), frames.exposure], axis=1)
    samples = frames.cube.reshape(len(columns), -1)
    chi = np.empty(samples.shape[1])
    for start in range(0, chi.size, BLOCK):
        y = samples[:, start : start + BLOCK].astype(float)
        line = columns @ np.linalg.lstsq(columns, y, rcond=None)[0]
        variance = frames.variance + frames.gain * np.maximum(line - pedestal, 0)
        chi[start : start + BLOCK] = ((frames.gain * (y - line)) ** 2 / variance).sum(axis=0)
    limit = stats.chi2.isf(IMPROBABLE, len(columns) - columns.shape[1])
    return (chi > limit).reshape(frames.cube.shape[1:])


def mask_outlying(frames: Frames) -> np.ndarray:
    """Beyond five robust sigmas of the longest dark: `astropy.stats.sigma_clip` of one master."""
    return sigma_clip(frames.groups[-1].mean, sigma=SIGMA, cenfunc="median", stdfunc="mad_std").mask


def mask_ccdmask(frames: Frames) -> np.ndarray:
    """`ccdproc.ccdmask` with its defaults on the longest dark.

    It is made for the ratio of two flats, or for one flat where there is no such ratio (the Guide's "Creating
    a mask"). The ratio of longest to shortest dark finds far fewer stuck pixels than the longest dark alone.
    """
    return ccdproc.ccdmask(CCDData(frames.groups[-1].mean, unit="adu"))


RIVALS: dict[str, Callable[[Frames], np.ndarray]] = {
    "above 4 e-/s (the Guide's mask)": mask_hot,
    "shortest against longest dark, 5 sigmas": mask_disagreeing,
    "unweighted line, chi-square p < 0.001": mask_improbable,
    "longest dark, 5 sigmas of the frame": mask_outlying,
    "longest dark, ccdproc.ccdmask": mask_ccdmask,
}
