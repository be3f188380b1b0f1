"""Do these frames make one set? Every refusal names the odd frames, what differs, and the remedy."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from hotfit.errors import HotfitError
from hotfit.frames import Frame, Skipped
from hotfit.headers import SETTING_KEYS


def check_enough(darks: list[Frame], skipped: tuple[Skipped, ...]) -> None:
    """Refuse fewer than two darks, and say what was skipped."""
    if len(darks) >= 2:
        return
    left_out = f" (skipped: {some_of([f'{name}, {reason}' for name, reason in skipped])})" if skipped else ""
    what = f"{darks[0].name}: is the only dark" if darks else "no darks"
    raise HotfitError(f"{what} among {len(darks) + len(skipped)} frames{left_out}; give two darks or more")


def check_alike(darks: list[Frame]) -> None:
    """Refuse frames of different shapes, cameras or camera settings."""
    _check_same(darks, "shape in rows x columns", [f"{frame.shape[0]} x {frame.shape[1]}" for frame in darks])
    for key, label in SETTING_KEYS.items():
        _check_same(darks, f"{label} {key}", [frame.settings.get(key) for frame in darks])


def _check_same(darks: list[Frame], label: str, values: Sequence[float | str | None]) -> None:
    """Refuse frames whose value differs from that of the most; one that does not say may be anything."""
    known = [(frame.name, value) for frame, value in zip(darks, values, strict=True) if value is not None]
    counts = Counter(value for _, value in known)
    if len(counts) < 2:
        return
    usual, n_usual = counts.most_common(1)[0]
    example = next(name for name, value in known if value == usual)
    others = f" and {n_usual - 1} more" if n_usual > 1 else ""
    odd = [f"{name} ({_spell(value)})" for name, value in known if value != usual]
    raise HotfitError(
        f"{some_of(odd)}: {label} differs from {_spell(usual)} in {example}{others};"
        " leave the odd ones out or fit them apart"
    )


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


def _spell(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
