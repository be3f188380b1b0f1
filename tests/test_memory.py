"""Memory and open files: neither grows with the number of frames."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

import hotfit
from hotfit import bands, calibrate, maps, samples
from hotfit import lines as line_fits
from hotfit.cubes import cube_darks

SIDE, EXPOSURES = 512, (0.0, 30.0, 60.0, 120.0, 300.0)

OPEN_FILES = 128

PEAK = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({OPEN_FILES}, {OPEN_FILES}))
from hotfit.cli import main
code = main(sys.argv[1:])
try:  # ru_maxrss begins with the size of the process that started this one
    status = open("/proc/self/status")
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
except FileNotFoundError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak)
sys.exit(code)
"""
"""The command line with few open files allowed; prints its peak resident size."""


def write_frames(directory, number, side=SIDE):
    """Frames of one noisy image, rolled by a different way in each, with the dark signal of its exposure."""
    rng = np.random.default_rng(0)
    noise = rng.normal(1000, 7, (side, side))
    rate = np.where(rng.random(noise.shape) < 0.003, rng.exponential(60, noise.shape), 0.05)
    signal = {seconds: rate * seconds for seconds in EXPOSURES}
    directory.mkdir()
    for i in range(number):
        seconds = EXPOSURES[i % len(EXPOSURES)]
        image = np.roll(noise, (37 * i, 101 * i + i // 7), (0, 1))
        image += signal[seconds]
        hdu = fits.PrimaryHDU(np.rint(image).clip(0, 65535).astype(np.uint16))
        hdu.header["EXPTIME"], hdu.header["IMAGETYP"] = seconds, "Dark Frame"
        hdu.writeto(directory / f"dark_{i:03d}.fits")


def peak_of(frames, output):
    """Peak resident size of the command line, in the system's unit, and what it said on stderr."""
    command = [sys.executable, "-W", "error", "-c", PEAK, str(frames), "-o", str(output), "-q"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (output / "dark_current.fits").is_file()
    return int(done.stdout)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on open files to set")
def test_ten_times_the_frames_take_no_more_memory_and_few_open_files(tmp_path):
    write_frames(tmp_path / "small", 5, side=32)
    hotfit.fit_darks(tmp_path / "small")  # compiled code is kept: no run below compiles
    write_frames(tmp_path / "darks", 500)
    few = peak_of(tmp_path / "darks" / "dark_0[0-4]?.fits", tmp_path / "few")
    many = peak_of(tmp_path / "darks", tmp_path / "many")
    assert len(hotfit.DarkFit.read(tmp_path / "few").frames) == 50
    assert len(hotfit.DarkFit.read(tmp_path / "many").frames) == 500
    assert many <= 1.1 * few


MOST_A_PIXEL = 24
"""Bytes: flags, and what is thinned, sampled or about to be written, which does not grow for ever."""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of the peak is known there")
def test_maps_are_not_held_in_memory(tmp_path):
    assert sum(np.dtype(dtype).itemsize for dtype in maps.TYPES.values()) > 1.8 * MOST_A_PIXEL
    peaks = {}
    for side in (2048, 4096):
        write_frames(tmp_path / f"darks{side}", 5, side=side)
        peaks[side] = 1024 * peak_of(tmp_path / f"darks{side}", tmp_path / f"out{side}")
    assert peaks[4096] - peaks[2048] < MOST_A_PIXEL * (4096**2 - 2048**2)


@pytest.mark.parametrize("shape", [(512, 512), (4096, 4096)])
@pytest.mark.parametrize("frames", [2, 50, 500])
def test_bands_take_no_more_than_a_fixed_amount_or_one_frame(shape, frames):
    darks = SimpleNamespace(frames=range(frames), shape=shape, dtype=np.uint16)
    for workers in (1, 2):
        height = max(last - first for first, last in bands.cut_bands(darks, workers, 1e3))
        held = workers * height * shape[1] * (2 * frames + bands.MAP_BYTES)
        assert held <= max(bands.BANDS, shape[0] * shape[1] * 2)


def test_one_row_in_each_thread_is_enough_where_memory_allows():
    darks = SimpleNamespace(frames=range(500), shape=(100, 4096), dtype=np.uint16)
    assert bands.cut_bands(darks, 32, 256)[0] == (0, 1)


@pytest.fixture(scope="module")
def cube():
    """Frames (N, rows, columns) with a pixel in ten hot, and their exposures."""
    rng = np.random.default_rng(1)
    exposure = np.repeat(EXPOSURES, 4)
    rate = np.where(rng.random((60, 70)) < 0.1, rng.exponential(60, (60, 70)), 0.05)
    signal = rate * exposure[:, None, None]
    counts = 1000 + rng.normal(signal, np.sqrt(49 + signal / 1.5)) + rng.normal(0, 3, (20, 1, 1))
    return np.rint(counts).clip(0, 65535).astype(np.uint16), exposure


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_the_sample_is_kept_as_read_whatever_is_read_at_once(cube, dtype, monkeypatch):
    counts, exposure = cube
    darks = cube_darks(counts.astype(dtype), exposure)
    monkeypatch.setattr(samples, "AT_ONCE", 3 * 20 * 70)
    everything = samples.sample_rows(darks)
    assert everything.dtype == dtype
    np.testing.assert_array_equal(everything, counts.reshape(20, -1))
    monkeypatch.setattr(samples, "SAMPLES", 17 * 20 * 70)
    some = samples.sample_rows(darks)
    rows = samples.choose_rows(darks, 17)
    np.testing.assert_array_equal(some, counts[:, rows].reshape(20, -1))


def test_runs_are_neighbours_and_short():
    assert samples.runs(np.array([0, 1, 2, 3, 4, 7, 9, 10]), 2) == [(0, 2), (2, 4), (4, 5), (7, 8), (9, 11)]
    assert samples.runs(np.array([5]), 100) == [(5, 6)]


def test_whole_pixels_are_moved_together_without_a_copy():
    values = np.arange(12).reshape(3, 4)
    kept = samples.moved_together(values, np.array([True, False, True, True]))
    np.testing.assert_array_equal(kept, [[0, 2, 3], [4, 6, 7], [8, 10, 11]])
    assert np.shares_memory(kept, values)


def test_lines_and_what_they_leave_do_not_depend_on_the_blocks(cube, monkeypatch):
    counts, exposure = cube
    values, u, weight = counts.reshape(20, -1), exposure / 300, np.ones(20)
    for block in (1, 20 * 999, 10**9):
        monkeypatch.setattr(line_fits, "BLOCK", block)
        lines = line_fits.fit_lines(values, u, weight, bias_subtracted=False)
        slope, intercept = np.polyfit(u, values.astype(float), 1)
        np.testing.assert_allclose(lines.signal, slope, rtol=1e-5, atol=0.02)
        np.testing.assert_allclose(lines.intercept, intercept, rtol=1e-5)
    chosen = np.arange(0, 4200, 17)[::-1]
    left = np.stack(list(lines.of(chosen).of(np.arange(5)).residuals()))
    expected = values.astype(float) - intercept - np.outer(u, slope)
    np.testing.assert_allclose(left, expected[:, chosen[:5]], atol=0.05)
    np.testing.assert_allclose(lines.maker @ values[:, :9].astype(float), expected[:, :9], atol=1e-6)


def test_calibration_does_not_depend_on_the_blocks(cube, monkeypatch):
    counts, exposure = cube
    one = calibrate.calibrate(cube_darks(counts, exposure))
    monkeypatch.setattr(line_fits, "BLOCK", 1000)
    monkeypatch.setattr(samples, "AT_ONCE", 1000)
    other = calibrate.calibrate(cube_darks(counts, exposure))
    np.testing.assert_allclose(other.noise, one.noise, rtol=1e-4)
    np.testing.assert_allclose(other.offset, one.offset, atol=1e-3)
    np.testing.assert_allclose(other.scale, one.scale, atol=1e-5)
