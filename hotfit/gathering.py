"""Gathers the state of a fit while its bands go through the kernel: frames can join or leave it later."""

import threading
from dataclasses import replace

import numpy as np

from hotfit import kernels
from hotfit.calibrate import Calibration
from hotfit.darkset import DarkSet, assemble_members
from hotfit.design import Shared
from hotfit.frames import wells_of
from hotfit.state import State, Suspects, fingerprints, in_order, lasting


class Gathering:
    """The sums of a set of darks, band by band.

    Parameters
    ----------
    darks : DarkSet
    calibration : Calibration
    bias_subtracted : bool
    keepers : sequence
        Of the sums of each exposure that are made, see `hotfit.sums`.
    """

    def __init__(self, darks: DarkSet, calibration: Calibration, bias_subtracted: bool, keepers):
        self.darks, self.calibration, self.bias_subtracted = darks, calibration, bias_subtracted
        self.keepers, self._suspects, self._lock = keepers, [], threading.Lock()

    def take(self, first: int, last: int, samples, start: int, shared: Shared) -> None:
        """Sum rows `first` to `last` (exclusive), whose `samples` begin at column `start`."""
        pixels = (last - first) * self.darks.shape[1]
        sums = np.empty((4, len(self.keepers), pixels), np.float32)
        doubt = np.empty(pixels, np.bool_)
        longest = np.float32(self.darks.group_exposure[-1])
        kernels.sum_pixels(samples, start, *shared[1:], longest, kernels.Sums(*sums), doubt)
        for k, keeper in enumerate(self.keepers):
            keeper.put(first, sums[:, k])
        odd = np.flatnonzero(doubt)
        counts = samples[:, start + odd][self.darks.order].T.astype(np.float32)
        with self._lock:
            self._suspects.append(
                Suspects(odd + first * self.darks.shape[1], counts, np.zeros(odd.size, np.bool_))
            )

    def state(self) -> State:
        """What was gathered, once all bands are there."""
        calibration, darks, detector = self.calibration, self.darks, self.calibration.detector
        frames, paths = lasting(darks.frames)
        return State(
            darks=replace(
                assemble_members(frames, darks.options, darks.temperature_tolerance),
                claims=darks.claims,
            ),
            calibration=calibration,
            bias_subtracted=self.bias_subtracted,
            own_offset=calibration.offset,
            own_scale=calibration.scale,
            wells=wells_of(darks.frames),
            level=detector.saturation if detector.saturation_source == "darks" else np.inf,
            part=calibration.left[darks.group],
            paths=tuple(paths),
            fingerprints=fingerprints(darks),
            sums=tuple(keeper.finish() for keeper in self.keepers),
            suspects=in_order(self._suspects),
        )
