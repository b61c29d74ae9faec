"""A run directory as its small files tell it: what the run was set to, what it reached, how it ended."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from vaelab.errors import UserError, is_number, one_line, visible
from vaelab.evaluation.curves import CURVES, Curve, training_curve, validation_curve
from vaelab.evaluation.metrics import merit
from vaelab.files import folder
from vaelab.run.evaluated import EVALUATION, Evaluation, read_evaluation
from vaelab.run.lock import has_writer
from vaelab.run.rows import METRICS, whole_lines
from vaelab.run.saved import CONFIG, read_config
from vaelab.run.settings import ELBO, MOST_ENTRIES, measured_on, settings, short
from vaelab.run.summary import FAILED, FINISHED, KILLED, PRUNED, RUNNING, SUMMARY, read_summary

DAMAGED = "damaged"
IN_ROWS = ("step", "epoch", *(f"{split}/{name}" for split in ("train", "val") for name in CURVES))
LONGEST_OVERRIDE = 1000
LONGEST_ERROR = 300
MOST_OVERRIDES = 200  # of an untrusted run; one's own has far fewer

Rows = list[dict[str, float]]
T = TypeVar("T")


class RunRecord:
    """What the small files of a run directory tell: plain values that JSON can hold.

    A file is read when it is first needed, and so much of it as a run may have written. What is missing or damaged is
    empty here, and named in `error`.

    Args:
        directory: of the run.
        summary: instead of `summary.json`, for a run that has no files, as `config` and `rows` are.
        config: instead of `config.yaml`.
        rows: instead of `metrics.jsonl`.
    """

    def __init__(
        self,
        directory: Path,
        summary: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        rows: Sequence[Mapping[str, float]] | None = None,
    ) -> None:
        self.directory = directory
        if summary is not None:
            self._summary = summary, ""
        if config is not None:
            self._config = config, ""
        if rows is not None:
            self._rows = [*rows], ""

    @property
    def summary(self) -> Mapping[str, Any]:
        """The content of `summary.json`."""
        return self._summary[0]

    @property
    def config(self) -> Mapping[str, Any]:
        """The content of `config.yaml`."""
        return self._config[0]

    @cached_property
    def status(self) -> str:
        """What has become of the run.

        `running`, while a process holds its lock; `finished`; `pruned`, given up early; `failed`; `killed`, also if it
        could not write so; `damaged`, where no summary tells. A summary of another program may say anything.
        """
        said = short(self.summary.get("status", DAMAGED))
        return KILLED if said == RUNNING and not has_writer(self.directory) else said

    @property
    def ended_well(self) -> bool:
        """Whether the run has final metrics."""
        return self.status in (FINISHED, PRUNED)

    @property
    def shown_status(self) -> str:
        """The status, with the names of damaged files."""
        others = [name for name in self.damaged if self.status != DAMAGED or name != SUMMARY]
        return f"{self.status} ({', '.join(others)} damaged)" if others else self.status

    @property
    def name(self) -> str:
        """The run's own, or its directory's."""
        return short(self.summary.get("name") or self.directory.resolve().name)

    @property
    def overrides(self) -> list[str]:
        """Of its command line."""
        return [_cut(override) for override in self.summary.get("overrides", [])[:MOST_OVERRIDES]]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What the run was set to, by key, as `vaelab.run.settings.settings` tells."""
        return settings(self.config, self.summary)

    @cached_property
    def measured_on(self) -> dict[str, Any]:
        """The conditions under which its numbers were measured, as far as they are known."""
        found = measured_on(self.config, self.summary)
        if self.merit is None:
            return found
        has_elbo = any(name.endswith("/elbo") for name in self.metrics)
        return {**found, "ranked_by": ELBO if has_elbo else "the reconstruction, without an ELBO"}

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Final ones, by names such as `val/elbo`, and those of an evaluation after the run that it does not have."""
        found = {**self.evaluation.metrics, **self.summary.get("metrics", {})}
        return {short(name): value for name, value in islice(found.items(), MOST_ENTRIES)}

    @property
    def evaluation(self) -> Evaluation:
        """The content of `evaluation.json`, empty where that is of other weights than the run has now."""
        found = self._evaluation[0]
        return found if found.best_epoch == self.summary.get("best_epoch") else Evaluation()

    @property
    def merit(self) -> float | None:
        """The figure of merit of a run that ended well, higher is better; None for any other."""
        return merit(self.metrics) if self.ended_well else None

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """(epoch, value) by name; a point of `train/elbo` is the mean of an epoch, one of `val/elbo` as logged."""
        rows = self._rows[0]
        train = {name: training_curve(rows, name) for name in (f"train/{name}" for name in CURVES)}
        validation = {name: validation_curve(rows, name) for name in (f"val/{name}" for name in CURVES)}
        return {name: points for name, points in {**train, **validation}.items() if points}

    @cached_property
    def merit_curve(self) -> Curve:
        """(epoch, figure of merit) after each validation."""
        validations = ((row["epoch"], {name: row[name] for name in row if "val/" in name}) for row in self._rows[0])
        merits = ((epoch, merit(metrics)) for epoch, metrics in validations if metrics)
        return [(epoch, value) for epoch, value in merits if value is not None]

    @property
    def epochs(self) -> float:
        """Trained so far."""
        rows = self._rows[0]
        return rows[-1]["epoch"] if rows else 0

    @property
    def error(self) -> str:
        """What ended the run, and what it must have had and could not be read."""
        said = one_line(self.summary.get("error", ""), LONGEST_ERROR)
        return "; ".join(filter(None, [said, *(self._problems[name] for name in self.damaged)]))

    @property
    def damaged(self) -> tuple[str, ...]:
        """The files that could not be read, or not wholly."""
        return tuple(name for name in self._problems if self._must_have(name))

    def _must_have(self, name: str) -> bool:
        """Whether the run must have had the file; one that failed may have done so before it began."""
        return os.path.lexists(self.directory / name) or (name == CONFIG and self.summary.get("status") != FAILED)

    @property
    def _problems(self) -> dict[str, str]:
        """What is wrong with the files, by their names."""
        found = {SUMMARY: self._summary[1], CONFIG: self._config[1], METRICS: self._rows[1]}
        found[EVALUATION] = self._evaluation[1]
        return {name: problem for name, problem in found.items() if problem}

    @cached_property
    def _summary(self) -> tuple[Mapping[str, Any], str]:
        return self._read(read_summary)

    @cached_property
    def _config(self) -> tuple[Mapping[str, Any], str]:
        return self._read(read_config)

    @cached_property
    def _evaluation(self) -> tuple[Evaluation, str]:
        return self._read(read_evaluation, Evaluation)

    def _read(self, read: Callable[[Path], T], nothing: Callable[[], T] = dict) -> tuple[T, str]:
        """What a file holds, nothing where it cannot be read, and then why."""
        try:
            return read(self.directory), ""
        except (UserError, OSError) as error:
            return nothing(), self._reason(error)

    @cached_property
    def _rows(self) -> tuple[Rows, str]:
        """The rows that have a step and an epoch, with those of their numbers that are drawn, and what is wrong."""
        rows: Rows = []
        count, problem = 0, ""
        try:
            for count, line in enumerate(whole_lines(self.directory), 1):  # noqa: B007
                row = {name: line[name] for name in IN_ROWS if is_number(line.get(name))} if line is not None else {}
                if {"step", "epoch"} <= row.keys():
                    rows.append(row)
            written = self.summary.get("rows")
            if isinstance(written, dict) and written.get("sha256") != folder.checksum(self.directory, METRICS):
                problem = f"{METRICS} is not what the run wrote"
        except (UserError, OSError) as error:
            problem = self._reason(error)
        if len(rows) < count:
            problem = f"{METRICS} has {count - len(rows)} of {count} lines without a step and an epoch"
        return rows, problem

    def _reason(self, error: Exception) -> str:
        return one_line(str(error).replace(f"{self.directory}/", ""), LONGEST_ERROR)


def _cut(override: str) -> str:
    return visible(override if len(override) <= LONGEST_OVERRIDE else override[:LONGEST_OVERRIDE] + " ...")
