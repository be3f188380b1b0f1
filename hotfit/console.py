"""The only room that prints: lines, a progress bar, what was found, and the one line of an error."""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

from hotfit import __version__
from hotfit.errors import HotfitError, printable

ONLY = ""
"""Label of the image where there is but one, as in `frames.py`, which --help has no time to import."""


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


@contextmanager
def naming(label: str) -> Iterator[None]:
    """Say which of several images cannot be fitted."""
    try:
        yield
    except HotfitError as error:
        if label == ONLY:
            raise
        raise HotfitError(f"image {label}: {error}") from error


def told_of(fit, roll, notes, options: argparse.Namespace) -> dict:
    """Print what was found, and return it as data."""
    from hotfit import wording

    facts = fit.summary()
    if not (options.quiet or options.json):
        say_all([""], wording.frame_terms_of(fit) if options.verbose else [])
        say_all([""] * options.verbose, wording.summary_of(facts))
    return {**wording.frames_as_data(roll, notes), **facts}


def run_plane(told: dict[str, dict], made, options: argparse.Namespace) -> dict:
    """Write and show what the detectors have in common, and the odd ones; returns it as data."""
    from hotfit import focalplane, planewords, wording
    from hotfit.outputs import write_plane

    plane = focalplane.side_by_side(told)
    write_plane(plane, made, options.report)
    if not (options.quiet or options.json):
        say_all(["", f"{len(told)} detectors"], wording.in_columns(planewords.table_of(plane)))
        say_all(map(printable, planewords.odd_in_words(plane)))
    return {"focal_plane": plane}


def finish(told: dict, output, options: argparse.Namespace, plane: dict) -> None:
    """Say what was written, and all that was told as JSON."""
    if not (options.dry_run or options.quiet or options.json):
        say(f"wrote {output}: {', '.join(sorted(entry.name for entry in output.iterdir()))}")
    if options.json:
        where = {} if options.dry_run else {"output": str(output)}
        data = told.get(ONLY, {"images": told, **plane})
        say(json.dumps({"version": __version__, **where, **data}, indent=2))


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
