"""A pool: every job a process of its own; one that dies, exits or hangs is one failed outcome."""

import multiprocessing.forkserver
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from vaelab.errors import UserError
from vaelab.run.summary import read_summary, write_summary
from vaelab.sweep import fork_server, places
from vaelab.sweep.attempt import Limits
from vaelab.sweep.jobs import Job
from vaelab.sweep.places import Places
from vaelab.sweep.pool import Pool


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


def stops_at_a_signal(path):
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


@pytest.fixture(scope="module", autouse=True)
def quick_fork_server():
    """Makes the fork server import less than that of a sweep, which takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fork_server, "PRELOADED", ["pytest", "torch", "vaelab.sweep.pool"])
        yield
    multiprocessing.forkserver._forkserver._stop()  # the next is to import all again


@pytest.fixture
def run(tmp_path):
    def run_jobs(*calls, view=None, n_jobs=2, jobs_per_gpu=1, timeout_min=None, retries=0, grace_seconds=1.0):
        jobs = [Job(number, "", tmp_path / str(number), ["seed=0"], call) for number, call in enumerate(calls)]
        limits = Limits(timeout_min, retries, grace_seconds)
        outcomes = Pool(Places(n_jobs, jobs_per_gpu), limits).run(jobs, view or Silent())
        return [outcomes[number] for number in sorted(outcomes)]

    return run_jobs


@pytest.mark.slow
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
    assert "resume=" not in errors[1]  # there is no run to go on with
    assert errors[2] == "a mistake"
    assert isinstance(outcomes[2].error, UserError)
    assert "exit code 3" in errors[3]
    assert errors[4] == "Unportable: one and two"
    assert errors[5].startswith("UserError: long long")
    assert "exit code 7" in errors[6]
    assert read_summary(tmp_path / "1") == {
        "name": "",
        "group": tmp_path.name,
        "overrides": ["seed=0"],
        "status": "failed",
        "error": errors[1],
    }
    assert sorted(view.numbers) == list(range(8))
    assert view.most <= 2


@pytest.mark.slow
def test_a_job_that_runs_too_long_is_stopped_then_killed(run, tmp_path):
    saved = tmp_path / "saved"
    started = time.monotonic()
    stopped, hung, quick = run(
        partial(stops_at_a_signal, saved), hangs, partial(abs, -1.0), timeout_min=1 / 60, grace_seconds=2
    )
    assert time.monotonic() - started < 30
    assert "longer than hydra.launcher.timeout_min=0.01" in str(stopped.error)
    assert "longer than" in str(hung.error)
    assert quick.value == 1.0
    assert saved.read_text() == "saved"


@pytest.mark.slow
def test_a_job_whose_process_dies_is_started_again(run, tmp_path):
    once, always = run(partial(dies_once, tmp_path / "once"), killed, retries=1)
    assert once.value == 1.0
    assert "SIGKILL" in str(always.error)


def test_a_job_that_dies_when_its_work_is_done_has_finished(run, tmp_path):
    (outcome,) = run(partial(raises_after_its_summary, tmp_path / "0"))
    assert outcome.value == 2.5
    assert read_summary(tmp_path / "0")["status"] == "finished"


def test_each_job_has_its_process_its_gpu_its_threads_and_its_output(run, tmp_path, monkeypatch):
    counted = []
    monkeypatch.setattr(places, "gpus_are_possible", lambda: True)
    monkeypatch.setattr(places, "visible_gpus", lambda context: counted.append(1) or ["5", "7"])
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
    assert counted == [1]


def starts_no_cuda(path):
    import torch

    told = (torch.cuda.is_initialized(), torch.cuda._is_in_bad_fork())
    Path(path).write_text(" ".join(map(str, told)))
    return 0.0


def test_asking_for_gpus_starts_cuda_neither_here_nor_in_the_fork_server(run, tmp_path, monkeypatch):
    monkeypatch.setattr(places, "gpus_are_possible", lambda: True)
    run(partial(starts_no_cuda, tmp_path / "told"), n_jobs=1)
    assert (tmp_path / "told").read_text() == "False False"
    import torch

    assert not torch.cuda.is_initialized()


@pytest.mark.parametrize("kind", ["link", "FIFO"])
def test_an_untrusted_output_log_is_one_sentence_of_its_job(kind, run, tmp_path):
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


@pytest.mark.slow
def test_the_death_of_the_fork_server_ends_its_jobs_before_it_is_told(run, tmp_path, monkeypatch):
    monkeypatch.setattr(fork_server, "PRELOADED", [])
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
