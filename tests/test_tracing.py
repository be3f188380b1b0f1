"""The samples that a result keeps: which pixels, their counts, and what became of each."""

from dataclasses import fields

import numpy as np
import pytest

import hotfit
from hotfit import tracing
from hotfit.curves import DROPPED, LONGER, MISSING, SATURATED, USED, Curves
from hotfit.flags import DQ


def assert_same_curves(one, other):
    for field in fields(Curves):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


@pytest.fixture(scope="module")
def made():
    """A cube with saturated, stuck, hit and missing samples, its exposures, and the fit."""
    cube, exposure, _ = hotfit.simulate.cube("guide", shape=(70, 90), seed=4, odd=30)
    cube = cube.astype(np.float32)
    order = np.random.default_rng(4).permutation(exposure.size)  # frames come in any order
    cube, exposure = cube[order], exposure[order]
    cube[:, 5, 5] = 65535
    cube[exposure > 200, 5, 7] = 65535
    cube[np.flatnonzero(exposure == 90)[0], 6, 6] = 65535  # a cosmic ray that saturates
    cube[np.flatnonzero(exposure == 300)[:2], 8, 8] = np.nan
    for k, y in enumerate(range(10, 60, 5)):
        cube[k % exposure.size, y, 20] += 900
    return cube, exposure, hotfit.fit_cube(cube, exposure)


def test_small_images_are_kept_whole(made):
    cube, exposure, fit = made
    curves = fit.curves
    assert curves.y.size == fit.dq.size
    np.testing.assert_array_equal(curves.weight, 1)
    by_time = np.argsort(exposure, kind="stable")
    np.testing.assert_array_equal(curves.counts, cube[by_time][:, curves.y, curves.x].T)


def test_states_are_those_of_the_kernel(made):
    _, _, fit = made
    curves = fit.curves
    at = curves.y, curves.x
    stuck = np.isnan(fit.rate[at]) & ((fit.dq[at] & DQ.SATURATED) == 0)
    used = (curves.state == USED).sum(axis=1)
    np.testing.assert_array_equal(used[~stuck], fit.n_used[at][~stuck])
    np.testing.assert_array_equal((curves.state == DROPPED).sum(axis=1), fit.n_dropped[at])
    saturated = (curves.state == SATURATED).sum(axis=0)
    np.testing.assert_array_equal(saturated, fit.frames["saturated"])
    np.testing.assert_array_equal((curves.state == DROPPED).sum(axis=0), fit.frames["dropped"])
    np.testing.assert_array_equal(curves.state == MISSING, np.isnan(curves.counts))
    for state in (USED, SATURATED, DROPPED, MISSING):
        assert (curves.state == state).any()


def test_longer_exposures_than_a_saturated_one_are_told_apart():
    exposure = np.repeat([0.0, 10.0, 20.0, 30.0], 4)
    cube = np.random.default_rng(0).normal(1000, 5, (16, 20, 20)) + 20 * exposure[:, None, None]
    cube[4:, 3, 3] += 3000 * exposure[4:]
    cube = np.clip(np.round(cube), 0, 40000).astype(np.uint16)
    cube[8, 3, 3] = 39000  # noise takes one of the full samples below the level
    fit = hotfit.fit_cube(cube, exposure, saturation=39500)
    index = fit.curves.find(3, 3)
    assert fit.curves.state[index].tolist() == [USED] * 8 + [LONGER] + [SATURATED] * 7
    assert fit.n_used[3, 3] == 8
    assert fit.curves.find(20, 0) is None


@pytest.mark.parametrize("most", [100, 1000])
def test_a_part_stands_for_the_whole(made, most, monkeypatch):
    cube, exposure, whole = made
    monkeypatch.setattr(tracing, "SAMPLES", most * exposure.size)
    monkeypatch.setattr(tracing, "SCANNED", 30 * 90)
    curves = hotfit.fit_cube(cube, exposure).curves
    counted = curves.weight > 0
    assert most * 0.9 <= counted.sum() <= most
    assert curves.weight.sum() == pytest.approx(whole.dq.size)
    odd = (whole.dq[curves.y, curves.x] & ~np.uint32(DQ.JUMP_DET)) != 0
    assert curves.weight[odd].sum() == pytest.approx(np.count_nonzero(whole.dq & ~np.uint32(DQ.JUMP_DET)))
    flat = curves.y.astype(int) * 90 + curves.x
    assert (np.diff(flat) > 0).all()
    np.testing.assert_array_equal(curves.counts, whole.curves.counts[flat])
    np.testing.assert_array_equal(curves.state, whole.curves.state[flat])


@pytest.mark.parametrize(("reason", "severity"), [("NONLINEAR", "misfit"), ("TELEGRAPH", "scatter")])
def test_the_worst_of_each_reason_are_kept(made, reason, severity, monkeypatch):
    cube, exposure, whole = made
    monkeypatch.setattr(tracing, "SAMPLES", exposure.size)  # next to nothing else
    monkeypatch.setattr(tracing, "WORST", 12)
    curves = hotfit.fit_cube(cube, exposure).curves
    y, x = np.nonzero(whole.mask & ((whole.dq & DQ[reason]) != 0))
    assert y.size > tracing.WORST
    worst = np.argsort(-getattr(whole, severity)[y, x])[: tracing.WORST]
    assert all(curves.find(y[i], x[i]) is not None for i in worst)
    assert curves.y.size < 4 * tracing.WORST


def test_files_and_cubes_keep_the_same(tmp_path):
    hotfit.simulate.write(tmp_path / "darks", "cmos", shape=(40, 50), repeats=4, seed=3, odd=20)
    fit = hotfit.fit_darks(tmp_path / "darks")
    cube, exposure, _ = hotfit.simulate.cube("cmos", shape=(40, 50), repeats=4, seed=3, odd=20)
    assert fit.curves.counts.dtype == np.uint16
    by_time = np.argsort(exposure, kind="stable")
    np.testing.assert_array_equal(fit.curves.counts, cube[by_time][:, fit.curves.y, fit.curves.x].T)
    assert_same_curves(hotfit.read(fit.write(tmp_path / "out")).curves, fit.curves)


def test_floats_are_read_back(made, tmp_path):
    fit = made[2]
    assert fit.curves.counts.dtype == np.float32
    assert_same_curves(hotfit.read(fit.write(tmp_path / "out")).curves, fit.curves)


def test_other_rules_keep_the_same_curves(made):
    fit = made[2]
    assert fit.reflag(hot=4, bad=("HOT",)).curves is fit.curves
