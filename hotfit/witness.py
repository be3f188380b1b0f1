"""Samples of pixels that have just become suspect, from the frames that are in the fit already.

They are read from their files where these still are what they were. Where not, the sums stand in for them: as
many samples of each exposure with the same mean and the same scatter, and, where the highest of them was
saturated, that one. By them a new outlier is told from a pixel that no longer repeats itself, but not which
of the old samples was one.
"""

import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from hotfit.darks import find_darks
from hotfit.darkset import DarkSet, assemble_members
from hotfit.errors import HotfitError
from hotfit.readers import FileRows
from hotfit.state import State, Suspects, fingerprints


class Witness:
    """Gives samples of the frames of a state; its files are opened when the first are asked for.

    Attributes
    ----------
    missing : str
        Why files could not be used, "" if they could, or were not asked for.
    asked : int
        Pixels that were asked for.
    """

    def __init__(self, state: State):
        self.state, self.missing, self.asked = state, "", 0
        self._lock, self._darks, self._mapped = threading.Lock(), None, []

    def suspects(self, index: np.ndarray, sums: np.ndarray, mates: list[int | None]) -> Suspects:
        """Pixels (P,), counted row by row, with their samples.

        `sums` (4, exposures, P) float32 are theirs; `mates` has the exposure of the state that each is.
        """
        with self._lock:
            self.asked += index.size
            if self._darks is None and not self.missing:
                self._open()
        if self._darks is None:
            return Suspects(index, equivalent(self.state, sums, mates), np.ones(index.size, np.bool_))
        if self._mapped:
            counts = np.empty((len(self._mapped), index.size), np.float32)
            for own, stored, frame in zip(counts, self._mapped, self._darks.frames, strict=True):
                frame.reader.coding.decode(stored[index], own)
            counts = counts.T
        else:
            counts = self._darks.pixels(*np.divmod(index, self.state.darks.shape[1])).astype(np.float32)
        return Suspects(index, counts, np.zeros(index.size, np.bool_))

    def notes(self) -> tuple[str, ...]:
        """What a user should know of the pixels that were asked for."""
        if not (self.asked and self.missing):
            return ()
        return (
            f"{self.missing}: the earlier samples of {self.asked} pixels with a new outlier cannot be read "
            "again; they are judged by the sums of these, and flagged UNRELIABLE_ERROR",
        )

    def close(self) -> None:
        """Remove what was unpacked."""
        if self._darks is not None:
            self._darks.close()

    def _open(self) -> None:
        state = self.state
        gone = [path for path in state.paths if not (path and Path(path).is_file())]
        if gone:
            self.missing = gone[0] or "frames in memory"
            return
        try:
            darks = reopened(state, np.ones(len(state.paths), bool))
            now = fingerprints(darks)
        except HotfitError as error:
            self.missing = str(error)
            return
        pairs = zip(state.paths, state.fingerprints, now, strict=True)
        changed = [path for path, was, own in pairs if was != own]
        if changed:
            darks.close()
            self.missing = f"{changed[0]} is not what it was"
            return
        self._darks = darks
        with suppress(OSError):  # some network drives map no files
            if is_plain(darks):
                self._mapped = [frame.reader.mapped() for frame in darks.frames]


def reopened(state: State, which: np.ndarray) -> DarkSet:
    """Some frames of a state, (N,) bool, from their files, in their order."""
    frames = [frame for frame, wanted in zip(state.darks.frames, which, strict=True) if wanted]
    members = assemble_members(frames, state.darks.options, state.darks.temperature_tolerance)
    if is_plain(members):
        return members
    paths = np.array(state.paths)[which].tolist()
    found = find_darks(paths, exposure=members.exposure.tolist(), **state.darks.options._asdict())
    darks = next(iter(found.images.values())).assemble(own=True)
    place = {frame.name: index for index, frame in enumerate(darks.frames)}
    if set(place) != set(paths):
        darks.close()
        raise HotfitError(f"{paths[0]}: it, or another frame of the fit, is no dark any more")
    return replace(darks, frames=tuple(darks.frames[place[path]] for path in paths))


def is_plain(darks: DarkSet) -> bool:
    """Whether all frames can be read where they are."""
    return all(isinstance(frame.reader, FileRows) for frame in darks.frames)


def equivalent(state: State, sums: np.ndarray, mates: list[int | None]) -> np.ndarray:
    """Samples (P, N) float32 adu that have the sums (4, exposures, P) of some pixels."""
    counts = np.full((sums.shape[2], len(state.darks.frames)), np.nan, np.float32)
    level = state.calibration.detector.saturation
    for (mean, square, _, high), mate in zip(sums.transpose(1, 0, 2), mates, strict=True):
        if mate is None:
            continue
        of_group = np.flatnonzero(state.darks.group == mate)
        offset = state.own_offset[of_group].astype(np.float32)
        pattern = spread(state.darks.n_combined[of_group]).astype(np.float32)
        own = mean[:, None] + pattern * np.sqrt(np.maximum(square, 0))[:, None] + offset
        full = high + offset.max() >= level
        own[full] = high[full, None] + offset
        counts[:, of_group] = own
    return counts


def spread(weight: np.ndarray) -> np.ndarray:
    """Departures (n,) from a mean of that weights, whose weighted squares add up to 1; 0 for one frame."""
    turns = np.where(np.arange(weight.size) % 2, -1.0, 1.0)
    turns -= np.average(turns, weights=weight)
    total = (weight * turns**2).sum()
    return turns / np.sqrt(total) if total > 0 else turns
