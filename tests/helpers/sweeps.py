"""Sweeps that were run: the rows of their reports and what W&B wrote."""

import csv
import json
import subprocess
import sys
from pathlib import Path

QUICK = ("dataset=digits", "trainer.epochs=1", "trainer.pictures_every=0", "trainer.batch_size=300")


def results(sweep_dir: Path) -> list[dict]:
    """The rows of `results.csv`."""
    with (sweep_dir / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def wandb_runs(sweep_dir: Path) -> dict[str, dict]:
    """W&B's own files of each job, read back."""
    runs = {}
    for file in sweep_dir.glob("*/wandb/offline-run-*/*.wandb"):
        job = file.relative_to(sweep_dir).parts[0]
        assert job not in runs
        records = [json.loads(line) for line in _inspect("--json", file).splitlines()]
        (group,) = [record["run"]["run_group"] for record in records if record["type"] == "run"]
        runs[job] = {**json.loads(_inspect("--summary", "--json", file)), "group": group}
    return runs


def _inspect(*arguments) -> str:
    wandb = Path(sys.executable).parent / "wandb"
    return subprocess.run([wandb, "leet", "inspect", *arguments], capture_output=True, text=True, check=True).stdout
