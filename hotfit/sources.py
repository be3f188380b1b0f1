"""Which frames: expands what the user gave into single files and objects; no header is read here."""

import codecs
import errno
import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits

from hotfit.errors import HotfitError

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|[-+]?nan|[-+]?inf"
LISTED = re.compile(
    rf'(?:"(?P<quoted>[^"]+)"|(?P<bare>.+?))(?:(?:\s*,\s*|\s+)(?P<seconds>{NUMBER})\s*s?)?', re.IGNORECASE
)
FITS_NAME = re.compile(r"\.(fits?|fts)(\.(fz|gz|bz2))?$", re.IGNORECASE)


class Source(NamedTuple):
    """Where one frame comes from: a path or an object in memory, and its exposure if it was listed."""

    item: Any
    name: str
    seconds: float | None = None


def find_sources(frames: Any, exposure: Sequence[float] | None = None) -> list[Source]:
    """List the frames in the order given, with their exposures in seconds where the user gave them.

    Parameters
    ----------
    frames, exposure
        As for `open_darks`.

    Raises
    ------
    HotfitError
        A list cannot be read, a folder or pattern holds no files, an object is of no known kind, the
        number of exposures differs from that of the frames, or a frame is listed twice.
    """
    sources = _with_exposures(list(_sources(frames)), exposure)
    _check_twice(sources)
    return sources


def _sources(frames: Any) -> Iterator[Source]:
    for position, item in enumerate(_items(frames), start=1):
        if isinstance(item, (str, os.PathLike)):
            yield from _expand(os.fspath(item))
        elif hasattr(item, "files_filtered"):
            paths = item.files_filtered(include_path=True)
            yield from (Source(Path(path), str(path)) for path in paths)
        elif _in_memory(item):
            yield Source(item, f"frame {position}")
        else:
            kind = type(item).__name__
            raise HotfitError(
                f"frame {position}: cannot use a {kind}; give paths, HDUs or CCDData (arrays: fit_cube)"
            )


def _items(frames: Any) -> list[Any]:
    single = isinstance(frames, (str, os.PathLike)) or hasattr(frames, "files_filtered") or _in_memory(frames)
    return list(frames) if isinstance(frames, Iterable) and not single else [frames]


def _in_memory(item: Any) -> bool:
    described = hasattr(item, "header") or hasattr(item, "meta")
    return isinstance(item, fits.HDUList) or (described and hasattr(item, "data"))


def _expand(text: str) -> Iterator[Source]:
    _check_name(text)
    text = _from_windows(text)
    if text.startswith("~") and not Path(text).exists():
        text = os.path.expanduser(text)  # noqa: PTH111
    path = Path(text)
    if path.is_dir():
        return _in_directory(path)
    # A file may have [ or * in its name, or begin with @.
    if path.exists():
        return iter([Source(path, text)])
    if text.startswith("@"):
        return _in_list(Path(text[1:]))
    if glob.has_magic(text):
        return _matching(text)
    return iter([Source(path, text)])


def _check_name(name: str) -> None:
    """Refuse what no file can be called."""
    try:
        Path(name).stat()
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            shown = ascii(name[:60])
            raise HotfitError(f"{shown}: cannot be the name of a file; give a file or folder") from None


def _from_windows(text: str) -> str:
    r"""Return ``darks\*.fit`` with this machine's separators, unless the backslash belongs to a name."""
    if os.sep == "\\" or "\\" not in text or Path(text).exists() or glob.glob(text, recursive=True):  # noqa: PTH207
        return text
    return text.replace("\\", "/")


def _in_directory(folder: Path) -> Iterator[Source]:
    try:
        names = [path.name for path in folder.iterdir() if path.is_file() and path.name[0] != "."]
    except OSError as error:
        raise HotfitError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error
    names = sorted((name for name in names if FITS_NAME.search(name)), key=natural)
    if not names:
        raise HotfitError(
            f"{folder}: no FITS files in this folder (.fit .fits .fts, .fz .gz .bz2); give another"
        )
    return (Source(folder / name, str(folder / name)) for name in names)


def _matching(pattern: str) -> Iterator[Source]:
    names = [name for name in glob.glob(pattern, recursive=True) if not Path(name).is_dir()]  # noqa: PTH207
    if not names:
        raise HotfitError(f"{pattern}: no file matches this pattern; check it and the folder")
    return (Source(Path(name), name) for name in sorted(names, key=natural))


def _in_list(path: Path) -> Iterator[Source]:
    try:
        text = _text_of(path.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise HotfitError(f"@{path}: cannot read this list ({reason}); check its name and content") from error
    sources = [source for line in text.splitlines() if (source := _listed(path.parent, line.strip()))]
    if not sources:
        raise HotfitError(f"@{path}: this list names no files; write one per line")
    return iter(sources)


def _text_of(data: bytes) -> str:
    """Decode UTF-8, or what a Windows console redirects into a file."""
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = data.decode("utf-16" if utf_16 else "utf-8-sig")
    if "\0" in text:
        raise UnicodeDecodeError("utf-8", data[:1], 0, 1, "NUL")
    return text


def _listed(folder: Path, line: str) -> Source | None:
    """Read ``file`` or ``file seconds``, None from a comment; a name may hold blanks and #, or be quoted."""
    quoted = re.match(r'("[^"]+")?', line)[0]
    for text in (line, quoted + re.sub(r"(^|\s)#.*", "", line.removeprefix(quoted)).rstrip()):
        whole = _in_folder(folder, text)
        if text and whole.exists():
            return Source(whole, str(whole))
    if not text:
        return None
    match = LISTED.fullmatch(text)
    path = _in_folder(folder, match["quoted"] or match["bare"])
    return Source(path, str(path), float(match["seconds"]) if match["seconds"] else None)


def _in_folder(folder: Path, name: str) -> Path:
    _check_name(str(folder / name))
    return folder / (name if (folder / name).exists() else name.replace("\\", "/"))


def _with_exposures(sources: list[Source], exposure: Sequence[float] | None) -> list[Source]:
    if exposure is None:
        return sources
    times = np.atleast_1d(np.asarray(exposure, dtype=np.float64))
    if times.shape != (len(sources),):
        raise HotfitError(f"exposure: {times.size} times for {len(sources)} frames; give one per frame")
    return [source._replace(seconds=float(time)) for source, time in zip(sources, times, strict=True)]


def natural(name: str) -> list[str | int]:
    """Sort key that puts dark_2 before dark_10."""
    parts = re.split(r"(\d+)", name.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


def _check_twice(sources: list[Source]) -> None:
    seen: dict[Any, str] = {}
    for item, name, _ in sources:
        key = os.path.normcase(item.resolve()) if isinstance(item, Path) else id(item)
        if key in seen:
            also = "" if seen[key] == name else f", also as {seen[key]}"
            raise HotfitError(f"{name}: is listed twice{also}; list every frame once")
        seen[key] = name
