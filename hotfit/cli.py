"""The command line: the table of frames, progress, the summary and the exit code.

The only room that prints; `options.py` says what may be asked. Everything heavy is imported after that.
"""

import argparse
import gc
import json
import os
import signal
import sys
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from itertools import chain
from typing import NoReturn

from hotfit import __version__
from hotfit.errors import HotfitError, printable
from hotfit.options import OUTPUT, build_parser

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
        (run_update if options.update else run)(options, parser)
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
    from hotfit.darks import find_darks

    rules, extras = rules_of(options, parser), extras_of(options, parser)
    output = Path(options.output or OUTPUT)
    if not options.dry_run:
        store.check_output(output, overwrite=options.overwrite)
    found = find_darks(
        options.frames,
        exposure_key=options.exposure_key,
        exposure_unit=options.exposure_unit,
        temperature_tolerance=options.temperature_tolerance,
        ext=int(options.ext) if options.ext and options.ext.isdecimal() else options.ext,
        trim=options.trim,
        overscan=options.overscan,
        mixed=options.mixed.split(",") if options.mixed else (),
    )
    with found, ExitStack() as stack:
        made = None
        if not options.dry_run:
            state = options.updatable * found.sums_bytes
            store.check_room(output, found.pixels, extras, state=state)
            made = stack.enter_context(store.new_directory(output, overwrite=options.overwrite))
        told = {label: run_image(found, label, made, options, rules, extras) for label in found.images}
    finish(told, output, options)


def finish(told: dict, output, options: argparse.Namespace) -> None:
    """Say what was written, and all that was told as JSON."""
    if not (options.dry_run or options.quiet or options.json):
        say(f"wrote {output}: {', '.join(sorted(entry.name for entry in output.iterdir()))}")
    if options.json:
        where = {} if options.dry_run else {"output": str(output)}
        data = told.get(ONLY, {"images": told})
        say(json.dumps({"version": __version__, **where, **data}, indent=2))


def run_image(found, label: str, made, options: argparse.Namespace, rules, extras) -> dict:
    """Show, fit and write one image of the darks; returns what was told of it, as data."""
    from hotfit import store, wording
    from hotfit.darkset import remarks_on
    from hotfit.grouping import check_exposures

    talk = not (options.quiet or options.json)
    roll = found.images[label]
    if talk:
        say_all([f"image {label}"] * (label != ONLY), wording.table_of(roll))
    notes = (*remarks_on(roll.frames), *roll.check())
    check_exposures([frame.exposure for frame in roll.frames])
    if made is None:
        if talk:
            say_all(wording.told(notes))
        return wording.frames_as_data(roll, notes)
    from hotfit.fit import fit_set  # and with it the compiler

    with roll.open() as darks:
        if talk:
            say_all(wording.told(darks.notes))
        with Bar(darks.shape[0], options.quiet) as bar, store.filing(made / label, extras) as keep:
            fit = fit_set(
                darks,
                keep,
                given={name: getattr(options, name) for name in ("gain", "read_noise", "saturation")},
                bias_subtracted=options.bias_subtracted,
                rules=rules,
                updatable=options.updatable,
                workers=options.workers,
                memory=options.memory,
                progress=bar.update,
                compiling=bar.tell if talk else None,
            )
        return told_of(fit, roll, darks.notes, options, talk)


def told_of(fit, roll, notes, options: argparse.Namespace, talk: bool) -> dict:
    """Print what was found, and return it as data."""
    from hotfit import wording

    facts = fit.summary()
    if talk:
        say_all([""], wording.frame_terms_of(fit) if options.verbose else [])
        say_all([""] * options.verbose, wording.summary_of(facts))
    return {**wording.frames_as_data(roll, notes), **facts}


def run_update(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Let new darks join an earlier result, or every one of the images that it has."""
    from pathlib import Path

    from hotfit import store
    from hotfit.update import results_in

    rules_of(options, parser)
    extras, earlier = extras_of(options, parser), Path(options.update)
    for name in ("gain", "read_noise", "bias_subtracted", "updatable"):
        if getattr(options, name):
            parser.error(f"--{name.replace('_', '-')}: an update keeps what {earlier} was made with")
    output = Path(options.output or earlier)
    overwrite = options.overwrite or options.output is None
    bases = {label: store.read_findings(directory) for label, directory in results_in(earlier).items()}
    if not options.dry_run:
        store.check_output(output, overwrite=overwrite)
    with ExitStack() as stack:
        made = None
        if not options.dry_run:
            pixels = sum(base.dq.size for base in bases.values())
            state = sum(base.dq.size * 16 * len(set(base.frames["group"])) for base in bases.values())
            store.check_room(output, pixels, extras, state=state)
            made = stack.enter_context(store.new_directory(output, overwrite=overwrite))
        told = {label: update_image(base, label, made, options, extras) for label, base in bases.items()}
    finish(told, output, options)


def update_image(base, label: str, made, options: argparse.Namespace, extras) -> dict:
    """Show the new darks of one image, let them join, and write it; returns what was told, as data."""
    from dataclasses import replace

    from hotfit import store, wording
    from hotfit.update import new_frames, state_of, update

    talk = not (options.quiet or options.json)
    base = replace(base, state=state_of(base))
    names = ("exposure_key", "exposure_unit", "trim", "overscan")
    reading = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.mixed:
        reading["mixed"] = options.mixed.split(",")
    with new_frames(options.frames, base.state, reading) as found:
        roll = next(iter(found.images.values()))
        if talk:
            say_all([f"image {label}"] * (label != ONLY), wording.table_of(roll))
        if made is None:
            return wording.frames_as_data(roll, ())
        with roll.assemble() as darks, Bar(darks.shape[0], options.quiet) as bar:
            if talk:
                say_all(wording.told(darks.notes))
            with store.filing(made / label, extras) as keep:
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
        return told_of(fit, roll, darks.notes, options, talk)


def rules_of(options: argparse.Namespace, parser: argparse.ArgumentParser):
    """The thresholds that were given, as `Rules`; ends with exit code 2 if one makes no sense."""
    from hotfit.flags import Rules

    try:
        return Rules(**thresholds_of(options))
    except HotfitError as error:
        parser.error(str(error))


def thresholds_of(options: argparse.Namespace) -> dict:
    """The fields of `Rules` that were given."""
    rules = {name: getattr(options, name) for name in ("hot", "fdr", "tolerance", "min_sigma")}
    if options.bad is not None:
        rules["bad"] = tuple(name.strip().upper() for name in options.bad.split(",") if name.strip())
    return {name: value for name, value in rules.items() if value is not None}


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

    def __init__(self, rows: int, quiet: bool):
        from tqdm import tqdm

        silent = quiet or not sys.stderr.isatty()
        self.bar = tqdm(total=rows, unit="row", desc="fit", disable=silent, leave=False, file=sys.stderr)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()

    def tell(self, kept: bool) -> None:
        """Say on stderr why this run takes longer than later ones will."""
        later = "" if kept else "; set NUMBA_CACHE_DIR to a folder that can be written, to do it only once"
        self.bar.write(f"compiling{', this once' * kept}: some ten seconds{later}", file=sys.stderr)

    def update(self, done: int, _total: int) -> None:
        """Show that `done` rows are fitted."""
        self.bar.update(done - self.bar.n)
