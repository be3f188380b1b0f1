"""Detectors on a dask.distributed cluster: orders go out, one to each worker, and outcomes come back.

What travels are names, options and summaries; pixels are read and written by the workers, see `worker.py`.
"""

import logging
import secrets
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from concurrent.futures import Future as Answer
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
"""How long a scheduler may take to answer at first,"""

ANSWER_SECONDS = 60.0
"""and later, when it may be busy."""

WORKERS_SECONDS = 15.0
"""How long to wait for the first worker, or for another one where all have gone."""

LOOK_SECONDS = 2.0
"""How often to look for workers that came or went."""

MOST_DEATHS = 3
"""A detector whose workers die so many times is given up: it kills them."""

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
            client = within(
                2 * CONNECT_SECONDS, Client, **where, timeout=CONNECT_SECONDS, set_as_default=False
            )
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
                within(2 * CONNECT_SECONDS, client.close, timeout=CONNECT_SECONDS)


def within(seconds: float, call: Callable, *args, **options):
    """What a call gives; raises TimeoutError if that takes longer: some of dask's calls wait for ever."""
    answer = Answer()

    def ask():
        try:
            answer.set_result(call(*args, **options))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return answer.result(seconds)


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
    from distributed.comm import CommClosedError

    try:
        yield
    except (CommClosedError, TimeoutError, CancelledError) as error:
        raise HotfitError(
            f"--scheduler {address}: the scheduler is gone, or does not answer; look at its log"
        ) from error


def check_workers(client: "Client", address: str) -> None:
    """Refuse a cluster without workers, or with another hotfit."""
    try:
        client.wait_for_workers(1, timeout=WORKERS_SECONDS)
    except TimeoutError:
        raise HotfitError(
            f"--scheduler {address}: it has no workers; start some with `dask worker {address}`"
        ) from None
    versions = within(ANSWER_SECONDS, client.get_versions, packages=["hotfit"])
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
    running: dict[Future, tuple[Order, str]] = {}
    outcomes: dict[str, Outcome] = {}
    last_seen = time.monotonic()
    try:
        with translating(address):
            while waiting or running:
                workers = within(ANSWER_SECONDS, client.nthreads)
                if workers:
                    last_seen = time.monotonic()
                elif time.monotonic() - last_seen > WORKERS_SECONDS:
                    raise HotfitError(f"--scheduler {address}: all its workers are gone; look at their logs")
                for future in [each for each, (_, worker) in running.items() if worker not in workers]:
                    if not future.done():
                        waiting.appendleft(again(*running.pop(future)))
                        future.cancel()
                busy = {worker for _, worker in running.values()}
                for worker in [each for each in workers if each not in busy]:
                    if waiting:
                        order = waiting.popleft()
                        running[submit(client, order, worker)] = order, worker
                for future in finished(running):
                    order, _ = running.pop(future)
                    outcomes[order.label] = outcome_of(future, order.label)
                    tell(order.label, outcomes[order.label])
    except BaseException:
        end(client, run, list(running))
        raise
    return {label: outcomes[label] for label in rolls}


def order_of(run: str, label: str, roll: Roll, made: Path, output: Path, recipe: Recipe) -> Order:
    """What a worker is told of a detector."""
    return Order(run, label, roll, seen(roll), made.absolute(), str(output), recipe, hotfit.__version__)


def seen(roll: Roll) -> tuple[Seen, ...]:
    """The files of a roll, as they are here."""
    return tuple(Seen.of(frame.path) for frame in roll.frames)


def again(order: Order, worker: str) -> Order:
    """The order of a worker that has gone, for another one."""
    if order.deaths + 1 == MOST_DEATHS:
        raise fatal(order.label, worker)
    return order._replace(deaths=order.deaths + 1)


def submit(client: "Client", order: Order, worker: str) -> "Future":
    """Send an order to a worker that has no other: it takes all the threads."""
    key = f"hotfit-{order.run}-{order.label}-{order.deaths}"
    return client.submit(fit_order, order, key=key, workers=[worker], pure=False)


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
    except KilledWorker as error:  # one that came back under its address, to die again
        raise fatal(label, error.last_worker.address) from None


def fatal(label: str, worker: str) -> HotfitError:
    """The error for a detector that kills workers."""
    name = f"image {label}: " * bool(label)
    return HotfitError(
        f"{name}every worker that fitted it died, the last at {worker}; look at its log, it may need more "
        "memory"
    )


def end(client: "Client", run: str, futures: list["Future"]) -> None:
    """Stop what is still being fitted, and wait until nothing writes any more."""
    from distributed import wait

    with suppress(Exception):  # whatever it is, the error that led here counts
        if within(STOP_SECONDS, client.run, stop, run, on_error="ignore"):  # what each worker answers
            wait(futures, timeout=STOP_SECONDS)
    with suppress(Exception):
        within(STOP_SECONDS, client.cancel, futures)
