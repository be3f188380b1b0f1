"""A set of darks that is a dask array: what is asked of it is picked in its blocks and gathered."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hotfit.cubes import check_cube, native_counts, sorted_planes
from hotfit.darkset import DarkSet, assemble_set
from hotfit.errors import HotfitError
from hotfit.readers import FLOAT32, UINT16, Coding
from hotfit.saturation import exceed


def is_dasked(cube: Any) -> bool:
    """Whether this is a dask array; dask is not imported for it."""
    module = sys.modules.get("dask.array")
    return module is not None and isinstance(cube, module.Array)


def dask_darks(cube, exposure: ArrayLike, *, n_combined: ArrayLike | None = None) -> "DaskSet":
    """Make a set of the planes of a dask array; nothing is computed.

    Parameters
    ----------
    cube : dask array, (N, rows, columns)
        Counts in ADU, in any order and any chunks; NaN and masked samples are missing. What is neither
        uint8 nor uint16 becomes float32, and so do blocks that are masked arrays.
    exposure, n_combined
        As for `hotfit.cubes.cube_darks`.

    Raises
    ------
    HotfitError
        What `hotfit.cubes.cube_darks` raises, or the chunks are of unknown size.
    """
    if any(np.isnan(size) for size in cube.shape):
        raise HotfitError("cube: has chunks of unknown size; call its compute_chunk_sizes() first")
    check_cube(cube.dtype, cube.shape)
    masked = isinstance(cube._meta, np.ma.MaskedArray)
    coding = Coding(FLOAT32 if masked else Coding(cube.dtype).native)
    # First of all: not everything that dask does to blocks keeps their masks.
    meta = np.empty((0, 0, 0), coding.native)
    cube = cube.map_blocks(native_block, coding.native, dtype=coding.native, meta=meta)
    readers = [DaskRows(cube, index, coding) for index in range(len(cube))]
    frames, order = sorted_planes(readers, cube.shape[1:], exposure, n_combined)
    return assemble_set(frames, order=order, kind=DaskSet, cube=cube)


@dataclass(frozen=True, eq=False)
class DaskRows:
    """Rows of plane `index` of a dask array."""

    cube: Any
    index: int
    coding: Coding

    def read(self, first: int, last: int, out: np.ndarray) -> None:
        """Write rows `first` to `last` (exclusive) into `out`, (last - first, columns)."""
        self.coding.decode(self.cube[self.index, first:last].compute(), out)


@dataclass(frozen=True, eq=False)
class DaskSet(DarkSet):
    """Darks that are a dask array, computed by whatever scheduler the caller has.

    Attributes
    ----------
    cube : dask array, (N, rows, columns)
        Of `dtype`, in the caller's chunks; frames in the caller's order.
    """

    cube: Any = field(repr=False)

    def samples(self, first: int, last: int, room: np.ndarray | None = None) -> tuple[np.ndarray, int]:
        """Gather rows `first` to `last`, as ``(array, 0)``; see `DarkSet.samples`."""
        samples = self.cube[:, first:last].compute().reshape(len(self.frames), -1)
        samples.flags.writeable = False
        return samples, 0

    def sample(self, runs: Sequence[tuple[int, int]]) -> np.ndarray:
        """Gather the rows `first` to `last` (exclusive) of each run: ndarray, (N, pixels), of `dtype`."""
        rows = np.concatenate([np.arange(first, last) for first, last in runs])
        picked = self.cube[:, rows]
        counts, place = np.empty(picked.shape, self.dtype), np.argsort(self.order)
        for (planes, *where), part in parts(picked):
            counts[place[planes], *where] = part
        return counts.reshape(len(self.frames), -1)

    def pixels(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Gather the samples of the pixels in rows `y` and columns `x`, picked in their blocks: (P, N)."""
        return np.ascontiguousarray(self.cube.vindex[:, y, x].compute()[:, self.order])

    def count_above(self, index: int, quantile: float, step: int) -> np.ndarray:
        """Count the samples in each row of frame `index` above a quantile of every so many rows: (rows,).

        The blocks of the frame are computed once and stay where they are; their counts are gathered.
        """
        image = self.cube[self.order[index]]
        image = image.map_blocks(decoded, dtype=self.dtype, meta=np.empty((0, 0), self.dtype))
        image = image.persist()
        limit = float(np.quantile(image[::step].compute(), quantile))
        counts = image.map_blocks(
            count_in_rows,
            limit,
            chunks=(image.chunks[0], (1,) * image.numblocks[1]),
            dtype=np.intp,
            meta=np.empty((0, 0), np.intp),
        )
        return counts.sum(axis=1).compute()


def parts(array):
    """Gather a dask array block by block, with the slices of each: no worker puts them together."""
    import dask
    from dask.array.core import slices_from_chunks

    blocks = dask.compute(*array.to_delayed().ravel().tolist(), traverse=False)
    return zip(slices_from_chunks(array.chunks), blocks, strict=True)


def native_block(block: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The counts of a block; raises if it is not what the array says of itself."""
    counts = native_counts(block, Coding(block.dtype).native)
    if dtype == UINT16 != counts.dtype:
        kind = "with masked samples" if np.ma.is_masked(block) else f"of {block.dtype}"
        raise HotfitError(f"cube: is an unsigned dask array with a block {kind}; give it the right meta")
    return counts.astype(dtype, copy=False)


def decoded(block: np.ndarray) -> np.ndarray:
    """A copy of a block's counts as a reader gives them, which does not hold on to a larger block."""
    out = np.empty(block.shape, block.dtype)
    Coding(block.dtype).decode(block, out)
    return out


def count_in_rows(block: np.ndarray, limit: float) -> np.ndarray:
    """Samples above a limit in each row of a block, (rows, 1)."""
    return np.count_nonzero(exceed(block, limit), axis=1)[:, None]
