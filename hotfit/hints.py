"""What the user and the headers claim about the detector, checked against what the darks show."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hotfit.errors import HotfitError
from hotfit.headers import Claim
from hotfit.noise import NoiseEstimate

GAIN_KNOWN = 0.15
"""Relative error up to which the darks' own gain counts as measured."""

GAIN_AGREEMENT = 0.1
"""A claimed gain this close to the darks' own, or within three of its errors, is believed."""

GAIN_CHECKED = 0.25
"""Relative error up to which shot noise too faint for a gain still tells a claim from four times it."""

MEDIANS = 0.6
"""The gain that combined frames show, over the true one, if they are medians: 2 / pi, less the clipped."""

NATIVE_KEYS = ("EGAIN", "E-GAIN")
"""Keys that may count the converter's own numbers, before a camera program shifted them to 16 bits."""

SETTING = "GAIN"
"""A key that is a camera setting more often than a gain: nothing is owed to its users if it is not used."""

NOISE_AGREEMENT = 1.2
"""A claimed read noise whose variance differs by more than this factor from the darks' own gets a note."""

LEVEL_AGREEMENT = 0.02
"""A claimed saturation level this close to the darks' own needs no note."""


class Decision(NamedTuple):
    """A figure of the detector, where it comes from, and notes on claims that were not used."""

    value: float
    source: str
    notes: tuple[str, ...] = ()


def measured_gain(noise: NoiseEstimate) -> tuple[float, float]:
    """Gain in e-/adu that the noise shows, and its error; nan where it is not known well enough."""
    if not (1e-3 < noise.shot < 1e3 and noise.shot_error < GAIN_KNOWN * noise.shot):
        return np.nan, np.nan
    return 1 / noise.shot, noise.shot_error / noise.shot**2


def decide_gain(
    given: float | None,
    claims: Sequence[Claim],
    noise: NoiseEstimate,
    step: float,
    *,
    combined: bool = False,
) -> Decision:
    """Gain in e-/adu (nan: unknown).

    Parameters
    ----------
    given : float or None
        What the user says, which wins.
    claims : sequence of Claim
        What the headers say: used only if the darks agree.
    noise : NoiseEstimate
        What the darks say.
    step : float
        Of the converter, adu: some claims are for numbers before they were multiplied by it.
    combined : bool
        There are masters, whose noise is that of means or, larger, of medians.
    """
    own, error = measured_gain(noise)
    shown = f"the darks show {own:.3g} +- {error:.1g}"
    if given is not None:
        doubted = bool(np.isfinite(own)) and not _agrees(given, noise)
        return Decision(
            float(given), "user", (f"gain={given:g} e-/adu is used as given, but {shown}",) * doubted
        )
    for claim in claims:
        if _agrees(claim.value, noise, combined=combined):
            return Decision(claim.value, "header")
        if step > 1 and claim.key in NATIVE_KEYS and _agrees(claim.value / step, noise, combined=combined):
            note = (
                f"header {claim.key} = {claim.value:g} e-/adu is for steps of the converter, of {step:g} adu"
            )
            return Decision(claim.value / step, "header", (note,))
    named = [f"header {key} = {value:g} e-/adu" for key, value in claims if key != SETTING]
    if np.isfinite(own):
        medians = (f"gain {own:.3g} e-/adu takes the combined frames for means: of medians it is too low",)
        return Decision(
            own, "darks", (*(f"{claim} is not used: {shown}" for claim in named), *(medians * combined))
        )
    unchecked = "is not used: the darks hold too few warm pixels to check it; give gain if you know it"
    if combined and not np.isfinite(noise.shot_error):
        unchecked = (
            "is not used: of how many frames the masters are made is not known; give gain if you know it"
        )
    return Decision(np.nan, "unknown", tuple(f"{claim} {unchecked}" for claim in named))


def _agrees(gain: float, noise: NoiseEstimate, *, combined: bool = False) -> bool:
    own, error = measured_gain(noise)
    if combined and MEDIANS * gain < own < gain:
        return True
    if np.isfinite(own):
        return bool(abs(gain - own) < max(GAIN_AGREEMENT * own, 3 * error))
    return bool(noise.shot_error < GAIN_CHECKED / gain and abs(noise.shot - 1 / gain) < 3 * noise.shot_error)


def decide_read_noise(given: float | None, gain: float, noise: NoiseEstimate, step: float) -> float:
    """Read noise without the quantisation part: in e- where the gain is known, else in adu."""
    if given is not None and not np.isfinite(gain):
        raise HotfitError(f"read_noise={given} e- needs a gain, and the darks show none: give gain")
    if given is not None:
        return float(given)
    return _own_read_noise(noise, step) * (gain if np.isfinite(gain) else 1.0)


def _own_read_noise(noise: NoiseEstimate, step: float) -> float:
    return float(np.sqrt(max(noise.read - step**2 / 12, 0)))


def doubt_read_noise(
    given: float | None, claims: Sequence[Claim], gain: float, noise: NoiseEstimate, step: float
) -> tuple[str, ...]:
    """Notes on a read noise that rests on little, or that the darks contradict."""
    measured = np.isfinite(noise.read_error) and noise.read > 0
    if given is None and not np.isfinite(noise.shot_error) and not measured:
        return (
            "the frames leave nothing over: their noise is taken from the spread of the pixels, and errors "
            "of warm pixels are too small unless gain is given",
        )
    if not (measured and np.isfinite(gain)):
        return ()
    own = _own_read_noise(noise, step) * gain
    said = [(f"read_noise={given:g} e- is used as given, but", given)] if given is not None else []
    said = said or [(f"header {key} = {value:g} e- is not used:", value) for key, value in claims]
    # Both with the quantisation part, below which a claim cannot be told from nothing.
    quantised = step**2 / 12
    ratios = [((value / gain) ** 2 + quantised) / max(noise.read, 1e-12) for _, value in said]
    return tuple(
        f"{claim} the darks show {own:.3g} e-"
        for (claim, _), ratio in zip(said, ratios, strict=True)
        if not 1 / NOISE_AGREEMENT < ratio < NOISE_AGREEMENT
    )


def decide_saturation(
    given: float | None, claims: Sequence[Claim], found: float, top: float, *, pedestal: float = 0.0
) -> Decision:
    """Saturation level in adu (inf: unknown).

    Parameters
    ----------
    given : float or None
        What the user says, which wins.
    claims : sequence of Claim
        What the headers say: used only where it is lower than what the darks show, and no sample is higher.
    found : float
        What the darks show.
    top : float
        The highest sample.
    pedestal : float
        Overscan level that `found` and `top` do not have any more, but users and headers count.
    """
    if given is not None:
        level = float(given) - pedestal
        low = found <= top and level > (1 + LEVEL_AGREEMENT) * found
        note = f"saturation={given:g} adu is used as given, but pixels are full at {found:.0f} adu"
        return Decision(level, "user", (note,) * bool(low))
    notes = []
    for key, claimed in claims:
        value = claimed - pedestal
        if top <= value < found:
            return Decision(value, "header", tuple(notes))
        if value < min(top, found):
            notes.append(f"header {key} = {claimed:g} adu is not used: samples reach {top:g} adu")
        elif found <= top and value > (1 + LEVEL_AGREEMENT) * found:
            notes.append(f"header {key} = {claimed:g} adu is not used: pixels are full at {found:.0f} adu")
    if not np.isfinite(found):
        notes.append(
            "no saturation level shows in the counts: full pixels look bent unless saturation is given"
        )
    return Decision(float(found), "darks", tuple(notes))
