"""Runs beside each other: which settings tell them apart, means over seeds, and what must not be ranked."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import islice
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

from vaelab.evaluation.curves import Curve
from vaelab.evaluation.metrics import label, merit, metric, own_metrics
from vaelab.run.find import find_runs
from vaelab.run.labels import rounded
from vaelab.run.ranking import apart, describe, ranked, typical
from vaelab.run.record import CURVES, RunRecord

# What the page shows of `summary.json`, in this order, before the metrics of parts of one's own.
SHOWN = ("val/elbo", "val/reconstruction", "val/kl", "test/elbo", "test/bits_per_dim", "train/elbo")
OWN_SPLITS = ("val/", "test/")
MOST_KEYS = 2000  # settings of all runs that are held against each other
MAX_POINTS = 300  # of a curve; a plot is rarely wider
DIGITS = 6  # of a number in a curve: 1e-4 of an ELBO of -100

Entry = dict[str, Any]


def compare(paths: Iterable[Path]) -> dict[str, Any]:
    """What the runs of run and sweep directories have to show, as JSON can hold it.

    Returns:
        `settings`: the keys that differ. `metrics`: by name the `label`, `better` and `digits` of those that any run
        has. `charts`: the labels of the curves by name. `setting`: what all were measured on, empty where that differs.
        `notes`: sentences to read first. `runs`: an entry a run, those measured on the same together and best first,
        with `name`, `settings`, `setting`, `merit`, `metrics`, `curves`, `typical` (whether axes are made for it),
        `epochs`, `status`, `error`, `directory`. `groups`: an entry for all runs that differ by seed only, with means,
        the standard errors as `errors` and the places of its runs as `members`; empty where no two finished runs do.

    Raises:
        UserError: for a path without runs.
    """
    ranks = ranked(map(RunRecord, find_runs(paths)))
    runs = [run for rank in ranks for run in rank]
    usual = {run.directory for rank in ranks for run in typical(rank)}
    metrics, charts = _metrics_of(runs), _charts_of(runs)
    settings = differing(runs)
    shared = {} if apart(runs) else {key: value for run in runs for key, value in run.measured_on.items()}
    return {
        "settings": settings,
        "metrics": {name: _described(name) for name in metrics},
        "charts": {name: metric(name).label for name in charts},
        "setting": describe(shared),
        "notes": _notes(runs),
        "runs": _run_entries(runs, settings, metrics, usual),
        "groups": _groups(runs, [key for key in settings if key != "seed"], metrics, usual),
    }


def _metrics_of(runs: Sequence[RunRecord]) -> list[str]:
    found = {name for run in runs for name in run.metrics}
    own = [name for name in own_metrics(found) if name.startswith(OWN_SPLITS)]
    return [*(name for name in SHOWN if name in found), *own]


def _charts_of(runs: Sequence[RunRecord]) -> list[str]:
    """The ELBO and its terms; the loss too where a run has no ELBO."""
    without_elbo = any(run.curves and not {"train/elbo", "val/elbo"} & run.curves.keys() for run in runs)
    return [name for name in CURVES if name != "loss" or without_elbo]


def _described(name: str) -> Entry:
    return {"label": label(name), "better": metric(name).better, "digits": metric(name).digits}


def differing(runs: Sequence[RunRecord]) -> list[str]:
    """The settings that tell the runs apart, `seed` last; of several that say the same, one.

    A choice of one number (`latent=d2,d20`) is given by the number (`latent.dim`), any other by its name (`model`)
    and by those of its keys that do not follow from the name.
    """
    known = [run.settings for run in runs if run.settings]
    keys = islice(dict.fromkeys(key for settings in known for key in settings), MOST_KEYS)
    columns = {key: [settings.get(key) for settings in known] for key in keys}
    varied = {key: column for key, column in columns.items() if len(set(column)) > 1}
    inside: dict[str, list[str]] = {}
    for key in varied:
        group, point, _ = key.partition(".")
        inside.setdefault(group, []).extend([key] if point else [])
    kept = (key for key in varied if not _said_by_another(key, inside[key.partition(".")[0]], varied))
    return sorted(kept, key=lambda key: key == "seed")


def _said_by_another(key: str, inside: Sequence[str], varied: Mapping[str, list[Any]]) -> bool:
    group = key.partition(".")[0]
    number = len(inside) == 1 and all(isinstance(value, int | float) for value in varied[inside[0]])
    if key == group:
        return number and _follows(varied[key], varied[inside[0]])
    return not number and group in varied and _follows(varied[key], varied[group])


def _follows(values: list[Any], other: list[Any]) -> bool:
    """Whether each value of `other` stands beside one value only."""
    return len(set(zip(other, values, strict=True))) == len(set(other))


def _notes(runs: Sequence[RunRecord]) -> list[str]:
    notes = []
    if keys := apart(runs):
        notes.append(
            f"These runs differ in {', '.join(keys)}, which changes what a number means: they are listed by what they "
            "were measured on, and best first only among those with the same."
        )
    longest = max((len(points) for run in runs for points in run.curves.values()), default=0)
    if longest > MAX_POINTS:
        notes.append(f"Curves of more than {MAX_POINTS} points, up to {longest:,}, are thinned to {MAX_POINTS}.")
    return notes


def _run_entries(
    runs: Sequence[RunRecord], settings: Sequence[str], metrics: Sequence[str], usual: Container[Path]
) -> list[Entry]:
    names = [_name(run, settings) for run in runs]
    count = Counter(names)
    return [
        {
            "name": name if count[name] == 1 else f"{name} ({run.directory})",
            **_settings_of(run, settings),
            "merit": run.merit,
            "metrics": {key: run.metrics[key] for key in metrics if key in run.metrics},
            "curves": {key: _columns(_thinned(points)) for key, points in run.curves.items()},
            "typical": run.directory in usual,
            "epochs": run.epochs,
            "status": run.status,
            "error": run.error,
            "directory": str(run.directory),
        }
        for name, run in zip(names, runs, strict=True)
    ]


def _settings_of(run: RunRecord, settings: Sequence[str]) -> Entry:
    found = {key: run.settings[key] for key in settings if key in run.settings}
    return {"settings": found, "setting": describe(run.measured_on)}


def _name(run: RunRecord, settings: Sequence[str]) -> str:
    values = {key: run.settings[key] for key in settings if key in run.settings}
    return ", ".join(f"{key}={rounded(value)}" for key, value in values.items()) or run.name


def _groups(
    runs: Sequence[RunRecord], settings: Sequence[str], metrics: Sequence[str], usual: Container[Path]
) -> list[Entry]:
    """An entry for all runs that differ by seed only, where any two finished ones do; best first as the runs are."""
    members: dict[Any, list[int]] = {}
    for index, run in enumerate(runs):
        alike = frozenset((key, value) for key, value in run.settings.items() if key != "seed")
        members.setdefault(alike or run.directory, []).append(index)
    groups = [[runs[index] for index in indices] for indices in members.values()]
    # the same seed again is no further draw
    distinct = [list({run.settings.get("seed"): run for run in group if run.metrics}.values()) for group in groups]
    if all(len(finished) < 2 for finished in distinct):
        return []
    entries = [
        {**_group(group, finished, settings, metrics, usual), "members": indices}
        for group, finished, indices in zip(groups, distinct, members.values(), strict=True)
    ]
    return sorted(entries, key=lambda entry: (entry["merit"] is None, entry["setting"], -(entry["merit"] or 0)))


def _group(
    group: Sequence[RunRecord],
    finished: Sequence[RunRecord],
    settings: Sequence[str],
    metrics: Sequence[str],
    usual: Container[Path],
) -> Entry:
    shared = [key for key in metrics if finished and all(key in run.metrics for run in finished)]
    scores = {key: mean_and_error([run.metrics[key] for run in finished]) for key in shared}
    names = [key for key in group[0].curves if finished and all(key in run.curves for run in finished)]
    means = {key: value for key, (value, _) in scores.items()}
    return {
        "name": _name(group[0], settings),
        **_settings_of(group[0], settings),
        "merit": merit(means),
        "metrics": means,
        "errors": {key: error for key, (_, error) in scores.items() if error is not None},
        "curves": {key: _mean_curve([run.curves[key] for run in finished]) for key in names},
        "typical": bool(finished) and all(run.directory in usual for run in finished),
        "epochs": max(run.epochs for run in group),
        "status": f"{len(finished)} of {len(group)} finished",
        "error": "; ".join(dict.fromkeys(run.error for run in group if run.error)),
        "directory": str(group[0].directory) if len(group) == 1 else f"{len(group)} directories",
    }


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and its standard error, s / sqrt(n) with s over n - 1; no error of one value."""
    mean, count = fmean(values), len(values)
    # statistics.stdev is exact and a hundred times slower, which thousands of epochs feel
    largest = max(abs(value - mean) for value in values) or 1.0
    squares = sum(((value - mean) / largest) ** 2 for value in values)  # those of large values no float holds
    return mean, largest * sqrt(squares / (count - 1) / count) if count > 1 else None


def _mean_curve(curves: Sequence[Curve]) -> dict[str, list[float]]:
    """Mean and standard error at the epochs that all curves have."""
    by_epoch = [dict(curve) for curve in curves]
    shared = [epoch for epoch in by_epoch[0] if all(epoch in values for values in by_epoch)]
    points = [(epoch, *mean_and_error([values[epoch] for values in by_epoch])) for epoch in shared]
    return _columns(_thinned(points))


def _thinned(points: Sequence[Any]) -> Sequence[Any]:
    """At most 300 of the points, evenly, the first and the last among them."""
    if len(points) <= MAX_POINTS:
        return points
    return [points[round(index * (len(points) - 1) / (MAX_POINTS - 1))] for index in range(MAX_POINTS)]


def _columns(points: Sequence[Sequence[float | None]]) -> dict[str, list[float]]:
    """`x`, `y` and, of means, `error`, in few digits, for they are most of the page."""
    columns = zip(*points, strict=True)
    short = ([float(f"{value:.{DIGITS}g}") for value in column if value is not None] for column in columns)
    return dict(zip(("x", "y", "error"), short, strict=False))
