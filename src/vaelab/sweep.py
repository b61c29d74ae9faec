"""What a sweep leaves: `results.csv`, `comparison.png` and a table, best first."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from vaelab.asked import asked_for, name_of_job
from vaelab.compared import ComparedRun, read_run
from vaelab.errors import PastHydraError
from vaelab.labels import rounded
from vaelab.metrics import MERIT, MERIT_WITHOUT_VALIDATION, label
from vaelab.ranking import describe, ranked, typical

if TYPE_CHECKING:
    from rich.table import Table

NOT_BEGUN = "not begun"


class SweepReport(Callback):
    """Reports on the jobs of a multirun when it ends, also when it ends because a job failed.

    Hydra ends a sweep with a failed job by raising, before it calls `on_multirun_end`; `finish` is for that case.
    """

    unfinished: ClassVar[Path | None] = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remember the sweep's directory."""
        try:
            SweepReport.unfinished = Path(config.hydra.sweep.dir)
        except OmegaConfBaseException as error:
            raise PastHydraError(error) from error

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


def report(directory: Path) -> None:
    """Write `results.csv` and `comparison.png` into the sweep's directory and print the table."""
    jobs = [_at_its_end(read_run(path.parent)) for path in directory.glob("*/summary.json")]
    jobs.sort(key=_number)
    waiting, count = _not_begun(directory, jobs)
    groups = ranked(jobs)
    _write_csv(directory / "results.csv", groups, waiting)
    drawn = _draw(directory / "comparison.png", groups, f"sweep {directory.name}: validation ELBO")
    _print_tables(groups, waiting, _summary(jobs, count), f"{directory}/results.csv{', comparison.png' * drawn}")


def _at_its_end(job: ComparedRun) -> ComparedRun:
    # a job that was killed with -9 could not write how it ended
    return replace(job, status={"unfinished": "killed"}.get(job.status, job.status))


def _number(job: ComparedRun) -> int:
    return int(job.directory.name) if job.directory.name.isdigit() else 0


def _not_begun(directory: Path, jobs: Sequence[ComparedRun]) -> tuple[list[ComparedRun], int]:
    """The jobs that have not begun, as far as it is known which, and how many were asked for in all."""
    asked = asked_for(directory)
    if asked is None:
        return [], len(jobs)
    begun = {job.directory.name for job in jobs}
    numbered = {str(number): overrides for number, overrides in enumerate(asked.overrides)}
    if not begun <= numbered.keys():  # hydra.sweep.subdir gives them other names, or a search draws them
        numbered = {}
    waiting = [
        ComparedRun(
            directory=directory / number,
            name=name_of_job(directory, number, overrides),
            overrides=overrides,
            settings={},
            setting={},
            metrics={},
            curves={},
            epochs=0,
            status=NOT_BEGUN,
            error="",
        )
        for number, overrides in numbered.items()
        if number not in begun
    ]
    return waiting, max(asked.count, len(jobs))


def _summary(jobs: Sequence[ComparedRun], count: int) -> str:
    finished, pruned = (sum(job.status == status for job in jobs) for status in ("finished", "pruned"))
    parts = [f"{finished} of {count} jobs finished"]
    parts += [f"{pruned} pruned"] if pruned else []
    parts += [f"{count - len(jobs)} {NOT_BEGUN}"] if count > len(jobs) else []
    return f"{', '.join(parts)}; nats per image, best first"


def _write_csv(path: Path, groups: Sequence[Sequence[ComparedRun]], waiting: Sequence[ComparedRun]) -> None:
    """A row a job, in the order of their numbers; `rank` is the place among those that were measured on the same."""
    ranks = {job.directory: place for group in groups for place, job in enumerate(group, 1) if job.merit is not None}
    jobs = sorted([*(job for group in groups for job in group), *waiting], key=_number)
    settings = [dict(override.split("=", 1) for override in job.overrides if "=" in override) for job in jobs]
    keys = sorted({key for setting in settings for key in setting})
    metrics = sorted({name for job in jobs for name in job.metrics})
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["job", "rank", "overrides", *keys, *metrics, "status", "error", "measured_on", "directory"])
        for job, setting in zip(jobs, settings, strict=True):
            values = [*(setting.get(key, "") for key in keys), *(job.metrics.get(name, "") for name in metrics)]
            begin = [job.directory.name, ranks.get(job.directory, ""), " ".join(job.overrides)]
            writer.writerow([*begin, *values, job.status, job.error, describe(job.setting), job.directory])
    temporary.replace(path)


def _draw(path: Path, groups: Sequence[Sequence[ComparedRun]], title: str) -> bool:
    """Draw the validation ELBO of all jobs that have any, a panel for those measured on the same; whether there are."""
    panels = {}
    for group in groups:
        usual = typical(group)
        lines = [(_label(job), job.curves[MERIT], job in usual) for job in group if MERIT in job.curves]
        if lines:
            panels[describe(group[0].setting)] = lines
    if panels:
        from vaelab.figures import save_comparison  # imports torch, which `--help` must not wait for

        save_comparison(path, panels, title)
    return bool(panels)


def _label(job: ComparedRun) -> str:
    return rounded(job.name) + ("" if job.merit is not None else f" ({job.status})")


def _print_tables(groups: Sequence[Sequence[ComparedRun]], waiting: Sequence[ComparedRun], *lines: str) -> None:
    from vaelab.terminal import show  # imports rich, which `--help` must not wait for

    if len(groups) == 1:
        show(_table([*groups[0], *waiting]), *lines)
        return
    tables = [part for group in groups for part in (describe(group[0].setting), _table(group))]
    show(*tables, *([NOT_BEGUN, _table(waiting)] if waiting else []), *lines)


def _table(jobs: Sequence[ComparedRun]) -> "Table":
    from vaelab.terminal import table

    merit = MERIT_WITHOUT_VALIDATION if jobs[0].merit is not None and MERIT not in jobs[0].metrics else MERIT
    names = (merit, "val/loss", "test/elbo")
    made = table("job", "what differs", numbers=tuple(map(label, names)), last=("status",))
    for job in jobs:
        cells = [f"{job.metrics[name]:.2f}" if name in job.metrics else "" for name in names]
        made.add_row(job.directory.name, rounded(job.name), *cells, job.status)
    return made
