"""Sweeps whose jobs are processes of their own: what is killed, interrupted or requeued goes on where it was."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import ROOT, clean_environment
from helpers.sweeps import results
from vaelab.run.rows import read_rows
from vaelab.run.summary import read_summary

LONG = ("dataset=digits", "trainer.epochs=60", "trainer.pictures_every=0", "trainer.batch_size=50", "logger=local")
POOL = ("hydra/launcher=pool", "hydra.launcher.n_jobs=2")


@pytest.fixture
def begin(tmp_path):
    """Starts `python run.py -m ...` in an empty folder without waiting for it."""
    begun = []

    def start(*arguments, run_py=ROOT / "run.py", env=None):
        process = subprocess.Popen(
            [sys.executable, str(run_py), "-m", *map(str, arguments)],
            cwd=tmp_path,
            env={**clean_environment(), **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(
                signal.SIGINT, signal.SIG_DFL
            ),  # ignored where a shell runs the tests with &
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def until(condition, seconds=120):
    for _ in range(20 * seconds):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


def metrics(sweep_dir):
    return [{key: row[key] for key in row if key.startswith(("val/", "test/", "train/"))} for row in results(sweep_dir)]


def is_under_way(run_dir):
    return (run_dir / "checkpoints/last.pt").exists() and not has_finished(run_dir)


def has_finished(run_dir):
    return read_summary(run_dir).get("status") == "finished"


def children(pid):
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def workers(sweep):
    """The processes of the jobs that run: children of the fork server, which is a child of the sweep's process."""
    return [worker for server in children(sweep.pid) for worker in children(server)]


@pytest.mark.slow
def test_a_job_that_has_finished_needs_no_process(begin, tmp_path):
    short = (*POOL, "dataset=digits", "trainer.max_steps=1", "trainer.pictures_every=0", "logger=local", "seed=0,1")
    sweep_dir = f"hydra.sweep.dir={tmp_path / 'sweep'}"
    assert begin(*short, sweep_dir).wait() == 0
    again = begin(*short, sweep_dir, "hydra.launcher.timeout_min=1e-9")  # in which no process could do anything
    out, _ = again.communicate(timeout=120)
    assert again.returncode == 0, out
    assert "2 of 2 jobs finished" in out


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_that_ends_early_goes_on_with_what_is_unfinished(signum, begin, tmp_path):
    sweep = ("seed=0,1,2", *LONG, *POOL)
    whole = begin(*sweep, "hydra.sweep.dir=whole")
    assert whole.wait(300) == 0
    early, folder = begin(*sweep, "hydra.sweep.dir=early"), tmp_path / "early"
    until(lambda: has_finished(folder / "0") and is_under_way(folder / "2"))
    processes = workers(early)
    early.send_signal(signum)
    assert early.wait(120) == (-signum if signum == signal.SIGKILL else 128 + signum)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes), 30)
    assert not has_finished(folder / "2")
    untouched = (folder / "0/summary.json").stat().st_mtime_ns

    again = begin(*sweep, "sweep=early")
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    assert metrics(folder) == metrics(tmp_path / "whole")
    assert (folder / "0/summary.json").stat().st_mtime_ns == untouched
    assert "going on from step" in (folder / "2/run.log").read_text()


@pytest.mark.slow
def test_a_worker_that_is_killed_is_one_failed_row(begin, tmp_path):
    sweep, folder = begin("seed=0,1,2", *LONG, *POOL, "hydra.sweep.dir=sweep"), tmp_path / "sweep"
    until(lambda: is_under_way(folder / "0") and is_under_way(folder / "1"))
    os.kill(workers(sweep)[0], signal.SIGKILL)
    output, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == 1
    rows = results(folder)
    assert sorted(row["status"] for row in rows) == ["failed", "finished", "finished"]
    (failed,) = (row for row in rows if row["status"] == "failed")
    assert "killed by SIGKILL" in failed["error"]
    assert f"resume={failed['directory']}" in failed["error"]
    assert "killed by SIGKILL" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_config_files_are_read_once(begin, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(ROOT / "conf", project / "conf")
    shutil.copy(ROOT / "run.py", project)
    mine = tmp_path / "own/experiment/mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("# @package _global_\nscheduler:\n  final: 0.5\ndefaults:\n  - override /scheduler: cosine\n")
    sweep = begin(
        "seed=0,1",
        *(f"--config-dir={tmp_path}/own", "experiment=mine"),
        *(*LONG, "trainer.epochs=30", "hydra/launcher=pool", "hydra.launcher.n_jobs=1"),
        f"hydra.sweep.dir={tmp_path}/sweep",
        run_py=project / "run.py",
    )
    until(lambda: is_under_way(tmp_path / "sweep/0"))
    adam = project / "conf/optimizer/adam.yaml"
    adam.write_text(adam.read_text().replace("lr: 0.001", "lr: 0.5").replace("lr: 1e-3", "lr: 0.5"))
    assert "lr: 0.5" in adam.read_text()
    mine.write_text(mine.read_text().replace("0.5", "0.25"))
    assert sweep.wait(300) == 0
    for job in "01":
        saved = (tmp_path / "sweep" / job / "config.yaml").read_text()
        assert "lr: 0.001" in saved
        assert "final: 0.5" in saved


# Stands in for SLURM on one machine: runs a job as its batch script says, and again if it was requeued.
SLURM = """#!{python}
import os, subprocess, sys
from pathlib import Path

name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
state = Path(__file__).parent
if name == "sbatch":
    (state / "script").write_text(Path(arguments[-1]).read_text())
    nothing = subprocess.DEVNULL
    subprocess.Popen([state / "node"], start_new_session=True, stdout=nothing, stderr=nothing)
    print("Submitted batch job 4711")
elif name == "node":
    zeros = dict.fromkeys(("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"), "0")
    ones = dict.fromkeys(("SLURM_NTASKS", "SLURM_JOB_NUM_NODES"), "1")
    job = {{"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "here", **zeros, **ones}}
    requeued = state / "4711"
    while True:
        subprocess.run(["bash", state / "script"], env={{**os.environ, **job}})
        if not requeued.exists():
            break
        requeued.unlink()
elif name == "srun":
    first = next(index for index, argument in enumerate(arguments) if "python" in argument)
    os.execv(arguments[first], arguments[first:])
elif name == "scontrol":
    (state / arguments[1]).touch()
elif name == "sacct":
    print("JobID|State|NodeList")
    print("4711|RUNNING|here")
"""


@pytest.fixture
def slurm(tmp_path):
    """A folder with the commands of SLURM."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name in ("sbatch", "node", "srun", "scontrol", "sacct"):
        (folder / name).write_text(SLURM.format(python=sys.executable))
        (folder / name).chmod(0o755)
    return folder


def submitted_jobs(folder):
    """Processes of submitit that work for a sweep in that folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_text()
        except OSError:
            continue
        if "submitit.core._submit" in line and str(folder) in line and "srun" not in line:
            found.append(int(process.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["submitit_local", "slurm"])
def test_a_job_that_its_scheduler_stops_is_requeued_and_goes_on(launcher, begin, slurm, tmp_path):
    submitit = (f"hydra/launcher={launcher}", "hydra.launcher.timeout_min=5", "trainer.epochs=200")
    logged = ("logger=wandb", "logger.mode=offline")
    path = os.pathsep.join([str(slurm), clean_environment()["PATH"]])
    sweep = begin("seed=0", *LONG, *submitit, *logged, "hydra.sweep.dir=sweep", env={"PATH": path})
    run_dir = tmp_path / "sweep/0"
    until(lambda: is_under_way(run_dir))
    wandb_id = (run_dir / "wandb/run_id").read_text()
    jobs = submitted_jobs(tmp_path)
    for job in jobs:  # and W&B's process, a copy of the job's
        os.kill(job, signal.SIGUSR2)
    assert jobs
    output, _ = sweep.communicate(timeout=240)
    assert sweep.returncode == 0, output
    log = (run_dir / "run.log").read_text()
    assert "stopped by SIGUSR2" in log
    assert "going on from step" in log
    assert (run_dir / "wandb/run_id").read_text() == wandb_id
    assert has_finished(run_dir)
    steps = [row["step"] for row in read_rows(run_dir) if "train/loss" in row]
    assert steps == sorted(set(steps))
    assert json.loads((run_dir / "summary.json").read_text())["epochs"] == 200
    if launcher == "slurm":
        script = (slurm / "script").read_text()
        for option in ("--signal=USR2@120", "--time=5", "--requeue", "--cpus-per-task=8", "--gpus-per-node=1"):
            assert option in script, script


@pytest.mark.slow
def test_a_ray_cluster_that_loses_a_machine_finishes_the_sweep(begin, tmp_path):
    ray_cluster = pytest.importorskip("ray.cluster_utils")
    (tmp_path / "cluster.py").write_text(CLUSTER)
    assert ray_cluster is not None
    environment = {**clean_environment(), "RAY_AUTH_MODE": "disabled"}
    cluster = subprocess.Popen(
        [sys.executable, tmp_path / "cluster.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    try:
        address = cluster.stdout.readline().split()[-1]
        sweep = begin(
            *("seed=0,1,2,3", *LONG, "trainer.epochs=300", "hydra/launcher=ray", f"hydra.launcher.address={address}"),
            "hydra.sweep.dir=sweep",
            env={"RAY_AUTH_MODE": "disabled"},
        )
        folder = tmp_path / "sweep"
        until(lambda: is_under_way(folder / "0") and is_under_way(folder / "1"), 120)
        cluster.stdin.write("kill\n")
        cluster.stdin.flush()
        output, _ = sweep.communicate(timeout=400)
        assert sweep.returncode == 0, output
    finally:
        cluster.communicate("end\n", timeout=60)
    assert [row["status"] for row in results(folder)] == ["finished"] * 4
    logs = [(folder / str(job) / "run.log").read_text() for job in range(4)]
    assert sum("going on from step" in log for log in logs) == 1


CLUSTER = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
second = cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
print("address", cluster.address, flush=True)
for line in sys.stdin:
    if line.strip() == "kill":
        cluster.remove_node(second, allow_graceful=False)
    else:
        break
cluster.shutdown()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no PYTHONSAFEPATH")
def test_the_pool_imports_nothing_from_the_folder_that_one_is_in(tmp_path):
    (tmp_path / "socket.py").write_text("open('taken', 'w').close()\n")
    command = ["-m", "hydra/launcher=pool", "dataset=digits", "logger=local", "trainer.max_steps=2", "seed=0,1"]
    done = subprocess.run(
        [sys.executable, ROOT / "run.py", *command, "trainer.pictures_every=0"],
        cwd=tmp_path,
        env={**clean_environment(), "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "taken").exists()
