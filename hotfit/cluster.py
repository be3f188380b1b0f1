"""Detectors on a dask.distributed cluster: orders go out, one to each worker, and outcomes come back.

What travels are names, options and summaries; pixels are read and written by the workers, see `worker.py`.
"""

import logging
import secrets
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import hotfit
from hotfit.darks import Roll
from hotfit.errors import HotfitError
from hotfit.recipe import Recipe
from hotfit.worker import Order, Outcome, Seen, fit_order, stop

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_SECONDS = 5.0
"""How long a scheduler may take to answer."""

WORKERS_SECONDS = 15.0
"""How long to wait for the first worker, or for another one where all have gone."""

LOOK_SECONDS = 2.0
"""How often to look for workers that came or went."""

STOP_SECONDS = 20.0
"""How long to wait for orders that are stopped: they end with the next band of rows."""


@contextmanager
def connected(address: str) -> Iterator["Client"]:
    """Connect to a scheduler whose workers have this version of hotfit.

    Parameters
    ----------
    address : str
        As ``tcp://host:8786``, or the name of a scheduler file.

    Raises
    ------
    HotfitError
        dask.distributed is missing, nobody answers, there are no workers, or they have another hotfit.
    """
    try:
        import dask
        from distributed import Client
    except ImportError as error:
        raise HotfitError("--scheduler needs dask.distributed: pip install 'hotfit[cluster]'") from error
    where = {"scheduler_file": address} if Path(address).is_file() else {"address": address}
    limits = {"distributed.comm.timeouts.connect": CONNECT_SECONDS, "distributed.comm.retry.count": 0}
    with quiet(), dask.config.set(limits):
        try:
            client = Client(**where, timeout=CONNECT_SECONDS, set_as_default=False)
        except Exception as error:  # every kind of address fails in its own way
            told = isinstance(error, OSError | ValueError) and str(error)
            reason = told.splitlines()[0] if told else "something else listens there"
            raise HotfitError(
                f"--scheduler {address}: no dask scheduler answers ({reason}); start one with "
                "`dask scheduler`, which tells its address"
            ) from error
        try:
            with translating(address):
                check_workers(client, address)
            with client.as_current():
                yield client
        finally:
            with suppress(Exception):  # of a scheduler that is gone
                client.close(timeout=CONNECT_SECONDS)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what dask logs and warns of from the user, who gets one line instead."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="distributed")
            yield
    finally:
        logging.disable(before)


@contextmanager
def translating(address: str) -> Iterator[None]:
    """Say in one line that the scheduler has gone."""
    from concurrent.futures import CancelledError

    from distributed.comm import CommClosedError

    try:
        yield
    except (CommClosedError, TimeoutError, CancelledError) as error:
        raise HotfitError(f"--scheduler {address}: the scheduler is gone; look at its log") from error


def check_workers(client: "Client", address: str) -> None:
    """Refuse a cluster without workers, or with another hotfit."""
    try:
        client.wait_for_workers(1, timeout=WORKERS_SECONDS)
    except TimeoutError:
        raise HotfitError(
            f"--scheduler {address}: it has no workers; start some with `dask worker {address}`"
        ) from None
    versions = client.get_versions(packages=["hotfit"])
    parts = {"the scheduler": versions["scheduler"]}
    parts |= {f"worker {name}": found for name, found in versions["workers"].items()}
    for name, found in parts.items():
        version = found["packages"].get("hotfit") or "none"
        if version != hotfit.__version__:
            raise HotfitError(
                f"--scheduler {address}: {name} has hotfit {version}, here is {hotfit.__version__}; install "
                "the same one everywhere"
            )


def fit_rolls(
    client: "Client",
    address: str,
    rolls: dict[str, Roll],
    made: Path,
    output: Path,
    recipe: Recipe,
    tell: Callable[[str, Outcome], None],
) -> dict[str, Outcome]:
    """Fit every roll on a worker, each into its own directory in `made`.

    Parameters
    ----------
    client, address
        From `connected`.
    rolls : dict of str to Roll
        By the name of the detector; checked, and made of files.
    made : Path
        The directory that is being filled, see `hotfit.places.new_directory`.
    output : Path
        What messages call it.
    recipe : Recipe
    tell : callable
        Called as ``tell(name, outcome)`` when a detector is done.

    Returns
    -------
    dict of str to Outcome
        In the order of `rolls`.

    Raises
    ------
    HotfitError
        One detector cannot be fitted: the others are stopped.
    """
    run = secrets.token_hex(8)
    waiting = deque(order_of(run, label, roll, made, output, recipe) for label, roll in rolls.items())
    running: dict[Future, tuple[str, str]] = {}
    outcomes: dict[str, Outcome] = {}
    last_seen = time.monotonic()
    try:
        with translating(address):
            while waiting or running:
                workers = client.nthreads()
                if workers:
                    last_seen = time.monotonic()
                elif time.monotonic() - last_seen > WORKERS_SECONDS:
                    raise HotfitError(f"--scheduler {address}: all its workers are gone; look at their logs")
                for worker in idle(client, workers, run, running):
                    if waiting:
                        order = waiting.popleft()
                        running[submit(client, order, worker)] = order.label, worker
                for future in finished(running):
                    label, _ = running.pop(future)
                    outcomes[label] = outcome_of(future, label)
                    tell(label, outcomes[label])
    except BaseException:
        end(client, run, list(running))
        raise
    return {label: outcomes[label] for label in rolls}


def order_of(run: str, label: str, roll: Roll, made: Path, output: Path, recipe: Recipe) -> Order:
    """What a worker is told of a detector."""
    return Order(run, label, roll, seen(roll), made.absolute(), str(output), recipe, hotfit.__version__)


def seen(roll: Roll) -> tuple[Seen, ...]:
    """The files of a roll, as they are here."""
    paths = [Path(frame.name).absolute() for frame in roll.frames]
    return tuple(Seen(path, path.stat().st_size) for path in paths)


def idle(client: "Client", workers, run: str, running: dict) -> list[str]:
    """Addresses of workers that have no order: every one takes but one, which takes all its threads."""
    busy = {worker for _, worker in running.values()}
    processing = client.processing()  # orders of a worker that was killed went to another
    busy |= {worker for worker, keys in processing.items() if any(run in str(key) for key in keys)}
    return [worker for worker in workers if worker not in busy]


def submit(client: "Client", order: Order, worker: str) -> "Future":
    """Send an order to a worker; another one will do if that is killed."""
    return client.submit(
        fit_order,
        order,
        key=f"hotfit-{order.run}-{order.label}",
        workers=[worker],
        allow_other_workers=True,
        pure=False,
    )


def finished(running: dict) -> list["Future"]:
    """Orders that are done or failed, after a while at most; empty if none is."""
    from distributed import wait

    if not running:
        time.sleep(LOOK_SECONDS / 10)
        return []
    with suppress(TimeoutError):
        return list(wait(list(running), timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED").done)
    return []


def outcome_of(future: "Future", label: str) -> Outcome:
    """What became of an order that has ended."""
    from distributed import KilledWorker

    try:
        return future.result()
    except HotfitError as error:
        raise HotfitError(str(error)) from None  # without the worker's traceback
    except KilledWorker as error:
        name = f"image {label}: " * bool(label)
        raise HotfitError(
            f"{name}every worker that fitted it died, the last at {error.last_worker.address}; look at its "
            "log, it may need more memory"
        ) from None


def end(client: "Client", run: str, futures: list["Future"]) -> None:
    """Stop what is still being fitted, and wait until nothing writes any more."""
    from distributed import wait

    with suppress(Exception):  # whatever it is, the error that led here counts
        if client.run(stop, run, on_error="ignore"):  # what each worker answers
            wait(futures, timeout=STOP_SECONDS)
    with suppress(Exception):
        client.cancel(futures)
