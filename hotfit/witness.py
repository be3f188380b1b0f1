"""Samples of pixels that have just become suspect, from the frames that are in the fit already.

They are read from their files where these still are what they were. Where some are not, others stand in for
them, see `hotfit.standins`.
"""

import mmap
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from hotfit.darks import find_darks
from hotfit.darkset import DarkSet, assemble_members
from hotfit.errors import HotfitError
from hotfit.readers import FileRows
from hotfit.standins import stand_in
from hotfit.state import State, Suspects, fingerprints

UNREAD = "cannot be read again as it was"
"""In the note on such a frame."""

MAPPED_AROUND = 1 << 16
"""Bytes of a file that the system maps for one that is looked into,"""

MOST_MAPPED = 300_000_000
"""and as many of all files as may stay mapped: they would count as memory in use."""


class Witness:
    """Gives samples of frames of a state; their files are opened when the first are asked for.

    Parameters
    ----------
    state : State
    staying : (N,) bool array
        Its frames that are asked for: those that do not leave.

    Attributes
    ----------
    missing : list of str
        Frames that cannot be read as they were: known when the first samples have been asked for.
    """

    def __init__(self, state: State, staying: np.ndarray):
        self.state, self.staying, self.missing = state, staying, []
        self._lock, self._darks, self._mapped = threading.Lock(), None, []
        self._here, self._guessed, self._touched = None, False, 0

    def suspects(self, index: np.ndarray, sums: np.ndarray, mates: list[int | None]) -> Suspects:
        """Pixels (P,), counted row by row, with their samples; those of frames that leave are nan.

        `sums` (4, exposures, P) float32 are theirs, of the frames that stay; `mates` has the exposure of the
        state that each is.
        """
        with self._lock:
            if self._here is None:
                self._open()
        counts = np.full((index.size, self._here.size), np.nan, np.float32)
        if self._darks is not None:
            counts[:, self._here] = self._read(index)
        if self.missing:
            stand_in(counts, self.state, sums, mates, self._here, self.staying & ~self._here)
        return Suspects(index, counts, np.full(index.size, self._guessed))

    def notes(self, pixels: int) -> tuple[str, ...]:
        """What a user should know if samples of so many pixels were made up."""
        if not self._guessed:
            return ()
        others = len(self.missing) - 1
        return (
            f"{self.missing[0]}: {UNREAD}{f', nor {others} more frames' * (others > 0)}: of {pixels} "
            "pixels with an outlier sums stand in for samples; they are flagged UNRELIABLE_ERROR",
        )

    def close(self) -> None:
        """Remove what was unpacked."""
        if self._darks is not None:
            self._darks.close()

    def _read(self, index: np.ndarray) -> np.ndarray:
        """Samples (P, frames that are here) of pixels, counted row by row."""
        if not self._mapped:
            return self._darks.pixels(*np.divmod(index, self.state.darks.shape[1]))
        counts = np.empty((len(self._mapped), index.size), np.float32)
        for own, stored, frame in zip(counts, self._mapped, self._darks.frames, strict=True):
            frame.reader.coding.decode(stored[index], own)
        self._touched += counts.size * MAPPED_AROUND
        if self._touched > MOST_MAPPED:
            self._touched = 0
            for stored in self._mapped:
                let_go(stored)
        return counts.T

    def _open(self) -> None:
        """Open the files that are what they were, and say which are not."""
        here = self.staying & [bool(path) and Path(path).is_file() for path in self.state.paths]
        try:
            here = self._opened(here)
        except HotfitError:  # which of them is it?
            alone = np.eye(here.size, dtype=bool)
            here = here & [known and self._can_open(one) for known, one in zip(here, alone, strict=True)]
            here = self._opened(here)
        self.missing = [
            self.state.paths[i] or self.state.darks.frames[i].name
            for i in np.flatnonzero(self.staying & ~here)
        ]
        missing = self.state.darks.group[self.staying & ~here]
        self._guessed = bool((np.bincount(missing) > 1).any())  # the sums of one alone are its sample
        self._here = here
        with suppress(OSError):  # some network drives map no files
            if self._darks is not None and is_plain(self._darks):
                self._mapped = [frame.reader.mapped() for frame in self._darks.frames]

    def _can_open(self, which: np.ndarray) -> bool:
        with suppress(HotfitError):
            self._opened(which)
            return True
        return False

    def _opened(self, which: np.ndarray) -> np.ndarray:
        """Open those frames; returns which of them, (N,) bool, are what they were: no other stays open."""
        self.close()
        self._darks = None
        while which.any():
            darks = reopened(self.state, which)
            same = np.array(self.state.fingerprints)[which] == np.array(fingerprints(darks))
            if same.all():
                self._darks = darks
                break
            darks.close()
            which = which.copy()
            which[which] = same
        return which


def let_go(mapped: np.memmap) -> None:
    """Let the system take back what of a file was looked into, and came with it."""
    with suppress(AttributeError, OSError):  # Windows has no such call
        mapped._mmap.madvise(mmap.MADV_DONTNEED)


def reopened(state: State, which: np.ndarray) -> DarkSet:
    """Some frames of a state, (N,) bool, from their files, in their order."""
    frames = [frame for frame, wanted in zip(state.darks.frames, which, strict=True) if wanted]
    members = assemble_members(frames, state.darks.options, state.darks.temperature_tolerance)
    if is_plain(members):
        return members
    paths = np.array(state.paths)[which].tolist()
    options = {**state.darks.options._asdict(), "temperature_tolerance": state.darks.temperature_tolerance}
    found = find_darks(paths, exposure=members.exposure.tolist(), **options)
    darks = next(iter(found.images.values())).assemble(own=True)
    place = {frame.name: index for index, frame in enumerate(darks.frames)}
    if set(place) != set(paths):
        darks.close()
        raise HotfitError(f"{paths[0]}: it, or another frame of the fit, is no dark any more")
    return state.alike(replace(darks, frames=tuple(darks.frames[place[path]] for path in paths)))


def is_plain(darks: DarkSet) -> bool:
    """Whether all frames can be read where they are."""
    return all(isinstance(frame.reader, FileRows) for frame in darks.frames)
