"""The command line: the table of frames, progress, the summary and the exit code.

The only room that prints; `options.py` says what may be asked. Everything heavy is imported after that.
"""

import argparse
import gc
import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from typing import NoReturn

from hotfit import __version__
from hotfit.errors import HotfitError, printable
from hotfit.options import build_parser

ONLY = ""
"""Label of the image where there is but one, as in `frames.py`, which --help has no time to import."""


def command() -> NoReturn:
    """What the shell calls: `main` in a process of its own, where short runs need not wait for Python."""
    gc.set_threshold(100_000)  # modules that are imported are no garbage, and there is little else
    code = main()
    gc.freeze()  # nor need any be looked for when all is done
    sys.exit(code)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = build_parser()
    options = parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # names of files may hold what a console cannot show
            stream.reconfigure(errors="backslashreplace")
    with suppress(ValueError):  # only the main thread may say so; ending by exception cleans up
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(options, parser)
    except HotfitError as error:
        return fail(str(error))
    except OSError as error:
        return fail(f"{error.filename or 'output'}: {error.strerror or error}")
    except MemoryError:
        return fail("out of memory: give a smaller --memory or fewer --workers")
    except KeyboardInterrupt:
        return fail("interrupted; nothing was written", 130)
    return 0


def say_all(*parts: Iterable[str]) -> None:
    """Print every line of every part."""
    for line in chain(*parts):
        say(line)


def say(text: str) -> None:
    """Print a line; a reader that went away (`| head`) does not stop the fit."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(message: str, code: int = 1) -> int:
    """Print one line on stderr; returns the exit code."""
    print("hotfit:", printable(" ".join(message.split())), file=sys.stderr)
    return code


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Find the darks, fit every image of theirs that was asked for, and put the results in place."""
    from pathlib import Path

    from hotfit import store
    from hotfit.detectors import detectors

    recipe = recipe_of(options, parser)
    output = Path(options.output)
    if not options.dry_run:
        store.check_output(output, overwrite=options.overwrite)
    found = detectors(
        options.frames,
        apart=options.apart,
        exposure_key=options.exposure_key,
        exposure_unit=options.exposure_unit,
        temperature_tolerance=options.temperature_tolerance,
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
            store.check_room(output, pixels, recipe.extras, len(rolls))
            made = stack.enter_context(store.new_directory(output, overwrite=options.overwrite))
        if client is None:
            told = {label: run_image(roll, label, made, options, recipe) for label, roll in rolls.items()}
        else:
            told = run_on_cluster(client, rolls, made, options, recipe)
        plane = run_plane(told, made, options) if made and len(told) > 1 else {}
    if not (options.dry_run or options.quiet or options.json):
        say(f"wrote {output}: {', '.join(sorted(entry.name for entry in output.iterdir()))}")
    if options.json:
        where = {} if options.dry_run else {"output": str(output)}
        data = told.get(ONLY, {"images": told, **plane})
        say(json.dumps({"version": __version__, **where, **data}, indent=2))


def run_image(roll, label: str, made, options: argparse.Namespace, recipe) -> dict:
    """Show, fit and write one image of the darks; returns what was told of it, as data."""
    from hotfit import wording
    from hotfit.recipe import fit_into

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
            facts = fit.summary()
            if talk:
                say_all([""], wording.frame_terms_of(fit) if options.verbose else [])
                say_all([""] * options.verbose, wording.summary_of(facts))
            return {**wording.frames_as_data(roll, darks.notes), **facts}


def show_image(roll, label: str, talk: bool) -> tuple[str, ...]:
    """Show the table of the frames of an image, and refuse what cannot be fitted; returns notes on them."""
    from hotfit import wording
    from hotfit.darkset import check_exposures, remarks_on

    if talk:
        say_all([f"image {label}"] * (label != ONLY), wording.table_of(roll))
    notes = (*remarks_on(roll.frames), *roll.check())
    check_exposures([frame.exposure for frame in roll.frames])
    return notes


@contextmanager
def naming(label: str) -> Iterator[None]:
    """Say which of several images cannot be fitted."""
    try:
        yield
    except HotfitError as error:
        if label == ONLY:
            raise
        raise HotfitError(f"image {label}: {error}") from error


def run_on_cluster(client, rolls: dict, made, options: argparse.Namespace, recipe) -> dict[str, dict]:
    """Show all images, and let workers fit and write them; returns what was told of each, as data."""
    from hotfit import wording
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

        outcomes = fit_rolls(client, options.scheduler, rolls, made, options.output, recipe, tell)
    for label, outcome in outcomes.items():
        if talk and (options.verbose or label == ONLY):
            say_all([""], [f"image {label}"] * (label != ONLY), outcome.terms if options.verbose else [])
            say_all([""] * options.verbose, wording.summary_of(outcome.facts))
    return {
        label: {**wording.frames_as_data(rolls[label], ()), **outcome.facts}
        for label, outcome in outcomes.items()
    }


def run_plane(told: dict[str, dict], made, options: argparse.Namespace) -> dict:
    """Write and show what the detectors have in common, and the odd ones; returns it as data."""
    from hotfit import focalplane, wording
    from hotfit.outputs import write_plane

    plane = focalplane.side_by_side(told)
    write_plane(plane, made, options.report)
    if not (options.quiet or options.json):
        say_all(["", f"{len(told)} detectors"], wording.in_columns(focalplane.table_of(plane)))
        say_all(map(printable, focalplane.odd_in_words(plane)))
    return {"focal_plane": plane}


def recipe_of(options: argparse.Namespace, parser: argparse.ArgumentParser):
    """How every detector is fitted, as `Recipe`; ends with exit code 2 if that makes no sense."""
    from hotfit.recipe import Recipe

    same = ("gain", "read_noise", "saturation", "bias_subtracted", "workers", "memory")
    return Recipe(
        rules=rules_of(options, parser),
        extras=extras_of(options, parser),
        **{name: getattr(options, name) for name in same},
    )


def rules_of(options: argparse.Namespace, parser: argparse.ArgumentParser):
    """The thresholds that were given, as `Rules`; ends with exit code 2 if one makes no sense."""
    from hotfit.flags import Rules

    rules = {name: getattr(options, name) for name in ("hot", "fdr", "tolerance", "min_sigma")}
    if options.bad is not None:
        rules["bad"] = tuple(name.strip().upper() for name in options.bad.split(",") if name.strip())
    rules = {name: value for name, value in rules.items() if value is not None}
    try:
        return Rules(**rules)
    except HotfitError as error:
        parser.error(str(error))


def extras_of(options: argparse.Namespace, parser: argparse.ArgumentParser):
    """What is to be written besides, as `Extras`; ends with exit code 2 if there is no such program."""
    from hotfit.export import check_exports
    from hotfit.store import Extras

    names = [name.strip().lower() for name in ",".join(options.export).split(",") if name.strip()]
    try:
        check_exports(names)
    except HotfitError as error:
        parser.error(str(error))
    return Extras.checked(options.report, names)


class Bar:
    """A progress bar on stderr, on a terminal only."""

    def __init__(self, total: int, quiet: bool, unit: str = "row"):
        from tqdm import tqdm

        silent = quiet or not sys.stderr.isatty()
        self.bar = tqdm(total=total, unit=unit, desc="fit", disable=silent, leave=False, file=sys.stderr)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()

    def tell(self, kept: bool) -> None:
        """Say on stderr why this run takes longer than later ones will."""
        later = "" if kept else "; set NUMBA_CACHE_DIR to a folder that can be written, to do it only once"
        self.bar.write(f"compiling{', this once' * kept}: some ten seconds{later}", file=sys.stderr)

    def advance(self) -> None:
        """Show that one more is done."""
        self.bar.update()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self.bar.clear()
        say(text)
        self.bar.refresh()

    def update(self, done: int, _total: int) -> None:
        """Show that `done` rows are fitted."""
        self.bar.update(done - self.bar.n)
