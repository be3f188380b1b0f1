"""The command line: options, the table of frames, progress, the summary and the exit code.

The only room that prints. Everything heavy is imported after the options are understood.
"""

import argparse
import gc
import json
import math
import os
import signal
import sys
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from itertools import chain
from typing import NoReturn

from hotfit import __version__
from hotfit.errors import HotfitError, printable

ONLY = ""
"""Label of the image where there is but one, as in `frames.py`, which --help has no time to import."""

EPILOG = """\
FRAME is a FITS file, a directory, a glob pattern (quoted or not) or @list: a text file with one file
a line and, if you like, its exposure in seconds behind it. Bias frames are darks of 0 s: list them too.
"""


def build_parser() -> argparse.ArgumentParser:
    """All options, with the names of the arguments of `hotfit.fit_darks`."""
    parser = argparse.ArgumentParser(
        prog="hotfit",
        description="Fit dark counts against exposure time in every pixel; write the rates and a mask.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("frames", nargs="+", metavar="FRAME", help="raw darks and bias frames")
    add = parser.add_argument_group("output").add_argument
    add(
        "-o", "--output", default="hotfit-out", metavar="DIR", help="directory to make (default: %(default)s)"
    )
    add("--overwrite", action="store_true", help="replace an earlier result in DIR")
    add("--report", action="store_true", help="write report.html too (needs matplotlib)")
    add(
        "--export",
        action="append",
        default=[],
        metavar="PROGRAM",
        help="write a list of the masked pixels for siril, ds9, or both: siril,ds9",
    )
    add("--dry-run", action="store_true", help="say what would be fitted, and stop")
    add("--json", action="store_true", help="print frames and summary as JSON")
    add("-q", "--quiet", action="store_true", help="print nothing but errors")
    add("-v", "--verbose", action="store_true", help="print every frame's offset, scale and dropped samples")
    add = parser.add_argument_group("detector (measured from the darks by default)").add_argument
    add("--gain", type=above_zero, metavar="E/ADU", help="gain in e-/adu")
    add("--read-noise", type=above_zero, metavar="E", help="read noise in e-")
    add("--saturation", type=above_zero, metavar="ADU", help="level from which samples are not used")
    add("--bias-subtracted", action="store_true", help="fit a line through the origin")
    add = parser.add_argument_group("what is flagged and masked").add_argument
    add("--hot", type=float, metavar="RATE", help="HOT above this rate, in the unit of the map")
    add("--fdr", type=float, metavar="Q", help="accepted false share of significant pixels (default: 0.01)")
    add("--tolerance", type=float, metavar="F", help="least misfit over largest dark signal (default: 0.01)")
    add("--min-sigma", type=float, metavar="S", help="least misfit, scatter, in sigmas (default: 1.0)")
    add("--bad", metavar="FLAG,FLAG", help="mask these (default: TELEGRAPH,NONLINEAR,UNRELIABLE_SLOPE)")
    add = parser.add_argument_group("reading").add_argument
    add("--exposure-key", metavar="KEY", help="header key of the exposure time")
    add("--exposure-unit", choices=("s", "ms", "us", "min"), help="its unit (default: s)")
    add(
        "--temperature-tolerance",
        type=not_negative,
        metavar="K",
        default=1.0,
        help="largest difference (default: %(default)s)",
    )
    add(
        "--mixed",
        metavar="KEY,KEY",
        help="header keys in which frames may differ; IMAGETYP, NCOMBINE: any type, masters",
    )
    add("--ext", metavar="N|NAME|all", help="extension with the image (default: the first with one)")
    add("--trim", metavar="SECTION", help="what to keep, [x1:x2,y1:y2], or the header key that says it")
    add("--overscan", metavar="SECTION", help="where the bias level is measured, in the same way")
    add = parser.add_argument_group("machine").add_argument
    add("--workers", type=positive, metavar="N", help="threads (default: one a core)")
    add(
        "--memory",
        type=above_zero,
        metavar="MB",
        default=256.0,
        help="frames and maps held at once (default: %(default)s)",
    )
    parser.add_argument("--version", action="version", version=f"hotfit {__version__}")
    return parser


def positive(text: str) -> int:
    """A whole number above zero, for argparse."""
    value = number(text)
    if not (value >= 1 and value % 1 == 0):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above zero")
    return int(value)


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


def number(text: str) -> float:
    """A number, for argparse."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def above_zero(text: str) -> float:
    """A number above zero, for argparse."""
    value = number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above zero, or not finite")
    return value


def not_negative(text: str) -> float:
    """A number of zero or more, for argparse."""
    value = number(text)
    if math.isnan(value) or value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not zero or more")
    return value


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
    output = Path(options.output)
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
            store.check_room(output, found.pixels, extras)
            made = stack.enter_context(store.new_directory(output, overwrite=options.overwrite))
        told = {label: run_image(found, label, made, options, rules, extras) for label in found.images}
    if not (options.dry_run or options.quiet or options.json):
        say(f"wrote {output}: {', '.join(sorted(entry.name for entry in output.iterdir()))}")
    if options.json:
        where = {} if options.dry_run else {"output": str(output)}
        data = told.get(ONLY, {"images": told})
        say(json.dumps({"version": __version__, **where, **data}, indent=2))


def run_image(found, label: str, made, options: argparse.Namespace, rules, extras) -> dict:
    """Show, fit and write one image of the darks; returns what was told of it, as data."""
    from hotfit import store, wording
    from hotfit.darkset import check_exposures, remarks_on

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
                workers=options.workers,
                memory=options.memory,
                progress=bar.update,
                compiling=bar.tell if talk else None,
            )
        facts = fit.summary()
        if talk:
            say_all([""], wording.frame_terms_of(fit) if options.verbose else [])
            say_all([""] * options.verbose, wording.summary_of(facts))
        return {**wording.frames_as_data(roll, darks.notes), **facts}


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
