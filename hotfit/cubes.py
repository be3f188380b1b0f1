"""A set of darks that is an array in memory."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from hotfit.darkset import DarkSet, assemble_set, group_exposures
from hotfit.errors import HotfitError
from hotfit.frames import Frame
from hotfit.readers import ArrayRows, Coding


@dataclass(frozen=True, eq=False)
class CubeSet(DarkSet):
    """Darks that are a cube in memory, which is used in place.

    Attributes
    ----------
    cube : ndarray, (N, pixels), of `dtype`
        Read-only; frames in the caller's order.
    """

    cube: np.ndarray = field(repr=False)

    def samples(self, first: int, last: int, room: np.ndarray | None = None) -> tuple[np.ndarray, int]:
        """Return the cube itself, and which column of it pixel (first, 0) is."""
        return self.cube, first * self.shape[1]

    def sample_of(self, index: int, runs: Sequence[tuple[int, int]], out: np.ndarray) -> None:
        """Copy the same rows of frame `index` into `out`, (rows, columns) of `dtype`."""
        image = self.cube[self.order[index]].reshape(self.shape)
        np.concatenate([image[first:last] for first, last in runs], out=out)

    def pixels(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Copy all samples of the pixels in rows `y` and columns `x`: ndarray, (P, N), of `dtype`."""
        return self.cube[self.order, (y * self.shape[1] + x)[:, None]]


def cube_darks(cube: ArrayLike, exposure: ArrayLike, *, n_combined: ArrayLike | None = None) -> CubeSet:
    """Make a set of the planes of a cube in memory; uint16 and float32 are used in place.

    Parameters
    ----------
    cube : array_like or masked array, (N, rows, columns)
        Counts in ADU, in any order; NaN and masked samples are missing. Other types become float32.
    exposure : array_like, (N,)
        Seconds.
    n_combined : array_like, (N,), optional
        Frames averaged into each plane; 1 by default.

    Raises
    ------
    HotfitError
        The cube is not N >= 2 images of real numbers, or N exposures and numbers do not come with it.
    """
    counts = _native_cube(cube)
    number, shape = len(counts), counts.shape[1:]
    times = np.asarray(exposure, dtype=np.float64)
    combined = np.ones(number) if n_combined is None else np.asarray(n_combined, dtype=np.float64)
    for name, values in (("exposure", times), ("n_combined", combined)):
        if values.shape != (number,):
            raise HotfitError(f"{name}: has shape {values.shape} for {number} frames; give one per frame")
    if not (np.isfinite(combined) & (combined >= 1)).all():
        raise HotfitError("n_combined: is not 1 or more in every frame; give the number of frames averaged")
    group_exposures(times)
    order = np.argsort(times, kind="stable")
    frames = [_plane(counts[i], f"frame {i + 1}", times[i], int(combined[i]), shape) for i in order]
    return assemble_set(frames, order=order, kind=CubeSet, cube=counts.reshape(number, -1))


def _native_cube(cube: ArrayLike) -> np.ndarray:
    """Return a read-only, C-contiguous uint16 or float32 cube, the input itself where possible."""
    data = np.ma.getdata(cube) if np.ma.isMaskedArray(cube) else np.asarray(cube)
    if data.ndim != 3 or len(data) < 2 or 0 in data.shape or data.dtype.kind not in "uif":
        raise HotfitError(
            f"cube: is {data.dtype} of shape {data.shape}; give numbers, (N, rows, columns) with N >= 2"
        )
    coding = Coding(data.dtype)
    if np.ma.is_masked(cube):
        counts = data.astype(np.float32)
        counts[np.ma.getmaskarray(cube)] = np.nan
    else:
        with np.errstate(over="ignore"):
            counts = np.ascontiguousarray(data, dtype=coding.native)
    counts = counts.view()
    counts.flags.writeable = False
    return counts


def _plane(image: np.ndarray, name: str, seconds: float, combined: int, shape: tuple[int, int]) -> Frame:
    return Frame(
        name=name,
        exposure=float(seconds),
        temperature=math.nan,
        begun=math.nan,
        n_combined=combined,
        master=False,
        image_type="",
        gain_claims=(),
        read_noise_claims=(),
        saturation_claims=(),
        shape=shape,
        settings={},
        remarks=(),
        reader=ArrayRows(image, Coding(image.dtype)),
    )
