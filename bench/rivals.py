"""What is measured: hotfit, and other ways to fit a line to every pixel of a cube of darks.

A `Rival` is prepared once for a cube and then run as often as one likes. Room for the result is found while
preparing, except by the functions that find it themselves: fit_cube and np.polyfit.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np

import hotfit
from hotfit import fit, simulate
from hotfit.calibrate import calibrate
from hotfit.cubes import cube_darks

WORKERS = os.cpu_count() or 1
EXPOSURES = (30.0, 90.0, 200.0, 450.0, 1000.0)
REPEATS = 6
SATURATION = 54_000.0
AGREEMENT = 0.01


class Darks(NamedTuple):
    """Simulated darks: frames (N, rows, columns) uint16 sorted by exposure (N,) in seconds."""

    cube: np.ndarray
    exposure: np.ndarray

    @property
    def megasamples(self) -> float:
        return self.cube.size / 1e6


@dataclass(frozen=True)
class Rival:
    """One way to fit the cube, and what it does; `prepare` makes the function that returns rates in adu/s."""

    name: str
    prepare: Callable[[Darks], Callable[[], np.ndarray]]
    fit: str
    weights: str = "no"
    saturation: str = "no"
    cosmic_rays: str = "no"
    tests: str = "no"


def simulate_darks(side: int, seed: int = 1) -> Darks:
    """30 darks of `side` x `side` pixels in 5 groups, with hot pixels, saturation, drift and cosmic rays."""
    cube, exposure, _ = simulate.cube(
        "guide", shape=(side, side), exposures=EXPOSURES, repeats=REPEATS, seed=seed
    )
    return Darks(cube, exposure)


def check_agreement(rates: dict[str, np.ndarray]) -> None:
    """Raise unless all rivals found the same median rate, given by name in adu/s."""
    medians = {name: float(np.nanmedian(rate)) for name, rate in rates.items()}
    expected = np.median(list(medians.values()))
    for name, median in medians.items():
        if not abs(median - expected) <= AGREEMENT * expected:
            raise ValueError(f"{name}: median rate {median:g} adu/s, the others found {expected:g}")


def in_threads(function, pixels: int, block: int) -> None:
    """Call function(first, last) for all blocks of pixels, in as many threads as hotfit uses."""
    with ThreadPoolExecutor(WORKERS) as pool:
        firsts = range(0, pixels, block)
        list(pool.map(function, firsts, (min(first + block, pixels) for first in firsts)))


def line_solver(exposure) -> np.ndarray:
    """Matrix (2, N) float32 that makes intercept and slope of N samples, all of equal weight."""
    return np.linalg.pinv(np.stack([np.ones_like(exposure), exposure], axis=1)).astype(np.float32)


def prepare_hotfit(darks):
    """All of hotfit, detector and frame terms unknown."""

    def run():
        result = hotfit.fit_cube(darks.cube, darks.exposure, workers=WORKERS)
        return result.rate / np.float32(result.detector.gain)

    return run


def prepare_kernel(darks):
    """Only hotfit's pass over the cube: calibration is done before, and the maps are not flagged."""
    dark_set = cube_darks(darks.cube, darks.exposure)
    calibration = calibrate(dark_set)
    gain = np.float32(calibration.detector.gain)

    def run():
        maps, _ = fit.fit_bands(dark_set, calibration, False, WORKERS, np.inf, None)
        return maps.rate / gain

    return run


def prepare_product(darks):
    """Slope and intercept by one matrix product of a float32 cube, into room that is there already."""
    samples = darks.cube.reshape(len(darks.cube), -1).astype(np.float32)
    solver, line = line_solver(darks.exposure), np.empty((2, samples.shape[1]), np.float32)

    def run():
        np.matmul(solver, samples, out=line)
        return line[1]

    return run


def prepare_product_uint16(darks):
    """The same from the uint16 cube that hotfit gets, converted to float32 in blocks that stay in cache."""
    samples = darks.cube.reshape(len(darks.cube), -1)
    solver, line = line_solver(darks.exposure), np.empty((2, samples.shape[1]), np.float32)

    def fit_block(first, last):
        np.matmul(solver, samples[:, first:last].astype(np.float32), out=line[:, first:last])

    def run():
        in_threads(fit_block, samples.shape[1], 4096)
        return line[1]

    return run


def prepare_closed_form(darks):
    """Slope, intercept and sum of squared residuals in numpy, in blocks that stay in cache."""
    samples = darks.cube.reshape(len(darks.cube), -1)
    solver, line = line_solver(darks.exposure), np.empty((2, samples.shape[1]), np.float32)
    squares = np.empty(samples.shape[1], np.float32)
    columns = np.stack([np.ones_like(darks.exposure), darks.exposure], axis=1).astype(np.float32)

    def fit_block(first, last):
        y = samples[:, first:last].astype(np.float32)
        np.matmul(solver, y, out=line[:, first:last])
        y -= columns @ line[:, first:last]
        np.einsum("ij,ij->j", y, y, out=squares[first:last])

    def run():
        in_threads(fit_block, samples.shape[1], 4096)
        return line[1]

    return run


def prepare_polyfit(darks):
    """numpy.polyfit on the cube as a matrix."""

    def run():
        return np.polyfit(darks.exposure, darks.cube.reshape(len(darks.cube), -1), 1)[0]

    return run


def prepare_frames_innermost(darks):
    """A compiled loop over pixels with the frames of each innermost."""
    samples = darks.cube.reshape(len(darks.cube), -1)
    intercept, slope, squares = np.empty((3, samples.shape[1]), np.float32)

    def fit_block(first, last):
        fit_frames_innermost(samples, darks.exposure, SATURATION, first, last, intercept, slope, squares)

    def run():
        in_threads(fit_block, samples.shape[1], -(-samples.shape[1] // (4 * WORKERS)))
        return slope

    return run


@numba.njit(nogil=True, error_model="numpy")
def fit_frames_innermost(samples, exposure, saturation, first, last, intercept, slope, squares):
    """Line and sum of squared residuals of pixels first .. last, without their saturated samples."""
    for p in range(first, last):
        pivot = np.float64(samples[0, p])
        n, t, tt, y, ty, yy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(exposure.size):
            if samples[i, p] < saturation:
                above = samples[i, p] - pivot
                n += 1
                t += exposure[i]
                tt += exposure[i] * exposure[i]
                y += above
                ty += exposure[i] * above
                yy += above * above
        rate = (n * ty - t * y) / (n * tt - t * t)
        level = (y - rate * t) / n
        slope[p] = rate
        intercept[p] = level + pivot
        squares[p] = yy - level * y - rate * ty


HOTFIT = Rival("hotfit.fit_cube", prepare_hotfit, "line, errors", "yes", "yes", "yes", "yes, flags")
RIVALS = (
    HOTFIT,
    Rival("hotfit's kernel pass", prepare_kernel, "line, errors", "yes", "yes", "yes", "not flagged"),
    Rival("numpy, matrix product, cube already float32", prepare_product, "line"),
    Rival("numpy, matrix product", prepare_product_uint16, "line"),
    Rival("numpy, closed form with residuals", prepare_closed_form, "line, residual sum"),
    Rival(
        "numba, frames innermost",
        prepare_frames_innermost,
        "line, residual sum",
        saturation="by sample",
    ),
    Rival("np.polyfit", prepare_polyfit, "line"),
)
