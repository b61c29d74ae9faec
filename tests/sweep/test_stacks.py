"""`hydra/launcher=stacked`: every job is the run that the pool would have made, in a directory of its own."""

import json
import signal
import subprocess
import sys
import time

import pytest

from conftest import ROOT, clean_environment
from helpers.sweeps import results, wandb_runs
from vaelab.errors import UserError
from vaelab.run.rows import read_rows
from vaelab.run.summary import read_summary, write_summary
from vaelab.sweep.jobs import Job, Outcome
from vaelab.sweep.stacks import Share, Stacks

SMALL = ("dataset=digits", "latent=d8", "model.hidden=[16]", "trainer.batch_size=100", "trainer.pictures_every=0")
STACKED = ("hydra/launcher=stacked", "hydra.launcher.n_jobs=1", "trainer.compile=false")


class Runs:
    """A sweep in a folder."""

    def __init__(self, folder):
        self.folder = folder

    def start(self, name, *arguments):
        command = [sys.executable, ROOT / "run.py", "-m", *arguments, f"hydra.sweep.dir={self.folder / name}"]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, name, *arguments, code=0):
        process = self.start(name, *arguments)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == code, output
        return output


@pytest.fixture
def sweeps(tmp_path):
    return Runs(tmp_path)


def metrics(run_dir):
    return read_summary(run_dir)["metrics"]


@pytest.mark.slow
def test_each_job_is_the_run_of_the_pool_with_all_that_belongs_to_it(sweeps, run_py, tmp_path):
    overrides = (*SMALL, "trainer.epochs=5", "trainer.ema=0.9", "seed=0,1", "optimizer.lr=0.001,0.01,1e30")
    failing = dict.fromkeys(("2", "5"))
    output = sweeps.run("stacked", *overrides, *STACKED, code=1)
    sweeps.run("pool", *overrides, "hydra/launcher=pool", "hydra.launcher.n_jobs=2", "logger=local", code=1)
    rows = results(tmp_path / "stacked")
    assert sorted(row["job"] for row in rows if row["status"] == "failed") == [*failing]
    assert "the loss is not finite at step" in output
    names = set()
    for job, run in wandb_runs(tmp_path / "stacked").items():
        assert run["config"]["seed"] == int(job) // 3
        names.add(json.dumps(run["config"], sort_keys=True))
    assert len(names) == 6
    for job in "012345":
        log = (tmp_path / "stacked" / job / "run.log").read_text()
        (upload,) = (line for line in log.splitlines() if "upload with" in line)
        assert f"stacked/{job}/wandb" in upload
    for job in set("012345") - failing.keys():
        stacked, alone = tmp_path / "stacked" / job, tmp_path / "pool" / job
        assert metrics(stacked) == pytest.approx(metrics(alone), abs=1e-3)
        for row, other in zip(read_rows(stacked), read_rows(alone), strict=True):
            assert row.keys() == other.keys()
            assert [row["step"], row["epoch"]] == [other["step"], other["epoch"]]
            for name, tolerance in (("train/loss", 1e-5), ("train/grad_norm", 1e-3), ("train/lr", 1e-9)):
                assert row.get(name, 0.0) == pytest.approx(other.get(name, 0.0), rel=tolerance)
        for name in ("last.pt", "best.pt"):
            sizes = [(run_dir / "checkpoints" / name).stat().st_size for run_dir in (stacked, alone)]
            assert sizes[0] == pytest.approx(sizes[1], abs=2000)
        assert (stacked / "run.log").read_text().count("epoch 5/5") == 1
        assert (stacked / "output.log").read_text().count("run directory") == 1

    resumed = run_py(f"resume={tmp_path}/stacked/0", "trainer.epochs=6")
    assert resumed.returncode == 0, resumed.stderr
    assert read_summary(tmp_path / "stacked/0")["epochs"] == 6


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_that_ends_early_goes_on_with_what_is_unfinished(signum, sweeps, tmp_path):
    often = ("trainer.epochs=80", "trainer.checkpoint_every=1")  # and so no sooner over than on the disk
    sweep = (*SMALL, *STACKED, *often, "logger=local", "latent.dim=2,3", "seed=0,1")
    sweeps.run("whole", *sweep)
    early = sweeps.start("early", *sweep)
    deadline = time.monotonic() + 120
    while not (tmp_path / "early/3/checkpoints/last.pt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    early.send_signal(signum)
    early.communicate(timeout=120)
    unfinished = [job for job in "0123" if read_summary(tmp_path / "early" / job).get("status") != "finished"]
    assert unfinished
    time.sleep(1.0)  # a killed sweep's process stops at a checkpoint by itself
    output = sweeps.run("early", *sweep)
    assert "4 of 4 jobs finished" in output
    for job in "0123":
        assert metrics(tmp_path / "early" / job) == pytest.approx(metrics(tmp_path / "whole" / job), abs=1e-3)
    for job in unfinished:
        assert "going on from step" in (tmp_path / "early" / job / "run.log").read_text()


@pytest.mark.slow
def test_what_cannot_be_stacked_is_trained_alone_and_one_line_says_so(sweeps, tmp_path):
    short = (*SMALL, "trainer.max_steps=3", "logger=local")
    sweeps.run("sweep", *short, *STACKED, "objective=factor,elbo", "seed=0,1", "hydra.job.chdir=true")
    assert [row["status"] for row in results(tmp_path / "sweep")] == ["finished"] * 4
    said = {job: (tmp_path / "sweep" / job / "output.log").read_text() for job in "0123"}
    assert all("trained by itself: Factor" in said[job] for job in "01")
    assert not any("by itself" in said[job] for job in "23")


def job(number, folder):
    return Job(number, f"seed={number}", folder / str(number), [f"seed={number}"], float)


def test_of_a_process_that_died_each_job_says_how_it_ended(tmp_path):
    share = Share([job(number, tmp_path) for number in range(3)])
    share.make_room()
    write_summary(tmp_path / "0", {"status": "finished", "metrics": {"val/elbo": -2.0}})
    (tmp_path / "1/config.yaml").touch()
    died = Outcome(None, UserError("the job's process was killed by SIGKILL"), 1.0, died=True)
    assert share.reached() is None
    share.record(died)
    found = [share.outcome_of(each, died) for each in share.jobs]
    assert [each.value for each in found] == [-2.0, None, None]
    failed = Outcome({1: "its checkpoint is damaged"}, None, 1.0)
    assert str(share.outcome_of(share.jobs[1], failed).error) == "its checkpoint is damaged"
    assert f"resume={tmp_path}/1" in str(found[1].error)
    assert read_summary(tmp_path / "0")["status"] == "finished"
    for number in "12":
        assert read_summary(tmp_path / number)["error"] == str(found[int(number)].error)


class Places:
    """A pool of two processes that runs nothing, and keeps what it is given."""

    n_jobs = 2

    def __init__(self):
        self.given = []

    def run(self, work, view):
        for share in work:
            self.given.append([job.number for job in share.jobs])
            view.update({share.number: share})
            view.ended(share, Outcome(0.0, None, 1.0))


class Seen:
    def __init__(self):
        self.running, self.numbers = [], []

    def update(self, running):
        self.running.append(sorted(running))

    def ended(self, job, outcome):
        self.numbers.append(job.number)


@pytest.mark.parametrize(
    ("jobs", "runs", "shares"),
    [(5, 32, [[0, 1, 2], [3, 4]]), (7, 2, [[0, 1], [2, 3], [4, 5], [6]]), (1, 32, [[0]]), (0, 4, [])],
)
def test_jobs_are_shared_out_evenly_and_not_more_than_asked_for_to_a_process(jobs, runs, shares, tmp_path):
    pool, seen = Places(), Seen()
    outcomes = Stacks(pool, runs).run((job(number, tmp_path) for number in range(jobs)), seen)
    assert pool.given == seen.running == shares
    assert seen.numbers == [*outcomes] == [*range(jobs)]


def test_a_share_needs_room_for_a_run():
    with pytest.raises(ValueError, match="runs must be an integer of at least 1, got 0"):
        Stacks(Places(), 0)
