"""A pool: every job a process of its own; one that dies, exits or hangs is one failed outcome."""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from helpers.fakes import summary_of
from vaelab.errors import UserError
from vaelab.run.summary import write_summary
from vaelab.sweep import pool
from vaelab.sweep.pool import Job, Pool


class Silent:
    def __init__(self):
        self.numbers, self.most = [], 0

    def update(self, running):
        self.most = max(self.most, len(running))

    def ended(self, job, outcome):
        self.numbers.append(job.number)


class Unportable(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def fails(text):
    raise UserError(text)


def fails_unportably():
    raise Unportable("one", "two")


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def raises_after_its_summary(folder):
    write_summary(Path(folder), {"status": "finished", "metrics": {"val/elbo": 2.5}})
    killed()


def hangs():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)


def stops_when_asked(path):
    try:
        time.sleep(60)
    finally:
        Path(path).write_text("saved")


def dies_once(path):
    if Path(path).exists():
        return 1.0
    Path(path).touch()
    return os._exit(0)


def exits(code):
    sys.exit(code)


def tells(path):
    import torch

    told = (os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"], torch.get_num_threads(), os.environ["MARK"])
    Path(path).write_text(" ".join(map(str, told)))
    print("said by the job")
    return 0.0


def waits_for_the_end(path):
    Path(path).write_text(str(os.getpid()))
    try:
        time.sleep(60)
    finally:
        Path(path).unlink()


@pytest.fixture
def run(tmp_path):
    def run_jobs(*calls, view=None, n_jobs=2, jobs_per_gpu=1, timeout_min=None, retries=0, grace_seconds=1.0):
        jobs = [Job(number, "", tmp_path / str(number), ["seed=0"], call) for number, call in enumerate(calls)]
        return Pool(n_jobs, jobs_per_gpu, timeout_min, retries, grace_seconds).run(jobs, view or Silent())

    return run_jobs


def test_jobs_that_end_badly_are_outcomes_and_the_others_finish(run, tmp_path):
    view = Silent()
    outcomes = run(
        partial(abs, -1.5),
        killed,
        partial(fails, "a mistake"),
        partial(os._exit, 3),
        fails_unportably,
        partial(fails, "long " * 50_000),
        partial(exits, 7),
        partial(abs, -2.5),
        view=view,
    )
    assert [outcome.value for outcome in outcomes] == [1.5, None, None, None, None, None, None, 2.5]
    errors = [str(outcome.error) for outcome in outcomes]
    assert "killed by SIGKILL, perhaps for want of memory" in errors[1]
    assert errors[2] == "a mistake"
    assert isinstance(outcomes[2].error, UserError)
    assert "exit code 3" in errors[3]
    assert errors[4] == "Unportable: one and two"
    assert errors[5].startswith("UserError: long long")
    assert "exit code 7" in errors[6]
    assert summary_of(tmp_path / "1") == {
        "overrides": ["seed=0"],
        "status": "failed",
        "error": errors[1],
    }
    assert sorted(view.numbers) == list(range(8))
    assert view.most <= 2


def test_a_job_that_runs_too_long_is_asked_to_stop_then_killed(run, tmp_path):
    saved = tmp_path / "saved"
    started = time.monotonic()
    asked, hung, quick = run(partial(stops_when_asked, saved), hangs, partial(abs, -1.0), timeout_min=2 / 60)
    assert time.monotonic() - started < 30
    assert "longer than hydra.launcher.timeout_min=0.0333" in str(asked.error)
    assert "longer than" in str(hung.error)
    assert quick.value == 1.0
    assert saved.read_text() == "saved"


def test_a_job_whose_process_dies_is_started_again(run, tmp_path):
    once, always = run(partial(dies_once, tmp_path / "once"), killed, retries=1)
    assert once.value == 1.0
    assert "SIGKILL" in str(always.error)


def test_a_job_that_dies_when_its_work_is_done_has_finished(run, tmp_path):
    (outcome,) = run(partial(raises_after_its_summary, tmp_path / "0"))
    assert outcome.value == 2.5
    assert summary_of(tmp_path / "0")["status"] == "finished"


def test_the_death_of_the_fork_server_ends_its_jobs_before_it_is_told(run, tmp_path):
    beginning = tmp_path / "pid"

    class KillsTheServer(Silent):
        def update(self, running):
            if beginning.exists() and beginning.read_text() and not self.most:
                self.most = 1
                server = Path(f"/proc/{beginning.read_text()}/stat").read_text().rpartition(")")[2].split()[1]
                os.kill(int(server), signal.SIGKILL)

        def ended(self, job, outcome):
            super().ended(job, outcome)
            assert not beginning.exists()

    view = KillsTheServer()
    lost, other = run(partial(waits_for_the_end, beginning), partial(abs, -1.0), view=view, n_jobs=1)
    assert view.most == 1
    assert "the job's process" in str(lost.error)
    assert other.value == 1.0


@pytest.fixture
def gpus(monkeypatch):
    """Makes the pool find GPUs; returns how often it was asked."""
    asked = []

    def found(*names):
        monkeypatch.setattr(pool, "gpus_are_possible", lambda: True)
        monkeypatch.setattr(pool, "visible_gpus", lambda context: asked.append(1) or list(names))
        return asked

    return found


def test_each_job_has_its_process_its_gpu_its_threads_and_its_output(run, tmp_path, monkeypatch, gpus):
    asked = gpus("5", "7")
    monkeypatch.setenv("MARK", "now")  # the fork server may be older than this
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    files = [tmp_path / f"told{number}" for number in range(4)]
    outcomes = run(*(partial(tells, file) for file in files), n_jobs=None)
    assert [str(outcome.error) for outcome in outcomes] == ["None"] * 4
    told = [file.read_text().split() for file in files]
    assert len({pid for pid, *_ in told}) == 4
    assert {gpu for _, gpu, *_ in told} == {"5", "7"}
    assert {(threads, mark) for *_, threads, mark in told} == {("1", "now")}
    assert "said by the job" in (tmp_path / "0/output.log").read_text()
    assert asked == [1]


def test_a_torch_without_gpus_beside_a_driver_gives_all_cores_to_jobs(monkeypatch, tmp_path):
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 0\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(pool, "gpus_are_possible", lambda: False)
    assert Pool(None, 1, None, 0, 1).places == [""] * len(os.sched_getaffinity(0))


def starts_no_cuda(path):
    import torch

    told = (torch.cuda.is_initialized(), torch.cuda._is_in_bad_fork())
    Path(path).write_text(" ".join(map(str, told)))
    return 0.0


def test_asking_for_gpus_starts_cuda_neither_here_nor_in_the_fork_server(run, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "gpus_are_possible", lambda: True)
    run(partial(starts_no_cuda, tmp_path / "told"), n_jobs=1)
    assert (tmp_path / "told").read_text() == "False False"
    import torch

    assert not torch.cuda.is_initialized()


def test_the_number_of_jobs_follows_gpus_or_cores(gpus):
    asked = gpus("0", "1")
    assert Pool(None, 3, None, 0, 1).n_jobs == 6
    assert Pool(None, 2, None, 0, 1).places == ["0", "1", "0", "1"]
    assert Pool(3, 2, None, 0, 1).places == ["0", "1", "0"]
    with pytest.raises(UserError, match="n_jobs must be at most 6"):
        assert Pool(7, 3, None, 0, 1).n_jobs
    asked.clear()
    cores = len(os.sched_getaffinity(0))
    assert Pool(None, 0, None, 0, 1).n_jobs == cores
    assert Pool(1, 0, None, 0, 1).threads == cores
    assert Pool(4 * cores, 0, None, 0, 1).threads == 1
    assert asked == []


@pytest.mark.parametrize(
    "setting",
    [
        {"n_jobs": 0},
        {"jobs_per_gpu": -1},
        {"timeout_min": 0},
        {"retries": 0.5},
        {"grace_seconds": -1},
        {"n_jobs": True},
    ],
)
def test_a_setting_out_of_range_is_refused_by_its_name(setting):
    good = {"n_jobs": 1, "jobs_per_gpu": 0, "timeout_min": None, "retries": 0, "grace_seconds": 1}
    with pytest.raises(ValueError, match=f"^{next(iter(setting))} must"):
        Pool(**{**good, **setting})


@pytest.mark.parametrize("kind", ["link", "FIFO"])
def test_a_strangers_output_log_is_one_sentence_of_its_job(kind, run, tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "0").mkdir()
    log = tmp_path / "0/output.log"
    log.symlink_to(tmp_path / "mine") if kind == "link" else os.mkfifo(log)
    odd, good = run(partial(tells, tmp_path / "told"), partial(abs, -1.0))
    assert str(odd.error) == f"{log} must be a regular file, got a {kind}; move it away"
    assert good.value == 1.0
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (tmp_path / "told").exists()


def test_a_job_directory_that_is_a_link_is_not_used(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "0").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="0 must be a folder, got a link; move it away"):
        run(partial(tells, tmp_path / "told"))
    assert not list((tmp_path / "mine").iterdir())
