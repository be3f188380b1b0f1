"""The set of darks: its groups of equal exposure, and rows of all frames at once.

`open_darks` is the only way in: `sources.py` finds the files, `headers.py` says what a header means,
`frames.py` opens one frame, `readers.py` turns stored bytes into counts, `checks.py` decides whether the
frames make one set.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from hotfit.checks import check_alike, check_enough, check_temperatures, some_of
from hotfit.errors import HotfitError
from hotfit.frames import Frame, Skipped, read_file, read_object, reading
from hotfit.headers import UNIT_SECONDS, Options
from hotfit.readers import FLOAT32, UINT16, ArrayRows, Coding, PackedImage, Scratch
from hotfit.sources import Source, find_sources, natural


@dataclass(frozen=True, eq=False)
class DarkSet:
    """Darks of one camera in one setting, sorted by exposure.

    Use it as a context manager, or let it be collected, to remove what was unpacked from compressed files.

    Attributes
    ----------
    frames : tuple of Frame
        Sorted by exposure, then by name in natural order.
    exposure : ndarray, (N,) float64
        Seconds.
    group : ndarray, (N,) intp
        Index of each frame's group of equal exposure.
    group_exposure : ndarray, (K,) float64
        Seconds, ascending.
    n_combined : ndarray, (N,) intp
        Frames averaged into each frame.
    shape : tuple of int
        Rows and columns.
    dtype : dtype
        uint16 if every frame is unsigned with 8 or 16 bits and has no missing samples, else float32.
    gain_hint : float
        The headers' common gain, e-/adu, unchecked; NaN if absent or in disagreement.
    skipped : tuple of (name, reason)
        Files that were found but are not darks.
    notes : tuple of str
        What was assumed or noticed, one sentence each.
    order : ndarray, (N,) intp
        Where each frame stands in `samples`.
    """

    frames: tuple[Frame, ...]
    exposure: np.ndarray
    group: np.ndarray
    group_exposure: np.ndarray
    n_combined: np.ndarray
    shape: tuple[int, int]
    dtype: np.dtype
    gain_hint: float
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    order: np.ndarray
    _scratch: Scratch = field(repr=False)
    _cube: np.ndarray | None = field(default=None, repr=False)

    def rows(self, first: int, last: int, out: np.ndarray | None = None) -> np.ndarray:
        """Read rows `first` to `last` (exclusive) of every frame; any number of threads may do so at once.

        Parameters
        ----------
        first, last : int
            ``0 <= first <= last <= rows``.
        out : ndarray, (N, last - first, columns), C-contiguous, of `dtype`, optional
            Where to put them.

        Returns
        -------
        ndarray, (N, last - first, columns), native byte order, of `dtype`
            Counts in ADU; NaN where a sample is missing.

        Raises
        ------
        HotfitError
            A file vanished or shrank since it was opened.
        ValueError
            The range or `out` does not fit.
        """
        if not 0 <= first <= last <= self.shape[0]:
            raise ValueError(f"rows {first}:{last} are not within 0:{self.shape[0]}")
        shape = (len(self.frames), last - first, self.shape[1])
        if out is None:
            out = np.empty(shape, self.dtype)
        if out.shape != shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise ValueError(f"out must be C-contiguous {self.dtype} of shape {shape}")
        for frame, target in zip(self.frames, out, strict=True):
            _read_rows(frame, first, last, target)
        return out

    def samples(self, first: int, last: int) -> tuple[np.ndarray, int]:
        """Return rows `first` to `last` as ``(array, start)`` without copying a cube in memory.

        The array is (N, pixels) of `dtype`, its frames stand as `order` says, and pixel (first, 0) of the
        detector is its column `start`.
        """
        if self._cube is not None:
            return self._cube, first * self.shape[1]
        return self.rows(first, last).reshape(len(self.frames), -1), 0

    def image(self, index: int) -> np.ndarray:
        """Read all of frame `index`: ndarray, (rows, columns), of `dtype`."""
        out = np.empty(self.shape, self.dtype)
        _read_rows(self.frames[index], 0, self.shape[0], out)
        return out

    def close(self) -> None:
        """Remove what was unpacked; rows of compressed files cannot be read afterwards."""
        self._scratch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read_rows(frame: Frame, first: int, last: int, out: np.ndarray) -> None:
    try:
        frame.reader.read(first, last, out)
    except OSError as error:
        reason = error.strerror or error
        raise HotfitError(f"{frame.name}: cannot be read any more ({reason}); start again") from error


def group_exposures(exposure: ArrayLike, tolerance: float = 0.005) -> tuple[np.ndarray, np.ndarray]:
    """Put exposures that are equal but for clock jitter into groups.

    Parameters
    ----------
    exposure : array_like, (N,)
        Seconds, in any order.
    tolerance : float
        A time joins a group while it exceeds the group's shortest by no more than this fraction, so that
        zero is equal to zero alone.

    Returns
    -------
    group : ndarray, (N,) intp
        Index of each exposure's group, in the order of the input.
    group_exposure : ndarray, (K,) float64
        Mean exposure of each group in seconds, ascending.

    Raises
    ------
    HotfitError
        The exposures are not one row of numbers, or one is negative, NaN or infinite.
    """
    times = np.asarray(exposure, dtype=np.float64)
    if times.ndim != 1:
        raise HotfitError(f"exposure: has shape {times.shape}; give one number of seconds per frame")
    bad = np.flatnonzero(~(np.isfinite(times) & (times >= 0)))
    if bad.size:
        raise HotfitError(f"exposure: frame {bad[0] + 1} has {times[bad[0]]:g} s; give zero or more seconds")
    order = np.argsort(times, kind="stable")
    group = np.empty(times.size, dtype=np.intp)
    shortest: list[float] = []
    for index in order:
        if not shortest or times[index] > shortest[-1] * (1 + tolerance):
            shortest.append(times[index])
        group[index] = len(shortest) - 1
    # Averaging the excess over the shortest keeps a group of equal times exactly at that time.
    base = np.array(shortest, dtype=np.float64)
    excess = np.bincount(group, weights=times - base[group], minlength=base.size)
    return group, base + excess / np.bincount(group, minlength=base.size)


def open_darks(
    frames: Any,
    *,
    exposure: Sequence[float] | None = None,
    exposure_key: str | None = None,
    exposure_unit: str = "s",
    temperature_tolerance: float = 1.0,
    ext: int | str | None = None,
) -> DarkSet:
    """Find darks, read their headers, and check that they make one set.

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
        Header key of the exposure. Default: the first of EXPTIME, EXPOSURE, EXP_TIME, ESO DET DIT,
        DARKTIME, where the first two must agree within 1 %.
    exposure_unit : {"s", "ms", "us", "min"}
        Unit of the exposure in the headers.
    temperature_tolerance : float
        Largest difference between any two frames, in K.
    ext : int or str, optional
        HDU that holds the image. Default: the first that has one.

    Returns
    -------
    DarkSet

    Raises
    ------
    HotfitError
        A file is missing, damaged or not one 2-D image; an exposure is unknown or ambiguous; a file is
        listed twice; the frames differ in shape, camera, settings or temperature; fewer than two are left.
    """
    if exposure_unit not in UNIT_SECONDS:
        raise HotfitError(
            f"exposure unit {exposure_unit!r} is unknown; give one of {', '.join(UNIT_SECONDS)}"
        )
    options = Options(exposure_key, exposure_unit, ext)
    found = [_read(source, options) for source in find_sources(frames, exposure)]
    skipped = tuple(item for item in found if isinstance(item, Skipped))
    darks = sorted((item for item in found if isinstance(item, Frame)), key=_by_exposure)
    check_enough(darks, skipped)
    check_alike(darks)
    check_temperatures(darks, temperature_tolerance)
    scratch = Scratch()
    frames = [_unpacked(frame, scratch.path, number) for number, frame in enumerate(darks)]
    return _assemble(frames, skipped=skipped, scratch=scratch)


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
    return _assemble(frames, order=order, cube=counts.reshape(number, -1))


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
        image_type="",
        gain_hint=math.nan,
        shape=shape,
        settings={},
        remarks=(),
        reader=ArrayRows(image, Coding(image.dtype)),
    )


def _assemble(
    frames: list[Frame],
    *,
    skipped: tuple[Skipped, ...] = (),
    scratch: Scratch | None = None,
    order: np.ndarray | None = None,
    cube: np.ndarray | None = None,
) -> DarkSet:
    exposure = np.array([frame.exposure for frame in frames])
    group, group_exposure = group_exposures(exposure)
    native = {frame.reader.coding.native for frame in frames}
    gain_hint, gain_notes = _common_gain(frames)
    return DarkSet(
        frames=tuple(frames),
        exposure=exposure,
        group=group,
        group_exposure=group_exposure,
        n_combined=np.array([frame.n_combined for frame in frames], dtype=np.intp),
        shape=frames[0].shape,
        dtype=UINT16 if native == {UINT16} else FLOAT32,
        gain_hint=gain_hint,
        skipped=skipped,
        notes=(*_remarks(frames), *gain_notes),
        order=np.arange(len(frames)) if order is None else order,
        _scratch=scratch or Scratch(),
        _cube=cube,
    )


def _unpacked(frame: Frame, scratch: Callable[[str], Path], number: int) -> Frame:
    if not isinstance(frame.reader, PackedImage):
        return frame
    with reading(frame.name):
        return replace(frame, reader=frame.reader.unpack(scratch(f"{number}.raw")))


def _read(source: Source, options: Options) -> Frame | Skipped:
    read = read_file if isinstance(source.item, Path) else read_object
    return read(source.item, source.name, source.seconds, options)


def _by_exposure(frame: Frame) -> tuple[float, list[str | int]]:
    return frame.exposure, natural(frame.name)


def _common_gain(frames: Sequence[Frame]) -> tuple[float, tuple[str, ...]]:
    gains = np.array([frame.gain_hint for frame in frames if math.isfinite(frame.gain_hint)])
    if not gains.size:
        return math.nan, ()
    if np.allclose(gains, gains[0], rtol=1e-6, atol=0):
        return float(gains[0]), ()
    return math.nan, (
        f"the headers' gains differ ({gains.min():g} to {gains.max():g} e-/adu) and are not used",
    )


def _remarks(frames: Sequence[Frame]) -> Iterator[str]:
    """Yield each remark once, with the frames it is about."""
    about: dict[str, list[str]] = {}
    for frame in frames:
        for remark in frame.remarks:
            about.setdefault(remark, []).append(frame.name)
    for remark, names in about.items():
        yield f"{some_of(names)}: {remark}"
