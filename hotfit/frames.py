"""One dark frame: what its header says, as far as a fit needs it."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from hotfit.errors import HotfitError
from hotfit.exposures import DAY, Exposure, begun_of, exposure_of, is_exposure
from hotfit.geometry import Cut, CutRows, Wells, cut_of
from hotfit.headers import (
    Claim,
    Headers,
    Options,
    called_dark,
    gain_claims,
    image_type_of,
    is_combined,
    n_averaged_of,
    n_combined_of,
    read_noise_claims,
    saturation_claims,
    settings_of,
    temperature_of,
)
from hotfit.readers import Packed, Rows

PER_SECOND = re.compile(r"(/|per)\s*s(ec|econd)?\b|\bs\s*(\*\*|\^)?\s*-1", re.IGNORECASE)

NO_TYPE = "no image type in the header, taken as a dark"
MASTER_OF_UNKNOWN = "a master of an unknown number of frames, counted as one"


class Skipped(NamedTuple):
    """A file that was found but is not a dark to fit, and as much of its header as was read."""

    name: str
    reason: str
    image_type: str = ""
    exposure: float = math.nan
    temperature: float = math.nan
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Frame:
    """One dark frame.

    Attributes
    ----------
    name : str
        The path as given, or ``"frame 3"`` (counted from 1) for data in memory.
    exposure : float
        Seconds; 0 for a bias.
    temperature : float
        Degrees C, NaN if the header does not say.
    begun : float
        Modified Julian date (UTC) of its begin, NaN if the header does not say.
    n_combined : int
        Frames averaged into this one, by software or by the camera.
    master : bool
        Whether it was combined by software, from frames that may be in the set as well.
    image_type : str
        As the header has it, ``""`` if it does not say.
    gain_claims, read_noise_claims, saturation_claims : tuple of Claim
        What the header says of the detector: e-/adu, e-, adu, unchecked.
    shape : tuple of int
        Rows and columns that are left after trimming.
    settings : dict
        Value of each of `SETTING_KEYS` that the header has.
    remarks : tuple of str
        What was assumed about this frame.
    reader : Rows, CutRows or Packed
        Hands out its rows, once it is unpacked.
    cut : Cut or None
        What to trim and subtract.
    path : Path or None
        Of its file, absolute: the same in any process. None for data in memory.
    """

    name: str
    exposure: float
    temperature: float
    begun: float
    n_combined: int
    master: bool
    image_type: str
    gain_claims: tuple[Claim, ...]
    read_noise_claims: tuple[Claim, ...]
    saturation_claims: tuple[Claim, ...]
    shape: tuple[int, int]
    settings: Mapping[str, float | str]
    remarks: tuple[str, ...]
    reader: Rows | CutRows | Packed
    cut: Cut | None = None
    path: Path | None = None

    def skipped(self, reason: str) -> Skipped:
        """Return what is told of this frame where it is not fitted after all."""
        return Skipped(self.name, reason, self.image_type, self.exposure, self.temperature, self.shape)


def skipped_of(name: str, reason: str, headers: Headers, shape: tuple[int, ...], options: Options) -> Skipped:
    """Describe a frame that is not fitted, as far as its header goes."""
    try:
        exposure = exposure_of(headers, name, options).seconds
    except HotfitError:
        exposure = math.nan
    return Skipped(name, reason, image_type_of(headers), exposure, temperature_of(headers), tuple(shape))


def frame_of(
    name: str,
    headers: Headers,
    shape: tuple[int, int],
    reader: Rows | Packed,
    seconds: float | None,
    options: Options,
    remarks: tuple[str, ...] = (),
) -> Frame | Skipped:
    """Describe a dark; a master without an exposure time is skipped.

    Parameters
    ----------
    name : str
        What messages call it.
    headers : Headers
    shape : tuple of int
        Rows and columns as they are stored.
    reader : Rows or Packed
    seconds : float or None
        The exposure if the caller knows it; None to take it from the header.
    options : Options
    remarks : tuple of str
        What was assumed about it already.

    Raises
    ------
    HotfitError
        Its exposure is unknown, it holds no counts, or a section does not fit.
    """
    image_type = image_type_of(headers)
    combined, averaged, master = n_combined_of(headers), n_averaged_of(headers), is_combined(headers)
    try:
        exposure = exposure_of(headers, name, options) if seconds is None else _listed(seconds, name)
    except HotfitError:
        if not master:
            raise
        reason = f"its image type is {image_type!r}, and its exposure time is not known"
        return skipped_of(name, reason, headers, shape, options)
    _check_unit(headers, name)
    cut = cut_of(headers, shape, name, options)
    remarks = (
        *_assumed(image_type, exposure, combined, averaged, master),
        *(cut.remarks if cut else ()),
        *remarks,
    )
    return Frame(
        name=name,
        exposure=exposure.seconds,
        temperature=temperature_of(headers),
        begun=begun_of(headers),
        n_combined=combined * averaged,
        master=combined > 1 or master,
        image_type=image_type,
        gain_claims=gain_claims(headers),
        read_noise_claims=read_noise_claims(headers),
        saturation_claims=saturation_claims(headers),
        shape=shape if cut is None else cut.shape,
        settings=settings_of(headers),
        remarks=remarks,
        reader=reader,
        cut=cut,
    )


def _assumed(
    image_type: str, exposure: Exposure, combined: int, averaged: int, master: bool
) -> Iterator[str]:
    """Yield what was assumed about a frame."""
    if not image_type:
        yield NO_TYPE
    elif not called_dark(image_type):
        yield f"its image type is {image_type!r}, taken as a dark"
    yield from exposure.remarks
    if exposure.seconds > DAY:
        yield f"an exposure of {exposure.seconds / DAY:.3g} days"
    if master and combined == 1:
        yield MASTER_OF_UNKNOWN
    if averaged > 1:
        yield f"the camera averaged {averaged} exposures in it"


def _check_unit(headers: Headers, name: str) -> None:
    """Refuse rates, which have no counts to weigh by."""
    unit = str(headers.value("BUNIT") or "")
    if PER_SECOND.search(unit):
        raise HotfitError(
            f"{name}: holds rates (BUNIT = {unit!r}); give the counts, before they were divided by time"
        )


def _listed(seconds: float, name: str) -> Exposure:
    if not is_exposure(seconds):
        raise HotfitError(f"{name}: an exposure of {seconds:g} s was given for it; give seconds, or zero")
    return Exposure(float(seconds))


def wells_of(frames: Iterable[Frame]) -> Wells | None:
    """What the readers of a set know of its full wells; None where no overscan is subtracted."""
    return next((frame.reader.wells for frame in frames if has_overscan(frame)), None)


def with_wells(frames: Iterable[Frame], wells: Wells) -> tuple[Frame, ...]:
    """The frames, whose readers know of these full wells if they subtract an overscan."""
    return tuple(
        replace(frame, reader=replace(frame.reader, wells=wells)) if has_overscan(frame) else frame
        for frame in frames
    )


def has_overscan(frame: Frame) -> bool:
    """Whether an overscan is subtracted from this frame."""
    return isinstance(frame.reader, CutRows) and frame.reader.cut.overscan is not None
