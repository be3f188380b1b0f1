"""Which detectors a command names: every image of one set of darks, or of several sets, each with a name."""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hotfit.darks import Roll, find_darks
from hotfit.errors import HotfitError
from hotfit.images import names_a_folder
from hotfit.opening import ONLY

FITS_SUFFIX = re.compile(r"\.(fits?|fts)(\.(fz|gz|bz2))?$", re.IGNORECASE)
MAGIC = re.compile(r"\[[^]]*\]|[*?]+")


@contextmanager
def detectors(frames: Sequence[str], *, apart: bool = False, **reading: Any) -> Iterator[dict[str, Roll]]:
    """Find darks and read their headers: one roll of frames for each detector.

    Parameters
    ----------
    frames : sequence of str
        Files, directories, glob patterns and @lists.
    apart : bool
        Each of `frames` is a set of darks of its own, called as `set_name` says.
    **reading
        Options of `hotfit.find_darks`.

    Yields
    ------
    dict of str to Roll
        By the name of the detector, which can be that of a directory: that of its set, of its image, or
        ``SET-IMAGE``; empty if there is but one. What was decompressed is removed when the block ends.

    Raises
    ------
    HotfitError
        What `find_darks` raises; or two detectors would have one name, or one no name for a directory.
    """
    with ExitStack() as stack:
        rolls: dict[str, Roll] = {}
        for name, arguments in _sets(frames, apart).items():
            found = stack.enter_context(find_darks(arguments, **reading))
            for image, roll in found.images.items():
                label = "-".join(filter(None, (name, image)))
                if label.casefold() in map(str.casefold, rolls):
                    raise HotfitError(f"{label}: is the name of two detectors; rename the folder of one")
                rolls[label] = roll
        yield rolls


def _sets(frames: Sequence[str], apart: bool) -> dict[str, Sequence[str]]:
    """The arguments of each set, by its name."""
    if not apart:
        return {ONLY: frames}
    sets: dict[str, str] = {}
    for argument in frames:
        name = set_name(argument)
        same = next((other for other in sets if other.casefold() == name.casefold()), None)
        if same is not None:
            raise HotfitError(
                f"{argument}: would be called {name}, as {sets[same]} is; rename one folder, or put the "
                "files in lists (@NAME.txt)"
            )
        sets[name] = argument
    return {name: [argument] for name, argument in sets.items()}


def set_name(argument: str) -> str:
    """What to call the set of darks of one argument, in letters that can name a directory.

    A directory's own name; of a pattern, what its last part has beside wildcards and suffix, or the name of
    the folder before it; that of a list without its suffix.

    >>> set_name("night/cam1/*.fits"), set_name("night/cam1_*.fits"), set_name("@cam1.txt")
    ('cam1', 'cam1', 'cam1')

    Raises
    ------
    HotfitError
        It is a single file, or no such name can be made of it.
    """
    path = Path(argument).expanduser()
    if path.is_dir():
        name = path.resolve().name
    elif path.exists():
        raise HotfitError(
            f"{argument}: is a single file, not the darks of a detector; give --apart folders, @lists, or "
            "patterns in quotes"
        )
    elif argument.startswith("@"):
        name = Path(argument[1:]).stem
    else:
        name = _of_pattern(path)
    if not names_a_folder(name):
        raise HotfitError(f"{argument}: {name!r} cannot name a folder; put the files in a list (@NAME.txt)")
    return name


def _of_pattern(path: Path) -> str:
    for part in (FITS_SUFFIX.sub("", path.name), *(folder.name for folder in path.parents)):
        if name := MAGIC.sub("", part).strip(" ._-"):
            return name
    return path.resolve().parent.name
