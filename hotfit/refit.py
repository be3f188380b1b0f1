"""Fits the sums of a state again, band by band, when frames have joined it or left: only they are read.

What sums cannot tell, such as which sample of a pixel was a cosmic ray, is read again from the files of the
other frames for these pixels alone, see `hotfit.witness`.
"""

import threading
from dataclasses import replace

import numpy as np

from hotfit import kernels
from hotfit.bands import cut_bands
from hotfit.design import fit_samples, make_shared
from hotfit.flags import DQ
from hotfit.maps import TYPES, in_threads
from hotfit.planning import Plan, moves_of
from hotfit.state import State, Suspects, in_order
from hotfit.witness import Witness

BANDS = 64e6
"""As `hotfit.bands.BANDS`: more, since every band opens all files of sums."""


def refit(plan: Plan, witness: Witness, maps, workers, memory, progress) -> tuple[State, np.ndarray]:
    """Fit the new state into `maps`, a keeper as in `hotfit.maps`; returns it, and what frames lost."""
    old, new = plan.old, plan.new
    changed = changed_groups(plan)
    keepers = {k: maps.new_sums() for k in changed}
    band_of = BandFit(plan, witness, maps, keepers)
    counts = np.zeros((2, len(new.darks.frames)), np.int64)
    suspects, of_thread, done = [], threading.local(), 0
    used = [old.sums[mate] for mate in plan.mates if mate is not None]
    for sums in used:
        sums.forget()

    def fit_band(first, last):
        if not hasattr(of_thread, "samples"):  # what is used again, the system need not make anew
            of_thread.samples = np.empty(most * len(plan.moving.frames), plan.moving.dtype)
            of_thread.sums = np.empty(most * 4 * len(plan.mates), np.float32)
        samples, start = plan.moving.samples(first, last, of_thread.samples)
        return last - first, *band_of.fit(first, last, samples, start, of_thread.sums)

    def count(result):
        nonlocal done
        done += result[0]
        np.add(counts, result[1], out=counts)
        suspects.append(result[2])
        if progress is not None:
            progress(done, new.darks.shape[0])

    bands = cut_bands(new.darks, workers, memory, BANDS)
    most = max(last - first for first, last in bands) * new.darks.shape[1]
    in_threads(fit_band, bands, workers, count)
    for sums in used:
        sums.check()
    sums = tuple(keepers[k].finish() if k in keepers else old.sums[mate] for k, mate in enumerate(plan.mates))
    return replace(new, sums=sums, suspects=in_order(suspects)), counts


def changed_groups(plan: Plan) -> list[int]:
    """Exposures of the new state that frames join or leave."""
    before = np.bincount(plan.old.darks.group)
    now = np.bincount(plan.new.darks.group)
    return [k for k, mate in enumerate(plan.mates) if mate is None or now[k] != before[mate]]


class BandFit:
    """Fits bands of rows from sums and suspects."""

    def __init__(self, plan: Plan, witness: Witness, maps, keepers):
        self.plan, self.witness, self.maps, self.keepers = plan, witness, maps, keepers
        darks, calibration = plan.new.darks, plan.new.calibration
        self.shared = make_shared(darks, calibration, plan.new.bias_subtracted)
        self.longest = np.float32(darks.group_exposure[-1] / plan.new.stretch)
        self.shift = plan.new.shift.astype(np.float32)
        order = plan.moving.order
        self.joined = plan.staying.all()
        self.moves = [(int(order[frame]), k, joining) for frame, k, joining in moves_of(plan)]

    def fit(self, first: int, last: int, samples, start: int, room):
        """Fit rows `first` to `last`; returns what frames lost in them, (2, N), and the suspects.

        `samples` are those of the moving frames, from column `start` on; `room` (float32) is for sums.
        """
        band, columns = self.maps.band(first, last), self.plan.new.darks.shape[1]
        sums = self.sums_of(first, last, room)
        staying = {k: sums[:, k].copy() for k in self.keepers} if self.joined else {}
        for frame, k, joining in self.moves:
            kernels.add_frame(samples, frame, start, joining, kernels.Sums(*sums), k)
        for k, keeper in self.keepers.items():
            keeper.put(first, sums[:, k])
        doubt = np.empty(sums.shape[2], np.bool_)
        frames = len(self.plan.new.darks.frames)
        terms = self.shift, self.longest
        kernels.fit_sums(kernels.Sums(*sums), *terms, *self.shared[1:], frames, kernels.Maps(**band), doubt)
        suspects = self.samples_of(first, doubt, sums, staying, samples[:, start : start + doubt.size])
        own = self.fit_suspects(suspects, band, suspects.index - first * columns)
        self.maps.put(first, band)
        return own, suspects

    def sums_of(self, first: int, last: int, room) -> np.ndarray:
        """Sums (4, K, pixels) before anything moves; those of a new exposure are empty."""
        mates, pixels = self.plan.mates, (last - first) * self.plan.new.darks.shape[1]
        sums = room[: 4 * len(mates) * pixels].reshape(4, len(mates), pixels)
        for k, mate in enumerate(mates):
            if mate is None:
                sums[:3, k], sums[3, k] = 0, -np.inf
            else:
                self.plan.old.sums[mate].rows(first, last, sums[:, k])
        return sums

    def samples_of(self, first: int, doubt, sums, staying, moving) -> Suspects:
        """All samples of the suspects of a band; `moving` (n, pixels) are those of the moving frames.

        `staying` has the sums of the frames that stay, by exposure, where others have joined `sums`.
        """
        plan = self.plan
        begin = first * plan.new.darks.shape[1]
        known = plan.old.suspects.within(begin, begin + doubt.size)
        doubt[known.index - begin] = False
        fresh = np.flatnonzero(doubt)
        if fresh.size:
            own = sums[:, :, fresh]
            for k, before in staying.items():
                own[:, k] = before[:, fresh]
            known = in_order([known, self.witness.suspects(fresh + begin, own, plan.mates)])
        new = moving[:, known.index - begin][plan.moving.order].T.astype(np.float32)
        return known._replace(counts=np.concatenate([known.counts, new], axis=1)[:, plan.source])

    def fit_suspects(self, suspects: Suspects, band, place) -> np.ndarray:
        """Fit suspects sample by sample into the band, at `place`; returns what frames lost, (2, N)."""
        samples = np.ascontiguousarray(suspects.counts.T)
        samples.flags.writeable = False
        found = {name: np.empty(place.size, dtype) for name, dtype in TYPES.items()}
        lost = fit_samples(self.shared, samples, 0, found)
        for name, values in found.items():
            band[name][place] = values
        band["dq"][place[suspects.stand_in]] |= np.uint32(DQ.UNRELIABLE_ERROR)
        return lost
