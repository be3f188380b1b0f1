"""Frame terms: what counts as temperature, what as roll-off, and what is left."""

import numpy as np
import pytest

from hotfit.terms import (
    JITTER,
    PLAUSIBLE,
    Change,
    between_exposures,
    biweight,
    drawn_back,
    jitter_rms,
    thinned,
    untrended,
    within_exposures,
)

TIMES, FRAMES, HOT = np.array([0.0, 0.1, 0.3, 1.0]), 6, 2000
GROUP = np.repeat(np.arange(4), FRAMES)
U = TIMES[GROUP]
ONE = np.ones(U.size)


def thermometers(change, bend=0.0, share=0.0, seed=0):
    """Ratios and errors (N, P) of hot pixels of 0.2 to 5 % noise; a share of them bends by `bend` * u**2."""
    rng = np.random.default_rng(seed)
    error = np.geomspace(0.002, 0.05, HOT) * np.ones((U.size, 1))
    truth = np.outer(change * U, np.ones(HOT))
    truth -= np.outer(bend * U**2, rng.random(HOT) < share)
    ratio = untrended(truth, U, ONE, False) + error * rng.standard_normal(error.shape)
    return ratio, error


def drawn(rms, seed=1):
    """Relative scale changes of the frames."""
    return rms * np.random.default_rng(seed).standard_normal(U.size) * (U > 0)


def measured(ratio, error):
    """Change of every frame, the jitter, and the notes."""
    within = within_exposures(ratio, error, U, GROUP, ONE)
    jitter = jitter_rms(within, GROUP)
    between, notes = between_exposures(ratio, error, U, GROUP, ONE, jitter, False)
    return within, between, jitter, notes


def of_exposures(change):
    """Mean of each exposure with dark current, without what is common to all."""
    means = np.bincount(GROUP, change)[1:] / FRAMES
    return means - np.average(means, weights=TIMES[1:])


@pytest.mark.parametrize("rms", [0.003, 0.01, 0.03])
def test_temperature_is_followed_within_and_between_exposures(rms):
    change = drawn(rms)
    within, between, jitter, notes = measured(*thermometers(change))
    own = change - (np.bincount(GROUP, change) / FRAMES)[GROUP]
    assert np.abs(within.value - own)[U > 0.2].max() < 1e-3
    assert np.abs((within.value - own) / within.error)[U > 0].max() < 5
    found = between.value[1:] - np.average(between.value[1:], weights=TIMES[1:])
    np.testing.assert_allclose(found, of_exposures(change), atol=8e-4)
    assert jitter == pytest.approx(rms, rel=0.5, abs=0.003)
    assert notes == ()


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_pixels_that_bend_have_no_say(share):
    change = drawn(0.01)
    _, between, _, _ = measured(*thermometers(change, bend=0.15, share=share))
    found = between.value[1:] - np.average(between.value[1:], weights=TIMES[1:])
    np.testing.assert_allclose(found, of_exposures(change), atol=4e-3)  # the bend itself: 5e-2


def test_a_bend_of_all_is_not_temperature_and_is_told():
    _, between, jitter, notes = measured(*thermometers(drawn(0.003), bend=0.3, share=1.0))
    limit = PLAUSIBLE * (jitter / np.sqrt(FRAMES) + between.error[1:])
    assert limit[-2:].max() < 0.02  # the bend itself: 0.1
    assert (np.abs(between.value[1:]) <= 1.001 * limit).all()
    assert len(notes) == 1
    assert "roll-off" in notes[0]


def test_single_frames_cannot_depart_within_their_exposure():
    within = within_exposures(*(x[:4] for x in thermometers(drawn(0.01))), TIMES, np.arange(4), np.ones(4))
    np.testing.assert_array_equal(within.value, 0)
    assert jitter_rms(within, np.arange(4)) == pytest.approx(JITTER)


def test_what_is_noise_is_drawn_back_and_its_error_is_what_is_left():
    kept = drawn_back(Change(np.array([0.02, 0.02, 0.02]), np.array([1e-5, 0.01, np.inf])), 0.01)
    np.testing.assert_allclose(kept.value, [0.02, 0.01, 0.0], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(kept.error, [1e-5, 0.01 / np.sqrt(2), 0.01], rtol=1e-4)


def test_biweight_stays_with_the_majority():
    rng = np.random.default_rng(4)
    values = rng.normal(0.01, 0.001, 1000)
    values[:400] += np.abs(rng.normal(0.05, 0.02, 400)) + 0.01
    centre, error = biweight(values, np.full(1000, 0.001))
    assert centre == pytest.approx(0.01, abs=3e-4)
    assert 2e-5 < error < 1e-3


def test_untrended_takes_out_what_looks_like_a_line():
    u = np.array([0.0, 0.1, 0.3, 0.3, 1.0])
    weight = np.array([1.0, 2.0, 1.0, 1.0, 4.0])
    np.testing.assert_allclose(untrended(3 + 5 * u, u, weight, False), 0, atol=1e-12)
    np.testing.assert_allclose(untrended(5 * u, u, weight, True), 0, atol=1e-12)
    assert np.abs(untrended(u**2, u, weight, False)).max() > 0.05


def test_thinned_pixels_are_about_enough_whatever_else_was_chosen():
    chosen = np.random.default_rng(0).random(100_000) < 0.6
    kept = thinned(chosen, 9000)
    assert chosen[kept].all()
    assert 8000 < kept.size < 11_000
    chosen[kept[0] + 1] ^= True
    np.testing.assert_array_equal(thinned(chosen, 9000), kept)
