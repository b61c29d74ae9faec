"""Finished runs as docs/reproduction.json, its page and its pictures."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.published.page import page
from benchmarks.published.rows import Row


def collect(rows: Iterable[Row], runs: Path, docs: Path) -> None:
    """Write what was measured of each row of which all runs are here; what is known of the others stays."""
    rows, known = list(rows), docs / "reproduction.json"
    measured = json.loads(known.read_text()) if known.exists() else {}
    for row in rows:
        made = ((evaluation(runs / place, run), samples(runs / place, row, run)) for run, _, place in row.jobs())
        if all(path.exists() for paths in made for path in paths):
            measured[row.name] = [_measured(row, run, seed, runs / place) for run, seed, place in row.jobs()]
            _copy_pictures(row, runs, docs / "reproduction")
    known.write_text(json.dumps(measured, indent=2) + "\n")
    (docs / "reproduction.md").write_text(page(rows, measured))


def evaluation(directory: Path, run: str) -> Path:
    """What `vaelab evaluate` writes of a run."""
    return directory / f"evaluation-{run}.json"


def samples(directory: Path, row: Row, run: str) -> Path:
    """The picture of what was evaluated: the run's own, or one of samples that are drawn otherwise."""
    return directory / (f"samples-{run}.png" if row.sampler(run) else "samples.png")


def _measured(row: Row, run: str, seed: int, directory: Path) -> dict[str, Any]:
    """What a run's own files say of it."""
    summary, found = (json.loads(path.read_text()) for path in (directory / "summary.json", evaluation(directory, run)))
    versions = summary["versions"]
    return {
        "run": run,
        "seed": seed,
        "overrides": [word for word in summary["overrides"] if not word.startswith("dataset.root=")],
        "figure": found["metrics"][row.metric],
        "standard_error": found["standard_errors"].get(row.metric),
        "depends_on": found["depends_on"].get(row.metric),
        "images": found["settings"]["images"],
        "minutes": round(summary["seconds"] / 60, 1),
        "epochs": round(summary["epochs"], 1),
        "commit": (summary["git_commit"] or "unknown")[:10],
        "machine": f"{versions['device']}, trainer.threads={summary['threads']}, torch {versions['torch']}",
    }


def _copy_pictures(row: Row, runs: Path, pictures: Path) -> None:
    """The pictures of each run's first seed."""
    pictures.mkdir(exist_ok=True)
    for run, seed, place in row.jobs():
        if seed == row.seeds[0]:
            shutil.copy(samples(runs / place, row, run), pictures / f"{row.name}-{run}-samples.png")
            if run in row.trained():
                shutil.copy(runs / place / "curves.png", pictures / f"{row.name}-{run}-curves.png")
