"""Do these frames make one set? Every refusal names the odd frames, what differs, and the remedy."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from hotfit.errors import HotfitError
from hotfit.exposures import SAME_EXPOSURE
from hotfit.frames import Frame, Skipped
from hotfit.headers import ANY_TYPE, MASTERS, SETTING_KEYS, Options, is_master


def without_masters(darks: list[Frame], mixed: Sequence[str]) -> tuple[list[Frame], list[Skipped]]:
    """Leave out what is called a master beside single frames of its exposure, or is of unknown weight."""
    singles = [frame for frame in darks if not frame.master]
    if not singles or MASTERS in mixed:
        return darks, []
    why = [_why_no_master(frame, singles) for frame in darks]
    skipped = [
        frame.skipped(f"its image type is {frame.image_type!r}, and {reason}")
        for frame, reason in zip(darks, why, strict=True)
        if reason
    ]
    return [frame for frame, reason in zip(darks, why, strict=True) if not reason], skipped


def _why_no_master(frame: Frame, singles: list[Frame]) -> str:
    if not is_master(frame.image_type):
        return ""
    if _beside(frame, singles):
        return "there are single frames of its exposure"
    return "" if frame.n_combined > 1 else "beside single frames its weight, NCOMBINE, must be known"


def _beside(frame: Frame, singles: list[Frame]) -> list[str]:
    """Return the names of single frames of the same exposure."""
    return [
        single.name
        for single in singles
        if math.isclose(single.exposure, frame.exposure, rel_tol=SAME_EXPOSURE)
    ]


def check_set(
    darks: list[Frame], skipped: Sequence[Skipped], temperature_tolerance: float, options: Options
) -> tuple[str, ...]:
    """Refuse frames that do not make one set; return notes on what differs because the user allows it."""
    known = {*SETTING_KEYS, MASTERS, ANY_TYPE}
    if unknown := [key for key in options.mixed if key not in known]:
        raise HotfitError(f"mixed={unknown[0]}: frames may differ in {', '.join(sorted(known))} only")
    _check_enough(darks, skipped)
    notes = (*_check_alike(darks, options.mixed), *_check_masters(darks, options.mixed))
    check_temperatures(darks, temperature_tolerance)
    return notes


def _check_enough(darks: list[Frame], skipped: Sequence[Skipped]) -> None:
    """Refuse fewer than two darks, and say what was skipped."""
    if len(darks) >= 2:
        return
    left_out = [f"{item.name}, {item.reason}" for item in skipped]
    left_out = f" (skipped: {some_of(left_out)})" if skipped else ""
    what = f"{darks[0].name}: is the only dark" if darks else "no darks"
    remedy = f", or allow any type with --mixed {ANY_TYPE}" if skipped else ""
    raise HotfitError(
        f"{what} among {len(darks) + len(skipped)} frames{left_out}; give two darks or more{remedy}"
    )


def _check_alike(darks: list[Frame], mixed: Sequence[str]) -> Iterator[str]:
    """Refuse frames of different shapes, cameras or camera settings, or note what differs and may."""
    shapes = [f"{frame.shape[0]} x {frame.shape[1]}" for frame in darks]
    if odd := _odd_ones(darks, "shape in rows x columns", shapes):
        raise HotfitError(f"{odd}; leave the odd ones out or fit them apart")
    for key, label in SETTING_KEYS.items():
        if odd := _odd_ones(darks, f"{label} {key}", [frame.settings.get(key) for frame in darks]):
            if key not in mixed:
                raise HotfitError(
                    f"{odd}; leave the odd ones out, fit them apart, or allow it with --mixed {key}"
                )
            yield f"{odd}, as --mixed {key} allows"


def _odd_ones(darks: list[Frame], label: str, values: Sequence[float | str | None]) -> str:
    """Say whose value differs from that of the most; one that does not say may be anything."""
    known = [(frame.name, value) for frame, value in zip(darks, values, strict=True) if value is not None]
    counts = Counter(_folded(value) for _, value in known)
    if len(counts) < 2:
        return ""
    usual_folded, n_usual = counts.most_common(1)[0]
    example, usual = next(pair for pair in known if _folded(pair[1]) == usual_folded)
    others = f" and {n_usual - 1} more" if n_usual > 1 else ""
    odd = [f"{name} ({_spell(value)})" for name, value in known if _folded(value) != usual_folded]
    return f"{some_of(odd)}: {label} differs from {_spell(usual)} in {example}{others}"


def _check_masters(darks: list[Frame], mixed: Sequence[str]) -> Iterator[str]:
    """Refuse combined frames beside single ones of the same exposure, of which they may be made."""
    singles = [frame for frame in darks if not frame.master]
    for frame in (frame for frame in darks if frame.master):
        if not (beside := _beside(frame, singles)):
            continue
        text = (
            f"{frame.name}: is combined from {frame.n_combined} frames and stands beside single ones of its "
            f"exposure ({some_of(beside)})"
        )
        if MASTERS not in mixed:
            raise HotfitError(
                f"{text}, which would count twice; leave it out, or allow it with --mixed {MASTERS}"
            )
        yield f"{text}, as --mixed {MASTERS} allows"


def check_temperatures(darks: list[Frame], tolerance: float) -> None:
    """Refuse sensor temperatures that lie more than `tolerance` (K) apart."""
    known = [(frame.temperature, frame.name) for frame in darks if math.isfinite(frame.temperature)]
    if not known or max(known)[0] - min(known)[0] <= tolerance:
        return
    median = float(np.median([value for value, _ in known]))
    odd = [(value, name) for value, name in known if abs(value - median) > tolerance]
    odd = odd or [min(known), max(known)]
    names = [f"{name} ({value:.2f} C)" for value, name in odd]
    raise HotfitError(
        f"{some_of(names)}: more than {tolerance:g} K apart, the median is {median:.2f} C;"
        " leave the odd ones out, or allow more with --temperature-tolerance"
    )


def some_of(names: Sequence[str]) -> str:
    """Join up to three names, and count the rest."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _folded(value: float | str) -> float | str:
    return value.casefold() if isinstance(value, str) else value


def _spell(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
