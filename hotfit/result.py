"""DarkFit: what a fit found, its maps, and what can be done with them without a refit."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from hotfit.findings import Findings
from hotfit.maps import TYPES, ArrayMaps, Typical, typical
from hotfit.verdict import decide


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class DarkFit(Findings):
    """Dark-current map with errors, bad-pixel mask and reasons.

    Beside these it has all attributes of `hotfit.findings.Findings`: `dq`, `unit`, `frames`, `detector` ...

    Attributes
    ----------
    rate, rate_error : (rows, columns) float32 array
        Dark current and its standard error, in `unit`; nan where no line could be fitted.
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
    """

    rate: np.ndarray
    rate_error: np.ndarray
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

    @cached_property
    def typical(self) -> Typical:
        """Medians of rate, error and intercept over evenly thinned pixels."""
        return typical(self._maps(self.dq).sample())

    def values_at(self, y, x, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Values (pixels,) of maps at some pixels."""
        return {name: getattr(self, name)[y, x] for name in names}

    def map_rows(self, name: str, first: int, last: int) -> np.ndarray:
        """Rows `first` to `last` (exclusive) of a map."""
        return getattr(self, name)[first:last]

    def _maps(self, dq) -> ArrayMaps:
        return ArrayMaps(dq, **{name: getattr(self, name) for name in TYPES if name != "dq"})

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
        maps = self._maps(self.dq.copy())
        verdict = decide(maps, rules, len(self.frames), groups, 1 if self.bias_subtracted else 2)
        return replace(self, rules=rules, **verdict._asdict())

    def update(
        self,
        frames,
        *,
        saturation: float | None = None,
        workers: int | None = None,
        memory: float = 256.0,
        progress: Callable[[int, int], None] | None = None,
        **reading,
    ) -> "DarkFit":
        """Let new darks join this fit; only they are read.

        Of the terms of the frames that are there only what all frames share changes; gain, read noise and
        saturation level are measured anew. Of pixels with a new outlier the earlier samples are read again
        where their files still are; else their sums stand in, and the pixels are flagged UNRELIABLE_ERROR.

        Parameters
        ----------
        frames : DarkSet, or anything that `hotfit.find_darks` takes
            Of the same camera and setting.
        saturation : float, optional
            A new saturation level in adu.
        workers, memory, progress
            As in `hotfit.fit_darks`.
        **reading
            Arguments of `hotfit.find_darks` that differ from those this fit was made with.

        Returns
        -------
        DarkFit

        Raises
        ------
        HotfitError
            If this fit was not made with ``updatable=True``, what it kept is damaged, a frame is in it
            already, or does not belong to it.
        """
        from hotfit.update import update

        machine = {"workers": workers, "memory": memory, "progress": progress}
        return update(self, frames, reading=reading, saturation=saturation, rules={}, **machine)

    def remove(
        self,
        frames,
        *,
        workers: int | None = None,
        memory: float = 256.0,
        progress: Callable[[int, int], None] | None = None,
    ) -> "DarkFit":
        """Take frames out of this fit; their files are read once more.

        Parameters
        ----------
        frames : str, path, or a sequence of them
            Names in ``fit.frames["file"]``.
        workers, memory, progress
            As in `hotfit.fit_darks`.

        Returns
        -------
        DarkFit

        Raises
        ------
        HotfitError
            If this fit was not made with ``updatable=True``, no frame has such a name, its file is gone or
            has changed, or what is left cannot be fitted.
        """
        from hotfit.update import remove

        return remove(self, frames, workers=workers, memory=memory, progress=progress)

    def compare(self, other: "DarkFit", *, fdr: float = 0.01, tolerance: float = 0.05):
        """Find the pixels that turned bad, recovered or drifted from this fit to a later one of the detector.

        Parameters
        ----------
        other : DarkFit
            Of a later night; this one is the earlier.
        fdr, tolerance : float
            See `hotfit.compare.compare`.

        Returns
        -------
        hotfit.compare.Comparison

        Raises
        ------
        HotfitError
            If the two are not of one shape or one unit, or a value makes no sense.
        """
        from hotfit.compare import compare

        return compare(self, other, fdr=fdr, tolerance=tolerance)

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

    def write(self, directory, *, overwrite: bool = False, report: bool = False, export=()) -> Path:
        """Write all files of this result to a new directory; see `hotfit.store.write`."""
        from hotfit import store

        return store.write(self, directory, overwrite=overwrite, report=report, export=export)

    @classmethod
    def read(cls, path) -> "DarkFit":
        """Read `dark_current.fits`, or the directory that holds it; see `hotfit.store.read`."""
        from hotfit import store

        return store.read(path)
