"""What the comparison page shows, as JSON can hold it: runs beside each other, and means over seeds."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaelab.compare.curves import MAX_POINTS, curve_columns, mean_and_error, mean_curve
from vaelab.compare.differing import differing
from vaelab.errors import UserError, one_line
from vaelab.evaluation.curves import charts
from vaelab.evaluation.metrics import METRICS, label, merit, metric, own_metrics
from vaelab.run.find import find_runs
from vaelab.run.labels import rounded
from vaelab.run.ranking import apart, describe, place, ranked, typical
from vaelab.run.record import RunRecord

LOG_LIKELIHOOD = "test/log_likelihood"
MOST_ESTIMATES, MOST_LETTERS = 4, 200  # of what estimates of it depend on
# Metrics in this order, before those of parts of one's own.
SHOWN = (LOG_LIKELIHOOD, "val/elbo", "val/reconstruction", "val/kl", "test/elbo", "test/bits_per_dim", "train/elbo")
WITHOUT_ELBO = ("val/loss", "test/loss")  # shown too where a run has no ELBO
OWN_SPLITS = ("val/", "test/")

Entry = dict[str, Any]


def page_data(paths: Iterable[Path], sort: str | None = None) -> dict[str, Any]:
    """What the runs of run and sweep directories have to show.

    Args:
        paths: of run and sweep directories.
        sort: the metric by which runs that were measured on the same are sorted, best first; None for their merit.

    Returns:
        `settings`: the keys that differ. `metrics`: by name the `label`, `better` and `digits` of those that any run
        has. `charts`: the labels of the curves by name. `setting`: what all were measured on, empty where that differs.
        `notes`: sentences to read first. `runs`: an entry a run, those measured on the same together
        and best first, with `name`, `settings`, `setting`, `merit`, `metrics`, `curves`, `typical` (whether axes are
        made for it), `epochs`, `status`, `error`, `directory`. `groups`: an entry for all runs that differ by seed
        only, with means, the standard errors as `errors` and the places of its runs as `members`; empty where no two
        finished runs do.

    Raises:
        UserError: for a path without runs, or a metric that none of them has.
    """
    groups = ranked(map(RunRecord, find_runs(paths)), sort)
    runs = [run for group in groups for run in group]
    drawn = charts(run.curves for run in runs)
    shown = _Shown(
        settings=differing(runs),
        metrics=_metrics_of(runs, "loss" in drawn),
        curves=drawn,
        typical={run.directory for group in groups for run in typical(group)},
    )
    if sort is not None and sort not in shown.metrics:
        raise UserError(f"--sort must be a metric of these runs ({', '.join(shown.metrics)}), got {sort}", 2)
    shared = {} if apart(runs) else {key: value for run in runs for key, value in run.measured_on.items()}
    return {
        "settings": shown.settings,
        "metrics": {
            name: {"label": label(name), "better": metric(name).better, "digits": metric(name).digits}
            for name in shown.metrics
        },
        "charts": {name: metric(name).label for name in shown.curves},
        "setting": describe(shared),
        "notes": _notes(runs),
        "runs": _run_entries(runs, shown),
        "groups": _group_entries(runs, shown, sort),
    }


@dataclass(frozen=True)
class _Shown:
    """What of the runs is shown: settings, metrics, curves; and the directories of those that axes are made for."""

    settings: Sequence[str]
    metrics: Sequence[str]
    curves: Sequence[str]
    typical: set[Path]

    def settings_of(self, run: RunRecord, but: str = "") -> Entry:
        return {key: run.settings[key] for key in self.settings if key in run.settings and key != but}

    def curves_of(self, run: RunRecord) -> list[str]:
        return [name for name in run.curves if name.partition("/")[2] in self.curves]


def _metrics_of(runs: Sequence[RunRecord], without_elbo: bool) -> list[str]:
    found = {name for run in runs for name in run.metrics}
    evaluated = [f"{split}{name}" for split in OWN_SPLITS for name in METRICS]
    measured_after = {name for run in runs for name in run.evaluation.metrics}
    shown = (*SHOWN, *(WITHOUT_ELBO if without_elbo else ()), *(name for name in evaluated if name in measured_after))
    own = [name for name in own_metrics(found) if name.startswith(OWN_SPLITS)]
    return [*dict.fromkeys(name for name in shown if name in found), *own]


def _notes(runs: Sequence[RunRecord]) -> list[str]:
    notes = []
    if keys := apart(runs):
        notes.append(
            f"These runs differ in {', '.join(keys)}, which changes what a number means: they are listed by what they "
            "were measured on, and best first only among those with the same."
        )
    found = {run.evaluation.depends_on.get(LOG_LIKELIHOOD, "") for run in runs} - {""}
    if found:
        told = [one_line(words, MOST_LETTERS) for words in sorted(found)[:MOST_ESTIMATES]]
        notes.append(f"{label(LOG_LIKELIHOOD)} is {'; of other runs '.join(told)}.")
    longest = max((len(points) for run in runs for points in run.curves.values()), default=0)
    if longest > MAX_POINTS:
        notes.append(f"Curves of more than {MAX_POINTS} points, up to {longest:,}, are thinned to {MAX_POINTS}.")
    return notes


def _run_entries(runs: Sequence[RunRecord], shown: _Shown) -> list[Entry]:
    names = [_name(run, shown.settings_of(run)) for run in runs]
    count = Counter(names)
    return [
        {
            "name": name if count[name] == 1 else f"{name} ({run.directory})",
            "settings": shown.settings_of(run),
            "setting": describe(run.measured_on),
            "merit": run.merit,
            "metrics": {key: run.metrics[key] for key in shown.metrics if key in run.metrics},
            "curves": {key: curve_columns(run.curves[key]) for key in shown.curves_of(run)},
            "typical": run.directory in shown.typical,
            "epochs": run.epochs,
            "status": run.status,
            "error": run.error,
            "directory": str(run.directory),
        }
        for name, run in zip(names, runs, strict=True)
    ]


def _name(run: RunRecord, settings: Entry) -> str:
    return ", ".join(f"{key}={rounded(value)}" for key, value in settings.items()) or run.name


def _group_entries(runs: Sequence[RunRecord], shown: _Shown, sort: str | None) -> list[Entry]:
    """An entry for all runs that differ by seed only, where any two finished ones do; best first as the runs are."""
    members: dict[Any, list[int]] = {}
    for index, run in enumerate(runs):
        alike = frozenset((key, value) for key, value in run.settings.items() if key != "seed")
        members.setdefault(alike or run.directory, []).append(index)
    groups = [[runs[index] for index in indices] for indices in members.values()]
    # the same seed again is no further draw
    distinct = [list({run.settings.get("seed"): run for run in group if run.ended_well}.values()) for group in groups]
    if all(len(finished) < 2 for finished in distinct):
        return []
    entries = [
        {**_group_entry(group, finished, shown), "members": indices}
        for group, finished, indices in zip(groups, distinct, members.values(), strict=True)
    ]

    def order(entry: Entry) -> tuple[Any, ...]:
        without_merit, *rank = place(entry["merit"], entry["metrics"], sort)
        return without_merit, entry["setting"], *rank

    return sorted(entries, key=order)


def _group_entry(group: Sequence[RunRecord], finished: Sequence[RunRecord], shown: _Shown) -> Entry:
    metrics = [key for key in shown.metrics if finished and all(key in run.metrics for run in finished)]
    scores = {key: mean_and_error([run.metrics[key] for run in finished]) for key in metrics}
    curves = [key for key in shown.curves_of(group[0]) if finished and all(key in run.curves for run in finished)]
    means = {key: value for key, (value, _) in scores.items()}
    settings = shown.settings_of(group[0], but="seed")
    return {
        "name": _name(group[0], settings),
        "settings": settings,
        "setting": describe(group[0].measured_on),
        "merit": merit(means),
        "metrics": means,
        "errors": {key: error for key, (_, error) in scores.items() if error is not None},
        "curves": {key: mean_curve([run.curves[key] for run in finished]) for key in curves},
        "typical": bool(finished) and all(run.directory in shown.typical for run in finished),
        "epochs": max(run.epochs for run in group),
        "status": f"{len(finished)} of {len(group)} finished",
        "error": "; ".join(dict.fromkeys(run.error for run in group if run.error)),
        "directory": str(group[0].directory) if len(group) == 1 else f"{len(group)} directories",
    }
