"""`fit_cube` of the same cube in memory, as a dask array in threads and in processes; memory of a worker."""

from functools import cache, partial
from pathlib import Path

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from scenes import PATCH, Darks, simulate_darks
from turns import Row, against, below, in_turn

import hotfit

WORKERS = 2
LIMIT = 200.0
"""MB that a worker may need beyond its code: blocks of 16 MB, what they are made of, a sample of rows."""


def rows(rounds: int, shrink: int) -> list[Row]:
    """Times in turn, and the peak of a worker; `shrink` divides the sides of the cubes."""
    small, large = 2048 // shrink, 4096 // shrink
    patch, exposure = patch_of(min(PATCH, small))
    cube = simulate_darks(small).cube
    with (
        LocalCluster(WORKERS, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        held = tiled(patch, small).persist()
        runs = {
            "memory": partial(hotfit.fit_cube, cube, exposure),
            "threads": partial(in_these_threads, tiled(patch, small), exposure),
            "processes": partial(hotfit.fit_cube, held, exposure),
        }
        rates = [run().rate for run in runs.values()]
        if not all(np.array_equal(rate, rates[0], equal_nan=True) for rate in rates):
            raise ValueError("the rates of a dask array are not those of the cube")
        seconds = in_turn(runs, rounds)
        del held
        table = [
            against(
                f"{len(patch)} x {small} x {small}, dask, {how}; the cube in memory",
                seconds[name],
                seconds["memory"],
            )
            for name, how in (("threads", "threads"), ("processes", f"{WORKERS} processes, persisted"))
        ]
        if not Path("/proc/self/clear_refs").exists():
            return table
        before = client.run(resident, "VmRSS")
        hotfit.fit_cube(tiled(patch, large), exposure)
        after = client.run(resident, "VmHWM")
    most = max(after[worker] - before[worker] for worker in after)
    size = len(patch) * large**2 * patch.itemsize / 1e6
    return [
        *table,
        below(f"a worker's growth while {size:.4g} MB are fitted, not persisted", most / 1e6, LIMIT, "MB"),
    ]


def tiled(patch: np.ndarray, side: int) -> da.Array:
    """The cube of `scenes.simulate_darks` as a dask array, whose blocks are made where they are needed."""
    frames, part, _ = patch.shape
    times = -(-side // part)
    chunks = ((frames,), (part,) * times, (part,) * times)
    array = da.map_blocks(copied, part, chunks=chunks, dtype=patch.dtype, meta=patch[:0, :0, :0])
    return array[:, :side, :side]


def copied(part: int) -> np.ndarray:
    """A block of its own."""
    return patch_of(part).cube.copy()


@cache
def patch_of(side: int) -> Darks:
    """The patch that lies side by side, simulated once in every process."""
    return simulate_darks(side)


def in_these_threads(array: da.Array, exposure) -> hotfit.DarkFit:
    """The fit in threads of this process, whatever client there is."""
    with dask.config.set(scheduler="threads", num_workers=WORKERS):
        return hotfit.fit_cube(array, exposure)


def resident(name: str) -> int:
    """Resident size of this process now (VmRSS) or at its peak (VmHWM), bytes; now, the peak is forgotten."""
    lines = Path("/proc/self/status").read_text().splitlines()
    if name == "VmRSS":
        Path("/proc/self/clear_refs").write_text("5")
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
