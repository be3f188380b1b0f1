"""Bands of rows go through the kernel in threads, and their maps to whoever keeps them."""

import threading

import numpy as np

from hotfit.design import fit_samples, make_shared
from hotfit.errors import HotfitError
from hotfit.maps import TYPES, in_threads

BANDS = 16e6
"""Bytes of samples and maps that all threads hold at once, or as many as a frame has: more is not faster."""

MAP_BYTES = sum(np.dtype(dtype).itemsize for dtype in TYPES.values())
"""Of one pixel in all maps."""


def fit_bands(
    darks, calibration, bias_subtracted, maps, workers, memory, progress, gather=None
) -> np.ndarray:
    """Run the kernel over bands of rows in threads, into `maps`, a keeper as in `hotfit.maps`.

    Returns the samples left out by frame, (2, N): saturated, dropped. Every band of samples is shown to
    ``gather(first, last, samples, start, shared)``, with arguments as in `hotfit.gathering.Gathering.take`.
    """
    shared = make_shared(darks, calibration, bias_subtracted)
    rows, columns = darks.shape
    counts = np.zeros((2, len(darks.frames)), np.int64)
    bands, of_thread, done = cut_bands(darks, workers, memory), threading.local(), 0
    most = max(last - first for first, last in bands) * columns

    def fit_band(first, last):
        if not hasattr(of_thread, "samples"):  # what is used again, the system need not make anew
            of_thread.samples = np.empty(most * counts.shape[1], darks.dtype)
        samples, start = darks.samples(first, last, of_thread.samples)
        band = maps.band(first, last)
        own = fit_samples(shared, samples, start, band)
        if gather is not None:
            gather(first, last, samples, start, shared)
        maps.put(first, band)
        return last - first, own

    def count(result):
        nonlocal done
        done += result[0]
        np.add(counts, result[1], out=counts)
        if progress is not None:
            progress(done, rows)

    in_threads(fit_band, bands, workers, count)
    return counts


def cut_bands(darks, workers, memory, most: float = BANDS) -> list[tuple[int, int]]:
    """Ranges of rows such that the bands in flight fit in `memory` MB, and every thread gets several.

    However many frames there are, the bands, samples and maps, take no more than `most` bytes, or one frame
    of a large detector.
    """
    rows, columns = darks.shape
    sample = np.dtype(darks.dtype).itemsize
    row_bytes = columns * (len(darks.frames) * sample + MAP_BYTES)
    fitting = memory * 1e6 / workers / row_bytes
    if fitting < 1:
        raise HotfitError(
            f"memory={memory:g} MB: one row of {len(darks.frames)} frames in each of {workers} threads takes "
            f"{row_bytes * workers / 1e6:.2g} MB; give more memory or fewer workers"
        )
    enough = max(most, rows * columns * sample) / row_bytes / workers
    height = int(max(1, min(fitting, enough, -(-rows // (4 * workers)))))
    return [(first, min(first + height, rows)) for first in range(0, rows, height)]
