"""Which frames join or leave a fit, and what becomes of its exposures and terms."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hotfit import kernels
from hotfit.checks import check_set
from hotfit.darkset import DarkSet, assemble_members
from hotfit.errors import HotfitError
from hotfit.grouping import check_exposures
from hotfit.joining import fixed, measure_terms
from hotfit.sources import natural
from hotfit.state import Look, State, fingerprints, lasting


class Mover(NamedTuple):
    """A frame that joins or leaves the sums of an exposure."""

    k: int | None  # exposure of the new state, None for one that vanishes
    weight: float  # frames combined in it, below 0 if it leaves
    offset: float  # adu, with which it joined
    x: float  # s, with which it joined


class Plan(NamedTuple):
    """From one state to the next."""

    old: State
    new: State  # its sums and suspects are still those of the old one
    moving: DarkSet  # the frames that join or leave
    movers: list[Mover]  # what they are to the sums, in the order of `moving`
    source: np.ndarray  # (N,) where each frame of the new state stands among the old ones and the moving ones
    mates: list[int | None]  # exposure of the old state that each exposure of the new one was
    look: Look  # some sums of the old state

    @property
    def staying(self) -> np.ndarray:
        """(N,) bool: the frames of the old state that are in the new one: all of them, or no other joins."""
        return np.isin(np.arange(len(self.old.darks.frames)), self.source)


def plan_to_join(old: State, moving: DarkSet) -> tuple[Plan, tuple[str, ...]]:
    """Let frames join; returns the plan, and notes.

    Raises
    ------
    HotfitError
        A frame is in the fit already, or does not belong to the set.
    """
    prints = fingerprints(moving)
    check_strangers(old, moving, prints)
    joining, places = lasting(moving.frames)
    frames = (*old.darks.frames, *joining)
    source = np.array(sorted(range(len(frames)), key=lambda i: (frames[i].exposure, natural(frames[i].name))))
    like = replace(
        old.darks,
        options=old.darks.options._replace(mixed=either(old.darks.options.mixed, moving.options.mixed)),
        temperature_tolerance=max(old.darks.temperature_tolerance, moving.temperature_tolerance),
    )
    notes = check_set([frames[i] for i in source], (), like.temperature_tolerance, like.options)
    darks = members_of(like, [frames[i] for i in source])
    mates = old_groups(old.darks, darks, source)
    count = len(old.darks.frames)
    of_moving = darks.group[np.argsort(source)][count:]
    look = old.look()
    terms = measure_terms(old, moving, [mates[k] for k in of_moving], look)
    own_offset = terms.offset - np.array(
        [0.0 if mates[k] is None else old.shift[mates[k]] for k in of_moving]
    )
    joined = {
        "offset": np.append(old.calibration.offset, terms.offset),
        "offset_error": np.append(old.calibration.offset_error, terms.offset_error),
        "scale": np.append(old.calibration.scale, terms.scale),
        "scale_error": np.append(old.calibration.scale_error, terms.scale_error),
    }
    calibration = replace(old.calibration, **{name: values[source] for name, values in joined.items()})
    new = replace(
        old,
        darks=darks,
        calibration=calibration,
        own_offset=np.append(old.own_offset, own_offset)[source],
        own_scale=np.append(old.own_scale, terms.scale / old.stretch)[source],
        part=np.append(old.part, terms.scale_error**2)[source],
        paths=tuple(np.array((*old.paths, *places), object)[source]),
        fingerprints=tuple(np.array((*old.fingerprints, *prints), object)[source]),
    )
    x = new.own_scale * darks.group_exposure[darks.group]
    place = np.argsort(source)[count:]
    movers = [
        Mover(int(darks.group[i]), moved, new.own_offset[i], x[i])
        for i, moved in zip(place, moving.n_combined, strict=True)
    ]
    return Plan(old, settled(new), moving, movers, source, mates, look), (*notes, *moving.notes, *terms.notes)


def plan_to_leave(old: State, moving: DarkSet, leaving: np.ndarray) -> Plan:
    """Let the frames `leaving`, (N,) bool, leave; `moving` are they, in the same order.

    Raises
    ------
    HotfitError
        What is left cannot be fitted, or a frame is not what it was when it joined.
    """
    for path, before, now in zip(
        np.array(old.paths)[leaving], np.array(old.fingerprints)[leaving], fingerprints(moving), strict=True
    ):
        if before != now:
            raise HotfitError(f"{path}: is not the frame that joined the fit; fit the other frames again")
    source = np.flatnonzero(~leaving)
    check_exposures(old.darks.exposure[source])
    darks = members_of(old.darks, [old.darks.frames[i] for i in source])
    new = replace(old.selected(~leaving), darks=darks)
    mates = old_groups(old.darks, darks, source)
    x = old.own_scale * old.darks.group_exposure[old.darks.group]
    movers = [
        Mover(
            mates.index(old.darks.group[i]) if old.darks.group[i] in mates else None,
            -float(old.darks.n_combined[i]),
            old.own_offset[i],
            x[i],
        )
        for i in np.flatnonzero(leaving)
    ]
    return Plan(old, settled(new), moving, movers, source, mates, old.look())


def settled(state: State) -> State:
    """The state with the terms that its frames share fixed, and what its scales leave."""
    group = state.darks.group
    left = np.bincount(group, state.part) / np.bincount(group)
    calibration = fixed(state.calibration, state.darks, state.bias_subtracted)
    return replace(state, calibration=replace(calibration, left=left))


def check_strangers(old: State, moving: DarkSet, prints: tuple[str, ...]) -> None:
    """Raise HotfitError if a frame is in the fit already, twice among the new ones, or of another shape."""
    known = dict(zip(old.fingerprints, (frame.name for frame in old.darks.frames), strict=True))
    for frame, own in zip(moving.frames, prints, strict=True):
        if own in known:
            same = "" if frame.name == known[own] else f", as {known[own]}"
            raise HotfitError(f"{frame.name}: is in the fit already{same}; leave it out")
        known[own] = frame.name


def either(some: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    """Keys of one and the other, each once."""
    return tuple(dict.fromkeys((*some, *others)))


def members_of(old: DarkSet, frames) -> DarkSet:
    """Frames as a set like the old one."""
    members = assemble_members(frames, old.options, old.temperature_tolerance)
    return replace(members, claims=old.claims)


def old_groups(old: DarkSet, new: DarkSet, source: np.ndarray) -> list[int | None]:
    """The exposure of the old set that each of the new set was, None for those that it did not have."""
    was = np.where(source < len(old.frames), old.group[np.minimum(source, len(old.frames) - 1)], -1)
    found: list[int | None] = []
    for k in range(new.group_exposure.size):
        of_group = np.unique(was[(new.group == k) & (was >= 0)])
        if of_group.size > 1 or (of_group.size and of_group[0] in found):
            times = ", ".join(f"{new.exposure[i]:g}" for i in np.flatnonzero(new.group == k))
            raise HotfitError(f"exposures of {times} s are and are not equal; fit all frames again")
        found.append(int(of_group[0]) if of_group.size else None)
    return found


def moves_of(plan: Plan) -> list[tuple[int, int, kernels.Joining]]:
    """Which of the moving frames joins which exposure of the new state, and how."""
    old = plan.old
    x = old.own_scale * old.darks.group_exposure[old.darks.group]
    weight = np.bincount(old.darks.group, old.darks.n_combined)
    mean = np.bincount(old.darks.group, old.darks.n_combined * x) / weight
    weight = [0.0 if mate is None else weight[mate] for mate in plan.mates]
    mean = [0.0 if mate is None else mean[mate] for mate in plan.mates]
    moves = []
    for frame, mover in enumerate(plan.movers):
        if mover.k is not None:
            k = mover.k
            away = mover.x - mean[k] if weight[k] else 0.0
            numbers = mover.weight, weight[k], mover.offset, away
            moves.append((frame, k, kernels.Joining(*map(np.float32, numbers))))
            mean[k] += (mover.x - mean[k]) * mover.weight / (weight[k] + mover.weight)
            weight[k] += mover.weight
    return moves
