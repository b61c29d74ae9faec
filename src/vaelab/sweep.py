"""What a sweep leaves: `results.csv`, `comparison.png` and a table, best first."""

import csv
import logging
from pathlib import Path
from typing import Any, ClassVar

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from vaelab.records import read_metrics, read_summary

log = logging.getLogger(__name__)


class SweepReport(Callback):
    """Reports on the jobs of a multirun when it ends, also when it ends because a job failed.

    Hydra ends a sweep with a failed job by raising, before it calls `on_multirun_end`; `finish` is for that case.
    """

    unfinished: ClassVar[Path | None] = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remember the sweep's directory."""
        SweepReport.unfinished = Path(config.hydra.sweep.dir)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report."""
        self.finish()

    @classmethod
    def finish(cls) -> Path | None:
        """Report on the sweep that has not been reported on, if there is one and it ran a job; return its directory."""
        directory, cls.unfinished = cls.unfinished, None
        if directory is None or not any(directory.glob("*/summary.json")):
            return None
        report(directory)
        return directory


def varied(sweep_dir: Path, overrides: list[str]) -> list[str]:
    """Those overrides of a job that differ between the jobs of its sweep."""
    if not (sweep_dir / "multirun.yaml").exists():  # not every sweeper writes what it was asked for
        return overrides
    asked = yaml.safe_load((sweep_dir / "multirun.yaml").read_text())["hydra"]
    params = (asked["sweeper"].get("params") or {}).items()
    whole = [*(f"{key}={value}" for key, value in params), *asked["overrides"]["task"]]
    latest = {override.get_key_element(): override for override in OverridesParser.create().parse_overrides(whole)}
    keys = {key for key, override in latest.items() if override.is_sweep_override()}
    return [override for override in overrides if override.split("=")[0] in keys]


def report(directory: Path) -> None:
    """Write `results.csv` and `comparison.png` into the sweep's directory and print the table."""
    jobs = [_job(path.parent) for path in directory.glob("*/summary.json")]
    jobs.sort(key=lambda job: int(job["job"]) if job["job"].isdigit() else 0)
    _write_csv(directory / "results.csv", jobs)
    curves = {job["name"]: job["curve"] for job in jobs if job["curve"]}
    if curves:
        from vaelab.figures import save_comparison  # imports torch, which `--help` must not wait for

        save_comparison(directory / "comparison.png", curves, f"sweep {directory.name}: validation ELBO")
    _print_table(directory, jobs, "results.csv, comparison.png" if curves else "results.csv")


def _job(run_dir: Path) -> dict[str, Any]:
    summary = read_summary(run_dir)
    return {
        "job": run_dir.name,
        # a job that was killed with -9 could not write how it ended
        "status": {"running": "killed"}.get(summary["status"], summary["status"]),
        "name": summary.get("name") or ",".join(summary.get("overrides", ())),
        "overrides": summary.get("overrides", []),
        "metrics": summary.get("metrics", {}),
        "error": summary.get("error", ""),
        "curve": [(row["epoch"], row["val/elbo"]) for row in read_metrics(run_dir) if "val/elbo" in row],
        "directory": str(run_dir),
    }


def _write_csv(path: Path, jobs: list[dict[str, Any]]) -> None:
    settings = [dict(override.split("=", 1) for override in job["overrides"] if "=" in override) for job in jobs]
    keys = sorted({key for setting in settings for key in setting})
    metrics = sorted({name for job in jobs for name in job["metrics"]})
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["job", "overrides", *keys, *metrics, "status", "error", "directory"])
        for job, setting in zip(jobs, settings, strict=True):
            values = [*(setting.get(key, "") for key in keys), *(job["metrics"].get(name, "") for name in metrics)]
            writer.writerow(
                [job["job"], " ".join(job["overrides"]), *values, job["status"], job["error"], job["directory"]]
            )
    temporary.replace(path)


def _print_table(directory: Path, jobs: list[dict[str, Any]], files: str) -> None:
    from vaelab.terminal import show, table  # imports rich, which `--help` must not wait for

    made = table("job", "what differs", numbers=("val ELBO", "val loss", "test ELBO"), last=("status",))
    for job in sorted(jobs, key=lambda job: job["metrics"].get("val/loss", float("inf"))):
        cells = [job["metrics"].get(key) for key in ("val/elbo", "val/loss", "test/elbo")]
        numbers = ["" if cell is None else f"{cell:.2f}" for cell in cells]
        made.add_row(job["job"], job["name"], *numbers, job["status"])
    finished, pruned = (sum(job["status"] == status for job in jobs) for status in ("finished", "pruned"))
    given_up = f", {pruned} pruned" if pruned else ""
    show(
        made,
        f"{finished} of {len(jobs)} jobs finished{given_up}; nats per image, best first",
        f"{directory}/{files}",
    )
