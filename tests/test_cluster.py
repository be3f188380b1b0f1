"""Detectors on a cluster of two processes: the files of one process, whatever happens to the workers."""

import gzip
import os
import pickle
import signal
import socket
import sys
from contextlib import suppress
from threading import Thread
from time import sleep

import numpy as np
import pytest
from mosaics import contents, left_in, write_cameras, write_mosaic

import hotfit
from hotfit import cli, cluster, worker
from hotfit.darks import find_darks
from hotfit.detectors import detectors
from hotfit.errors import HotfitError
from hotfit.outputs import MAP_FILE
from hotfit.recipe import Recipe

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def scheduler():
    """Address of a scheduler with two workers in processes of their own."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=":0") as own:
        yield own.scheduler_address


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory):
    return write_mosaic(tmp_path_factory.mktemp("sky") / "mosaic")


@pytest.fixture(scope="module")
def expected(mosaic, tmp_path_factory):
    """What one process writes for the mosaic."""
    out = tmp_path_factory.mktemp("one") / "out"
    assert cli.main([str(mosaic), "--ext", "all", "-o", str(out), "-q"]) == 0
    return contents(out)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, which is not that of the workers."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(capsys, arguments):
    """The one line on stderr of a run that ends with 1."""
    assert cli.main([*map(str, arguments), "-q"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    return err


# --- the same files


def test_a_cluster_writes_what_one_process_writes(mosaic, expected, scheduler, here, capsys):
    arguments = [str(mosaic), "--ext", "all", "-o", "out"]
    assert cli.main([*arguments, "--scheduler", scheduler]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("image CHIP") == 3
    assert f" s on {socket.gethostname()}" in out
    assert contents(here / "out") == expected
    assert left_in(here) == ["out"]
    assert cli.main([*arguments, "--scheduler", scheduler, "--overwrite", "-q"]) == 0
    assert contents(here / "out") == expected
    assert left_in(here) == ["out"]


def test_one_image_of_a_relative_name(mosaic, scheduler, here):
    (here / "darks").symlink_to(mosaic)
    options = ["darks", "--ext", "CHIP2", "-q"]
    assert cli.main([*options, "-o", "one"]) == 0
    assert cli.main([*options, "-o", "two", "--scheduler", scheduler]) == 0
    assert contents(here / "two") == contents(here / "one")
    assert hotfit.read("two").frames["file"][0] == "darks/dark_00.fits"


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_what_is_kept_for_updates_knows_its_files(mosaic, scheduler, here, suffix):
    """By names that are the same everywhere, whatever folder workers are in."""
    (here / "darks").mkdir()
    for path in mosaic.iterdir():
        pack = gzip.compress if suffix else bytes
        (here / "darks" / (path.name + suffix)).write_bytes(pack(path.read_bytes()))
    options = ["darks", "--ext", "CHIP2", "--updatable", "-q"]
    assert cli.main([*options, "-o", "one"]) == 0
    assert cli.main([*options, "-o", "two", "--scheduler", scheduler]) == 0
    assert contents(here / "two") == contents(here / "one")
    fit = hotfit.read("two")
    gone = fit.frames["file"][-1]
    assert gone not in list(fit.remove(gone).frames["file"])


def test_cameras_apart(scheduler, here):
    cameras = write_cameras(here / "darks", ["red", "blue"], [(40, 48), (30, 60)])
    options = [*map(str, cameras), "--apart", "--min-sigma", "2", "--bad", "NONLINEAR", "-q"]
    assert cli.main([*options, "-o", "one"]) == 0
    assert cli.main([*options, "-o", "two", "--scheduler", scheduler, "--workers", "1"]) == 0
    assert left_in(here / "two") == ["blue", "red", "summary.json"]
    assert contents(here / "two") == contents(here / "one")
    assert hotfit.read("two/blue").rules.bad == ("NONLINEAR",)


# --- workers that die


def arm(flag):
    """Let this worker die of the next result that it is about to put in place, unless another has."""
    real = worker.move

    def fatal(draft, place):
        try:
            flag.touch(exist_ok=False)
        except FileExistsError:
            real(draft, place)
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    worker.move = fatal


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_worker_changes_nothing(mosaic, expected, scheduler, here, tmp_path_factory):
    flag = tmp_path_factory.mktemp("flag") / "killed"
    with distributed.Client(scheduler, set_as_default=False) as client:
        client.wait_for_workers(2)
        before = set(client.run(os.getpid).values())
        client.run(arm, flag)
        options = ["--ext", "all", "-o", "out", "-q", "--scheduler", scheduler]
        assert cli.main([str(mosaic), *options]) == 0
        client.wait_for_workers(2, timeout=30)
        after = set(client.run(os.getpid).values())
    assert flag.exists()
    assert len(before - after) == 1
    assert contents(here / "out") == expected
    assert left_in(here) == ["out"]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_the_only_worker_is_killed_and_comes_back(mosaic, expected, here, tmp_path_factory):
    flag = tmp_path_factory.mktemp("flag") / "killed"
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0") as own:
        with distributed.Client(own, set_as_default=False) as client:
            client.wait_for_workers(1)
            client.run(arm, flag)
        options = ["--ext", "all", "-o", "out", "-q", "--scheduler", own.scheduler_address]
        assert cli.main([str(mosaic), *options]) == 0
    assert flag.exists()
    assert contents(here / "out") == expected
    assert left_in(here) == ["out"]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_detector_that_kills_its_workers_ends_the_run(mosaic, scheduler, here, capsys, monkeypatch):
    real = cluster.submit

    def poison(client, order, worker):
        if order.label != "CHIP2":
            return real(client, order, worker)
        return client.submit(die, key=f"hotfit-{order.run}-{order.deaths}", workers=[worker], pure=False)

    monkeypatch.setattr(cluster, "submit", poison)
    told = refusal(capsys, [mosaic, "--ext", "all", "-o", "out", "--scheduler", scheduler])
    assert told.startswith("hotfit: image CHIP2: every worker that fitted it died, the last at tcp://")
    assert left_in(here) == []
    with distributed.Client(scheduler, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=30)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def test_of_two_that_write_one_result_the_second_gives_way(tmp_path):
    place = tmp_path / "CHIP1"
    for number in range(2):
        draft = tmp_path / f"{number}.draft"
        draft.mkdir()
        (draft / MAP_FILE).write_text(str(number))
        worker.move(draft, place)
    assert (place / MAP_FILE).read_text() == "0"
    (place / MAP_FILE).unlink()
    (place / "other").touch()
    with pytest.raises(OSError, match=r"other|empty|exist"):
        worker.move(tmp_path / "1.draft", place)


# --- workers that see other files


def test_a_file_that_workers_do_not_see(scheduler, here, capsys, monkeypatch):
    cameras = write_cameras(here / "darks", ["cam1", "cam2", "cam3"], [(40, 48)] * 3)
    lost = sorted(cameras[1].iterdir())[4]
    with detectors([str(path) for path in cameras], apart=True) as rolls:
        files = {roll.frames[0].name: cluster.seen(roll) for roll in rolls.values()}
    monkeypatch.setattr(cluster, "seen", lambda roll: files[roll.frames[0].name])
    real = cluster.fit_rolls

    def lose_and_fit(*arguments):
        lost.unlink()
        return real(*arguments)

    monkeypatch.setattr(cluster, "fit_rolls", lose_and_fit)
    told = refusal(capsys, [*cameras, "--apart", "-o", "out", "--scheduler", scheduler])
    assert told.startswith(f"hotfit: image cam2: {lost}: cannot be read from here (No such file")
    assert f"(worker on {socket.gethostname()})" in told
    assert left_in(here) == ["darks"]


def order_for(folder, made, **changes):
    (label, roll), *_ = find_darks(str(folder), ext="CHIP1").images.items()
    return cluster.order_of("run", label, roll, made, "out", Recipe())._replace(**changes)


def test_what_a_host_must_see(mosaic, tmp_path):
    order = order_for(mosaic, tmp_path)
    worker.check_sight(order)
    file = order.files[3]
    for changes, message in (
        ({"made": tmp_path / "elsewhere"}, "^out: cannot be seen from here; "),
        ({"version": "9.9"}, f"hotfit 9.9 is needed here, and {hotfit.__version__} is installed"),
        ({"files": (file._replace(size=1),)}, f"{file.path}: is another file here, of {file.size} bytes"),
        ({"files": (file._replace(ends="0"),)}, f"{file.path}: is another file here, of other content"),
        ({"files": (file._replace(path=file.path.with_name("no")),)}, "no: cannot be read from here"),
    ):
        with pytest.raises(HotfitError, match=message):
            worker.check_sight(order._replace(**changes))


def test_failures_name_the_image_and_the_host(mosaic, tmp_path):
    order, host = order_for(mosaic, tmp_path, label="CHIP1"), socket.gethostname()
    for error, message in (
        (HotfitError("no good"), "image CHIP1: no good "),
        (OSError(28, "No space left"), r"image CHIP1: out: cannot be written \(No space left\); "),
        (MemoryError(), "image CHIP1: out of memory: give a smaller --memory "),
    ):
        with pytest.raises(HotfitError, match=rf"^{message}.*\(worker on {host}\)$"), worker.naming(order):
            raise error


def test_an_order_whose_run_has_ended_leaves_nothing(mosaic, scheduler, tmp_path):
    made = tmp_path / "shop" / "new"
    made.mkdir(parents=True)
    order = order_for(mosaic, made, label="CHIP1", run="ended")
    with distributed.Client(scheduler, set_as_default=False) as client:
        client.run(worker.stop, "ended")
        with pytest.raises(HotfitError, match="the run was stopped"):
            client.submit(worker.fit_order, order, pure=False).result()
    assert left_in(made.parent) == ["new"]
    assert left_in(made) == []


# --- what travels


def test_orders_hold_names_and_no_pixels(mosaic, tmp_path):
    order = order_for(mosaic, tmp_path)
    assert len(pickle.dumps(order)) < 2000 + 800 * len(order.files)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_roll_that_travelled_opens_the_same_rows(mosaic, tmp_path, suffix):
    folder = tmp_path / "darks"
    folder.mkdir()
    for path in mosaic.iterdir():
        pack = gzip.compress if suffix else bytes
        (folder / (path.name + suffix)).write_bytes(pack(path.read_bytes()))
    with find_darks(str(folder), ext="all") as found:
        rolls = {label: pickle.loads(pickle.dumps(roll)) for label, roll in found.images.items()}
        expected = [roll.open().rows(0, 40) for roll in found.images.values()]
    for roll, rows in zip(rolls.values(), expected, strict=True):
        with roll.open(own=True) as darks:
            np.testing.assert_array_equal(darks.rows(0, 40), rows)
    assert not np.array_equal(expected[0], expected[1])


# --- clusters that are of no use


def test_nobody_answers(mosaic, here, capsys, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        told = refusal(capsys, [mosaic, "--ext", "all", "--scheduler", address])
    assert told.startswith(f"hotfit: --scheduler {address}: no dask scheduler answers (")
    assert "unknown address scheme" in refusal(capsys, [mosaic, "--scheduler", "nowhere://1"])
    assert left_in(here) == []


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_something_else_answers(mosaic, here, capsys, monkeypatch, greeting):
    """Or accepts, and says nothing."""
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def accept():
            with suppress(OSError):
                while True:
                    held.append(server.accept()[0])
                    held[-1].sendall(greeting)

        Thread(target=accept, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        told = refusal(capsys, [mosaic, "--ext", "all", "--scheduler", address])
        server.shutdown(socket.SHUT_RDWR)
    for each in held:
        each.close()
    assert told.startswith(f"hotfit: --scheduler {address}: no dask scheduler answers (")
    assert left_in(here) == []


def test_a_scheduler_that_answers_no_more(mosaic, here, capsys, monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(cluster, "STOP_SECONDS", 0.5)
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as own:
        monkeypatch.setattr(distributed.Client, "nthreads", lambda _: sleep(5))
        told = refusal(capsys, [mosaic, "--ext", "CHIP1", "--scheduler", own.scheduler_address])
    assert "the scheduler is gone, or does not answer; look at its log" in told
    assert left_in(here) == []


def test_no_workers(mosaic, here, capsys, monkeypatch):
    monkeypatch.setattr(cluster, "WORKERS_SECONDS", 0.2)
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as own:
        told = refusal(capsys, [mosaic, "--ext", "all", "--scheduler", own.scheduler_address])
    assert "it has no workers; start some with `dask worker " in told
    assert left_in(here) == []


def test_workers_with_another_hotfit(mosaic, scheduler, here, capsys, monkeypatch):
    version = hotfit.__version__
    monkeypatch.setattr(hotfit, "__version__", "9.9")
    told = refusal(capsys, [mosaic, "--ext", "all", "--scheduler", scheduler])
    assert f"has hotfit {version}, here is 9.9; install the same one everywhere" in told
    assert left_in(here) == []


def test_distributed_is_not_installed(mosaic, here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    told = refusal(capsys, [mosaic, "--scheduler", "tcp://127.0.0.1:8786"])
    assert told == "hotfit: --scheduler needs dask.distributed: pip install 'hotfit[cluster]'\n"


def test_an_output_in_the_way_is_told_before_connecting(mosaic, here, capsys):
    (here / "out").mkdir()
    told = refusal(capsys, [mosaic, "-o", "out", "--scheduler", "nowhere://1"])
    assert told.startswith("hotfit: out: exists; ")


def test_a_dry_run_needs_no_cluster(mosaic, here, capsys):
    assert cli.main([str(mosaic), "--ext", "all", "--dry-run", "--scheduler", "nowhere://1"]) == 0
    assert capsys.readouterr().out.count("image CHIP") == 3


def test_an_interrupt_stops_the_workers(mosaic, scheduler, here, capsys, monkeypatch):
    stopped = []
    real = cluster.end

    def end(client, run, futures):
        real(client, run, futures)
        stopped.extend(future.status for future in futures)

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "finished", interrupt)
    monkeypatch.setattr(cluster, "end", end)
    arguments = [str(mosaic), "--ext", "all", "-q", "--scheduler", scheduler]
    assert cli.main(arguments) == 130
    assert capsys.readouterr().err == "hotfit: interrupted; nothing was written\n"
    assert len(stopped) == 2
    assert "pending" not in stopped
    assert left_in(here) == []


def test_workers_that_all_go_end_the_run(mosaic, here, capsys, monkeypatch):
    monkeypatch.setattr(cluster, "WORKERS_SECONDS", 0.5)
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as own:
        real = cluster.submit

        def submit_and_lose(client, order, address):
            client.retire_workers([address])
            return real(client, order, address)

        monkeypatch.setattr(cluster, "submit", submit_and_lose)
        told = refusal(capsys, [mosaic, "--ext", "CHIP1", "--scheduler", own.scheduler_address])
    assert "all its workers are gone; look at their logs" in told
    assert left_in(here) == []
