"""What simulated darks are made of: the truth, drawn once, and every frame, rendered from it.

A sample, in adu, is ``intercept + offset[i] + (signal(t[i]) * scale[i] + noise) / gain``, stopped at the
pixel's full well, then rounded to the converter's step. The noise is the Poisson noise of all dark charge,
readout included, and Gaussian read noise. Every frame has its own random stream: frame i is the same however
it is asked for, and the same seed gives the same bits.
"""

from dataclasses import dataclass
from enum import IntEnum
from numbers import Integral

import numpy as np

from hotfit.cameras import ODD_KINDS, Camera
from hotfit.errors import HotfitError

KELVIN_PER_DOUBLING = 6.0  # of the dark rate, usual for silicon near -20 degrees Celsius
POISSON_BELOW = 50.0  # electrons; above, a Gaussian of the same variance stands for the Poisson distribution
CHUNK = 1 << 18  # pixels given noise at a time: small enough for the cache
LONGEST_TRACK = 15  # pixels

# One row of Truth.odd; what does not apply to the pixel's kind is 0.
_ODD = np.dtype([("pixel", "i8"), ("kind", "u1"), ("time", "f4"), ("rate_step", "f4"), ("offset_step", "f4")])


class Kind(IntEnum):
    """What a simulated pixel does."""

    LINEAR = 0
    ROLL_OFF = 1
    LATE_ONSET = 2
    TELEGRAPH = 3
    STUCK = 4
    DEAD = 5
    SATURATED = 6


@dataclass(frozen=True, eq=False)
class Truth:
    """What the frames were made from.

    Attributes
    ----------
    camera : Camera
        With all changes applied.
    kind : (rows, columns) uint8 array
        Member of `Kind`.
    rate : (rows, columns) float32 array
        Dark rate at scale 1, e-/s. ROLL_OFF: the rate at t = 0. LATE_ONSET: the rate after the onset.
        TELEGRAPH: that of the lower state. STUCK, DEAD and SATURATED: 0.
    intercept : (rows, columns) float32 array
        Bias and readout charge, adu. TELEGRAPH: that of the lower state. STUCK, DEAD and SATURATED: the value
        that they show in every frame.
    full_well : (rows, columns) uint16 array
        Largest value that the pixel can show, adu.
    hits : (rows, columns) uint8 array
        Number of frames in which a cosmic ray hit the pixel.
    odd : structured array, one row for every pixel that is not LINEAR
        ``pixel`` (flat index), ``kind``, ``time`` (ROLL_OFF: time constant; LATE_ONSET: onset; s), and for
        TELEGRAPH what the upper state adds: ``rate_step`` (e-/s) or ``offset_step`` (adu).
    exposure, offset, scale : (N,) float64 arrays
        Seconds; adu; factor on all dark rates. No measurement can tell a mean offset, or one linear in
        exposure time, from intercept and rate, nor a mean scale from the rate. So both are defined in the
        gauge where the offsets have mean 0 and no linear trend with exposure time, and the exposure-weighted
        mean scale is 1. The rest is projected out of the drawn values: two frames are left without offsets.
    """

    camera: Camera
    kind: np.ndarray
    rate: np.ndarray
    intercept: np.ndarray
    full_well: np.ndarray
    hits: np.ndarray
    odd: np.ndarray
    exposure: np.ndarray
    offset: np.ndarray
    scale: np.ndarray

    @property
    def gain(self):
        """e-/adu."""
        return self.camera.gain

    @property
    def read_noise(self):
        """e- rms."""
        return self.camera.read_noise

    @property
    def temperature(self):
        """Degrees Celsius, (N,): the scale doubles every `KELVIN_PER_DOUBLING`."""
        return self.camera.set_temperature + KELVIN_PER_DOUBLING * np.log2(self.scale)

    def signal(self, seconds):
        """Mean dark charge after that exposure time at scale 1, e-, (rows, columns) float32."""
        signal = self.rate * np.float32(seconds)
        pixel, time = self._odd(Kind.ROLL_OFF)
        signal.flat[pixel] = self.rate.flat[pixel] * time * -np.expm1(-seconds / time)
        pixel, time = self._odd(Kind.LATE_ONSET)
        signal.flat[pixel] = self.rate.flat[pixel] * np.maximum(seconds - time, 0)
        return signal

    def readout_charge(self):
        """Mean dark charge collected while waiting to be read, e-, (rows, columns) float32."""
        charge = self.rate * _waiting_time(self.camera)
        charge.flat[self._odd(Kind.LATE_ONSET)[0]] = 0
        return charge

    def _odd(self, kind):
        rows = self.odd[self.odd["kind"] == kind]
        return rows["pixel"], rows["time"]


# --- what is drawn once


def _streams(seed):
    """Random streams of the pixels and of the frame terms, and the parent of those of the frames."""
    if not isinstance(seed, Integral) or seed < 0:
        raise HotfitError(f"seed={seed!r}: give a whole number, 0 or above")
    pixels, terms, frames = np.random.SeedSequence(int(seed)).spawn(3)
    return np.random.default_rng(pixels), np.random.default_rng(terms), frames


def draw_truth(camera, seed):
    """The truth of that camera and seed; `render_all` counts its hits."""
    pixels, terms, _ = _streams(seed)
    exposure, offset, scale = _draw_frame_terms(camera, terms)
    full_well = _draw_full_well(camera, pixels)
    rate = _draw_rates(camera, pixels)
    bias = pixels.standard_normal(camera.shape, dtype=np.float32)
    bias *= camera.bias_spread
    bias += camera.bias
    odd, constant = _draw_odd(camera, rate, full_well, pixels)
    kind = np.zeros(camera.shape, np.uint8)
    kind.flat[odd["pixel"]] = odd["kind"]
    hits = np.zeros(camera.shape, np.uint8)
    truth = Truth(camera, kind, rate, bias, full_well, hits, odd, exposure, offset, scale)
    bias += truth.readout_charge() / np.float32(camera.gain)
    for pixel, value in constant:
        bias.flat[pixel] = value
    return truth


def _draw_frame_terms(camera, rng):
    """Exposures, offsets and scales of all frames, in the gauge that `Truth` describes."""
    exposure = np.repeat(np.asarray(camera.exposures, float), camera.frames_per_exposure)
    offset = camera.drift * rng.standard_normal(exposure.size)
    unmeasurable = np.column_stack([np.ones_like(exposure), exposure / max(exposure.max(), 1e-9)])
    offset -= unmeasurable @ np.linalg.lstsq(unmeasurable, offset, rcond=None)[0]
    # The logarithm is drawn because temperature is normal and the rate exponential in it.
    scale = np.exp(camera.jitter * rng.standard_normal(exposure.size))
    return exposure, offset, scale / np.average(scale, weights=exposure if exposure.any() else None)


def _draw_full_well(camera, rng):
    level = rng.standard_normal(camera.shape, dtype=np.float32)
    level *= camera.full_well * camera.full_well_spread
    level += camera.full_well
    return _quantised(level, camera)


def _draw_rates(camera, rng):
    """Lognormal rates of the cold pixels, and a power-law tail of hot ones at random places."""
    rate = rng.standard_normal(camera.shape, dtype=np.float32)
    rate *= camera.rate_sigma
    np.exp(rate, out=rate)
    rate *= camera.median_rate
    tail = rng.choice(rate.size, round(rate.size * camera.tail_fraction), replace=False)
    start, end = ((low**-camera.hot_slope) for low in (camera.hot_rate / 10, camera.max_rate))
    rate.flat[tail] = rng.uniform(end, start, tail.size) ** (-1 / camera.hot_slope)
    return rate


def _draw_odd(camera, rate, full_well, rng):
    """Choose the odd pixels and set their `rate`.

    Returns the rows of `Truth.odd`, and (pixels, values in adu) of each kind that is constant.
    ROLL_OFF and LATE_ONSET reach a charge in the longest exposure that is 20 times its own noise or more and
    fills 80 % of the well or less. ROLL_OFF also has at least 5 e-/s.
    """
    # The running sum is rounded, so that no rounding asks for more pixels than there are.
    ends = np.rint(rate.size * np.cumsum([0] + [getattr(camera, kind) for kind in ODD_KINDS])).astype(int)
    counts = np.diff(ends)
    odd = np.zeros(ends[-1], _ODD)
    odd["pixel"] = rng.choice(rate.size, odd.size, replace=False)
    odd["kind"] = np.repeat([Kind[kind.upper()] for kind in ODD_KINDS], counts)
    roll_off, late_onset, telegraph, stuck, dead, saturated = np.split(odd, ends[1:-1])

    longest = max(camera.exposures) or 1.0
    faint = 400 + 20 * camera.read_noise
    bright = max(faint, 0.8 * camera.usable_charge)
    # The charge after the longest exposure is 10 to 57 % below the line.
    roll_off["time"] = longest / rng.uniform(0.23, 2.0, roll_off.size)
    slowest = max(faint / longest, 5.0)
    rate.flat[roll_off["pixel"]] = _log_uniform(rng, slowest, max(slowest, bright / longest), roll_off.size)
    late_onset["time"] = longest * rng.uniform(0.15, 0.6, late_onset.size)
    charge = _log_uniform(rng, faint, bright, late_onset.size)
    rate.flat[late_onset["pixel"]] = charge / (longest - late_onset["time"])
    _draw_telegraph(camera, telegraph, rate, longest, rng)

    rate.flat[np.concatenate([stuck, dead, saturated])["pixel"]] = 0
    top = full_well.flat[stuck["pixel"]].astype(np.float32)
    stuck_at = camera.bias + rng.uniform(0.05, 0.9, stuck.size) * (top - camera.bias)
    dead_at = camera.bias * rng.uniform(0.05, 0.5, dead.size) * (rng.random(dead.size) < 0.5)
    saturated_at = full_well.flat[saturated["pixel"]]
    values = (_quantised(stuck_at, camera), _quantised(dead_at, camera), saturated_at)
    return odd, [(rows["pixel"], at) for rows, at in zip((stuck, dead, saturated), values, strict=True)]


def _draw_telegraph(camera, rows, rate, longest, rng):
    """Two levels 10 to 30 sigmas of the longest exposure apart: half of them in rate, half in offset."""
    lower = np.minimum(rate.flat[rows["pixel"]], 0.2 * camera.usable_charge / longest)
    rate.flat[rows["pixel"]] = lower
    quantisation = (camera.step * camera.gain) ** 2 / 12
    variance = lower * (longest + camera.readout_time) + camera.read_noise**2 + quantisation
    # The solution of step = 10 * sqrt(variance + step): the upper level has the larger noise.
    step = (50 + np.sqrt(2500 + 100 * variance)) * rng.uniform(1, 3, rows.size)
    half = rows.size // 2
    rows["rate_step"][:half] = step[:half] / longest
    rows["offset_step"][half:] = step[half:] / camera.gain


def _log_uniform(rng, low, high, size):
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


def _waiting_time(camera):
    """Seconds between end of exposure and readout, (rows, 1) float32."""
    row = np.arange(camera.shape[0], dtype=np.float32)[:, None] + 0.5
    return row * np.float32(camera.readout_time / camera.shape[0])


# --- what is drawn for every frame


def render_all(truth, seed):
    """Yield the frames in order and count their cosmic-ray hits in `truth.hits`."""
    charge = truth.readout_charge()
    for i, stream in enumerate(_streams(seed)[-1].spawn(truth.exposure.size)):
        image, hit = _render(truth, i, charge, np.random.default_rng(stream))
        truth.hits.flat[hit] += 1
        yield image


def _render(truth, i, readout_charge, rng):
    """Frame i, (rows, columns) uint16, and the flat indices of the pixels that cosmic rays hit."""
    camera, seconds = truth.camera, truth.exposure[i]
    hit, hit_charge = _cosmic_rays(camera, seconds, rng)
    telegraph = truth.odd[truth.odd["kind"] == Kind.TELEGRAPH]
    upper = telegraph[rng.random(telegraph.size) < 0.5]

    image = truth.signal(seconds)
    image.flat[upper["pixel"]] += upper["rate_step"] * seconds
    image *= np.float32(truth.scale[i])
    _add_noise(image.ravel(), readout_charge.ravel(), camera.read_noise, rng)
    np.add.at(image.ravel(), hit, hit_charge)
    image /= np.float32(camera.gain)
    image += truth.intercept
    image += np.float32(truth.offset[i])
    image.flat[upper["pixel"]] += upper["offset_step"]
    np.minimum(image, truth.full_well, out=image)
    constant = truth.odd["pixel"][truth.odd["kind"] >= Kind.STUCK]
    image.flat[constant] = truth.intercept.flat[constant]
    return _quantised(image, camera), np.unique(hit)


def _add_noise(charge, readout_charge, read_noise, rng):
    """Add to `charge` (e-, flat), in place, read noise and the shot noise of it and of the readout charge."""
    for start in range(0, charge.size, CHUNK):
        part = charge[start : start + CHUNK]
        expected = part + readout_charge[start : start + CHUNK]
        few = np.flatnonzero(expected < POISSON_BELOW)
        mean = expected[few]
        shot = rng.poisson(mean) - mean
        expected[few] = 0
        expected += np.float32(read_noise**2)
        part += np.sqrt(expected) * rng.standard_normal(part.size, dtype=np.float32)
        part[few] += shot


def _cosmic_rays(camera, seconds, rng):
    """Straight tracks: flat indices of their pixels and the charge left in each, e-.

    A track enters anywhere, goes anywhere, is 1 to 15 pixels long (mostly short), and leaves some 1300 e- in
    each pixel, with the long upward tail of energy losses (Moyal's form of Landau's distribution).
    """
    rows, columns = camera.shape
    tracks = rng.poisson(camera.cosmic_rate * 1e-6 * rows * columns * (seconds + camera.readout_time))
    length = np.minimum(1 + rng.exponential(3.0, tracks).astype(int), LONGEST_TRACK)
    angle = rng.uniform(0, 2 * np.pi, tracks)
    direction = np.array([np.sin(angle), np.cos(angle)])
    # One pixel per step along the longer axis: no track hits a pixel twice.
    direction /= np.abs(direction).max(axis=0)
    entry = rng.random((2, tracks)) * np.array([[rows], [columns]])
    step = np.arange(LONGEST_TRACK)
    row, column = np.floor(entry[..., None] + direction[..., None] * step).astype(int)
    on = (step < length[:, None]) & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    moyal = -np.log(rng.standard_normal(on.shape) ** 2)
    charge = np.maximum(800 + 400 * moyal, 100).astype(np.float32)
    return (row * columns + column)[on], charge[on]


def _quantised(adu, camera):
    """What the converter makes of `adu`; float arrays are changed in place."""
    adu /= camera.step
    np.rint(adu, out=adu)
    np.clip(adu, 0, camera.maximum // camera.step, out=adu)
    return adu.astype(np.uint16) * np.uint16(camera.step)
