"""A set of darks: its groups of equal exposure, and rows of all frames at once."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np

from hotfit.checks import some_of
from hotfit.errors import HotfitError
from hotfit.frames import Frame, Skipped
from hotfit.grouping import group_exposures
from hotfit.headers import Claim, Options
from hotfit.readers import FLOAT32, UINT16, Scratch, read_runs
from hotfit.readers import runs as runs_of
from hotfit.saturation import exceed

AS_FOUND = Options()
"""What headers say is taken for true."""


class Claims(NamedTuple):
    """What all headers of a set that say anything agree on, unchecked."""

    gain: tuple[Claim, ...] = ()
    read_noise: tuple[Claim, ...] = ()
    saturation: tuple[Claim, ...] = ()


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
    claims : Claims
        What the headers agree on about the detector, unchecked.
    skipped : tuple of Skipped
        Files that were found but are not darks to fit.
    notes : tuple of str
        What was assumed or noticed, one sentence each.
    order : ndarray, (N,) intp
        Where each frame stands in `samples`.
    pedestal : float
        Overscan level that was subtracted, adu; 0 where none was.
    ceiling : float
        Highest count of the converter after that, adu; NaN where the counts themselves show it, or none.
    options : Options
        How the frames were read.
    temperature_tolerance : float
        K, within which they had to be.
    """

    frames: tuple[Frame, ...]
    exposure: np.ndarray
    group: np.ndarray
    group_exposure: np.ndarray
    n_combined: np.ndarray
    shape: tuple[int, int]
    dtype: np.dtype
    claims: Claims
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    order: np.ndarray
    pedestal: float
    ceiling: float
    options: Options = field(repr=False)
    temperature_tolerance: float
    _scratch: tuple[Scratch, ...] = field(repr=False)

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
        for index, target in enumerate(out):
            self._read(index, first, last, target)
        return out

    def samples(self, first: int, last: int, room: np.ndarray | None = None) -> tuple[np.ndarray, int]:
        """Return rows `first` to `last` as ``(array, start)``.

        The array is (N, pixels) of `dtype` and read-only, its frames stand as `order` says, and pixel
        (first, 0) of the detector is its column `start`. Where rows are read, it lies in `room`, which is
        flat, of `dtype` and large enough, or is new.
        """
        shape = (len(self.frames), last - first, self.shape[1])
        out = None if room is None else room[: math.prod(shape)].reshape(shape)
        samples = self.rows(first, last, out).reshape(len(self.frames), -1)
        samples.flags.writeable = False  # as a cube is: the kernel is compiled for one kind of array
        return samples, 0

    def image(self, index: int) -> np.ndarray:
        """Read all of frame `index`: ndarray, (rows, columns), of `dtype`."""
        out = np.empty(self.shape, self.dtype)
        self._read(index, 0, self.shape[0], out)
        return out

    def count_above(self, index: int, quantile: float, step: int) -> np.ndarray:
        """Count the samples in each row of frame `index` above a quantile of every so many rows: (rows,)."""
        image = self.image(index)
        limit = float(np.quantile(image[::step], quantile))
        return np.concatenate(
            [
                np.count_nonzero(exceed(image[first : first + 64], limit), axis=1)
                for first in range(0, len(image), 64)
            ]
        )

    def sample(self, runs: Sequence[tuple[int, int]]) -> np.ndarray:
        """Read the rows `first` to `last` (exclusive) of each run: ndarray, (N, pixels), of `dtype`."""
        height = sum(last - first for first, last in runs)
        out = np.empty((len(self.frames), height, self.shape[1]), self.dtype)
        for index, target in enumerate(out):
            self.sample_of(index, runs, target)
        return out.reshape(len(out), -1)

    def sample_of(self, index: int, runs: Sequence[tuple[int, int]], out: np.ndarray) -> None:
        """Read the same rows of frame `index` into `out`, (rows, columns) of `dtype`."""
        with self._told(index):
            read_runs(self.frames[index].reader, runs, out)

    def pixels(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Read all samples of the pixels in rows `y` and columns `x`: ndarray, (P, N), of `dtype`.

        Each frame is opened once, and those of its rows are held in which there are such pixels.
        """
        rows, place = np.unique(y, return_inverse=True)
        wanted = runs_of(rows, max(rows.size, 1))
        held = np.empty((rows.size, self.shape[1]), self.dtype)
        counts = np.empty((y.size, len(self.frames)), self.dtype)
        for index in range(len(self.frames) if rows.size else 0):
            self.sample_of(index, wanted, held)
            counts[:, index] = held[place, x]
        return counts

    def _read(self, index: int, first: int, last: int, out: np.ndarray) -> None:
        with self._told(index):
            self.frames[index].reader.read(first, last, out)

    @contextmanager
    def _told(self, index: int) -> Iterator[None]:
        """Say which frame cannot be read."""
        try:
            yield
        except OSError as error:
            name, reason = self.frames[index].name, error.strerror or error
            raise HotfitError(f"{name}: cannot be read any more ({reason}); start again") from error

    def close(self) -> None:
        """Remove what was unpacked; rows of compressed files cannot be read afterwards."""
        for scratch in self._scratch:
            scratch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def assemble_set(
    frames: Sequence[Frame],
    *,
    skipped: tuple[Skipped, ...] = (),
    notes: tuple[str, ...] = (),
    pedestal: float = 0.0,
    ceiling: float = math.nan,
    options: Options = AS_FOUND,
    temperature_tolerance: float = math.inf,
    scratch: tuple[Scratch, ...] = (),
    order: np.ndarray | None = None,
    kind: type[DarkSet] = DarkSet,
    **more: Any,
) -> DarkSet:
    """Group frames that are sorted by exposure, and gather what their headers say.

    The set is of class `kind`, whose own fields are `more`.
    """
    native = {frame.reader.coding.native for frame in frames}
    gain, gain_notes = _agreed([frame.gain_claims for frame in frames])
    members = assemble_members(frames, options, temperature_tolerance)
    found = {
        "dtype": UINT16 if native == {UINT16} else FLOAT32,
        "claims": Claims(
            gain=gain,
            read_noise=_agreed([frame.read_noise_claims for frame in frames])[0],
            # An image's own maximum under one of these keys differs from frame to frame.
            saturation=_agreed([frame.saturation_claims for frame in frames])[0],
        ),
        "skipped": skipped,
        "notes": (*remarks_on(frames), *gain_notes, *notes),
        "order": members.order if order is None else order,
        "pedestal": pedestal,
        "ceiling": ceiling,
        "_scratch": scratch,
    }
    return kind(**{**vars(members), **found}, **more)


def assemble_members(frames: Sequence[Frame], options: Options, temperature_tolerance: float) -> DarkSet:
    """Group frames that are sorted by exposure, and whose rows need not be readable."""
    exposure = np.array([frame.exposure for frame in frames])
    group, group_exposure = group_exposures(exposure)
    return DarkSet(
        frames=tuple(frames),
        exposure=exposure,
        group=group,
        group_exposure=group_exposure,
        n_combined=np.array([frame.n_combined for frame in frames], dtype=np.intp),
        shape=frames[0].shape,
        dtype=FLOAT32,
        claims=Claims(),
        skipped=(),
        notes=(),
        order=np.arange(len(frames)),
        pedestal=0.0,
        ceiling=math.nan,
        options=options,
        temperature_tolerance=temperature_tolerance,
        _scratch=(),
    )


def _agreed(claims: Sequence[tuple[Claim, ...]]) -> tuple[tuple[Claim, ...], tuple[str, ...]]:
    """Return the claims in which all frames that make them agree, and a note on each of the others."""
    values: dict[str, list[float]] = {}
    for key, value in (claim for of_frame in claims for claim in of_frame):
        values.setdefault(key, []).append(value)
    same = {key: np.allclose(found, found[0], rtol=1e-6, atol=0) for key, found in values.items()}
    agreed = tuple(Claim(key, found[0]) for key, found in values.items() if same[key])
    return agreed, tuple(
        f"{key} differs between the headers ({min(found):g} to {max(found):g}) and is not used"
        for key, found in values.items()
        if not same[key]
    )


def remarks_on(frames: Sequence[Frame]) -> Iterator[str]:
    """Yield each remark once, with the frames it is about."""
    about: dict[str, list[str]] = {}
    for frame in frames:
        for remark in frame.remarks:
            about.setdefault(remark, []).append(frame.name)
    for remark, names in about.items():
        yield f"{some_of(names)}: {remark}"
