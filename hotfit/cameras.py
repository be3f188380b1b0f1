"""Cameras for `hotfit.simulate`: what they are made of, two presets, and the check of their numbers."""

from dataclasses import dataclass, fields, replace
from math import inf
from numbers import Integral, Real

from hotfit.errors import HotfitError

# The fields that hold the fraction of pixels of an odd kind; upper-cased they are the members of `Kind`.
ODD_KINDS = ("roll_off", "late_onset", "telegraph", "stuck", "dead", "saturated")

# Smallest and largest value that makes sense, both allowed.
_LIMITS = {
    "gain": (1e-6, 1e6),
    "read_noise": (0, 1e6),
    "bias": (0, 65535),
    "bias_spread": (0, 65535),
    "bits": (1, 16),
    "step": (1, 65535),
    "full_well": (1, 1e9),
    "full_well_spread": (0, 0.3),
    "median_rate": (0, 1e9),
    "rate_sigma": (0, 10),
    "hot_fraction": (0, 1),
    "hot_rate": (1e-6, 1e9),
    "hot_slope": (0.1, 10),
    "max_rate": (1e-6, 1e9),
    "readout_time": (0, 1e5),
    "cosmic_rate": (0, 1e3),
    "jitter": (0, 1),
    "drift": (0, 65535),
    "set_temperature": (-273.15, 100),
    **dict.fromkeys(ODD_KINDS, (0, 1)),
}


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A camera and the darks taken with it. Nonsense raises `HotfitError`.

    Attributes
    ----------
    name, instrument : str
        Key in `CAMERAS`; INSTRUME in the headers.
    shape : (int, int)
        Rows, columns.
    gain : float
        e-/adu, where adu is always the unit of the numbers in the file.
    read_noise : float
        e- rms.
    bias, bias_spread : float
        Pedestal and its fixed pixel-to-pixel rms, adu.
    bits, step : int
        Bits of the converter, and the factor its numbers are shifted by: 16 puts 12 bits into 16.
    full_well, full_well_spread : float
        Mean level at which pixels stop, adu, pedestal included, and its relative rms over the pixels. A full
        well above the converter's maximum means that the converter stops first.
    exposures : tuple of float
        Seconds, each exposure once; 0 is a bias frame.
    repeats : int or tuple of int
        Frames of every exposure, or of each.
    median_rate, rate_sigma : float
        Median (e-/s) and natural logarithmic rms of the cold pixels' lognormal rates.
    hot_fraction, hot_rate, hot_slope, max_rate : float
        Fraction of the pixels above `hot_rate` (e-/s), in a power-law tail from a tenth of `hot_rate` up to
        `max_rate` (e-/s), in which the number above a rate goes as rate**-hot_slope.
    readout_time : float
        Seconds in which the last row collects dark charge while it waits to be read; earlier rows wait less.
    cosmic_rate : float
        Tracks per second and million pixels.
    jitter : float
        Relative rms of the dark rates' common factor, frame to frame.
    drift : float
        Rms of the bias level, frame to frame, adu.
    roll_off, late_onset, telegraph, stuck, dead, saturated : float
        Fraction of the pixels of that odd kind.
    set_temperature : float
        Degrees Celsius.
    gain_setting : int or None
        GAIN in the header, which on CMOS cameras is a setting, not a gain.
    """

    name: str
    instrument: str
    shape: tuple[int, int]
    gain: float
    read_noise: float
    bias: float
    bias_spread: float
    bits: int = 16
    step: int = 1
    full_well: float
    full_well_spread: float
    exposures: tuple[float, ...]
    repeats: int | tuple[int, ...]
    median_rate: float
    rate_sigma: float
    hot_fraction: float
    hot_rate: float = 4.0
    hot_slope: float = 1.0
    max_rate: float
    readout_time: float
    cosmic_rate: float
    jitter: float = 0.01
    drift: float = 2.0
    roll_off: float = 5e-5
    late_onset: float = 2e-5
    telegraph: float = 5e-5
    stuck: float = 1e-5
    dead: float = 2e-5
    saturated: float = 1e-5
    set_temperature: float
    gain_setting: int | None = None

    def __post_init__(self):
        for field, (low, high) in _LIMITS.items():
            _check_number(field, getattr(self, field), low, high)
        for field, low in (("shape", 1), ("exposures", 0)):
            object.__setattr__(self, field, _check_tuple(field, getattr(self, field), low))
        if len(self.shape) != 2 or not all(isinstance(n, Integral) for n in self.shape):
            raise HotfitError(f"shape={self.shape}: give two whole numbers, rows and columns")
        if len(set(self.exposures)) < len(self.exposures):
            raise HotfitError(f"exposures={self.exposures}: name each exposure once and use repeats")
        self._check_repeats()
        self._check_pixels()

    def _check_repeats(self):
        if not isinstance(self.repeats, Real):
            object.__setattr__(self, "repeats", _check_tuple("repeats", self.repeats, 1))
        counts = self.frames_per_exposure
        if len(counts) != len(self.exposures) or not all(isinstance(n, Integral) and n > 0 for n in counts):
            raise HotfitError(
                f"repeats={self.repeats}: give one whole number above 0, "
                f"or one for each of the {len(self.exposures)} exposures"
            )

    def _check_pixels(self):
        if self.maximum > 65535:
            raise HotfitError(f"bits={self.bits}, step={self.step}: the values do not fit into 16 bits")
        if self.usable_charge <= 0:
            raise HotfitError(f"full_well={self.full_well}: must lie clearly above bias={self.bias}")
        if self.max_rate <= self.hot_rate:
            raise HotfitError(f"max_rate={self.max_rate}: must be above hot_rate={self.hot_rate}")
        if self.tail_fraction > 1:
            raise HotfitError(f"hot_fraction={self.hot_fraction}: its tail needs more than all pixels")
        if sum(getattr(self, kind) for kind in ODD_KINDS) > 1:
            raise HotfitError(f"the fractions of {', '.join(ODD_KINDS)} add up to more than 1")

    @property
    def maximum(self):
        """Largest value in a file, adu."""
        return (2**self.bits - 1) * self.step

    @property
    def usable_charge(self):
        """Electrons that all but the shallowest pixels hold above the pedestal."""
        return (min(self.full_well * (1 - 3 * self.full_well_spread), self.maximum) - self.bias) * self.gain

    @property
    def frames_per_exposure(self):
        """Number of frames of each exposure."""
        return (self.repeats,) * len(self.exposures) if isinstance(self.repeats, Real) else self.repeats

    @property
    def tail_fraction(self):
        """Fraction of the pixels in the power-law tail, of which `hot_fraction` lie above `hot_rate`."""
        end = self.max_rate**-self.hot_slope
        start, hot = ((self.hot_rate / by) ** -self.hot_slope - end for by in (10, 1))
        return self.hot_fraction * start / hot


def _check_number(field, value, low, high):
    # The comparison is written so that NaN fails it.
    if not isinstance(value, Real) or not low <= value <= high:
        raise HotfitError(f"{field}={value!r}: give a number from {low:g} to {high:g}")


def _check_tuple(field, values, low):
    try:
        values = tuple(values)
    except TypeError:
        raise HotfitError(f"{field}={values!r}: give a sequence of numbers") from None
    if not values or not all(isinstance(value, Real) and low <= value < inf for value in values):
        raise HotfitError(f"{field}={values}: give one or more finite numbers, none below {low}")
    return values


GUIDE = Camera(
    name="guide",
    instrument="Simulated CCD 4096",
    shape=(4096, 4096),
    gain=1.5,
    read_noise=10.0,
    bias=1000.0,
    bias_spread=4.0,
    full_well=58000.0,
    full_well_spread=0.02,
    exposures=(0.0, 90.0, 300.0, 1000.0),
    repeats=8,
    median_rate=0.04,
    rate_sigma=0.5,
    hot_fraction=2.6e-4,
    max_rate=1000.0,
    readout_time=3.0,
    cosmic_rate=0.002,
    set_temperature=-20.0,
)

CMOS = Camera(
    name="cmos",
    instrument="Simulated CMOS 294",
    shape=(2822, 4144),
    gain=0.125,
    read_noise=2.5,
    bias=800.0,
    bias_spread=8.0,
    bits=12,
    step=16,
    full_well=70000.0,
    full_well_spread=0.03,
    exposures=(0.0, 30.0, 60.0, 120.0, 300.0),
    repeats=6,
    median_rate=0.01,
    rate_sigma=0.8,
    hot_fraction=1e-3,
    max_rate=300.0,
    readout_time=0.1,
    cosmic_rate=0.001,
    set_temperature=-10.0,
    gain_setting=100,
)

CAMERAS = {camera.name: camera for camera in (GUIDE, CMOS)}


def choose(camera, odd, changes):
    """Camera of that name, or that camera, with some fields changed and its odd fractions times `odd`.

    A change to None leaves the field alone. Fractions named in `changes` are taken as they are.
    """
    if isinstance(camera, str):
        if camera not in CAMERAS:
            raise HotfitError(f"camera {camera!r} is unknown: use one of {', '.join(CAMERAS)}")
        camera = CAMERAS[camera]
    known = {field.name for field in fields(Camera)}
    if unknown := sorted(set(changes) - known):
        raise HotfitError(f"{', '.join(unknown)}: no such option; known are {', '.join(sorted(known))}")
    _check_number("odd", odd, 0, inf)
    changed = {kind: getattr(camera, kind) * odd for kind in ODD_KINDS}
    changed.update((field, value) for field, value in changes.items() if value is not None)
    return replace(camera, **changed)
