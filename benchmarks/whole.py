"""Whole processes from launch to exit, one after the other: what a person waits for."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.job import ROOT, Column, Job, MistakeError
from benchmarks.overrides import config_overrides

COLUMN = Column("mlp", 32, "float32")


def measure_whole(rows: list[str], job: Job, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds and test loss of each row; `job.epochs` epochs of the MLP on MNIST."""
    results = {}
    for row in rows:
        say(f"whole process of {row}, {job.epochs} epochs")
        with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as folder:
            results[row] = _run(replace(job, row=row, column=COLUMN, folder=folder))
    first = results.get("tutorial", {}).get("seconds")
    for result in results.values():
        if "seconds" in result:
            result["times_faster_than_tutorial"] = first / result["seconds"] if first else None
    return results


def _run(job: Job) -> dict[str, Any]:
    run_dir = Path(job.folder) / "run"
    if job.row == "vaelab":  # as its users start it, W&B's offline files and all pictures included
        given = config_overrides(job, logger="wandb")
        command = ["run.py", *given, "logger.mode=offline", f"hydra.run.dir={run_dir}"]
    else:
        command = ["-m", "benchmarks.alone", job.to_json()]
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise MistakeError(f"the process of {job.row} ended with code {done.returncode}: {last}")
    if job.row == "vaelab":
        metrics = json.loads((run_dir / "summary.json").read_text())["metrics"]
        return {"seconds": seconds, "test_loss": metrics["test/loss"]}
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return said if "unavailable" in said else {"seconds": seconds, **said}
