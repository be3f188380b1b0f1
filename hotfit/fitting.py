"""The command that fits: finds the darks, shows them, fits every image, here or on a cluster, and tells."""

import argparse
from contextlib import ExitStack
from pathlib import Path

from hotfit import store, wording
from hotfit.console import ONLY, Bar, finish, naming, run_plane, say_all, told_of
from hotfit.darkset import remarks_on
from hotfit.detectors import detectors
from hotfit.grouping import check_exposures
from hotfit.options import OUTPUT, recipe_of
from hotfit.recipe import fit_into


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Find the darks, fit every image of theirs that was asked for, and put the results in place."""
    recipe = recipe_of(options, parser)
    if options.scheduler == "":
        parser.error("--scheduler: give the address of a scheduler, as tcp://host:8786, or its file")
    output = Path(options.output or OUTPUT)
    if not options.dry_run:
        store.check_output(output, overwrite=options.overwrite)
    found = detectors(
        options.frames,
        apart=options.apart,
        exposure_key=options.exposure_key,
        exposure_unit=options.exposure_unit,
        temperature_tolerance=1.0 if options.temperature_tolerance is None else options.temperature_tolerance,
        ext=int(options.ext) if options.ext and options.ext.isdecimal() else options.ext,
        trim=options.trim,
        overscan=options.overscan,
        mixed=options.mixed.split(",") if options.mixed else (),
    )
    with ExitStack() as stack:
        made = client = None
        if options.scheduler and not options.dry_run:
            from hotfit.cluster import connected

            client = stack.enter_context(connected(options.scheduler))
        rolls = stack.enter_context(found)
        if not options.dry_run:
            pixels = sum(roll.pixels for roll in rolls.values())
            state = options.updatable * sum(roll.sums_bytes for roll in rolls.values())
            store.check_room(output, pixels, recipe.extras, len(rolls), state=state)
            made = stack.enter_context(store.new_directory(output, overwrite=options.overwrite))
        if client is None:
            told = {label: run_image(roll, label, made, options, recipe) for label, roll in rolls.items()}
        else:
            told = run_on_cluster(client, rolls, made, output, options, recipe)
        plane = run_plane(told, made, options) if made and len(told) > 1 else {}
    finish(told, output, options, plane)


def run_image(roll, label: str, made, options: argparse.Namespace, recipe) -> dict:
    """Show, fit and write one image of the darks; returns what was told of it, as data."""
    talk = not (options.quiet or options.json)
    with naming(label):
        notes = show_image(roll, label, talk)
        if made is None:
            if talk:
                say_all(wording.told(notes))
            return wording.frames_as_data(roll, notes)
        with roll.open() as darks:
            if talk:
                say_all(wording.told(darks.notes))
            with Bar(darks.shape[0], options.quiet) as bar:
                fit = fit_into(made / label, darks, recipe, bar.update, bar.tell if talk else None)
            return told_of(fit, roll, darks.notes, options)


def show_image(roll, label: str, talk: bool) -> tuple[str, ...]:
    """Show the table of the frames of an image, and refuse what cannot be fitted; returns notes on them."""
    if talk:
        say_all([f"image {label}"] * (label != ONLY), wording.table_of(roll))
    notes = (*remarks_on(roll.frames), *roll.check())
    check_exposures([frame.exposure for frame in roll.frames])
    return notes


def run_on_cluster(client, rolls: dict, made, output, options: argparse.Namespace, recipe) -> dict[str, dict]:
    """Show all images, and let workers fit and write them; returns what was told of each, as data."""
    from hotfit.cluster import fit_rolls

    talk = not (options.quiet or options.json)
    for label, roll in rolls.items():
        with naming(label):
            show_image(roll, label, talk)
    with Bar(len(rolls), options.quiet, "detector") as bar:

        def tell(label, outcome):
            bar.advance()
            if talk:
                bar.say(f"{label or 'fitted'}: {outcome.seconds:.1f} s on {outcome.host}")

        outcomes = fit_rolls(client, options.scheduler, rolls, made, output, recipe, tell)
    for label, outcome in outcomes.items():
        if talk and (options.verbose or label == ONLY):
            say_all([""], [f"image {label}"] * (label != ONLY), outcome.terms if options.verbose else [])
            say_all([""] * options.verbose, wording.summary_of(outcome.facts))
    return {
        label: {**wording.frames_as_data(rolls[label], ()), **outcome.facts}
        for label, outcome in outcomes.items()
    }
