"""The command that updates: lets new darks join the images of an earlier result, and tells."""

import argparse
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from hotfit import store, wording
from hotfit.console import ONLY, Bar, finish, naming, run_plane, say_all, told_of
from hotfit.errors import HotfitError
from hotfit.grouping import SUMS_BYTES
from hotfit.options import extras_of, rules_of, thresholds_of
from hotfit.planning import plan_to_join
from hotfit.update import new_frames, results_in, update

KEPT = ("gain", "read_noise", "bias_subtracted", "updatable", "ext", "apart")
"""Options that an update does not change."""


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Let new darks join an earlier result, or every one of the images that it has."""
    rules_of(options, parser)
    if not options.update:
        parser.error("--update: give the directory of an updatable result")
    extras, earlier = extras_of(options, parser), named(options.update)
    for name in KEPT:
        if getattr(options, name) != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')}: an update keeps what {earlier} was made with")
    if options.scheduler:
        parser.error("--scheduler: updates are made here, not on a cluster")
    output = named(options.output or options.update)
    overwrite = options.overwrite or options.output is None
    store.clear_rubbish(earlier)
    mark = store.mark_of(earlier)
    replaces = mark if output.resolve() == earlier.resolve() else None
    try:
        update_all(options, earlier, output, overwrite, extras, replaces)
    except HotfitError as error:
        if store.mark_of(earlier) != mark:
            raise store.replaced_meanwhile(earlier) from error
        raise


def update_all(options: argparse.Namespace, earlier: Path, output: Path, overwrite, extras, replaces) -> None:
    """Let new darks join every image of an earlier result, and put the new results in place."""
    results = results_in(earlier)
    bases = opened(results, earlier)
    if not options.dry_run:
        store.check_output(output, overwrite=overwrite)
    with ExitStack() as stack:
        made = None
        if not options.dry_run:
            pixels = sum(base.dq.size for base in bases.values())
            state = sum(base.dq.size * SUMS_BYTES * len(set(base.frames["group"])) for base in bases.values())
            store.check_room(output, pixels, extras, len(bases), state=state)
            made = store.new_directory(output, overwrite=overwrite, replaces=replaces)
            made = stack.enter_context(made)
        told = {}
        for label, base in bases.items():
            whole = base if base.state is not None else with_state(results[label])
            told[label] = update_image(whole, label, made, options, extras)
        plane = run_plane(told, made, options) if made and len(told) > 1 else {}
    finish(told, output, options, plane)


def update_image(base, label: str, made, options: argparse.Namespace, extras) -> dict:
    """Show the new darks of one image, let them join, and write it; returns what was told, as data."""
    talk = not (options.quiet or options.json)
    with naming(label), ExitStack() as stack:
        found = stack.enter_context(new_frames(options.frames, base.state, reading_of(options)))
        roll = next(iter(found.images.values()))
        if talk:
            say_all([f"image {label}"] * (label != ONLY), wording.table_of(roll))
        darks = stack.enter_context(roll.assemble())
        if made is None:
            plan_to_join(base.state, base.state.alike(darks))
            return wording.frames_as_data(roll, darks.notes)
        if talk:
            say_all(wording.told(darks.notes))
        keep = stack.enter_context(store.filing(made / label, extras))
        with Bar(darks.shape[0], options.quiet) as bar:
            fit = update(
                base,
                darks,
                keep,
                reading={},
                saturation=options.saturation,
                rules=thresholds_of(options),
                workers=options.workers,
                memory=options.memory,
                progress=bar.update,
                compiling=bar.tell if talk else None,
            )
        return told_of(fit, roll, darks.notes, options)


def named(path: str) -> Path:
    """A directory by a name of its own, which `.` is not: it will be renamed."""
    directory = Path(path)
    return directory if directory.name not in ("", "..") else directory.resolve()


def with_state(directory: Path):
    """An earlier result with its state, but without its maps."""
    base = store.read_findings(directory)
    if base.state is None:
        raise HotfitError(f"{directory}: keeps no sums for updates; fit again with --updatable")
    return replace(base, state=base.state.load(base))


def opened(results: dict[str, Path], earlier: Path) -> dict:
    """The results of all images, those of several without state and curves, which would fill the memory.

    Refuses those of several sets of darks: new ones would join each of them.
    """
    bases, seen = {}, []
    for label, directory in results.items():
        base = with_state(directory)
        seen.append(base.state.darks.options.ext)
        bases[label] = base if len(results) == 1 else replace(base, state=None, curves=None)
    if len(set(seen)) < len(seen):
        raise HotfitError(
            f"{earlier}: holds the results of several sets of darks; update each of them by itself, as "
            f"{earlier / next(iter(results))}"
        )
    return bases


def reading_of(options: argparse.Namespace) -> dict:
    """How the new darks are to be read, where that was said."""
    names = ("exposure_key", "exposure_unit", "temperature_tolerance", "trim", "overscan")
    reading = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return {**reading, "mixed": options.mixed.split(",")} if options.mixed else reading
