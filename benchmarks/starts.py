"""What a person waits for before anything trains: imports, help, the first step, the jobs of a sweep."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.job import ROOT, Job, MistakeError

JOBS, FEW_JOBS = 100, 3  # of a sweep; of one for the tests
STEPS = 20
POLL_SECONDS = 0.005
VAELAB = "from vaelab.cli.commands import main; main()"  # the command, wherever it is installed


def measure_starts(job: Job, rounds: int, say: Callable[[str], None]) -> dict[str, float]:
    """Seconds by what is waited for: medians of the rounds, in turns; of the sweep, which takes longest, of one."""
    waits: dict[str, Callable[[Path], float]] = {
        "import vaelab": lambda folder: _seconds("-c", "import vaelab"),
        "vaelab --help": lambda folder: _seconds("-c", VAELAB, "--help"),
        "run.py --help": lambda folder: _seconds("run.py", "--help"),
        "launch to first step": lambda folder: _first_step(job, folder),
    }
    found: dict[str, list[float]] = {name: [] for name in waits}
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as folder:
        for number in range(rounds):
            say(f"starts: round {number + 1} of {rounds}")
            for name, wait in waits.items():
                found[name].append(wait(Path(folder, f"run{number}")))
        count, sweep = FEW_JOBS if job.synthetic else JOBS, Path(folder, "sweep")
        given = ("dataset=digits", f"trainer.max_steps={STEPS}", f"seed=range({count})", "hydra/launcher=pool")
        for name, place in (("a sweep", f"hydra.sweep.dir={sweep}"), ("going on with it", f"sweep={sweep}")):
            say(f"starts: {name} of {count} jobs")
            found[f"{name}, {count} jobs"] = [_seconds("run.py", "-m", *given, place)]
    return {name: median(seconds) for name, seconds in found.items()}


def _first_step(job: Job, run_dir: Path) -> float:
    """Seconds from launch until the first step has left its row, W&B offline."""
    dataset = ["dataset=digits"] if job.synthetic else ["dataset=mnist", f"dataset.root={job.root}"]
    began, rows = time.perf_counter(), run_dir / "metrics.jsonl"
    with _started("run.py", *dataset, "trainer.log_every=1", f"hydra.run.dir={run_dir}") as process:
        while process.poll() is None and not (rows.exists() and rows.stat().st_size):
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - began
        is_there = rows.exists()
        process.terminate()
    if not is_there:
        raise MistakeError(f"the run in {run_dir} ended before its first step")
    return seconds


def _seconds(*command: str) -> float:
    began = time.perf_counter()
    with _started(*command) as process:
        code = process.wait()
    if code:
        raise MistakeError(f"python {' '.join(command)} ended with code {code}")
    return time.perf_counter() - began


def _started(*command: str) -> "subprocess.Popen[bytes]":
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, "WANDB_MODE": "offline"}
    return subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, **quiet)
