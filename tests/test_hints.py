"""Claims of users and headers against what the darks show: who decides, and what is told."""

import numpy as np
import pytest

from hotfit.errors import HotfitError
from hotfit.headers import Claim
from hotfit.hints import decide_gain, decide_read_noise, decide_saturation, doubt_read_noise
from hotfit.noise import NoiseEstimate


def noise(*, gain=1.5, error=0.001, read=49.0):
    """Darks that show a gain, with a relative error of their shot noise, and a read variance in adu**2."""
    return NoiseEstimate(read, 0.5, 1 / gain, error / gain, 1000)


SURE, VAGUE, BLIND = 0.001, 0.2, 0.5


@pytest.mark.parametrize(
    ("given", "claims", "error", "step", "value", "source", "told"),
    [
        (2.0, {"EGAIN": 1.5}, SURE, 1, 2.0, "user", ["gain=2 e-/adu is used as given", "show 1.5 "]),
        (1.55, {}, SURE, 1, 1.55, "user", []),
        (2.0, {}, BLIND, 1, 2.0, "user", []),
        (None, {"EGAIN": 1.55}, SURE, 1, 1.55, "header", []),
        (None, {"EGAIN": 6.0}, SURE, 1, 1.5, "darks", ["header EGAIN = 6 e-/adu is not used", "show 1.5 "]),
        (None, {"EGAIN": 6.0}, SURE, 4, 1.5, "header", ["EGAIN = 6", "steps of the converter, of 4 adu"]),
        (None, {"EGAINSAV": 6.0}, SURE, 4, 1.5, "darks", ["EGAINSAV = 6 e-/adu is not used"]),
        (None, {"EGAINSAV": 1.5, "EGAIN": 24.0}, SURE, 16, 1.5, "header", []),
        (None, {"EGAIN": 6.0, "GAIN": 1.55}, SURE, 1, 1.55, "header", []),
        (None, {"GAIN": 120.5}, SURE, 1, 1.5, "darks", []),
        (None, {}, SURE, 1, 1.5, "darks", []),
        # Too little light for a gain of their own, enough to tell a claim from one four times as large.
        (None, {"EGAIN": 1.6}, VAGUE, 1, 1.6, "header", []),
        (None, {"EGAIN": 6.0}, VAGUE, 1, np.nan, "unknown", ["header EGAIN = 6", "too few warm pixels"]),
        (None, {"EGAIN": 0.375}, VAGUE, 1, np.nan, "unknown", ["header EGAIN = 0.375", "give gain"]),
        (None, {"EGAIN": 1.5}, BLIND, 1, np.nan, "unknown", ["header EGAIN = 1.5", "give gain"]),
        (None, {}, BLIND, 1, np.nan, "unknown", []),
    ],
)
def test_who_decides_the_gain(given, claims, error, step, value, source, told):
    decision = decide_gain(given, [Claim(*item) for item in claims.items()], noise(error=error), step)
    assert decision.value == pytest.approx(value, nan_ok=True, rel=1e-9)
    assert decision.source == source
    assert len(decision.notes) == bool(told)
    assert all(part in decision.notes[0] for part in told)


@pytest.mark.parametrize(
    ("claims", "error", "value", "source", "told"),
    [
        ({"EGAIN": 1.5}, SURE, 1.5, "header", ""),
        ({"EGAIN": 2.3}, SURE, 2.3, "header", ""),
        ({"EGAIN": 6.0}, SURE, 1.5, "darks", "header EGAIN = 6"),
        ({}, SURE, 1.5, "darks", "takes the combined frames for means"),
        ({"EGAIN": 1.5}, np.inf, np.nan, "unknown", "of how many frames the masters are made"),
    ],
)
def test_the_gain_that_combined_frames_show_may_be_that_of_medians(claims, error, value, source, told):
    claims = [Claim(*item) for item in claims.items()]
    decision = decide_gain(None, claims, noise(error=error), 1, combined=True)
    assert decision.value == pytest.approx(value, nan_ok=True)
    assert decision.source == source
    assert any(told in note for note in decision.notes) == bool(told)


@pytest.mark.parametrize(
    ("given", "claims", "found", "top", "value", "source", "told"),
    [
        (50000, {"SATURATE": 40000}, 60000, 65000, 50000, "user", []),
        (65535, {}, 53689, 55000, 65535, "user", ["saturation=65535 adu is used as given", "at 53689"]),
        (None, {}, 60000, 65000, 60000, "darks", []),
        (None, {"DATAMAX": 65535}, 60000, 64740, 60000, "darks", ["DATAMAX = 65535", "full at 60000 adu"]),
        (None, {"DATAMAX": 65535}, 65535, 65535, 65535, "darks", []),
        (None, {"DATAMAX": 65535}, 65520, 65520, 65520, "darks", []),
        (None, {"SATURATE": 50000}, 65535, 30000, 50000, "header", []),
        (None, {"SATURATE": 20000}, 65535, 30000, 65535, "darks", ["SATURATE = 20000", "reach 30000 adu"]),
        (None, {"SATURATE": 20000, "MAXLIN": 5e4}, 65535, 30000, 5e4, "header", ["SATURATE = 20000"]),
        (None, {"SATURATE": 60000}, np.inf, 30000, 60000, "header", []),
        (None, {}, np.inf, 30000, np.inf, "darks", ["no saturation level"]),
    ],
)
def test_who_decides_the_saturation_level(given, claims, found, top, value, source, told):
    decision = decide_saturation(given, [Claim(*item) for item in claims.items()], found, top)
    assert (decision.value, decision.source) == (value, source)
    assert len(decision.notes) == bool(told)
    assert all(part in decision.notes[0] for part in told)


@pytest.mark.parametrize(
    ("given", "claims", "gain", "told"),
    [
        (None, {"RDNOISE": 10.5}, 1.5, []),
        (None, {"RDNOISE": 5.0}, 1.5, ["header RDNOISE = 5 e- is not used: the darks show 10.5 e-"]),
        (5.0, {"RDNOISE": 5.0}, 1.5, ["read_noise=5 e- is used as given, but the darks show 10.5 e-"]),
        (10.4, {"RDNOISE": 5.0}, 1.5, []),
        (None, {"RDNOISE": 5.0}, np.nan, []),
    ],
)
def test_a_read_noise_that_the_darks_contradict_is_told(given, claims, gain, told):
    claims = [Claim(*item) for item in claims.items()]
    assert list(doubt_read_noise(given, claims, gain, noise(), 1.0)) == told


def test_read_noise_in_electrons_needs_a_gain():
    assert decide_read_noise(None, 1.5, noise(), 0) == pytest.approx(10.5)
    assert decide_read_noise(None, np.nan, noise(), 0) == pytest.approx(7)
    assert decide_read_noise(8.0, 1.5, noise(), 0) == 8
    with pytest.raises(HotfitError, match="needs a gain"):
        decide_read_noise(8.0, np.nan, noise(), 0)
