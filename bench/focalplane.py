"""The plan for a focal plane: what a detector costs on a cluster of this machine, and what many would.

Measured: wall and CPU seconds of a detector, memory of a worker, bytes that it reads from and writes to
files, bytes of an order and of its outcome, which go through the scheduler, and seconds that the client takes
to find a detector. Files are in the disk cache. All detectors are the same frames under other names.

Reckoned from that: a run of many detectors, where every worker has one thread as fast as here, and what the
file system must deliver to keep all of them busy.
"""

import argparse
import os
import pickle
import tempfile
from contextlib import ExitStack
from math import ceil
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

from scenes import write_darks
from turns import machine

from hotfit import cluster, store
from hotfit.detectors import detectors
from hotfit.recipe import Recipe

DETECTORS, FRAMES, SIDE = 189, 60, 4096
WORKERS = (8, 32, 128)
SHARED = 2.0
"""GB/s of a file system that all workers share, for the reckoning."""

SETUPS = ((1, 1), (1, 2), (2, 1))
"""Workers and threads of each."""

EACH = 3
"""Detectors for each worker that are measured, after one that is not: it imports and compiles."""


class Usage(NamedTuple):
    """What a process has used so far: CPU seconds, and bytes; the peak of its resident size."""

    cpu: float
    read: int
    written: int
    peak: int


class Cost(NamedTuple):
    """What a detector costs: seconds, and bytes; the peak resident size of a worker."""

    wall: float
    cpu: float
    read: float
    written: float
    peak: int


def usage() -> Usage:
    """Ask this process, on Linux."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    times = os.times()
    return Usage(times.user + times.system, int(counts["rchar"]), int(counts["wchar"]), peak)


def main() -> None:
    """Measure, reckon, and print both as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shrink", type=int, default=1, help="divides the side of the detectors")
    side = SIDE // parser.parse_args().shrink
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = write_darks(folder / "darks", side, FRAMES)
        print(f"\n{FRAMES} darks of {side} x {side}, {sum(map(size_of, files)) / 1e9:.3g} GB, cached\n")
        costs = {}
        for workers, threads in SETUPS:
            costs[workers, threads] = measure(folder, files, workers, threads)
        print_measured(costs)
        finding, order, outcome = travels(folder, files)
    print(
        f"\nfinding a detector: {finding:.3g} s of the client; its order {order} bytes, its outcome {outcome}"
    )
    print_reckoned(costs[SETUPS[0]], finding)


def size_of(path: Path) -> int:
    """Bytes of a file."""
    return path.stat().st_size


def linked(folder: Path, files: list[Path], number: int) -> list[str]:
    """Make that many directories of links to the same files; returns their names."""
    places = [folder / f"D{index:03d}" for index in range(number)]
    for place in places:
        place.mkdir(exist_ok=True)
        for path in files:
            if not (place / path.name).exists():
                (place / path.name).symlink_to(path)
    return [str(place) for place in places]


def measure(folder: Path, files: list[Path], workers: int, threads: int) -> Cost:
    """What a detector costs on so many workers of this machine."""
    from distributed import LocalCluster

    with ExitStack() as stack:
        own = stack.enter_context(
            LocalCluster(n_workers=workers, threads_per_worker=threads, dashboard_address=":0")
        )
        client = stack.enter_context(cluster.connected(own.scheduler_address))
        fit(client, folder, linked(folder, files, workers))
        before = client.run(usage)
        wall = fit(client, folder, linked(folder, files, workers * EACH))[0] / EACH
        after = client.run(usage)
    spent = [[late - early for late, early in zip(after[name], before[name], strict=True)] for name in after]
    cpu, read, written, _ = (sum(column) / (EACH * workers) for column in zip(*spent, strict=True))
    return Cost(wall, cpu, read, written, max(used.peak for used in after.values()))


def fit(client, folder: Path, names: list[str]) -> tuple[float, dict[str, cluster.Outcome]]:
    """Fit these detectors on the cluster: seconds from the first order to the last outcome, and these."""
    output = folder / "out"
    with detectors(names, apart=True) as rolls, store.new_directory(output, overwrite=True) as made:
        begun = perf_counter()
        outcomes = cluster.fit_rolls(client, "local", rolls, made, output, Recipe(), lambda *_: None)
        return perf_counter() - begun, outcomes


def travels(folder: Path, files: list[Path]) -> tuple[float, int, int]:
    """Seconds to find a detector, and the pickled bytes of an order and of its outcome."""
    from distributed import LocalCluster

    names, seconds = linked(folder, files, 1), []
    for _ in range(3):
        begun = perf_counter()
        with detectors(names, apart=True) as rolls:
            seconds.append(perf_counter() - begun)
            (label, roll), *_ = rolls.items()
            order = cluster.order_of("0" * 16, label, roll, folder, folder, Recipe())
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0") as own,
        cluster.connected(own.scheduler_address) as client,
    ):
        outcome = fit(client, folder, names)[1][label]
    return median(seconds), len(pickle.dumps(order)), len(pickle.dumps(outcome))


def print_measured(costs: dict[tuple[int, int], Cost]) -> None:
    """Print what was measured."""
    print("| measured | wall, s | CPU, s | read, GB | written, GB | peak of a worker, MB |")
    print("|---|---:|---:|---:|---:|---:|")
    for (workers, threads), cost in costs.items():
        what = f"{workers} x {threads} threads, a detector on each worker"
        print(
            f"| {what} | {cost.wall:.3g} | {cost.cpu:.3g} | {cost.read / 1e9:.3g} | {cost.written / 1e9:.3g} "
            f"| {cost.peak / 1e6:.0f} |"
        )


def print_reckoned(cost: Cost, finding: float) -> None:
    """Print what a focal plane would take where every worker is as fast as one of one thread was here."""
    found, moved = DETECTORS * finding, DETECTORS * (cost.read + cost.written) / 1e9
    print(f"\n{DETECTORS} detectors: {found:.0f} s to find them, {moved:.0f} GB read and written\n")
    print("| reckoned: workers | rounds | in all, s | GB/s from and to files | in all at 2 GB/s, s |")
    print("|---:|---:|---:|---:|---:|")
    for workers in WORKERS:
        rounds = ceil(DETECTORS / workers)
        fit = rounds * cost.wall
        slow = max(fit, moved / SHARED)
        print(f"| {workers} | {rounds} | {found + fit:.0f} | {moved / fit:.2g} | {found + slow:.0f} |")


if __name__ == "__main__":
    main()
