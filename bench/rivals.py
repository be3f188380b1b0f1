"""What is measured: hotfit, and other ways to fit a line to every pixel of a cube of darks.

A `Rival` is prepared once for a cube and then run as often as one likes. Room for the result is found while
preparing, except by the functions that find it themselves: fit_cube and np.polyfit.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numba
import numpy as np
from scenes import Darks

import hotfit
from hotfit import bands
from hotfit.calibrate import calibrate
from hotfit.cubes import cube_darks
from hotfit.maps import ArrayMaps

WORKERS = os.cpu_count() or 1
SATURATION = 54_000.0
AGREEMENT = 0.01


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
    return np.linalg.pinv(design_matrix(exposure).astype(float)).astype(np.float32)


def design_matrix(exposure) -> np.ndarray:
    """Matrix (N, 2) float32 that makes N samples of intercept and slope."""
    return np.stack([np.ones_like(exposure), exposure], axis=1).astype(np.float32)


def prepare_hotfit(darks):
    """All of hotfit, detector and frame terms unknown."""

    def run():
        result = hotfit.fit_cube(darks.cube, darks.exposure, workers=WORKERS)
        return result.rate / np.nan_to_num(np.float32(result.detector.gain), nan=1)  # unknown: in adu already

    return run


def prepare_kernel(darks, workers=WORKERS):
    """Only hotfit's pass over the cube: calibration is done before, and the maps are not flagged.

    All that the benchmarks know of how `hotfit.fit` calls its kernel is in here.
    """
    dark_set = cube_darks(darks.cube, darks.exposure)
    calibration = calibrate(dark_set)
    calibration = replace(calibration, detector=replace(calibration.detector, gain=np.nan))  # rates in adu/s
    room = ArrayMaps(np.zeros(dark_set.shape, np.uint32))
    for array in room.arrays.values():
        array.fill(0)  # the system hands out memory when it is first written

    def run():
        bands.fit_bands(dark_set, calibration, False, room, workers, np.inf, None)
        return room.arrays["rate"]

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
    """Slope, intercept and sum of squared residuals of a float32 cube, as one writes it."""
    samples = darks.cube.reshape(len(darks.cube), -1).astype(np.float32)
    solver, columns = line_solver(darks.exposure), design_matrix(darks.exposure)

    def run():
        line = solver @ samples
        residual = samples - columns @ line
        np.sum(residual**2, axis=0)
        return line[1]

    return run


def prepare_closed_form_blocks(darks):
    """The same from uint16, in threads and in blocks that stay in cache: numpy at its best."""
    samples = darks.cube.reshape(len(darks.cube), -1)
    solver, line = line_solver(darks.exposure), np.empty((2, samples.shape[1]), np.float32)
    squares = np.empty(samples.shape[1], np.float32)
    columns = design_matrix(darks.exposure)

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


def prepare_reading(darks):
    """Reading the cube once: its sum as 64-bit words, in threads."""
    words = darks.cube.reshape(-1).view(np.uint64)

    def run():
        in_threads(lambda first, last: words[first:last].sum(), words.size, -(-words.size // WORKERS))

    return run


def prepare_ramp(darks):
    """stcal's OLS_C, on one core, on a ramp of the same size: it is made for ramps, and cannot fit darks."""
    from stcal.ramp_fitting import ramp_fit, ramp_fit_class

    size, shape = len(darks.cube), darks.cube.shape[1:]
    noise = np.random.default_rng(1).normal(0, 5, (size, shape[1])).astype(np.float32)
    line = (1000 + 15 * np.arange(size, dtype=np.float32))[:, None] + noise
    ramp = np.repeat(line[:, None], shape[0], axis=1)[None]
    flags = {"DO_NOT_USE": 1, "SATURATED": 2, "JUMP_DET": 4, "PERSISTENCE": 32, "CHARGELOSS": 128}
    flags |= {"NO_GAIN_VALUE": 1 << 19, "UNRELIABLE_SLOPE": 1 << 24}
    quality, pixel_quality = np.zeros(ramp.shape, np.uint8), np.zeros(shape, np.uint32)
    no_dark, gain = np.zeros(shape, np.float32), np.ones(shape, np.float32)

    def run():
        data = ramp_fit_class.RampData()
        data.algorithm = "OLS_C"
        data.set_arrays(ramp, quality, pixel_quality, no_dark)
        data.set_meta(name="darks", frame_time=10.0, group_time=10.0, groupgap=0, nframes=1)
        data.set_dqflags(flags)
        data.start_row, data.num_rows = 0, shape[0]
        noise = np.full(shape, 5, np.float32)  # it is changed in place
        ramp_fit.ramp_fit_data(data, False, noise, gain, "OLS_C", "optimal", "none")

    return run


HAS_STCAL = find_spec("stcal") is not None
HOTFIT = Rival("hotfit.fit_cube", prepare_hotfit, "line, errors", "yes", "yes", "yes", "yes, flags")
KERNEL = Rival("hotfit's kernel pass", prepare_kernel, "line, errors", "yes", "yes", "yes", "not flagged")
PRODUCT = Rival("numpy, one matrix product of float32", prepare_product, "line")
CLOSED_FORM = Rival("numpy, closed form of float32, whole array", prepare_closed_form, "line, residual sum")
POLYFIT = Rival("np.polyfit", prepare_polyfit, "line")
RIVALS = (
    HOTFIT,
    KERNEL,
    PRODUCT,
    Rival("numpy, matrix product from uint16, blocks in threads", prepare_product_uint16, "line"),
    CLOSED_FORM,
    Rival(
        "numpy, closed form from uint16, blocks in threads",
        prepare_closed_form_blocks,
        "line, residual sum",
    ),
    Rival(
        "numba, frames innermost, in threads",
        prepare_frames_innermost,
        "line, residual sum",
        saturation="by sample",
    ),
    POLYFIT,
)
