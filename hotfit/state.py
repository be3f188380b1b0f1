"""What a fit keeps so that frames can join or leave it: sums by exposure group, and samples of odd pixels.

A pixel that has been plain so far (see `hotfit.kernels`) is known by its sums. Of every other one, a
*suspect*, all samples are kept. Sums have the offsets and scales of their frames as these were when they
joined; what the terms of all frames share may change later (see `hotfit.joining`), which is made up for when
sums are fitted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hotfit.calibrate import Calibration
from hotfit.darkset import DarkSet
from hotfit.frames import Frame, with_wells
from hotfit.geometry import Wells
from hotfit.readers import FileRows
from hotfit.sums import stripes

FINGERPRINT_ROWS = 8
"""Rows of a frame, evenly spaced, that tell it from all others: its noise is in them."""


class Suspects(NamedTuple):
    """Samples of the P pixels that are not plain."""

    index: np.ndarray  # (P,) intp, counted row by row, rising
    counts: np.ndarray  # (P, N) float32, adu, as they were read
    stand_in: np.ndarray  # (P,) bool: some could not be read, and have but the sums of those that were

    def within(self, first: int, last: int) -> "Suspects":
        """Those whose index is from `first` to `last` (exclusive)."""
        part = slice(*np.searchsorted(self.index, (first, last)))
        return Suspects(*(values[part] for values in self))


def in_order(parts: list[Suspects]) -> Suspects:
    """The suspects of all parts in the order of their place."""
    joined = Suspects(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    order = np.argsort(joined.index)
    return Suspects(*(values[order] for values in joined))


class Look(NamedTuple):
    """Sums of P pixels in some evenly spaced rows."""

    runs: list[tuple[int, int]]  # first and last (exclusive) of neighbouring rows
    sums: np.ndarray  # (4, K, P) float32, see `hotfit.kernels.Sums`


@dataclass(frozen=True, eq=False, kw_only=True)
class State:
    """The N frames of a fit in K exposures, and what their pixels have gathered.

    Attributes
    ----------
    darks : DarkSet
        The frames, as `lasting` gives them.
    calibration : Calibration
        With the frame terms of the fit.
    bias_subtracted : bool
        The line goes through the origin.
    own_offset, own_scale : (N,) float64 array
        adu, and relative: the terms with which each frame joined the sums.
    wells : Wells or None
        What the counts of all frames show that overscan levels blur; None: no overscan was subtracted.
    level : float
        adu, the saturation level that samples have shown that were all read; inf where they showed none.
    part : (N,) float64 array
        Squared relative error that the scale of a frame leaves: the mean over an exposure is `left`.
    paths : tuple of str
        Where the frames were read, "" for data in memory.
    fingerprints : tuple of str
        What tells their counts apart.
    sums : tuple of K keepers of sums
        See `hotfit.sums`.
    suspects : Suspects
    """

    darks: DarkSet
    calibration: Calibration
    bias_subtracted: bool
    own_offset: np.ndarray
    own_scale: np.ndarray
    wells: Wells | None
    level: float
    part: np.ndarray
    paths: tuple[str, ...]
    fingerprints: tuple[str, ...]
    sums: tuple[Any, ...]
    suspects: Suspects

    def alike(self, darks: DarkSet) -> DarkSet:
        """Darks with their counts read as those of the state were, however few they are."""
        return darks if self.wells is None else replace(darks, frames=with_wells(darks.frames, self.wells))

    def load(self, _: object) -> "State":
        """Itself, as `hotfit.statefile.StateFile.load` gives one that is in a file."""
        return self

    def look(self) -> Look:
        """The sums of evenly spaced stripes of rows, see `hotfit.sums.stripes`."""
        chosen = stripes(self.darks.shape)
        pixels = sum(last - first for first, last in chosen) * self.darks.shape[1]
        sums = np.empty((4, len(self.sums), pixels), np.float32)
        for k, keeper in enumerate(self.sums):
            keeper.look(sums[:, k])
        return Look(chosen, sums)

    identity = ""
    """As of `hotfit.statefile.StateFile`: that of one in memory is not known."""

    def write(self, directory: Path):
        """Write it beside its result, as the `hotfit.statefile.StateFile` that is returned."""
        from hotfit.statefile import write_state

        return write_state(self, directory)

    @property
    def pedestal(self) -> float:
        """Overscan level that was subtracted from all frames, adu."""
        return 0.0 if self.wells is None else self.wells.pedestal

    @property
    def shift(self) -> np.ndarray:
        """(K,) adu by which the offsets have changed since the sums were made."""
        group, change = self.darks.group, self.calibration.offset - self.own_offset
        return np.bincount(group, change) / np.bincount(group)

    @property
    def stretch(self) -> float:
        """Factor by which the scales have changed since."""
        timed = self.darks.exposure > 0
        return float(np.mean((self.calibration.scale / self.own_scale)[timed]))

    def selected(self, keep: np.ndarray) -> "State":
        """The frames that are kept, (N,) bool; sums and suspects are as they were, and no longer theirs."""
        calibration = self.calibration
        terms = ("offset", "offset_error", "scale", "scale_error")
        return replace(
            self,
            calibration=replace(calibration, **{name: getattr(calibration, name)[keep] for name in terms}),
            own_offset=self.own_offset[keep],
            own_scale=self.own_scale[keep],
            part=self.part[keep],
            paths=tuple(np.array(self.paths, object)[keep]),
            fingerprints=tuple(np.array(self.fingerprints, object)[keep]),
        )


def fingerprints(darks: DarkSet) -> tuple[str, ...]:
    """A digest of some rows of each frame."""
    rows = np.unique(np.linspace(0, darks.shape[0] - 1, FINGERPRINT_ROWS).astype(int)).tolist()
    samples = darks.sample([(row, row + 1) for row in rows])
    return tuple(blake2b(row.astype("<f4").tobytes(), digest_size=16).hexdigest() for row in samples)


def lasting(frames: Iterable[Frame]) -> tuple[list[Frame], list[str]]:
    """Frames as a state keeps them, and where they were read: "" for those that no file has.

    Plain files can be read as long as they are there; what was unpacked, trimmed or in memory is not kept.
    """
    kept, places = [], []
    for frame in frames:
        plain = isinstance(frame.reader, FileRows) and frame.reader.path == frame.path
        kept.append(replace(frame, reader=frame.reader if plain else None, cut=None))
        places.append("" if frame.path is None else str(frame.path))
    return kept, places
