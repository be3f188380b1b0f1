"""The command line: options, the table of frames, progress, the summary and the exit code.

The only room that prints. Everything heavy is imported after the options are understood.
"""

import argparse
import json
import os
import signal
import sys
from contextlib import suppress

from hotfit import __version__
from hotfit.errors import HotfitError

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
    add("--exposure-unit", choices=("s", "ms", "us", "min"), default="s", help="its unit (default: s)")
    add("--temperature-tolerance", type=float, metavar="K", default=1.0, help="(default: %(default)s)")
    add("--ext", metavar="N|NAME", help="extension that holds the image (default: the first with one)")
    add = parser.add_argument_group("machine").add_argument
    add("--workers", type=positive, metavar="N", help="threads (default: one a core)")
    add(
        "--memory",
        type=above_zero,
        metavar="MB",
        default=256.0,
        help="frames held at once (default: %(default)s)",
    )
    parser.add_argument("--version", action="version", version=f"hotfit {__version__}")
    return parser


def positive(text: str) -> int:
    """A whole number above zero, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = build_parser()
    options = parser.parse_args(argv)
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


def above_zero(text: str) -> float:
    """A number above zero, for argparse."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def say(text: str = "") -> None:
    """Print a line; a reader that went away (`| head`) does not stop the fit."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(message: str, code: int = 1) -> int:
    """Print one line on stderr; returns the exit code."""
    print("hotfit:", " ".join(message.split()), file=sys.stderr)
    return code


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Open the darks, show them, fit them, write the result, show the summary."""
    from pathlib import Path

    from hotfit import store
    from hotfit.darks import open_darks
    from hotfit.fit import fit_darks

    rules = rules_of(options, parser)
    output = Path(options.output)
    if not options.dry_run:
        store.check_output(output, overwrite=options.overwrite)
    with open_darks(
        options.frames,
        exposure_key=options.exposure_key,
        exposure_unit=options.exposure_unit,
        temperature_tolerance=options.temperature_tolerance,
        ext=int(options.ext) if options.ext and options.ext.isdecimal() else options.ext,
    ) as darks:
        talk = not (options.quiet or options.json)
        if talk:
            print_darks(darks)
        if options.dry_run:
            if options.json:
                say(json.dumps({"version": __version__, **darks_as_data(darks)}, indent=2))
            return
        with Bar(darks.shape[0], options.quiet) as bar:
            fit = fit_darks(
                darks,
                gain=options.gain,
                read_noise=options.read_noise,
                saturation=options.saturation,
                bias_subtracted=options.bias_subtracted,
                workers=options.workers,
                memory=options.memory,
                progress=bar.update,
                **rules,
            )
        store.write(fit, output, overwrite=options.overwrite)
        if talk:
            print_summary(fit, output, options.verbose)
        if options.json:
            data = {"version": __version__, "output": str(output), **darks_as_data(darks), **fit.summary()}
            say(json.dumps(data, indent=2))


def rules_of(options: argparse.Namespace, parser: argparse.ArgumentParser) -> dict:
    """The thresholds that were given; ends with exit code 2 if one makes no sense."""
    from hotfit.flags import Rules

    rules = {name: getattr(options, name) for name in ("hot", "fdr", "tolerance", "min_sigma")}
    if options.bad is not None:
        rules["bad"] = tuple(name.strip().upper() for name in options.bad.split(",") if name.strip())
    rules = {name: value for name, value in rules.items() if value is not None}
    try:
        Rules(**rules)
    except HotfitError as error:
        parser.error(str(error))
    return rules


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

    def update(self, done: int, _total: int) -> None:
        """Show that `done` rows are fitted."""
        self.bar.update(done - self.bar.n)


def print_darks(darks) -> None:
    """The table of frames, used and skipped, before anything is fitted."""
    width = max(len(name) for name in (*(f.name for f in darks.frames), *(s.name for s in darks.skipped)))
    say(f"{'file':{width}}  {'type':11}  {'exposure':>10}  {'temperature':>11}  {'shape':>11}  used")
    shape = f"{darks.shape[0]} x {darks.shape[1]}"
    for frame in darks.frames:
        temperature = f"{frame.temperature:.2f} C" if frame.temperature == frame.temperature else "-"
        kind = frame.image_type or "-"
        used = "yes" if frame.n_combined == 1 else f"yes, as {frame.n_combined} frames"
        say(f"{frame.name:{width}}  {kind:11}  {frame.exposure:8g} s  {temperature:>11}  {shape:>11}  {used}")
    for name, reason in darks.skipped:
        say(f"{name:{width}}  {'-':11}  {'-':>10}  {'-':>11}  {'-':>11}  no: {reason}")
    for note in darks.notes:
        say(f"note: {note}")


def darks_as_data(darks) -> dict:
    """The same as data."""
    return {
        "used": [
            {
                "file": frame.name,
                "type": frame.image_type,
                "exposure": frame.exposure,
                "temperature": frame.temperature if frame.temperature == frame.temperature else None,
            }
            for frame in darks.frames
        ],
        "skipped": [{"file": name, "reason": reason} for name, reason in darks.skipped],
        "notes": list(darks.notes),
    }


def gain_in_words(facts: dict) -> str:
    """The gain and its source, and what the darks themselves show of it."""
    own = facts["gain_of_darks"]
    shown = "none" if own is None else f"{own:.3g} +- {facts['gain_of_darks_error']:.1g}"
    if facts["gain"] is None:
        return "unknown: the map is in adu/s"
    if facts["gain_source"] == "darks":
        return f"{shown} e-/adu (darks)"
    return f"{facts['gain']:.3g} e-/adu ({facts['gain_source']}; the darks show {shown})"


def seen_bend(facts: dict) -> str:
    """The smallest bend that could have been seen, in words."""
    bend = facts["smallest_slope_residual"]
    at = f"at {facts['smallest_slope_residual_rate']:g} {facts['unit']}"
    return f"no bend {at}" if bend is None else f"and slope residuals from {bend:.2g} {at}"


def print_summary(fit, output, verbose: bool) -> None:
    """The result in a few lines."""
    from hotfit.flags import DQ, MEANING

    facts = fit.summary()
    unit, noise_unit = facts["unit"], facts["read_noise_unit"]
    if verbose:
        say()
        for row in fit.frames:
            say(
                f"{row['file']}: offset {row['offset']:+.2f} adu, scale {row['scale']:.4f}, "
                f"{row['saturated']} samples saturated, {row['dropped']} dropped"
            )
    say()
    if facts["median_rate"] is not None:
        error = facts["median_rate_error"]
        say(f"dark current  {facts['median_rate']:.4g} {unit} in the median, error {error:.2g}")
    if facts["smallest_rate"] is not None:
        say(f"could see     dark currents from {facts['smallest_rate']:.2g} {unit}, {seen_bend(facts)}")
    say(f"gain          {gain_in_words(facts)}")
    say(f"read noise    {facts['read_noise']:.3g} {noise_unit} ({facts['read_noise_source']})")
    level = "none" if facts["saturation"] is None else f"{facts['saturation']:.0f} adu"
    say(f"saturation    {level} ({facts['saturation_source']})")
    share = 100 * facts["masked"] / facts["pixels"]
    say(f"masked        {facts['masked']} of {facts['pixels']} pixels ({share:.3g} %)")
    for flag in DQ:
        if flag is not DQ.DO_NOT_USE:
            bad = "*" if flag.name in fit.rules.bad else " "
            say(f"  {bad} {flag.name:16}  {facts['flags'][flag.name]:8}  {MEANING[flag]}")
    say(f"HOT means above {fit.hot_limit:.3g} {unit}; flags with a * are masked")
    for note in fit.notes:
        say(f"note: {note}")
    say(f"wrote {', '.join(sorted(entry.name for entry in output.iterdir()))} in {output}")
