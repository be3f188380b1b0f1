"""The output directory: made out of sight, and put in its place by renames, whatever ends the run.

Beside DIR a run makes `.DIR.xxxxxxxx.partial`, which holds `new`, the result that is being written, `old`,
the earlier one while they change places, and `lock`, locked as long as the run lives. A kill leaves in DIR
the whole old result, the whole new one, or nothing, with the whole old one in `old`. The next run that writes
DIR puts that back, and removes the rest.
"""

import os.path
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import BinaryIO

from hotfit.errors import HotfitError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

MAP_FILE = "dark_current.fits"

OWN_FILES = frozenset(
    {
        MAP_FILE,
        "mask.fits",
        "bad_pixels.ecsv",
        "summary.json",
        "report.html",
        "bad_pixels.lst",
        "bad_pixels.reg",
        "state.fits",
    }
)
"""What an output directory, or each directory in it, may hold to be replaced,"""

OWN_SUMS = re.compile(r"sums_[0-9a-f]+\.fits")
"""beside files of sums."""


Mark = frozenset[tuple]
"""What tells the results in a directory from those of any other run."""


@contextmanager
def new_directory(directory, *, overwrite: bool = False, replaces: Mark | None = None) -> Iterator[Path]:
    """Make a directory that is complete or absent.

    Parameters
    ----------
    directory : path
        Must not exist, unless `overwrite` is set and it holds nothing but an earlier result.
    replaces : Mark, optional
        The `mark_of` that earlier result, which another run may not have replaced meanwhile.

    Yields
    ------
    Path
        An empty directory to be filled. It takes its place when the block ends, and is removed when the block
        ends with an error.

    Raises
    ------
    HotfitError
        If the directory is in the way or cannot be written; then nothing is left behind. Other errors of the
        block pass.
    """
    directory = Path(directory)
    try:
        check_output(directory, overwrite=overwrite)
        directory.parent.mkdir(parents=True, exist_ok=True)
        clear_rubbish(directory)
        check_output(directory, overwrite=overwrite)  # an earlier result may be back in its place
        with workshop(directory) as shop:
            (shop / "new").mkdir()
            yield shop / "new"
            check_output(directory, overwrite=overwrite)
            exchange(shop, directory, replaces)
        clear_rubbish(directory, replaced=True)
    except OSError as error:
        if not is_about(error, directory):
            raise
        reason = error.strerror or str(error).partition(".")[0]
        raise HotfitError(
            f"{directory}: cannot be written ({reason}); free some space or choose another directory"
        ) from error


def is_about(error: OSError, directory: Path) -> bool:
    """Whether an error names no file, or one on the way to `directory`, or one of those beside it."""
    path = Path(str(error.filename or directory))
    hidden = any(part.startswith(f".{directory.name}.") for part in path.parts)
    return hidden or path in (directory, *directory.parents)


# --- what is in the way


def check_output(directory, *, overwrite: bool) -> None:
    """Raise HotfitError if `directory` is in the way."""
    directory = Path(directory)
    for parent in directory.parents:
        if parent.exists() and not parent.is_dir():
            raise HotfitError(f"{directory}: {parent} is a file; choose another directory")
    if directory.is_symlink():
        target = os.path.realpath(directory)
        raise HotfitError(f"{directory}: is a link to {target}; name that or choose another directory")
    if not directory.exists():
        return
    if not directory.is_dir():
        raise HotfitError(f"{directory}: is a file; choose another directory")
    if not overwrite:
        raise HotfitError(f"{directory}: exists; choose another directory or set overwrite (--overwrite)")
    other = next(foreign(directory), None)
    if other is not None:
        what = f"{other.relative_to(directory)}, which is not a result of hotfit"
        raise HotfitError(f"{directory}: holds {what}; choose another directory")


def foreign(directory: Path, *, top: bool = True) -> Iterator[Path]:
    """What is no file of a result, nor, in the top directory, a directory of such files."""
    for path in sorted(directory.iterdir()):
        if top and path.is_dir() and not path.is_symlink() and any(path.iterdir()):
            yield from foreign(path, top=False)
        elif path.is_dir() or not (path.name in OWN_FILES or OWN_SUMS.fullmatch(path.name)):
            yield path


# --- changing places


@contextmanager
def workshop(directory: Path) -> Iterator[Path]:
    """The hidden directory of this run, locked, and removed at the end."""
    shop = directory.parent / f".{directory.name}.{secrets.token_hex(4)}.partial"
    shop.mkdir()
    try:
        with (shop / "lock").open("wb") as stream:
            lock(stream, wait=True)  # another run may be asking just now whether this one lives
            yield shop
    finally:
        close(shop, directory)


def exchange(shop: Path, directory: Path, replaces: Mark | None = None) -> None:
    """Put the new result in the place of the old one, by renames alone, if that is the one to replace."""
    if directory.exists():
        directory.rename(shop / "old")
    if replaces is not None and mark_of(shop / "old") != replaces:
        raise replaced_meanwhile(directory)
    (shop / "new").rename(directory)


def mark_of(directory: Path) -> Mark:
    """What tells the results in a directory from others; it stays if the directory is renamed."""
    paths = (*directory.glob(MAP_FILE), *directory.glob(f"*/{MAP_FILE}"))
    stats = [(path.relative_to(directory), path.stat()) for path in paths]
    return frozenset((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def replaced_meanwhile(directory: Path) -> HotfitError:
    """The error for a result that is not the one that was read."""
    return HotfitError(f"{directory}: another run has replaced this result meanwhile; start again from that")


def close(shop: Path, directory: Path) -> None:
    """Put an old result back that none has replaced, and remove the rest."""
    old = shop / "old"
    if old.exists() and not directory.exists():
        try:
            old.rename(directory)
        except OSError as error:
            raise HotfitError(
                f"{directory}: cannot be replaced ({error.strerror}); move the earlier result back from {old}"
            ) from error
    shutil.rmtree(shop, ignore_errors=True)


# --- what killed runs left


def clear_rubbish(directory: Path, *, replaced: bool = False) -> None:
    """Remove what killed runs left beside `directory`, and put back an old result that none has replaced.

    An old result beside a `directory` that exists is kept until that is `replaced` in its turn.
    """
    for shop in directory.parent.glob(f".{escape(directory.name)}.{'[0-9a-f]' * 8}.partial"):
        if is_abandoned(shop):
            if not directory.exists():
                with suppress(OSError):
                    (shop / "old").rename(directory)
            kept = (shop / "old").exists() and not replaced
            shutil.rmtree(shop / "new" if kept else shop, ignore_errors=True)


def is_abandoned(shop: Path) -> bool:
    """Whether the run that made this has ended; False if that cannot be known."""
    with suppress(OSError), (shop / "lock").open("ab") as stream:
        return lock(stream, wait=False)
    return False


def lock(stream: BinaryIO, *, wait: bool) -> bool:
    """Lock a file until it is closed or the process ends; False if others have, or it has no locks."""
    with suppress(OSError):
        if sys.platform == "win32":
            msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return True
    return False
