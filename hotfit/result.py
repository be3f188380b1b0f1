"""DarkFit: the maps of a fit, the numbers that decided, and what can be done with them without a refit."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy import units
from astropy.table import Table

from hotfit.calibrate import Calibration, Detector
from hotfit.darkset import DarkSet
from hotfit.flags import DQ, Rules, Verdict, decide
from hotfit.power import statement


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class DarkFit:
    """Dark-current map with errors, bad-pixel mask and reasons.

    Attributes
    ----------
    rate, rate_error : (rows, columns) float32 array
        Dark current and its standard error, in `unit`; nan where no line could be fitted.
    unit : astropy.units.UnitBase
        electron/s, or adu/s where the gain is unknown.
    intercept : (rows, columns) float32 array
        Counts at zero exposure, adu.
    slope_residual : (rows, columns) float32 array
        (Rate over the longer half of the exposures - rate over the shorter half) / rate. Negative: concave.
    slope_residual_error : (rows, columns) float32 array
        Its standard error.
    lack_of_fit, scatter : (rows, columns) float32 array
        Reduced chi-square of the group means about the line, and of the samples about their group means.
    misfit, misfit_fraction : (rows, columns) float32 array
        Largest distance of a group mean from the line: in single-frame sigmas, and as a part of the
        pixel's largest usable dark signal.
    n_used, n_groups : (rows, columns) uint16 array
        Samples and exposure times used.
    n_dropped : (rows, columns) uint8 array
        Samples dropped as cosmic rays.
    dq : (rows, columns) uint32 array
        Bits of `hotfit.DQ`.
    frames : astropy.table.Table
        One row a frame: file, exposure, temperature, offset, scale, samples saturated and dropped.
    detector : Detector
        Gain, read noise and saturation level with their sources.
    rules : Rules
        The thresholds used.
    bias_subtracted : bool
        Whether the line goes through the origin.
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
    """

    rate: np.ndarray
    rate_error: np.ndarray
    unit: units.UnitBase
    intercept: np.ndarray
    slope_residual: np.ndarray
    slope_residual_error: np.ndarray
    lack_of_fit: np.ndarray
    scatter: np.ndarray
    misfit: np.ndarray
    misfit_fraction: np.ndarray
    n_used: np.ndarray
    n_groups: np.ndarray
    n_dropped: np.ndarray
    dq: np.ndarray
    frames: Table
    detector: Detector
    rules: Rules
    bias_subtracted: bool
    hot_limit: float
    lack_of_fit_null: float
    scatter_null: float
    shared_degrees: float
    lack_of_fit_limit: float
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        rows, columns = self.rate.shape
        masked = np.count_nonzero(self.mask)
        size = f"{len(self.frames)} frames of {rows} x {columns}"
        return f"<DarkFit: {size}, {spelled(self.unit)}, {masked} pixels masked>"

    @property
    def mask(self) -> np.ndarray:
        """(rows, columns) bool array, True where a pixel should not be used."""
        return (self.dq & np.uint32(DQ.DO_NOT_USE)) != 0

    def reflag(self, **changes) -> "DarkFit":
        """Apply other rules to the same maps.

        Parameters
        ----------
        **changes
            Fields of `hotfit.flags.Rules`: hot, fdr, tolerance, min_sigma, bad.

        Returns
        -------
        DarkFit
            Shares all maps but `dq` with this one.

        Raises
        ------
        HotfitError
            If a value makes no sense.
        """
        rules = replace(self.rules, **changes)
        groups = np.unique(self.frames["group"]).size
        verdict = decide(self, rules, len(self.frames), groups, 1 if self.bias_subtracted else 2)
        return replace(self, rules=rules, **verdict._asdict())

    def to_ccddata(self):
        """The dark-current map as a CCDData with unit, standard deviation and mask."""
        from astropy.nddata import CCDData, StdDevUncertainty

        from hotfit.hdus import header_of

        return CCDData(
            self.rate,
            unit=self.unit,
            uncertainty=StdDevUncertainty(self.rate_error),
            mask=self.mask,
            meta=header_of(self),
        )

    def write(self, directory, *, overwrite: bool = False) -> Path:
        """Write all files of this result to a new directory; see `hotfit.store.write`."""
        from hotfit import store

        return store.write(self, directory, overwrite=overwrite)

    @classmethod
    def read(cls, path) -> "DarkFit":
        """Read `dark_current.fits`, or the directory that holds it; see `hotfit.store.read`."""
        from hotfit import store

        return store.read(path)

    def flag_counts(self) -> dict[str, int]:
        """Pixels with each flag, by its name."""
        return {flag.name: int(np.count_nonzero(self.dq & np.uint32(flag))) for flag in DQ}

    def summary(self) -> dict:
        """The result in numbers: plain types, ready for JSON."""
        finite = np.isfinite(self.rate)
        group = np.asarray(self.frames["group"])
        frames = np.bincount(group)
        exposures = np.bincount(group, np.asarray(self.frames["exposure"])) / frames
        return {
            "frames": len(self.frames),
            "exposures": {f"{t:g}": int(n) for t, n in zip(exposures, frames, strict=True)},
            "shape": list(self.rate.shape),
            "unit": spelled(self.unit),
            "bias_subtracted": self.bias_subtracted,
            "median_rate": float(np.median(self.rate[finite])) if finite.any() else None,
            "median_rate_error": float(np.median(self.rate_error[finite])) if finite.any() else None,
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
            "pixels": int(self.rate.size),
            "masked": int(np.count_nonzero(self.mask)),
            "flags": self.flag_counts(),
            "notes": list(self.notes),
        }


def spelled(unit: units.UnitBase) -> str:
    """electron/s or adu/s: without blanks, and not limited to the units of the FITS standard."""
    return unit.to_string().replace(" ", "")


def number(value: float) -> float | None:
    """A finite float, else None: JSON and FITS headers have neither nan nor inf."""
    return float(value) if np.isfinite(value) else None


def assemble(
    darks: DarkSet, calibration: Calibration, maps: NamedTuple, counts, *, rules: Rules, bias_subtracted: bool
) -> DarkFit:
    """Flag the maps of a fit and put everything together; `counts` (2, N): samples saturated, dropped."""
    verdict = decide(maps, rules, len(darks.frames), darks.group_exposure.size, 1 if bias_subtracted else 2)
    per_second = units.Unit("electron/s" if np.isfinite(calibration.detector.gain) else "adu/s")
    fields = {name: array for name, array in maps._asdict().items() if name != "dq"}
    return DarkFit(
        **fields,
        **verdict._asdict(),
        unit=per_second,
        frames=frame_table(darks, calibration, counts),
        detector=calibration.detector,
        rules=rules,
        bias_subtracted=bias_subtracted,
        notes=(*darks.notes, *calibration.notes, *untested(verdict)),
    )


def untested(verdict: Verdict) -> Iterator[str]:
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
            "n_combined": darks.n_combined.astype(np.int32),
            "offset": calibration.offset * units.adu,
            "offset_error": calibration.offset_error * units.adu,
            "scale": calibration.scale,
            "scale_error": calibration.scale_error,
            "saturated": counts[0],
            "dropped": counts[1],
        }
    )
