"""Frames join a fit, or leave it: a new fit at the cost of reading them."""

from collections.abc import Iterable
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from hotfit.calibrate import UNTOLD, stuck_note
from hotfit.curves import Curves
from hotfit.darks import FoundDarks, find_darks
from hotfit.darkset import DarkSet
from hotfit.errors import HotfitError
from hotfit.findings import Findings, frame_table, untested
from hotfit.fit import HeldMaps, checked_workers, draft_of, finish_fit
from hotfit.flags import check_number
from hotfit.jit import when_compiling
from hotfit.opening import ONLY
from hotfit.places import MAP_FILE
from hotfit.planning import Plan, plan_to_join, plan_to_leave
from hotfit.refit import refit
from hotfit.remeasure import remeasured
from hotfit.state import State
from hotfit.tracing import told, worst
from hotfit.witness import UNREAD, Witness, reopened


def update(base: Findings, frames, keep=HeldMaps, *, reading, saturation, rules, **machine):
    """Let frames join a fit.

    Parameters
    ----------
    base : Findings
        With its `state`; maps are not needed.
    frames : DarkSet, or anything that `hotfit.find_darks` takes
    keep : callable
        As in `hotfit.fit.fit_set`.
    reading : dict
        Arguments of `find_darks` that differ from those the fit was made with.
    saturation : float or None
        A new saturation level in adu.
    rules : dict
        Fields of `hotfit.flags.Rules` that are to change.
    **machine
        workers, memory, progress and compiling, as in `hotfit.fit.fit_set`.
    """
    state = state_of(base)
    with ExitStack() as stack:
        moving = frames
        if not isinstance(frames, DarkSet):
            roll = next(iter(new_frames(frames, state, reading).images.values()))
            moving = stack.enter_context(roll.assemble(own=True))
        moving = state.alike(moving)
        if moving.shape != state.darks.shape:
            raise HotfitError(
                f"{moving.frames[0].name}: has {moving.shape[0]} x {moving.shape[1]} pixels, the fit "
                f"{state.darks.shape[0]} x {state.darks.shape[1]}; leave it out"
            )
        plan, notes = plan_to_join(with_level(state, saturation), moving)
        return carried_out(plan, base, keep, rules, notes, **machine)


def remove(base: Findings, frames, keep=HeldMaps, **machine):
    """Let frames leave a fit, by names of its table of frames; parameters as in `update`."""
    state = state_of(base)
    leaving = chosen(state, [frames] if isinstance(frames, str | Path) else frames)
    if leaving.all():
        raise HotfitError("frames: are all that this fit has; at least two exposure times must be left")
    gone = [path or "frames in memory" for path in np.array(state.paths)[leaving] if not Path(path).is_file()]
    if gone:
        raise HotfitError(f"{gone[0]}: is not there any more, and leaves only if read again; put it back")
    with reopened(state, leaving) as moving:
        plan = plan_to_leave(state, moving, leaving)
        return carried_out(plan, base, keep, {}, (), **machine)


def state_of(base: Findings) -> State:
    """The state of a fit; raises HotfitError if it has none."""
    if base.state is None:
        raise HotfitError("this fit keeps no sums for updates; fit again with updatable (--updatable)")
    return base.state.load(base)


def new_frames(frames, state: State, reading: dict) -> FoundDarks:
    """New frames, read as those of the fit were, but for what `reading` changes; `mixed` adds to theirs."""
    darks, mixed = state.darks, reading.get("mixed", ())
    options = {**darks.options._asdict(), "temperature_tolerance": darks.temperature_tolerance, **reading}
    options["mixed"] = (*darks.options.mixed, *([mixed] if isinstance(mixed, str) else mixed))
    return find_darks(frames, **options)


def results_in(directory: Path) -> dict[str, Path]:
    """The results in a directory by the labels of their images; that of a single one is empty."""
    found = {path.parent.name: path.parent for path in sorted(directory.glob(f"*/{MAP_FILE}"))}
    if (directory / MAP_FILE).exists() or not found:
        return {ONLY: directory}
    return found


def with_level(state: State, saturation: float | None) -> State:
    """The state with another saturation level, if one is given."""
    if saturation is None:
        return state
    saturation = check_number("saturation", saturation, 0, np.inf, "a number above zero")
    level = saturation - state.pedestal
    detector = replace(state.calibration.detector, saturation=level, saturation_source="user")
    return replace(state, calibration=replace(state.calibration, detector=detector))


def chosen(state: State, names) -> np.ndarray:
    """Which frames bear these names, (N,) bool; raises HotfitError for one that none has."""
    names_of = [frame.name for frame in state.darks.frames]
    known = {name: i for i, name in enumerate(names_of)}
    known |= {path: i for i, path in enumerate(state.paths) if path}
    leaving = np.zeros(len(state.paths), bool)
    if not isinstance(names, Iterable) or not all(isinstance(name, str | Path) for name in names):
        raise HotfitError(f"frames={names!r}: give names of fit.frames['file']")
    for name in names:
        path = str(Path(name).absolute())
        if path not in known and names_of.count(str(name)) > 1:
            raise HotfitError(f"{name}: is the name of several frames of this fit; give the path of one")
        place = known.get(path, known.get(str(name)))
        if place is None:
            raise HotfitError(f"{name}: is no frame of this fit; give names of fit.frames['file']")
        leaving[place] = True
    if not leaving.any():
        raise HotfitError("frames: none is named; give names of fit.frames['file']")
    return leaving


def carried_out(plan: Plan, base, keep, rules: dict, notes, *, workers, memory, progress, compiling=None):
    """Fit the new state of a plan, flag it and finish the result."""
    workers = checked_workers(workers, memory)
    plan = remeasured(plan)
    darks, calibration = plan.new.darks, plan.new.calibration
    rules, notes = replace(base.rules, **rules), (*still_true(base, plan), *notes)
    draft = draft_of(darks, calibration, rules, base.bias_subtracted, notes)
    maps, witness = keep(draft), Witness(plan.old, plan.staying)
    try:
        with nullcontext() if compiling is None else when_compiling(compiling):
            state, counts = refit(plan, witness, maps, workers, memory, progress)
    finally:
        witness.close()
    told = witness.notes(np.count_nonzero(state.suspects.stand_in))
    notes = (*(note for note in notes if not (told and UNREAD in note)), *told)
    draft = replace(draft, state=state, notes=notes)
    trace = partial(followed, base.curves, plan, state)
    return finish_fit(draft, maps, frame_table(darks, calibration, counts), trace, workers)


def still_true(base: Findings, plan: Plan) -> tuple[str, ...]:
    """The notes of a fit that hold for a new one, and those on its detector."""
    calibration, frames = plan.new.calibration, plan.new.darks.frames
    names = {frame.name for frame in frames}
    gone = {frame.name for frame in plan.old.darks.frames} - names
    over = {*untested(base), *plan.old.calibration.doubts}

    def is_over(note):
        about_gone = any(name in note for name in gone) and not any(name in note for name in names)
        return note in over or note.startswith(UNTOLD) or about_gone

    kept = [note for note in base.notes if not is_over(note)]
    return (*kept, *calibration.doubts, *stuck_note(calibration.stuck, len(frames)))


def followed(before: Curves | None, plan: Plan, state: State, fit: Findings) -> Curves | None:
    """The samples that the earlier fit kept and those of the moving frames, and the worst of the suspects."""
    if before is None:
        return None
    moving = plan.moving.pixels(before.y, before.x)
    dtype = np.result_type(before.counts, moving)
    counts = np.concatenate([before.counts, moving], axis=1, dtype=dtype)[:, plan.source]
    columns = fit.dq.shape[1]
    fresh = np.setdiff1d(worst(fit), before.y * columns + before.x)
    place = np.searchsorted(state.suspects.index, fresh)
    among = place < state.suspects.index.size
    among[among] = state.suspects.index[place[among]] == fresh[among]
    y, x = np.divmod(fresh[among], columns)
    samples = state.suspects.counts[place[among]].astype(dtype)
    order = np.argsort(np.concatenate([before.y, y]) * columns + np.concatenate([before.x, x]))
    curves = Curves(
        y=np.concatenate([before.y, y]).astype(np.int32)[order],
        x=np.concatenate([before.x, x]).astype(np.int32)[order],
        weight=np.concatenate([before.weight, np.zeros(y.size)]).astype(np.float32)[order],
        counts=np.concatenate([counts, samples])[order],
        state=np.empty(0, np.uint8),
    )
    return told(state.darks, state.calibration, state.bias_subtracted, fit, curves)
