"""From what the user gave to sets of darks that are checked and can be read.

`open_darks` and `find_darks` are the ways in: `sources.py` finds the files, `headers.py` and `exposures.py`
say what a header means, `images.py` where a file's images are, `frames.py` describes one frame, `geometry.py`
trims it, `readers.py` turns stored bytes into counts, `checks.py` decides whether the frames make one set,
and `darkset.py` is that set.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from hotfit.checks import check_set, without_masters
from hotfit.darkset import DarkSet, assemble_set, group_exposures
from hotfit.errors import HotfitError
from hotfit.exposures import UNIT_SECONDS
from hotfit.frames import ONLY, Frame, Skipped, read_file, read_object
from hotfit.headers import Options
from hotfit.images import ALL
from hotfit.readers import ArrayRows, Coding, Scratch
from hotfit.sources import Source, find_sources, natural

__all__ = ["DarkSet", "FoundDarks", "cube_darks", "find_darks", "group_exposures", "open_darks"]


@dataclass(frozen=True, eq=False)
class FoundDarks:
    """Frames whose headers are read, by the image they hold; nothing is checked or unpacked yet.

    Use it as a context manager around the sets that it opens.

    Attributes
    ----------
    images : dict of str to list of Frame or Skipped
        Under the label of each image: one entry a file.
    """

    images: dict[str, list[Frame | Skipped]]
    _options: Options
    _temperature_tolerance: float
    _containers: Scratch

    @property
    def pixels(self) -> int:
        """Pixels of all images together."""
        first = (
            next((item for item in found if isinstance(item, Frame)), None) for found in self.images.values()
        )
        return sum(math.prod(frame.shape) for frame in first if frame is not None)

    def open(self, label: str, *, own: bool = False) -> DarkSet:
        """Check the frames of one image, and make them a set; what is compressed is unpacked.

        Parameters
        ----------
        label : str
            A key of `images`.
        own : bool
            The set outlives this object, and removes what was decompressed when it is closed.

        Raises
        ------
        HotfitError
            The frames differ in shape, camera, settings or temperature, a master stands beside its own
            constituents, fewer than two are left, or one cannot be unpacked.
        """
        found = self.images[label]
        darks = sorted((item for item in found if isinstance(item, Frame)), key=_by_exposure)
        darks, masters = without_masters(darks)
        skipped = (*(item for item in found if isinstance(item, Skipped)), *masters)
        notes = check_set(darks, skipped, self._temperature_tolerance, self._options)
        scratch = Scratch()
        readers = [frame.rows(scratch, self._containers) for frame in darks]
        owned = (scratch, self._containers) if own else (scratch,)
        return assemble_set(darks, readers, skipped=skipped, notes=notes, scratch=owned)

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
    found = [_read(source, options) for source in find_sources(frames, exposure)]
    return FoundDarks(_by_image(found), options, temperature_tolerance, Scratch())


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
        What `find_darks` and `FoundDarks.open` raise.
    """
    if options.get("ext") == ALL:
        raise HotfitError("ext='all': names several sets of darks; open them with hotfit.darks.find_darks")
    found = find_darks(frames, **options)
    return found.open(ONLY, own=True)


def cube_darks(cube: ArrayLike, exposure: ArrayLike, *, n_combined: ArrayLike | None = None) -> DarkSet:
    """Make a set of the planes of a cube in memory; uint16 and float32 are used in place.

    Parameters
    ----------
    cube : array_like or masked array, (N, rows, columns)
        Counts in ADU, in any order; NaN and masked samples are missing. Other types become float32.
    exposure : array_like, (N,)
        Seconds.
    n_combined : array_like, (N,), optional
        Frames averaged into each plane; 1 by default.

    Raises
    ------
    HotfitError
        The cube is not N >= 2 images of real numbers, or N exposures and numbers do not come with it.
    """
    counts = _native_cube(cube)
    number, shape = len(counts), counts.shape[1:]
    times = np.asarray(exposure, dtype=np.float64)
    combined = np.ones(number) if n_combined is None else np.asarray(n_combined, dtype=np.float64)
    for name, values in (("exposure", times), ("n_combined", combined)):
        if values.shape != (number,):
            raise HotfitError(f"{name}: has shape {values.shape} for {number} frames; give one per frame")
    if not (np.isfinite(combined) & (combined >= 1)).all():
        raise HotfitError("n_combined: is not 1 or more in every frame; give the number of frames averaged")
    group_exposures(times)
    order = np.argsort(times, kind="stable")
    frames = [_plane(counts[i], f"frame {i + 1}", times[i], int(combined[i]), shape) for i in order]
    readers = [frame.reader for frame in frames]
    return assemble_set(frames, readers, order=order, cube=counts.reshape(number, -1))


def _native_cube(cube: ArrayLike) -> np.ndarray:
    """Return a read-only, C-contiguous uint16 or float32 cube, the input itself where possible."""
    data = np.ma.getdata(cube) if np.ma.isMaskedArray(cube) else np.asarray(cube)
    if data.ndim != 3 or len(data) < 2 or 0 in data.shape or data.dtype.kind not in "uif":
        raise HotfitError(
            f"cube: is {data.dtype} of shape {data.shape}; give numbers, (N, rows, columns) with N >= 2"
        )
    coding = Coding(data.dtype)
    if np.ma.is_masked(cube):
        counts = data.astype(np.float32)
        counts[np.ma.getmaskarray(cube)] = np.nan
    else:
        with np.errstate(over="ignore"):
            counts = np.ascontiguousarray(data, dtype=coding.native)
    counts = counts.view()
    counts.flags.writeable = False
    return counts


def _plane(image: np.ndarray, name: str, seconds: float, combined: int, shape: tuple[int, int]) -> Frame:
    return Frame(
        name=name,
        exposure=float(seconds),
        temperature=math.nan,
        n_combined=combined,
        master=False,
        image_type="",
        gain_claims=(),
        read_noise_claims=(),
        saturation_claims=(),
        shape=shape,
        settings={},
        remarks=(),
        reader=ArrayRows(image, Coding(image.dtype)),
    )


def _read(source: Source, options: Options) -> dict[str, Frame | Skipped]:
    read = read_file if isinstance(source.item, Path) else read_object
    return read(source.item, source.name, source.seconds, options)


def _by_exposure(frame: Frame) -> tuple[float, list[str | int]]:
    return frame.exposure, natural(frame.name)
