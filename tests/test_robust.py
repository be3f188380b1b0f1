"""Medians and quantiles are numpy's own, whatever the values."""

import numpy as np
import pytest

from hotfit.robust import FEW, clipped_mean, median, neighbours, quantile, robust_sigma

SHARES = (0.0, 0.02, 0.2, 0.5, 0.6, 0.999, 1.0)


def samples(size):
    """Values of the kinds that darks have, by name: (size,) each."""
    rng = np.random.default_rng(size)
    smooth = rng.normal(1000, 8, size).astype(np.float32)
    return {
        "smooth": smooth,
        "whole": np.rint(smooth),
        "counts": np.rint(smooth).astype(np.uint16),
        "one count": np.full(size, 1000, np.uint16),
        "rising": np.sort(smooth),
        "tailed": rng.pareto(0.5, size),
        "two levels": np.where(rng.random(size) < 0.5, np.float32(5), np.float32(7)),
        # Every value that the sample looks at is far off.
        "unlike the sample": np.where(np.arange(size) % int(size ** (1 / 3)), smooth, smooth + 1000),
    }


@pytest.mark.parametrize("kind", samples(1))
@pytest.mark.parametrize("size", [1, 2, 7, FEW, FEW + 1, 40_000, 40_001])
def test_they_are_those_of_numpy(kind, size):
    values = samples(size)[kind]
    assert median(values) == np.median(values)
    assert robust_sigma(values) == 1.4826 * float(np.median(np.abs(values - np.median(values))))
    assert [quantile(values, share) for share in SHARES] == np.quantile(values, SHARES).tolist()
    ordered = np.sort(values)
    for rank in {0, size // 3, size - 1}:
        assert neighbours(values, rank).tolist() == [ordered[rank], ordered[min(rank + 1, size - 1)]]


def test_a_median_with_gaps_is_none():
    values = samples(40_000)["smooth"]
    values[7] = np.nan
    assert np.isnan(median(values))


def test_values_are_left_as_they_were():
    values = samples(40_000)["smooth"]
    before = values.copy()
    median(values), quantile(values, 0.3), clipped_mean(values)
    np.testing.assert_array_equal(values, before)


def test_a_tail_does_not_move_the_clipped_mean():
    values = samples(40_000)["smooth"]
    spoiled = np.concatenate([values, np.full(400, 30_000, np.float32)])
    assert clipped_mean(spoiled)[0] == pytest.approx(clipped_mean(values)[0], abs=0.2)
    assert clipped_mean(values)[1] == pytest.approx(8 / 200, rel=0.02)
