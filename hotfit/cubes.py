"""A set of darks that is an array in memory."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from hotfit.darkset import DarkSet, assemble_set
from hotfit.errors import HotfitError
from hotfit.frames import Frame
from hotfit.grouping import group_exposures
from hotfit.readers import FLOAT32, ArrayRows, Coding, Rows


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
    masked = np.ma.isMaskedArray(cube)
    data = cube if masked else np.asarray(cube)
    check_cube(data.dtype, data.shape)
    counts = native_counts(data, FLOAT32 if masked else Coding(data.dtype).native).view()
    counts.flags.writeable = False
    readers = [ArrayRows(image, Coding(counts.dtype)) for image in counts]
    frames, order = sorted_planes(readers, counts.shape[1:], exposure, n_combined)
    return assemble_set(frames, order=order, kind=CubeSet, cube=counts.reshape(len(counts), -1))


def check_cube(dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """Raise HotfitError if an array is not two or more images of real numbers."""
    if len(shape) != 3 or shape[0] < 2 or 0 in shape or dtype.kind not in "uif":
        raise HotfitError(f"cube: is {dtype} of shape {shape}; give numbers, (N, rows, columns) with N >= 2")


def native_counts(data: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return counts as a C-contiguous array of uint16 or float32, the input itself where possible.

    What is masked is NaN, and then the type is float32 in any case.
    """
    if np.ma.is_masked(data):
        counts = np.ma.getdata(data).astype(np.float32)
        counts[np.ma.getmaskarray(data)] = np.nan
        return counts
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(np.ma.getdata(data), dtype=dtype)


def sorted_planes(
    readers: Sequence[Rows], shape: tuple[int, int], exposure: ArrayLike, n_combined: ArrayLike | None
) -> tuple[list[Frame], np.ndarray]:
    """Describe the planes of a cube, whose rows `readers` read, and sort them by exposure.

    Returns
    -------
    frames : list of Frame
    order : ndarray, (N,) intp
        Where each of them stands in the cube.

    Raises
    ------
    HotfitError
        There are not as many exposures and numbers as planes, or they make no sense.
    """
    number = len(readers)
    times = np.asarray(exposure, dtype=np.float64)
    combined = np.ones(number) if n_combined is None else np.asarray(n_combined, dtype=np.float64)
    for name, values in (("exposure", times), ("n_combined", combined)):
        if values.shape != (number,):
            raise HotfitError(f"{name}: has shape {values.shape} for {number} frames; give one per frame")
    if not (np.isfinite(combined) & (combined >= 1)).all():
        raise HotfitError("n_combined: is not 1 or more in every frame; give the number of frames averaged")
    group_exposures(times)
    order = np.argsort(times, kind="stable")
    frames = [_plane(readers[i], f"frame {i + 1}", times[i], int(combined[i]), shape) for i in order]
    return frames, order


def _plane(reader: Rows, name: str, seconds: float, combined: int, shape: tuple[int, int]) -> Frame:
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
        reader=reader,
    )
