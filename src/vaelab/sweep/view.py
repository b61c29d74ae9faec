"""The progress of a sweep: on a terminal a line per running job, else a line per job that ended."""

import logging
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vaelab.errors import one_line, visible
from vaelab.run.record import RunRecord
from vaelab.run.rows import last_training_row
from vaelab.sweep.jobs import Job, Outcome

log = logging.getLogger(__name__)

MOST_LINES = 20


class SweepView:
    """Follows the jobs of a sweep; a context manager.

    Args:
        total: jobs of the sweep.
        n_jobs: at a time, where that is known.
    """

    def __init__(self, total: int, n_jobs: int | None = None) -> None:
        self._total = total
        self._done = 0
        self._failed = 0
        console = Console(stderr=True)
        self._visible = console.is_terminal
        self._live = Live(console=console, transient=True, auto_refresh=False)
        log.info("%d jobs%s", total, f", {n_jobs} at a time" if n_jobs else "")

    def __enter__(self) -> "SweepView":
        if self._visible:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, running: Mapping[int, Job]) -> None:
        """Draw the running jobs anew."""
        if self._visible:
            self._live.update(Group(self._table(running), Text(self._counts(len(running)))), refresh=True)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Count a job that ended and say how, on a terminal above the running ones."""
        self._done += outcome.error is None
        self._failed += outcome.error is not None
        how = _measured(job, outcome) if outcome.error is None else f"failed: {one_line(outcome.error, 300)}"
        line = f"job {job.number}  {how}  {job.name}  {outcome.seconds:.1f} s"
        if self._visible:
            self._live.console.print(visible(line), markup=False, highlight=False, emoji=False)
        else:
            log.info("%s  (%s)", line, self._counts(None))

    def _counts(self, running: int | None) -> str:
        to_go = self._total - self._done - self._failed
        parts = [f"{self._done} done", f"{self._failed} failed"]
        if running is not None:
            parts.append(f"{running} running")
            to_go -= running
        return ", ".join([*parts, f"{to_go} to go"])

    def _table(self, running: Mapping[int, Job]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("job", "epoch", "ELBO", "images/s"):
            table.add_column(name, justify="right")
        table.add_column("what differs", overflow="ellipsis", no_wrap=True)
        for number, job in sorted(running.items())[:MOST_LINES]:
            row = last_training_row(job.directory)
            cells = (
                f"{row['epoch']:.1f}" if "epoch" in row else "",
                f"{row['train/elbo']:.2f}" if "train/elbo" in row else "",
                f"{row['images_per_second']:,.0f}" if "images_per_second" in row else "",
            )
            table.add_row(str(number), *cells, Text(visible(job.name)))
        if len(running) > MOST_LINES:
            table.add_row("", "", "", "", f"and {len(running) - MOST_LINES} more")
        return table


def _measured(job: Job, outcome: Outcome) -> str:
    """The figure of merit of a run that ended well, which is an ELBO only where the run measured one."""
    if outcome.value is None:
        return "done"
    has_elbo = any(name.endswith("/elbo") for name in RunRecord(job.directory).metrics)
    name = "ELBO" if has_elbo else "reconstruction"
    return f"{name} {outcome.value:.2f}"
