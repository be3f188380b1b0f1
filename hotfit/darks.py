"""From what the user gave to sets of darks that are checked and can be read.

`open_darks` and `find_darks` are the ways in: `sources.py` finds the files, `headers.py` and `exposures.py`
say what a header means, `images.py` where a file's images are, `frames.py` describes one frame, `opening.py`
opens it, `geometry.py` trims it, `readers.py` turns stored bytes into counts, `checks.py` decides whether the
frames make one set, and `darkset.py` is that set.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from hotfit.checks import check_set, without_masters
from hotfit.darkset import DarkSet, assemble_set
from hotfit.errors import HotfitError
from hotfit.exposures import UNIT_SECONDS
from hotfit.frames import Frame, Skipped, has_overscan, with_wells
from hotfit.geometry import Wells, never_changing, overscan_of
from hotfit.grouping import SUMS_BYTES, group_exposures
from hotfit.headers import Options
from hotfit.images import ALL
from hotfit.opening import ONLY, read_file, read_object, unpacked
from hotfit.readers import Scratch
from hotfit.saturation import ceiling as ceiling_of
from hotfit.saturation import converter_step, highest, is_whole
from hotfit.sources import Source, find_sources, natural

FEWEST_FOR_STUCK = 7
"""In fewer frames a good pixel may repeat itself."""


@dataclass(frozen=True, eq=False)
class Roll:
    """The frames of one image, before they are checked and unpacked; of files, it may go to other processes.

    Attributes
    ----------
    frames : tuple of Frame
        Those to fit, sorted by exposure, then by name.
    skipped : tuple of Skipped
        The others.
    """

    frames: tuple[Frame, ...]
    skipped: tuple[Skipped, ...]
    _options: Options
    _temperature_tolerance: float
    _containers: Scratch

    @property
    def pixels(self) -> int:
        """Pixels of the image."""
        return math.prod(self.frames[0].shape) if self.frames else 0

    @property
    def sums_bytes(self) -> int:
        """What their sums take in a result that is updatable, see `hotfit.sums`."""
        exposures = group_exposures([frame.exposure for frame in self.frames])[1].size if self.frames else 0
        return SUMS_BYTES * self.pixels * exposures

    def check(self) -> tuple[str, ...]:
        """Refuse frames that do not make one set; return notes on what differs because the user allows it.

        Raises
        ------
        HotfitError
            The frames differ in shape, camera, settings or temperature, a master stands beside its own
            constituents, or fewer than two are left.
        """
        return check_set(list(self.frames), self.skipped, self._temperature_tolerance, self._options)

    def open(self, *, own: bool = False) -> DarkSet:
        """Check the frames and make them a set; what is compressed is unpacked.

        Parameters
        ----------
        own : bool
            The set outlives the `FoundDarks`, and removes what was decompressed when it is closed.

        Raises
        ------
        HotfitError
            What `check` raises, or a frame cannot be unpacked.
        """
        return self.assemble(self.check(), own=own)

    def assemble(self, notes: tuple[str, ...] = (), *, own: bool = False) -> DarkSet:
        """Make the frames a set, unchecked: they may be few. Parameters as in `open`; notes are the set's."""
        if not self.frames:
            self.check()
        scratch = Scratch()
        frames = [unpacked(frame, scratch, self._containers) for frame in self.frames]
        pedestal, ceiling = 0.0, math.nan
        if has_overscan(frames[-1]):
            frames, pedestal, ceiling = _with_full_wells(frames)
        return assemble_set(
            frames,
            skipped=self.skipped,
            notes=notes,
            pedestal=pedestal,
            ceiling=ceiling,
            options=self._options,
            temperature_tolerance=self._temperature_tolerance,
            scratch=(scratch, self._containers) if own else (scratch,),
        )


def _with_full_wells(frames: list[Frame]) -> tuple[tuple[Frame, ...], float, float]:
    """Let the readers know from which count on the converter is full, and which pixels are stuck.

    Both are seen in the counts as they are stored alone: overscan levels blur them. The longest frame shows
    the first; returned with the frames are its overscan level, and the converter's ceiling less that, in adu
    (nan: these are no whole numbers).
    """
    counts, pedestal = overscan_of(frames[-1].reader)
    whole = is_whole(counts)
    full = ceiling_of(highest(counts), converter_step(counts)) if whole else math.inf
    enough = len(frames) >= FEWEST_FOR_STUCK
    stuck = never_changing([frame.reader for frame in frames]) if enough else None
    return with_wells(frames, Wells(full, pedestal, stuck)), pedestal, full - pedestal if whole else math.nan


@dataclass(frozen=True, eq=False)
class FoundDarks:
    """Darks whose headers are read. Use it as a context manager around the sets that its rolls open.

    Attributes
    ----------
    images : dict of str to Roll
        By the label of the image; that of the only one is empty.
    """

    images: dict[str, Roll]
    _containers: Scratch

    @property
    def pixels(self) -> int:
        """Pixels of all images together."""
        return sum(roll.pixels for roll in self.images.values())

    def close(self) -> None:
        """Remove what was decompressed; the sets that were opened cannot be read afterwards."""
        self._containers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def find_darks(
    frames: Any,
    *,
    exposure: Sequence[float] | None = None,
    exposure_key: str | None = None,
    exposure_unit: str | None = None,
    temperature_tolerance: float = 1.0,
    ext: int | str | None = None,
    trim: str | None = None,
    overscan: str | None = None,
    mixed: Sequence[str] = (),
) -> FoundDarks:
    """Find darks and read their headers: with ``ext="all"`` those of every image in each file.

    Parameters
    ----------
    frames : path, HDU, HDUList, CCDData, ImageFileCollection, or an iterable of these
        A path may be a FITS file, a directory, a glob pattern, or ``"@list"``: a text file with one file
        per line, relative to its folder, and optionally the exposure in seconds behind it; # starts a
        comment. A name that exists is that file, whatever characters it has.
    exposure : sequence of float, optional
        Seconds, one per frame in the order given (a directory's or pattern's files in natural order),
        instead of the headers'.
    exposure_key : str, optional
        Header key of the exposure. Default: the first of `hotfit.exposures.EXPOSURE_KEYS`, of which all
        that are there must agree within 1 %, but for DARKTIME.
    exposure_unit : {"s", "ms", "us", "min"}, optional
        Unit of the exposure in the headers. Default: what value or comment say, else seconds.
    temperature_tolerance : float
        Largest difference between any two frames, in K.
    ext : int or str, optional
        HDU that holds the image. "all": every one. Default: the first that has one.
    trim, overscan : str, optional
        FITS sections ``"[x1:x2,y1:y2]"`` (columns and rows from 1; rows may be left out), or the header keys
        that hold them: what to keep, and where each row's (or column's) bias level is measured.
    mixed : sequence of str, optional
        Header keys, of those in `hotfit.headers.SETTING_KEYS`, that may differ; NCOMBINE allows masters
        beside single frames of their exposure.

    Returns
    -------
    FoundDarks

    Raises
    ------
    HotfitError
        A file is missing, damaged or not one 2-D image; an exposure is unknown or ambiguous; a section does
        not fit; a file is listed twice; files hold different images.
    """
    if exposure_unit is not None and exposure_unit not in UNIT_SECONDS:
        raise HotfitError(
            f"exposure unit {exposure_unit!r} is unknown; give one of {', '.join(UNIT_SECONDS)}"
        )
    mixed = tuple(key.strip().upper() for key in ([mixed] if isinstance(mixed, str) else mixed))
    options = Options(exposure_key, exposure_unit, ext, trim, overscan, mixed)
    containers = Scratch()
    found = [_read(source, options, containers) for source in find_sources(frames, exposure)]

    def roll(label: str, items: list[Frame | Skipped]) -> Roll:
        own = options._replace(ext=int(label) if label.isdecimal() else label) if label != ONLY else options
        darks = sorted((item for item in items if isinstance(item, Frame)), key=_by_exposure)
        darks, masters = without_masters(darks, mixed)
        skipped = (*(item for item in items if isinstance(item, Skipped)), *masters)
        return Roll(tuple(darks), skipped, own, temperature_tolerance, containers)

    return FoundDarks({label: roll(label, items) for label, items in _by_image(found).items()}, containers)


def _by_image(found: list[dict[str, Frame | Skipped]]) -> dict[str, list[Frame | Skipped]]:
    """Sort images by their label; a file that was skipped whole is skipped in all."""
    whole = [images for images in found if any(isinstance(item, Frame) for item in images.values())]
    labels = list(whole[0]) if whole else [ONLY]
    for images in whole:
        if set(images) != set(labels):
            one, other = (next(iter(some.values())).name for some in (images, whole[0]))
            raise HotfitError(
                f"{one}: holds the images {_listed(images)}, but {other} {_listed(labels)}; fit them apart"
            )
    return {label: [images.get(label) or next(iter(images.values())) for images in found] for label in labels}


def _listed(labels: Iterable[str]) -> str:
    return ", ".join(label or "one" for label in labels)


def open_darks(frames: Any, **options: Any) -> DarkSet:
    """Find darks, read their headers, and check that they make one set.

    Parameters
    ----------
    frames, **options
        As for `find_darks`, but for ``ext="all"``.

    Returns
    -------
    DarkSet

    Raises
    ------
    HotfitError
        What `find_darks` and `Roll.open` raise.
    """
    if options.get("ext") == ALL:
        raise HotfitError("ext='all': names several sets of darks; open them with hotfit.find_darks")
    return find_darks(frames, **options).images[ONLY].open(own=True)


def _read(source: Source, options: Options, containers: Scratch) -> dict[str, Frame | Skipped]:
    if isinstance(source.item, Path):
        path = source.item.absolute()  # the same on a worker, which may be at home elsewhere
        found = read_file(path, source.name, source.seconds, options, containers)
        return {
            label: replace(item, path=path) if isinstance(item, Frame) else item
            for label, item in found.items()
        }
    return read_object(source.item, source.name, source.seconds, options)


def _by_exposure(frame: Frame) -> tuple[float, list[str | int]]:
    return frame.exposure, natural(frame.name)
