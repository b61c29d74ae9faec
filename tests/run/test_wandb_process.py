"""Whatever W&B's server does, and whoever is killed: the run ends in time, and each row is at W&B once."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from helpers.wandb_server import MODES, wandb_server
from vaelab.run.logger import Logger
from vaelab.run.wandb_files import first_line_to_bring, run_id_of

pytestmark = pytest.mark.slow  # each starts processes

SETTINGS = {"project": "some-project", "entity": None, "tags": ["tag"]}


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """W&B without a key or settings of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))


@pytest.fixture
def server(monkeypatch):
    with wandb_server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


def opened(run_dir, mode="online", group=None, finish_timeout=15.0):
    run_dir.mkdir(parents=True, exist_ok=True)
    logger = Logger(run_dir, mode, **SETTINGS, finish_timeout=finish_timeout)
    logger.start({"seed": 3}, "name", group)
    return logger


def log(logger, steps):
    for step in steps:
        logger.log({"step": step, "epoch": step / 10, "train/elbo": -float(step)})


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def has_begun(logger):
    wait_until(lambda: "started" in logger._wandb._heard)


def descendants(logger):
    process = psutil.Process(logger._wandb._process.pid)
    return [process, *process.children(recursive=True)]


def messages(caplog, level=logging.WARNING):
    return [
        record.getMessage() for record in caplog.records if record.name.startswith("vaelab") and record.levelno >= level
    ]


def steps_at(server):
    (run,) = server.runs.values()
    return [row["_step"] for row in run.history]


def steps_in_files(run_dir):
    """The steps that W&B's own program reads in all parts of a run, in their order."""
    steps = []
    for file in sorted((run_dir / "wandb").glob("*run-*/run-*.wandb")):
        command = [Path(sys.executable).parent / "wandb", "leet", "inspect", "--json", file]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        records = [json.loads(line) for line in lines]
        steps += [int(record["history"]["step"]["num"]) for record in records if record["type"] == "history"]
    return steps


def test_the_step_of_a_row_is_the_number_of_its_line(server, tmp_path, caplog):
    logger = opened(tmp_path / "run")
    log(logger, range(10, 15))
    logger.finish("finished", {"val/elbo": -3.0})
    (run,) = server.runs.values()
    assert [(row["_step"], row["step"]) for row in run.history] == list(enumerate(range(10, 15)))
    assert run.exit_code == 0
    assert messages(caplog) == []


@pytest.mark.parametrize("fault", [mode for mode in MODES if mode != "ok"])
def test_a_server_lost_in_mid_run_costs_one_line_and_fifteen_seconds(fault, server, tmp_path, caplog):
    logger = opened(tmp_path / "run", "online")
    log(logger, range(5))
    has_begun(logger)
    server.mode = fault
    log(logger, range(5, 20))
    (tmp_path / "run/samples.png").write_bytes(b"no picture")
    logger.log_pictures(["samples.png"])
    log(logger, range(20, 25))
    started = time.monotonic()
    logger.finish("finished", {})
    assert time.monotonic() - started < 16
    (line,) = messages(caplog)
    assert "wandb sync --include-online" in line
    assert steps_in_files(tmp_path / "run") == list(range(25))


def test_what_the_line_says_uploads_the_rest(server, tmp_path, caplog):
    logger = opened(tmp_path / "run")
    has_begun(logger)
    server.mode = "refuse"
    log(logger, range(25))
    logger.finish("finished", {})
    server.mode = "ok"
    (line,) = messages(caplog)
    command = line.partition("bring those that it lacks with: ")[2].split()
    subprocess.run([Path(sys.executable).parent / command[0], *command[1:]], check=True, capture_output=True)
    assert steps_at(server) == list(range(25))


@pytest.mark.parametrize(
    ("whom", "signum"), [("core", signal.SIGSTOP), ("all", signal.SIGSTOP), ("all", signal.SIGKILL)]
)
def test_wandb_stopped_or_killed_stops_no_step_and_its_files_are_completed(signum, whom, server, tmp_path, caplog):
    logger = opened(tmp_path / "run")
    log(logger, range(5))
    has_begun(logger)
    ours, *theirs = descendants(logger)
    for process in theirs if whom == "core" else [ours, *theirs]:
        process.send_signal(signum)
    started = time.monotonic()
    log(logger, range(5, 500))
    assert time.monotonic() - started < 5
    started = time.monotonic()
    logger.finish("finished", {})
    assert time.monotonic() - started < 16
    assert steps_in_files(tmp_path / "run") == list(range(500))
    assert not any(process.is_running() and process.status() != "zombie" for process in (ours, *theirs))
    assert "bring those that it lacks with" in messages(caplog)[-1]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR2], ids=lambda signum: signum.name)
def test_what_asks_all_processes_to_stop_leaves_the_rest_of_the_rows_to_be_brought(signum, server, tmp_path, caplog):
    logger = opened(tmp_path / "run")
    log(logger, range(5))
    has_begun(logger)
    descendants(logger)[0].send_signal(signum)
    log(logger, range(5, 10))
    logger.finish("killed", {})
    assert steps_at(server) == list(range(10))
    assert messages(caplog) == []


def die_in(run_dir, mode, code, signum=signal.SIGKILL, **environment):
    """Log in a process that is killed when its own W&B process has begun and some rows are written."""
    program = f"""if True:
        import os, signal, sys, time
        from pathlib import Path
        from vaelab.run.logger import Logger
        run_dir = Path({str(run_dir)!r})
        run_dir.mkdir(exist_ok=True)
        logger = Logger(run_dir, {mode!r}, **{SETTINGS!r}, finish_timeout=12.0)
        logger.start({{"seed": 3}}, "name", None)
        def log(steps):
            for step in steps:
                logger.log({{"step": step, "epoch": step / 10, "train/elbo": -float(step)}})
        def begun():
            while "started" not in logger._wandb._heard:
                time.sleep(0.05)
        {code}
        os.kill(os.getpid(), {int(signum)})
    """
    return subprocess.run([sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_after_three_deaths_each_row_is_there_once(mode, server, tmp_path):
    run_dir = tmp_path / "run"
    die_in(run_dir, mode, "begun(); log(range(40)); time.sleep(2)")
    die_in(run_dir, mode, "log(range(40, 50))")
    die_in(run_dir, mode, "log(range(50, 90)); begun(); log(range(90, 95))")
    logger = opened(run_dir, mode)
    log(logger, range(95, 100))
    logger.finish("finished", {})
    found = steps_at(server) if mode == "online" else steps_in_files(run_dir)
    assert found == list(range(100))


def test_rows_that_were_logged_before_a_rewind_are_not_logged_again(server, tmp_path):
    run_dir = tmp_path / "run"
    first = opened(run_dir)
    log(first, range(4))
    position = first.position
    log(first, range(4, 8))
    first.finish("killed", {})
    again = Logger(run_dir, "online", **SETTINGS, finish_timeout=12.0)
    again.rewind(position)
    again.start({"seed": 3}, "name", None)
    log(again, range(4, 12))
    again.finish("finished", {})
    assert steps_at(server) == list(range(12))


def test_a_file_of_rows_that_is_replaced_in_mid_run_is_read_anew(server, tmp_path):
    logger = opened(tmp_path / "run")
    log(logger, range(5))
    has_begun(logger)
    (tmp_path / "run/metrics.jsonl").unlink()
    log(logger, range(5, 10))
    logger.finish("finished", {})
    assert steps_at(server) == list(range(10))


@pytest.mark.parametrize(("fault", "mode"), [("refuse", "auto"), ("hang", "online")])
def test_a_dead_server_is_asked_once_a_sweep_and_trained_meanwhile(fault, mode, server, tmp_path, caplog):
    server.mode = fault
    started = time.monotonic()
    first = opened(tmp_path / "sweep/0", mode, group="sweep")
    log(first, range(3))
    assert time.monotonic() - started < 2
    first.finish("finished", {})
    (line,) = messages(caplog)
    assert "W&B" in line
    caplog.clear()
    started = time.monotonic()
    second = opened(tmp_path / "sweep/1", mode, group="sweep")
    log(second, range(3))
    second.finish("finished", {})
    assert time.monotonic() - started < 8
    assert messages(caplog) == []
    assert [steps_in_files(tmp_path / f"sweep/{job}") for job in (0, 1)] == [[0, 1, 2]] * 2


def test_settings_of_the_folder_that_one_is_in_send_no_key(server, tmp_path, monkeypatch, caplog):
    run_dir = tmp_path / "run"
    with wandb_server() as thief:
        for folder in (run_dir, tmp_path):
            (folder / "wandb").mkdir(parents=True, exist_ok=True)
            (folder / "wandb/settings").write_text(f"[default]\nbase_url = {thief.url}\n")
        monkeypatch.delenv("WANDB_BASE_URL")
        home = tmp_path / "home/settings"
        home.parent.mkdir()
        home.write_text(f"[default]\nbase_url = {server.url}\n")
        monkeypatch.chdir(run_dir)
        logger = opened(run_dir)
        log(logger, range(3))
        logger.finish("finished", {})
        assert thief.requests == []
    assert steps_at(server) == [0, 1, 2]


@pytest.mark.parametrize("run_id", ["../../elsewhere", "a b", "", "x" * 65, "\x1b[31m"])
def test_a_run_id_that_wandb_never_gave_is_none(run_id, tmp_path):
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb/run_id").write_text(run_id)
    found, had_one = run_id_of(tmp_path)
    assert (had_one, (tmp_path / "wandb/run_id").read_text()) == (False, found)
    assert found.isalnum()
    assert run_id_of(tmp_path) == (found, True)


def test_a_torn_file_of_wandb_is_read_up_to_its_tear(tmp_path):
    run_dir = tmp_path / "run"
    logger = opened(run_dir, "offline")
    log(logger, range(30))
    logger.finish("finished", {})
    (file,) = (run_dir / "wandb").glob("*run-*/run-*.wandb")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert 0 < first_line_to_bring(run_dir) < 30
