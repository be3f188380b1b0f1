"""The maps of a fit while it is made and judged: kept in memory here, taken by blocks of rows, in threads.

A keeper of maps has `shape` and `dq`. What it gives with `band` is filled and comes back with `put`, in any
number of threads; then it gives blocks of rows with `rows`, and evenly thinned pixels with `sample`.
`hotfit.filed.FiledMaps` keeps all but `dq` in a file.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import NamedTuple

import numpy as np

from hotfit.robust import median

TYPES = {
    "rate": np.float32,
    "rate_error": np.float32,
    "intercept": np.float32,
    "slope_residual": np.float32,
    "slope_residual_error": np.float32,
    "lack_of_fit": np.float32,
    "scatter": np.float32,
    "misfit": np.float32,
    "misfit_fraction": np.float32,
    "n_used": np.uint16,
    "n_groups": np.uint16,
    "n_dropped": np.uint8,
    "dq": np.uint32,
}
"""The maps that a fit makes, as in `hotfit.kernels.Maps`, and their types."""

BLOCK = 1 << 16
"""Pixels of a block of rows: what the rules look at of them stays in the cache of one core."""

SAMPLE = 1_000_000
"""Pixels of which there is always a sample of the frame, if it has so many."""


class Block(NamedTuple):
    """What the rules look at, in some pixels; every array has shape (pixels,) and the type of its map."""

    rate: np.ndarray
    rate_error: np.ndarray
    intercept: np.ndarray
    lack_of_fit: np.ndarray
    scatter: np.ndarray
    misfit: np.ndarray
    misfit_fraction: np.ndarray
    n_used: np.ndarray
    n_groups: np.ndarray
    dq: np.ndarray


class Sample(NamedTuple):
    """Evenly thinned pixels of a frame, from which its limits are taken; arrays as in `Block`."""

    rate: np.ndarray
    rate_error: np.ndarray
    intercept: np.ndarray
    lack_of_fit: np.ndarray
    scatter: np.ndarray
    n_used: np.ndarray
    n_groups: np.ndarray


class Typical(NamedTuple):
    """Medians over the sample; nan where no pixel has a value."""

    rate: float  # over the pixels with a rate
    rate_error: float  # over the same
    intercept: float  # adu


class ArrayMaps:
    """Maps in memory.

    Parameters
    ----------
    dq : (rows, columns) uint32 array
        The flags.
    **arrays : (rows, columns) array
        The other maps; those of `TYPES` that are not given are made.
    """

    def __init__(self, dq: np.ndarray, **arrays: np.ndarray):
        self.dq, self.shape = dq, dq.shape
        self.arrays = arrays or {name: np.empty(dq.shape, TYPES[name]) for name in TYPES if name != "dq"}

    def band(self, first: int, last: int) -> dict[str, np.ndarray]:
        """Arrays (pixels,) by the names of `TYPES` for rows `first` to `last` (exclusive), to be filled."""
        return {name: array[first:last].reshape(-1) for name, array in {**self.arrays, "dq": self.dq}.items()}

    def put(self, first: int, band: dict[str, np.ndarray]) -> None:
        """Take a band that is filled, which begins at row `first`: it is where it belongs."""

    def rows(self, first: int, last: int) -> Block:
        """Rows `first` to `last` (exclusive); `dq` is a view."""
        arrays = {**self.arrays, "dq": self.dq}
        return Block(*(arrays[name][first:last].reshape(-1) for name in Block._fields))

    def sample(self) -> Sample:
        """Evenly thinned pixels."""
        return Sample(*(thinned(self.arrays[name]) for name in Sample._fields))


def thinned(values) -> np.ndarray:
    """Evenly spread values, (pixels,), of a map: all of them, or about a million."""
    return np.ascontiguousarray(values.ravel()[:: stride(values.size)])


def stride(pixels: int) -> int:
    """Every how many pixels one is in the sample: odd, so that it does not stay in one column."""
    return max(1, pixels // SAMPLE) | 1


def typical(sample: Sample) -> Typical:
    """The medians of a sample."""
    finite = np.isfinite(sample.rate)
    known = sample.intercept[~np.isnan(sample.intercept)]
    values = (sample.rate[finite], sample.rate_error[finite], known)
    return Typical(*(float(median(each)) if each.size else np.nan for each in values))


def blocks(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Ranges of rows of about `BLOCK` pixels."""
    rows, columns = shape
    height = max(1, BLOCK // columns)
    return [(first, min(first + height, rows)) for first in range(0, rows, height)]


def in_threads(
    work: Callable,
    ranges: Iterable[tuple[int, int]],
    workers: int | None = None,
    done: Callable | None = None,
) -> None:
    """Call ``work(first, last)`` for all ranges in threads, and `done` with every result in this one.

    The first error ends it: what has begun is waited for, the rest is left, and the error passes.
    """
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1)
    try:
        for future in as_completed([pool.submit(work, *each) for each in ranges]):
            result = future.result()
            if done is not None:
                done(result)
    finally:
        pool.shutdown(cancel_futures=True)
