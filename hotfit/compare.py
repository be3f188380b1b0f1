"""Two nights of one detector: the pixels that turned bad, recovered or drifted, as a table."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from astropy import units
from astropy.table import Table
from scipy import special

from hotfit.caveats import caveats
from hotfit.drift import Change, Density, change_of, find_drift, gain_ratio, p_value
from hotfit.errors import HotfitError
from hotfit.findings import number, spelled
from hotfit.flags import DQ, check_number, reasons
from hotfit.flips import find_flips, picking
from hotfit.maps import blocks

if TYPE_CHECKING:
    from hotfit.result import DarkFit

TURNED_BAD, RECOVERED, DRIFTED = KINDS = ("turned bad", "recovered", "drifted")


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Comparison:
    """What changed from one night to another.

    Attributes
    ----------
    table : astropy.table.Table
        One row a changed pixel, row by row of the image: x, y (column and row from 0); change ("turned bad",
        "recovered", "drifted"); significant (False: masked one night and not the other, but nothing measured
        of the pixel differs by more than noise: it is near a threshold); rate_before, error_before,
        rate_after, error_after; difference (what the later rate has beyond ``shift + ratio * rate_before``),
        difference_error, sigmas (of the difference); p (of the change that is seen best: of the rate; of
        pixels masked one night also of scatter and bend; 0 where a rate came or went that saturation does not
        explain); reasons_before, reasons_after (the flags that mask it).
    unit : astropy.units.UnitBase
        Of all rates.
    shape : tuple of int
        Rows and columns of the maps.
    ratio, ratio_error : float
        Factor that all dark currents have in common, later over earlier, in `unit`, from the hot good pixels.
        The error holds those of the gains, where the darks gave them. nan: too few hot pixels, taken as 1.
    ratio_in_adu, ratio_in_adu_error : float
        The same of the rates in adu/s: no gain is in it. It tells the temperature if the gain was the same.
    shift : float
        What the typical pixel has beside it, in `unit`: a trend of the offsets with exposure.
    thermometers : int
        Hot pixels that the ratio is from.
    null : float
        Width of what the rates of good pixels differ by, in their errors: 1 if the errors are right. All
        errors of differences are multiplied by it. nan: the rates are the same, nothing is tested.
    limit : float
        p-value, two-sided, up to which a drift is significant; nan where nothing is tested.
    fdr, tolerance : float
        As they were asked for.
    tested : int
        Pixels with a rate, masked in neither night; 0 where nothing is tested.
    masked_before, masked_after, masked_both : int
        Pixels.
    notes : tuple of str
        What a user should know.
    density : hotfit.drift.Density
        Good pixels by their rates, for the picture.
    """

    table: Table
    unit: units.UnitBase
    shape: tuple[int, int]
    ratio: float
    ratio_error: float
    ratio_in_adu: float
    ratio_in_adu_error: float
    shift: float
    thermometers: int
    null: float
    limit: float
    fdr: float
    tolerance: float
    tested: int
    masked_before: int
    masked_after: int
    masked_both: int
    notes: tuple[str, ...]
    density: Density

    def __repr__(self) -> str:
        rows, columns = self.shape
        told = ", ".join(f"{number} {kind}" for kind, number in self.counts().items())
        return f"<{type(self).__name__}: {rows} x {columns}, ratio {self.ratio:.4g}, {told}>"

    def counts(self, significant: bool = True) -> dict[str, int]:
        """Pixels of each kind of change: those that changed significantly, or the others."""
        chosen = self.table["change"][self.table["significant"] == significant]
        return {kind: int(np.count_nonzero(chosen == kind)) for kind in KINDS}

    def summary(self) -> dict:
        """The comparison in numbers: plain types, ready for JSON."""
        told, near = self.counts(), self.counts(significant=False)
        drifted = self.table[self.table["change"] == DRIFTED]
        names = ("ratio", "ratio_error", "ratio_in_adu", "ratio_in_adu_error", "shift", "null", "limit")
        return {
            "shape": list(self.shape),
            "unit": spelled(self.unit),
            **{name: number(getattr(self, name)) for name in names},
            "limit_sigmas": number(-float(special.ndtri(self.limit / 2))),
            "fdr": self.fdr,
            "tolerance": self.tolerance,
            "thermometers": self.thermometers,
            "tested": self.tested,
            "masked_before": self.masked_before,
            "masked_after": self.masked_after,
            "masked_both": self.masked_both,
            "turned_bad": told[TURNED_BAD],
            "recovered": told[RECOVERED],
            "drifted": told[DRIFTED],
            "drifted_up": int(np.count_nonzero(drifted["difference"] > 0)),
            "near_threshold_bad": near[TURNED_BAD],
            "near_threshold_good": near[RECOVERED],
            "notes": list(self.notes),
        }

    def plot(self, ax=None):
        """Rate after against rate before, with the changed pixels; see `hotfit.plots.plot_comparison`."""
        from hotfit import plots

        return plots.plot_comparison(self, ax=ax)


def compare(before: "DarkFit", after: "DarkFit", *, fdr: float = 0.01, tolerance: float = 0.05) -> Comparison:
    """Find the pixels that changed from the fit `before` to the fit `after`.

    Parameters
    ----------
    before, after : DarkFit
        Of the same detector, the earlier one first.
    fdr : float
        Accepted share of false ones among the pixels that drifted, and among those that are masked one night
        only and told to have changed significantly (Benjamini-Hochberg over the frame, both directions).
    tolerance : float
        A pixel drifted only if its rate differs by more than this part of the one expected.

    Raises
    ------
    HotfitError
        If the two are not of one shape or one unit, a value makes no sense, or `after` is no DarkFit.
    """
    check_pair(before, after)
    fdr = check_number("fdr", fdr, 0, 1, "a share above 0 and below 1")
    tolerance = check_number(
        "tolerance", tolerance, -np.finfo(float).tiny, np.inf, "a number that is not negative"
    )
    drift = find_drift(before, after, fdr, tolerance)
    common, masked = drift.common, masked_pixels(before, after)
    tested = drift.tested + masked[0] + masked[1] - masked[2]
    flips = find_flips(before, after, common, drift.null, fdr, tested)
    index = np.concatenate([flips.index, drift.index])
    change = change_of(before, after, picking(index), common, drift.null)
    drifted = index.size - flips.index.size
    kind = np.concatenate([np.where(flips.bad, TURNED_BAD, RECOVERED), np.full(drifted, DRIFTED)])
    significant = np.concatenate([flips.significant, np.ones(drifted, bool)])
    p = np.concatenate([flips.p, p_value(change.sigmas, change.degrees)[flips.index.size :]])
    gains, of_gains = gain_ratio(before, after)
    return Comparison(
        table=table_of(before, after, index, change, kind, significant, p),
        unit=before.unit,
        shape=before.dq.shape,
        ratio=common.ratio,
        ratio_error=float(np.hypot(common.error, common.ratio * of_gains)),
        ratio_in_adu=common.ratio / gains,
        ratio_in_adu_error=common.error / gains,
        shift=common.shift,
        thermometers=common.pixels,
        null=drift.null,
        limit=drift.limit,
        fdr=fdr,
        tolerance=tolerance,
        tested=drift.tested,
        masked_before=masked[0],
        masked_after=masked[1],
        masked_both=masked[2],
        notes=tuple(caveats(before, after, drift)),
        density=drift.density,
    )


def check_pair(before: "DarkFit", after) -> None:
    """Refuse what cannot be compared."""
    from hotfit.result import DarkFit

    if not isinstance(after, DarkFit):
        raise HotfitError(f"other={type(after).__name__}: give a DarkFit; hotfit.read(directory) makes one")
    if before.dq.shape != after.dq.shape:
        sizes = " and ".join("{} x {}".format(*fit.dq.shape) for fit in (before, after))
        raise HotfitError(f"the fits are of {sizes} pixels: compare fits of one detector, trimmed alike")
    if before.unit != after.unit:
        names = " and ".join(spelled(fit.unit) for fit in (before, after))
        raise HotfitError(
            f"the dark currents are in {names}: fit both with a gain (gain=), or both without one"
        )


def masked_pixels(before: "DarkFit", after: "DarkFit") -> tuple[int, int, int]:
    """Pixels masked in the earlier night, in the later one, and in both."""
    counts, bad = np.zeros(3, np.int64), np.uint32(DQ.DO_NOT_USE)
    for first, last in blocks(before.dq.shape):
        old, new = before.dq[first:last], after.dq[first:last]
        counts += [np.count_nonzero(dq & bad) for dq in (old, new, old & new)]
    return tuple(int(count) for count in counts)


def table_of(before: "DarkFit", after: "DarkFit", index, change: Change, kind, significant, p) -> Table:
    """One row for every changed pixel, row by row."""
    order = np.argsort(index)
    index, change = index[order], Change(*(values[order] for values in change))
    y, x = np.divmod(index, before.dq.shape[1])
    rates = {}
    for name, fit in (("before", before), ("after", after)):
        values = fit.values_at(y, x, ("rate", "rate_error"))
        rates[f"rate_{name}"] = values["rate"] * fit.unit
        rates[f"error_{name}"] = values["rate_error"] * fit.unit
    return Table(
        {
            "x": x.astype(np.int32),
            "y": y.astype(np.int32),
            "change": kind[order].astype("U10"),
            "significant": significant[order],
            **rates,
            "difference": change.value.astype(np.float32) * before.unit,
            "difference_error": change.error.astype(np.float32) * before.unit,
            "sigmas": change.sigmas.astype(np.float32),
            "p": p[order],
            "reasons_before": reasons(before.dq[y, x], before.rules.bad),
            "reasons_after": reasons(after.dq[y, x], after.rules.bad),
        }
    )
