"""What a fit found, but for its maps of numbers: flags, frames, detector, and the numbers that decided."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units
from astropy.table import Table

from hotfit.calibrate import Calibration, Detector
from hotfit.curves import Curves
from hotfit.darkset import DarkSet
from hotfit.flags import DQ, Rules
from hotfit.maps import blocks
from hotfit.pictures import Pictures
from hotfit.power import statement
from hotfit.verdict import Verdict


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Findings(Pictures):
    """A fit without its maps. Those who know where these are add three things to it.

    `typical` is a `hotfit.maps.Typical`; ``values_at(y, x, names)`` gives for each of the maps of these names
    its values (pixels,) at some pixels, and ``map_rows(name, first, last)`` rows of one map.

    Attributes
    ----------
    dq : (rows, columns) uint32 array
        Bits of `hotfit.DQ`.
    unit : astropy.units.UnitBase
        Of the dark current: electron/s, or adu/s where the gain is unknown.
    frames : astropy.table.Table
        One row a frame: file, exposure, temperature, offset, scale, samples saturated and dropped.
    detector : Detector
        Gain, read noise and saturation level with their sources.
    rules : Rules
        The thresholds used.
    bias_subtracted : bool
        Whether the line goes through the origin.
    charge_floor : float
        adu; what an intercept has above it counts as charge gathered during readout. inf: nothing does.
    hot_limit : float
        The rate above which a pixel is HOT, in `unit`.
    lack_of_fit_null, scatter_null : float
        What the quiet pixels show over what the noise model expects; nan where there was no test.
    shared_degrees : float
        Degrees of freedom with which the noise of one pixel is known from all others.
    lack_of_fit_limit : float
        p-value up to which lack of fit is significant in this frame; nan where there was no test.
    notes : tuple of str
        What a user should know: header values not used, frames with gaps in their headers.
    curves : Curves or None
        Samples of some pixels, for pictures; None in results of older versions.
    state : hotfit.state.State, hotfit.statefile.StateFile or None
        What frames need to join or leave; None where it was not asked for.
    """

    dq: np.ndarray
    unit: units.UnitBase
    frames: Table
    detector: Detector
    rules: Rules
    bias_subtracted: bool
    charge_floor: float
    hot_limit: float
    lack_of_fit_null: float
    scatter_null: float
    shared_degrees: float
    lack_of_fit_limit: float
    notes: tuple[str, ...] = ()
    curves: Curves | None = None
    state: Any = None

    def __repr__(self) -> str:
        rows, columns = self.dq.shape
        size = f"{len(self.frames)} frames of {rows} x {columns}"
        masked = self.flag_counts()[DQ.DO_NOT_USE.name]
        return f"<{type(self).__name__}: {size}, {spelled(self.unit)}, {masked} pixels masked>"

    @property
    def mask(self) -> np.ndarray:
        """(rows, columns) bool array, True where a pixel should not be used."""
        return (self.dq & np.uint32(DQ.DO_NOT_USE)) != 0

    def masked(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the masked pixels, (pixels,) intp each, row by row."""
        columns, bad = self.dq.shape[1], np.uint32(DQ.DO_NOT_USE)
        found = [
            np.flatnonzero((self.dq[first:last] & bad) != 0) + first * columns
            for first, last in blocks(self.dq.shape)
        ]
        return np.divmod(np.concatenate(found), columns)

    def flag_counts(self) -> dict[str, int]:
        """Pixels with each flag, by its name."""
        counts = dict.fromkeys((flag.name for flag in DQ), 0)
        for first, last in blocks(self.dq.shape):
            set_bits = self.dq[first:last]
            set_bits = set_bits[set_bits != 0]
            for flag in DQ:
                counts[flag.name] += int(np.count_nonzero(set_bits & np.uint32(flag)))
        return counts

    def summary(self) -> dict:
        """The result in numbers: plain types, ready for JSON."""
        middle, counts = self.typical, self.flag_counts()
        group = np.asarray(self.frames["group"])
        frames = np.bincount(group)
        exposures = np.bincount(group, np.asarray(self.frames["exposure"])) / frames
        return {
            "frames": len(self.frames),
            "exposures": {f"{t:g}": int(n) for t, n in zip(exposures, frames, strict=True)},
            "shape": list(self.dq.shape),
            "unit": spelled(self.unit),
            "bias_subtracted": self.bias_subtracted,
            "median_rate": number(middle.rate),
            "median_rate_error": number(middle.rate_error),
            "gain": number(self.detector.gain),
            "gain_source": self.detector.gain_source,
            "gain_of_darks": number(self.detector.measured_gain),
            "gain_of_darks_error": number(self.detector.measured_gain_error),
            "read_noise": number(self.detector.read_noise),
            "read_noise_error": number(self.detector.read_noise_error),
            "read_noise_unit": "electron" if np.isfinite(self.detector.gain) else "adu",
            "read_noise_source": self.detector.read_noise_source,
            "saturation": number(self.detector.saturation),
            "saturation_source": self.detector.saturation_source,
            **statement(self),
            "hot_limit": number(self.hot_limit),
            "rules": {
                "hot": self.rules.hot,
                "fdr": self.rules.fdr,
                "tolerance": self.rules.tolerance,
                "min_sigma": self.rules.min_sigma,
                "bad": list(self.rules.bad),
            },
            "lack_of_fit_null": number(self.lack_of_fit_null),
            "scatter_null": number(self.scatter_null),
            "pixels": int(self.dq.size),
            "masked": counts[DQ.DO_NOT_USE.name],
            "flags": counts,
            "notes": list(self.notes),
        }


def spelled(unit: units.UnitBase) -> str:
    """electron/s or adu/s: without blanks, and not limited to the units of the FITS standard."""
    return unit.to_string().replace(" ", "")


def number(value: float) -> float | None:
    """A finite float, else None: JSON and FITS headers have neither nan nor inf."""
    return float(value) if np.isfinite(value) else None


def untested(verdict: Verdict | Findings) -> Iterator[str]:
    """What these exposures leave no degrees of freedom for."""
    if np.isnan(verdict.lack_of_fit_null):
        yield "lack of fit is not tested: that takes three exposure times, two through the origin"
    if np.isnan(verdict.scatter_null):
        yield "scatter is not tested: that takes frames of equal exposure"


def frame_table(darks: DarkSet, calibration: Calibration, counts) -> Table:
    """One row a frame, in order of exposure."""
    return Table(
        {
            "file": [frame.name for frame in darks.frames],
            "exposure": darks.exposure * units.s,
            "group": darks.group.astype(np.int16),
            "temperature": np.array([frame.temperature for frame in darks.frames]) * units.deg_C,
            "mjd": np.array([frame.begun for frame in darks.frames]) * units.d,
            "n_combined": darks.n_combined.astype(np.int32),
            "offset": calibration.offset * units.adu,
            "offset_error": calibration.offset_error * units.adu,
            "scale": calibration.scale,
            "scale_error": calibration.scale_error,
            "saturated": counts[0],
            "dropped": counts[1],
        }
    )
