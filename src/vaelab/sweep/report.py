"""What a sweep leaves: `results.csv`, `comparison.png` and a table, best first."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from vaelab.errors import PastHydraError, UserError, one_line, visible
from vaelab.evaluation.metrics import MERIT, label
from vaelab.files import folder
from vaelab.run.find import jobs_of
from vaelab.run.labels import decimal, rounded
from vaelab.run.ranking import describe, ranked, shown_merit, typical
from vaelab.run.record import RunRecord
from vaelab.run.saved import CONFIG
from vaelab.run.summary import FAILED, FINISHED, PRUNED
from vaelab.run.wandb_files import UNREACHABLE
from vaelab.sweep.failed_job import FailedJob
from vaelab.sweep.plan import names_of_jobs, planned_jobs, read_plan
from vaelab.sweep.results_csv import number_of, results_csv

if TYPE_CHECKING:
    from rich.table import Table

log = logging.getLogger(__name__)

NOT_BEGUN = "not begun"


class SweepReport(Callback):
    """Reports on the jobs of a multirun when it ends, also when it ends because a job failed.

    Hydra ends a sweep with a failed job by raising, before it calls `on_multirun_end`; `finish` is for that case.
    """

    unfinished: ClassVar[Path | None] = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remember the sweep's directory."""
        try:
            SweepReport.unfinished = directory = Path(config.hydra.sweep.dir)
        except OmegaConfBaseException as error:
            raise PastHydraError(error) from error
        with suppress(OSError):
            folder.remove(directory, UNREACHABLE)  # W&B's server is asked for once a launch

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Keep Hydra from saying again what a job has said; those of submitit say it in files only."""
        if job_return.status == JobStatus.FAILED and "submitit" not in config.hydra.launcher._target_:
            job_return.__class__ = FailedJob

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report."""
        self.finish()

    @classmethod
    def finish(cls) -> Path | None:
        """Report on the sweep that has not been reported on, if there is one and it ran a job; return its directory."""
        directory, cls.unfinished = cls.unfinished, None
        if directory is None or not directory.is_dir() or not jobs_of(directory):
            return None
        report(directory)
        return directory


def failed_before_they_began(directory: Path) -> list[str]:
    """The names of a sweep's jobs that failed before they had a config."""
    jobs = sorted(map(RunRecord, jobs_of(directory)), key=number_of)
    return [job.directory.name for job in jobs if job.status == FAILED and not folder.exists(job.directory, CONFIG)]


def report(directory: Path) -> None:
    """Write `results.csv` and `comparison.png` into the sweep's directory and print the table.

    What cannot be written, or is damaged, is said below the table.
    """
    jobs = sorted(map(RunRecord, jobs_of(directory)), key=number_of)
    waiting, count = _not_begun(directory, jobs)
    groups = ranked(jobs)
    files = {
        "results.csv": partial(results_csv, groups, waiting),
        "comparison.png": partial(_picture, groups, f"sweep {directory.name}"),
    }
    written, lines = _write(directory, files)
    lines += [_problem(directory)]
    if written:
        lines = [f"{directory}/{', '.join(written)}", *lines]
    _print_tables(groups, waiting, _summary(jobs, count), *filter(None, lines))


def _write(directory: Path, files: Mapping[str, Callable[[], bytes | None]]) -> tuple[list[str], list[str]]:
    """Write what there is of the files; the names of those written, and a line for each that could not be."""
    written, lines = [], []
    for name, make in files.items():
        try:
            content = make()
            if content is not None:
                folder.write(directory, name, content)
                written.append(name)
        except Exception as error:  # whatever a picture of odd numbers raises, the table is worth more
            lines.append(f"{name} could not be written ({one_line(error, 200)})")
    return written, lines


def _problem(directory: Path) -> str:
    try:
        read_plan(directory)
    except (OSError, UserError) as error:
        return one_line(error, 300)
    return ""


def _not_begun(directory: Path, jobs: Sequence[RunRecord]) -> tuple[list[RunRecord], int]:
    """The jobs that have not begun, as far as it is known which, and how many were asked for in all."""
    plan = planned_jobs(directory)
    if plan is None:
        return [], len(jobs)
    begun = {job.directory.name for job in jobs}
    numbered = {str(number): overrides for number, overrides in enumerate(plan.overrides)}
    if not begun <= numbered.keys():  # hydra.sweep.subdir gives them other names, or a search draws them
        numbered = {}
    names = names_of_jobs(directory, numbered)
    waiting = [
        RunRecord(
            directory / number, {"status": NOT_BEGUN, "name": names[number], "overrides": overrides}, config={}, rows=[]
        )
        for number, overrides in numbered.items()
        if number not in begun
    ]
    return waiting, max(plan.count, len(jobs))


def _summary(jobs: Sequence[RunRecord], count: int) -> str:
    finished, pruned = (sum(job.status == status for job in jobs) for status in (FINISHED, PRUNED))
    parts = [f"{finished} of {count} jobs finished"]
    parts += [f"{pruned} pruned"] if pruned else []
    parts += [f"{count - len(jobs)} {NOT_BEGUN}"] if count > len(jobs) else []
    return f"{', '.join(parts)}; nats per image, best first"


def _picture(groups: Sequence[Sequence[RunRecord]], title: str) -> bytes | None:
    """The merit of all jobs over epochs, a panel for those measured on the same; None where there is none."""
    panels = {}
    for group in groups:
        usual = typical(group)
        lines = [(_in_picture(_label(job)), job.merit_curve, job in usual) for job in group if job.merit_curve]
        if lines:
            panels[_in_picture(describe(group[0].measured_on))] = lines
    if not panels:
        return None
    from vaelab.sweep.figures import save_comparison  # imports numpy, which `--help` must not wait for

    with TemporaryDirectory(prefix="vaelab-") as scratch:
        path = Path(scratch, "comparison.png")
        have_elbo = {MERIT in job.curves for group in groups for job in group if job.merit_curve}
        quantity = {True: "validation ELBO", False: "negative validation loss"}[have_elbo.pop()]
        quantity = f"{quantity}, or negative loss" if have_elbo else quantity
        save_comparison(path, panels, _in_picture(f"{title}: {quantity}"), quantity)
        return path.read_bytes()


def _in_picture(text: str) -> str:
    """The text as a picture shows it; between two dollars it would be a formula."""
    return visible(text).replace("$", r"\$")


def _label(job: RunRecord) -> str:
    return rounded(job.name) + ("" if job.merit is not None else f" ({job.status})")


def _print_tables(groups: Sequence[Sequence[RunRecord]], waiting: Sequence[RunRecord], *lines: str) -> None:
    from vaelab.run.terminal import show  # imports rich, which `--help` must not wait for

    if len(groups) == 1:
        show(_table([*groups[0], *waiting]), *lines)
        return
    tables = [part for group in groups for part in (describe(group[0].measured_on), _table(group))]
    show(*tables, *([NOT_BEGUN, _table(waiting)] if waiting else []), *lines)


def _table(jobs: Sequence[RunRecord]) -> "Table":
    from vaelab.run.terminal import table

    names = tuple(dict.fromkeys((shown_merit(jobs), "val/loss", "test/elbo")))
    made = table("job", "what differs", numbers=tuple(map(label, names)), last=("status",))
    for job in jobs:
        cells = [decimal(job.metrics[name], ".2f") if name in job.metrics else "" for name in names]
        made.add_row(job.directory.name, rounded(job.name), *cells, job.shown_status)
    return made
