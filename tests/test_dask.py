"""Dask arrays: whatever runs their blocks, the fit is that of the same cube in memory, bit for bit."""

import os
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from multiprocessing import get_context
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster

import hotfit
from hotfit import bands, samples, tasks, tracing
from hotfit.calibrate import calibrate
from hotfit.cubes import cube_darks
from hotfit.dasked import dask_darks
from hotfit.errors import HotfitError
from hotfit.maps import ArrayMaps

SHAPE = (150, 201)
CHUNKS = {"all frames": (-1, 40, 70), "some frames": (7, 150, 201), "whole frames": (1, -1, -1)}


@pytest.fixture(scope="module", autouse=True)
def in_parts():
    """Limits so low that a small cube is thinned and cut like a large one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "SAMPLES", 60 * 32 * SHAPE[1])
        patch.setattr(tracing, "SAMPLES", 2000 * 32)
        patch.setattr(tracing, "SCANNED", 40 * SHAPE[1])
        patch.setattr(tasks, "BANDS", 0.6e6)
        yield


@pytest.fixture(scope="module")
def made(in_parts):
    """A cube, frames in any order, its exposures, and the fit in memory."""
    cube, exposure, _ = hotfit.simulate.cube("guide", shape=SHAPE, seed=4, odd=30)
    order = np.random.default_rng(4).permutation(exposure.size)
    return cube[order], exposure[order], hotfit.fit_cube(cube[order], exposure[order])


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    """Its scheduler is that of dask as long as this is open."""
    with Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


def assert_same(one, other):
    """Same arrays and types, tables, numbers and notes, to the last bit."""
    for field in fields(one):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if field.name == "curves":
            for name in (each.name for each in fields(mine)):
                assert_same_array(getattr(mine, name), getattr(theirs, name), name)
        elif field.name == "frames":
            assert mine.colnames == theirs.colnames
            for name in mine.colnames:
                assert_same_array(np.asarray(mine[name]), np.asarray(theirs[name]), name)
        elif isinstance(mine, np.ndarray):
            assert_same_array(mine, theirs, field.name)
        else:
            assert repr(mine) == repr(theirs)
    assert one.summary() == other.summary()


def assert_same_array(mine, theirs, name):
    assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape), name
    assert mine.tobytes() == theirs.tobytes(), name


# --- schedulers


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_one_process(made, scheduler, chunks):
    cube, exposure, fit = made
    with dask.config.set(scheduler=scheduler):
        assert_same(fit, hotfit.fit_cube(da.from_array(cube, chunks=CHUNKS[chunks]), exposure))


def test_processes(made):
    cube, exposure, fit = made
    with (
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool,
        dask.config.set(scheduler="processes", pool=pool),
    ):
        assert_same(fit, hotfit.fit_cube(da.from_array(cube, chunks=(-1, 70, -1)), exposure))


@pytest.mark.parametrize("chunks", CHUNKS)
def test_cluster(made, client, chunks):
    cube, exposure, fit = made
    assert_same(fit, hotfit.fit_cube(da.from_array(cube, chunks=CHUNKS[chunks]), exposure))


def fit_of(cube, exposure):
    return hotfit.fit_cube(da.from_array(cube, chunks=(-1, 40, 70)), exposure)


@pytest.mark.filterwarnings("ignore:Sending large graph")
def test_in_tasks_that_take_all_threads(made, client):
    """They give theirs back while they wait."""
    cube, exposure, _ = made
    fit = client.submit(hotfit.fit_cube, cube, exposure).result(
        timeout=60
    )  # the limits of workers are not low
    fits = [client.submit(fit_of, cube, exposure, pure=False) for _ in range(2)]
    for each in fits:
        np.testing.assert_array_equal(each.result(timeout=60).rate, fit.rate)
    assert client.submit(sum, (1, 2)).result(timeout=20) == 3


def test_a_scheduler_that_tells_nothing_on_the_way(made):
    cube, exposure, fit = made

    def silent(graph, keys, **_):
        with dask.config.set(callbacks=()):
            return dask.local.get_sync(graph, keys, callbacks=[(None,) * 5])

    calls = []
    with dask.config.set(scheduler=silent):
        array = da.from_array(cube, chunks=CHUNKS["all frames"])
        assert_same(fit, hotfit.fit_cube(array, exposure, progress=lambda *rows: calls.append(rows)))
    assert calls[-1] == (SHAPE[0], SHAPE[0])


# --- data


@pytest.mark.parametrize("kind", ["u1", ">u2", "i4", "f4", ">f8"])
def test_types(made, kind):
    cube, exposure, _ = made
    counts = (cube // 64 if kind == "u1" else cube).clip(0, 255 if kind == "u1" else 65535).astype(kind)
    with dask.config.set(scheduler="threads"):
        got = hotfit.fit_cube(da.from_array(counts, chunks=(-1, 40, 70)), exposure, gain=1.5)
    assert_same(hotfit.fit_cube(counts, exposure, gain=1.5), got)


def with_gaps(cube):
    gaps = np.random.default_rng(2).random(cube.shape) < 1e-3
    return np.where(gaps, np.nan, cube).astype(np.float32), np.ma.array(cube, mask=gaps)


@pytest.mark.parametrize("chunks", [(-1, 40, 70), (7, 150, 201)])
def test_missing_samples(made, chunks):
    cube, exposure, _ = made
    floats, masked = with_gaps(cube)
    whole = np.ma.array(cube)  # nothing is masked, and it is the same type all the same
    with dask.config.set(scheduler="threads"):
        assert_same(
            hotfit.fit_cube(whole, exposure),
            hotfit.fit_cube(da.from_array(whole, chunks=(-1, 40, 70)), exposure),
        )
    fit = hotfit.fit_cube(masked, exposure)
    assert_same(fit, hotfit.fit_cube(floats, exposure))
    with dask.config.set(scheduler="threads"):
        for missing in (floats, masked):
            assert_same(fit, hotfit.fit_cube(da.from_array(missing, chunks=chunks), exposure))


@pytest.mark.parametrize("chunks", CHUNKS)
def test_what_a_set_is_asked_for(made, chunks):
    cube, exposure, _ = made
    mine = cube_darks(cube, exposure)
    theirs = dask_darks(da.from_array(cube, chunks=CHUNKS[chunks]), exposure)
    runs, (y, x) = [(0, 3), (7, 8), (100, 150)], (np.array([149, 0, 3]), np.array([0, 200, 5]))
    with dask.config.set(scheduler="threads"):
        for ask in (
            lambda darks: darks.sample(runs),
            lambda darks: darks.pixels(y, x),
            lambda darks: darks.count_above(29, 0.99, 2),
            lambda darks: darks.rows(20, 50),
            lambda darks: darks.image(3),
        ):
            assert_same_array(ask(mine), ask(theirs), "")
        (cube_itself, begin), (gathered, start) = mine.samples(20, 50), theirs.samples(20, 50)
    np.testing.assert_array_equal(gathered[:, start:], cube_itself[:, begin : 50 * SHAPE[1]])
    assert not gathered.flags.writeable
    assert theirs.sample(runs).flags.writeable


@pytest.mark.parametrize(
    ("change", "options", "part"),
    [
        (lambda cube: cube[0], {}, "shape (150, 201)"),
        (lambda cube: cube.astype(bool), {}, "bool"),
        (lambda cube: cube[cube[:, 0, 0] > 0], {}, "compute_chunk_sizes"),
        (lambda cube: cube[1:], {}, "(32,) for 31 frames"),
        (lambda cube: cube, {"workers": 2}, "workers=2"),
        (lambda cube: cube.map_blocks(np.sqrt, dtype=cube.dtype), {}, "block of float"),
        (lambda cube: cube.map_blocks(all_masked, dtype=cube.dtype, meta=cube._meta), {}, "masked samples"),
    ],
)
def test_refusals(made, change, options, part):
    cube, exposure, _ = made
    with dask.config.set(scheduler="synchronous"), pytest.raises(HotfitError) as caught:
        hotfit.fit_cube(change(da.from_array(cube, chunks=(-1, 40, 70))), exposure, **options)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_block_of_another_shape_is_refused(made):
    cube, exposure, _ = made
    array = da.from_array(cube, chunks=(-1, 40, 70))
    for short in (lambda block: block[1:], lambda block: block[:, 1:], lambda block: block[:, :, 1:]):
        darks = dask_darks(array.map_blocks(short, dtype=cube.dtype, meta=array._meta), exposure)
        calibration = calibrate(cube_darks(cube, exposure))
        with dask.config.set(scheduler="synchronous"), pytest.raises(HotfitError, match="chunks promise"):
            tasks.fit_blocks(darks, calibration, False, ArrayMaps(np.zeros(SHAPE, np.uint32)), None)


def all_masked(block):
    return np.ma.array(block, mask=True)


# --- blocks


@pytest.mark.parametrize(
    ("chunks", "pixels", "expected"),
    [
        (((4100,), (4096,)), 41_000, ((10,) * 410, (4096,))),
        (((25,), (10,)), 100, ((8, 8, 9), (10,))),
        (((512,) * 8, (512,) * 8), 150_000, ((256,) * 16, (512,) * 8)),
        (((64,) * 8, (64,) * 8), 10_000, ((128,) * 4, (64,) * 8)),
        (((10, 10), (5,) * 4), 200, ((20,), (10, 10))),
        (((8, 4), (30,)), 10, ((1,) * 12, (10, 10, 10))),
    ],
)
def test_blocks_keep_to_the_chunks_of_the_caller(chunks, pixels, expected):
    assert tasks.block_chunks(chunks, pixels) == expected


def test_blocks_are_as_large_as_bands(made):
    cube, exposure, _ = made
    darks = dask_darks(da.from_array(cube, chunks=(1, -1, -1)), exposure)
    blocks = tasks.tasks_of(darks, None)
    assert len(blocks) == -(-SHAPE[0] // int(tasks.BANDS / (2 * 32 + bands.MAP_BYTES) / SHAPE[1]))


@pytest.mark.parametrize("scheduler", ["threads", "cluster"])
def test_progress_is_told_in_this_thread_row_by_row(made, scheduler, request, monkeypatch):
    cube, exposure, _ = made
    monkeypatch.setattr(tasks, "BANDS", 0.1e6)
    calls = []

    def progress(*rows):
        calls.append((*rows, threading.get_ident()))

    if scheduler == "cluster":
        request.getfixturevalue("client")
    with dask.config.set({} if scheduler == "cluster" else {"scheduler": scheduler}):
        hotfit.fit_cube(da.from_array(cube, chunks=(-1, 40, 70)), exposure, progress=progress)
    done, of, threads = zip(*calls, strict=True)
    assert len(done) > 3
    assert sorted(set(done)) == list(done)
    assert done[-1] == SHAPE[0]
    assert set(of) == {SHAPE[0]}
    assert set(threads) == {threading.get_ident()}


def test_the_source_is_computed_four_times_at_most(made):
    cube, exposure, fit = made
    seen = []

    def source(block, block_info=None):
        seen.append(block_info[0]["chunk-location"])
        return block

    array = da.from_array(cube, chunks=CHUNKS["all frames"])
    with dask.config.set(scheduler="synchronous"):
        assert_same(
            fit, hotfit.fit_cube(array.map_blocks(source, dtype=cube.dtype, meta=array._meta), exposure)
        )
    assert len(set(seen)) == np.prod(array.numblocks)
    assert max(seen.count(each) for each in seen) <= 4


# --- what goes wrong


def test_a_worker_killed_in_the_middle_changes_nothing(made, client, tmp_path, monkeypatch):
    cube, exposure, fit = made
    monkeypatch.setattr(tasks, "BANDS", 0.1e6)
    armed, died = tmp_path / "armed", tmp_path / "died"

    def source(block):
        if armed.exists() and not died.exists():
            died.touch()
            os._exit(1)
        return block

    seen = []

    def progress(done, rows):
        armed.touch()
        seen.append((done, died.exists()))

    workers = set(client.scheduler_info()["workers"])
    array = da.from_array(cube, chunks=(-1, 10, 70))
    array = array.map_blocks(source, dtype=cube.dtype, meta=array._meta)
    assert_same(fit, hotfit.fit_cube(array, exposure, progress=progress))
    assert not seen[0][1]
    assert sum(dead for _, dead in seen) > 1  # it died in the middle of the fit
    client.wait_for_workers(2)
    assert set(client.scheduler_info()["workers"]) != workers


@pytest.mark.parametrize("scheduler", ["threads", "cluster"])
def test_an_error_in_a_block_is_raised_as_it_is(made, scheduler, request):
    cube, exposure, _ = made

    def source(block, block_info=None):
        if block_info[0]["chunk-location"] == (0, 2, 1):
            raise FileNotFoundError(2, "No such file or directory", "dark_7.fits")
        return block

    if scheduler == "cluster":
        request.getfixturevalue("client")
    array = da.from_array(cube, chunks=(-1, 40, 70))
    array = array.map_blocks(source, dtype=cube.dtype, meta=array._meta)
    with (
        dask.config.set({} if scheduler == "cluster" else {"scheduler": scheduler}),
        pytest.raises(FileNotFoundError, match=r"dark_7\.fits"),
    ):
        hotfit.fit_cube(array, exposure)


# --- memory


def resident(name: str) -> int:
    """Resident size of this process now (VmRSS) or at its peak (VmHWM), bytes; now, the peak is forgotten."""
    lines = Path("/proc/self/status").read_text().splitlines()
    if name == "VmRSS":
        Path("/proc/self/clear_refs").write_text("5")
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


FRAMES, SIDE = 200, 512


def made_up(block_info=None):
    """A block of darks of five exposures, each pixel with a rate of its own, from its place alone."""
    frames, *shape = block_info[None]["chunk-shape"]
    rng = np.random.default_rng(block_info[None]["chunk-location"])
    rate = rng.integers(0, 300, shape, np.uint16)
    time = np.repeat(np.arange(5, dtype=np.uint16), frames // 5)[:, None, None]
    block = rng.integers(1000, 1016, (frames, *shape), np.uint16)
    block += rate * time
    return block


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is known there")
def test_memory_of_workers_is_bounded_by_blocks(client, monkeypatch):
    monkeypatch.setattr(tasks, "BANDS", 2e6)

    def lazy(side):
        return da.map_blocks(
            made_up,
            chunks=((FRAMES,), (64,) * (side // 64), (64,) * (side // 64)),
            dtype=np.uint16,
            meta=np.empty((0, 0, 0), np.uint16),
        )

    exposure = np.repeat(np.arange(5) * 60.0, FRAMES // 5)
    small = made_up({None: {"chunk-shape": (FRAMES, 16, 16), "chunk-location": (0, 0, 0)}})
    client.run(hotfit.fit_cube, small, exposure)  # loads all code
    before = client.run(resident, "VmRSS")
    hotfit.fit_cube(lazy(SIDE), exposure)
    after = client.run(resident, "VmHWM")
    grown = [after[worker] - before[worker] for worker in after]
    assert 0 < max(grown) < 15 * tasks.BANDS < FRAMES * SIDE**2 * 2 / 3, grown
