"""The options of the command line, named like the arguments of `hotfit.fit_darks`, and what they make."""

import argparse
import math

from hotfit import __version__
from hotfit.errors import HotfitError

EPILOG = """\
FRAME is a FITS file, a directory, a glob pattern (quoted or not) or @list: a text file with one file
a line and, if you like, its exposure in seconds behind it. Bias frames are darks of 0 s: list them too.
"""


OUTPUT = "hotfit-out"


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
    add("-o", "--output", metavar="DIR", help=f"directory to make (default: {OUTPUT})")
    add("--overwrite", action="store_true", help="replace an earlier result in DIR")
    add("--updatable", action="store_true", help="keep what --update needs: 16 bytes a pixel and exposure")
    add("--update", metavar="DIR", help="let FRAMEs join the updatable result in DIR, or make -o of both")
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
        help="largest difference (default: 1.0)",
    )
    add(
        "--mixed",
        metavar="KEY,KEY",
        help="header keys in which frames may differ; IMAGETYP, NCOMBINE: any type, masters",
    )
    add("--ext", metavar="N|NAME|all", help="extension with the image (default: the first with one)")
    add("--apart", action="store_true", help="each FRAME is a set of its own: the darks of one detector")
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
    add(
        "--scheduler",
        metavar="ADDRESS",
        help="fit the detectors on the dask cluster of this scheduler: tcp://host:8786, or its file",
    )
    parser.add_argument("--version", action="version", version=f"hotfit {__version__}")
    return parser


def positive(text: str) -> int:
    """A whole number above zero, for argparse."""
    value = number(text)
    if not (value >= 1 and value % 1 == 0):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above zero")
    return int(value)


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


# --- what they make


def recipe_of(options: argparse.Namespace, parser: argparse.ArgumentParser):
    """How every detector is fitted, as `Recipe`; ends with exit code 2 if that makes no sense."""
    from hotfit.recipe import Recipe

    same = ("gain", "read_noise", "saturation", "bias_subtracted", "updatable", "workers", "memory")
    return Recipe(
        rules=rules_of(options, parser),
        extras=extras_of(options, parser),
        **{name: getattr(options, name) for name in same},
    )


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
