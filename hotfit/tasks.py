"""Blocks of a dask array go through the kernel, a task each, wherever the caller's scheduler runs them.

A worker holds what its tasks hold: the samples of a block and its maps. These come back one by one and go to
whoever keeps the maps.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple
from uuid import uuid4

import numpy as np

from hotfit.bands import BANDS, MAP_BYTES
from hotfit.dasked import DaskSet
from hotfit.design import Shared, fit_samples, make_shared
from hotfit.errors import HotfitError
from hotfit.maps import TYPES


class Fitted(NamedTuple):
    """What comes back of a block."""

    rows: tuple[int, int]  # first, last + 1
    columns: tuple[int, int]
    band: dict[str, np.ndarray]  # (pixels,) each, by the names of the maps
    counts: np.ndarray  # (2, N), samples saturated and dropped


def fit_blocks(darks: DaskSet, calibration, bias_subtracted, maps, progress) -> np.ndarray:
    """Run the kernel over the blocks of a dask array, into `maps`, a keeper as in `hotfit.maps`.

    Returns the samples left out by frame, (2, N): saturated, dropped.
    """
    rows, columns = darks.shape
    counts = np.zeros((2, len(darks.frames)), np.int64)
    waiting, done = defaultdict(list), 0

    def take(fitted):
        nonlocal done
        np.add(counts, fitted.counts, out=counts)
        beside = waiting[fitted.rows]
        beside.append(fitted)
        if sum(last - first for first, last in (each.columns for each in beside)) < columns:
            return
        put_rows(maps, waiting.pop(fitted.rows))
        done += fitted.rows[1] - fitted.rows[0]
        if progress is not None:
            progress(done, rows)

    run(tasks_of(darks, make_shared(darks, calibration, bias_subtracted)), take)
    return counts


def put_rows(maps, beside: list[Fitted]) -> None:
    """Hand over the maps of blocks that lie side by side."""
    first, last = beside[0].rows
    band = maps.band(first, last)
    for name, array in band.items():
        image = array.reshape(last - first, -1)
        for fitted in beside:
            image[:, slice(*fitted.columns)] = fitted.band[name].reshape(last - first, -1)
    maps.put(first, band)


# --- the tasks


def tasks_of(darks: DaskSet, shared: Shared) -> list:
    """A delayed (1, 1) array for every block, which holds its `Fitted`."""
    frames, pixel_bytes = len(darks.frames), len(darks.frames) * darks.dtype.itemsize + MAP_BYTES
    chunks = block_chunks(darks.cube.chunks[1:], max(1, int(BANDS // pixel_bytes)))
    fitted = darks.cube.rechunk((frames, *chunks)).map_blocks(
        partial(fit_block, shared),
        chunks=tuple((1,) * len(sizes) for sizes in chunks),
        drop_axis=0,
        dtype=object,
        meta=np.empty((0, 0), object),
        name=f"hotfit-{uuid4().hex}",  # results are emptied as they are taken, and no other fit may see that
    )
    return fitted.to_delayed().ravel().tolist()


def fit_block(shared: Shared, block: np.ndarray, block_info=None) -> np.ndarray:
    """Fit the pixels of a block (N, rows, columns)."""
    places = block_info[0]["array-location"]
    shape = tuple(last - first for first, last in places)
    if block.shape != shape:  # the kernel does not look
        raise HotfitError(
            f"cube: has a block of shape {block.shape} where its chunks promise {shape}; mend its chunks"
        )
    _, rows, columns = places
    samples = np.ascontiguousarray(block).reshape(len(block), -1)
    samples.flags.writeable = False
    band = {name: np.empty(samples.shape[1], kind) for name, kind in TYPES.items()}
    result = np.empty((1, 1), object)
    result[0, 0] = Fitted(tuple(rows), tuple(columns), band, fit_samples(shared, samples, 0, band))
    return result


def block_chunks(chunks, pixels: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows and columns of blocks of at most so many pixels, from those of the caller's chunks.

    Chunks are cut into equal parts, rows before columns, or put together, columns only where all rows are too
    few: a block has no more chunks beside each other than it needs.
    """
    rows, columns = chunks
    columns = regrouped(columns, min(pixels, max(*columns, pixels // sum(rows))))
    return regrouped(rows, max(1, pixels // max(columns))), columns


def regrouped(sizes, most: int) -> tuple[int, ...]:
    """Cut sizes into equal parts of at most `most`, then put neighbours together up to that."""
    merged = []
    for size in sizes:
        parts = -(-size // most)
        for part in np.diff(np.linspace(0, size, parts + 1).astype(int)).tolist():
            if merged and merged[-1] + part <= most:
                merged[-1] += part
            else:
                merged.append(part)
    return tuple(merged)


# --- who runs them


def run(tasks: list, take: Callable[[Fitted], None]) -> None:
    """Compute tasks on the scheduler that is set, and call `take` in this thread with what each gives."""
    from dask.base import get_scheduler

    owner = getattr(get_scheduler(collections=tasks), "__self__", None)
    if hasattr(owner, "scheduler_info"):  # a client of dask.distributed
        run_on_cluster(owner, tasks, take)
    else:
        run_here(tasks, take)


def run_on_cluster(client, tasks: list, take: Callable[[Fitted], None]) -> None:
    """Take results as they come: a worker forgets what was taken."""
    from distributed import as_completed

    with aside():
        finished = as_completed(client.compute(tasks), with_results=True)
        try:
            for _, result in finished:
                take(result.item())
        finally:
            finished.clear()  # after an error the rest need not be computed


@contextmanager
def aside() -> Iterator[None]:
    """Let a worker do other tasks meanwhile if this is one of its tasks: it may be the only one."""
    from distributed import get_worker, rejoin, secede

    try:
        get_worker().get_current_task()
    except (ValueError, AttributeError, KeyError):  # no worker, or no task of one
        yield
        return
    secede()
    try:
        yield
    finally:
        rejoin()


def run_here(tasks: list, take: Callable[[Fitted], None]) -> None:
    """Take results as they come if the scheduler tells of them, as those of dask do, else in the end."""
    import dask
    from dask.callbacks import Callback

    keys = {task.key for task in tasks}

    def empty(result):
        fitted, result[0, 0] = result[0, 0], None  # the scheduler holds all results until the end
        if fitted is not None:
            take(fitted)

    def told(key, result, *_):
        if key in keys:
            empty(result)

    with Callback(posttask=told):
        results = dask.compute(*tasks, traverse=False)
    for result in results:
        empty(result)
