"""One run as a comparison sees it: settings, final metrics and curves, as far as its small files tell."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vaelab.errors import UserError, one_line
from vaelab.metrics import merit
from vaelab.records import epoch_means, read_metrics, read_summary

# What a number was measured on; between runs that differ in one of these, a larger ELBO is not a better one.
SETTING = ("dataset", "binarize", "likelihood", "log_prob_is", "samples_of_z", "val_size")
CURVES = ("elbo", "reconstruction", "kl")
# Where things are, and what is logged: no setting of the model or its training.
NO_SETTINGS = ("logger", "dataset.root", "trainer.pictures_every", "resume", "trust", "choices")
LONGEST_VALUE = 80
LONGEST_ERROR = 300

Curve = list[tuple[float, float]]


@dataclass(frozen=True)
class ComparedRun:
    """A run directory's settings and results, plain values that JSON can hold.

    Attributes:
        directory: as it was found.
        name: the run's own, or its directory's.
        overrides: of its command line.
        settings: the group choices (or, where one was not what ran, the `_target_` that did) and the config's keys
            (`optimizer.lr`), without directories and loggers; empty where there is no config.
        setting: what the metrics were measured on.
        metrics: final ones in nats per image, such as `val/elbo`; empty unless the run finished or was pruned.
        curves: (epoch, value) of `val/elbo`, `train/kl` and so on; a point of training is the mean of an epoch.
        epochs: trained so far.
        status: as in `summary.json`; `unfinished` for a run that goes on or was killed with -9.
        error: what ended it, or what could not be read.
    """

    directory: Path
    name: str
    overrides: list[str]
    settings: dict[str, Any]
    setting: dict[str, Any]
    metrics: dict[str, float]
    curves: dict[str, Curve]
    epochs: float
    status: str
    error: str

    @property
    def merit(self) -> float | None:
        """The figure of merit, higher is better; None for a run without final metrics."""
        return merit(self.metrics)


def find_run_directories(paths: Iterable[Path]) -> list[Path]:
    """The run directories among `paths` and below them, each once, in the order of their numbers.

    Raises:
        UserError: for a path that is no folder or has no run in it or below it.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path} is no folder; name directories of runs or sweeps", exit_code=2)
        below = [file.parent for file in path.rglob("summary.json")]
        if not below:
            raise UserError(f"{path} holds no run, that is no summary.json in it or below it; name another directory")
        for directory in sorted(below, key=_natural):
            found.setdefault(directory.resolve(), directory)
    return list(found.values())


def read_run(directory: Path) -> ComparedRun:
    """What the small files of a run directory tell; what is missing or damaged is empty and named in `error`."""
    summary, rows, config = _summary(directory), _rows(directory), _config(directory)
    problems = [found for found in (summary, rows, config) if isinstance(found, str)]
    summary = {"status": "damaged"} if isinstance(summary, str) else summary
    rows = [] if isinstance(rows, str) else rows
    config = {} if isinstance(config, str) else config
    status = str(summary.get("status", "damaged"))
    error = "; ".join([*([str(summary["error"])] if summary.get("error") else []), *problems])
    curves = {f"train/{name}": epoch_means(rows, f"train/{name}") for name in CURVES}
    for name in (f"val/{name}" for name in CURVES):
        curves[name] = [(row["epoch"], row[name]) for row in rows if name in row]
    return ComparedRun(
        directory,
        one_line(summary.get("name") or directory.resolve().name, LONGEST_VALUE),
        [str(override) for override in _list(summary, "overrides")],
        _settings(config, summary),
        {key: plain(value) for key, value in _setting(config, summary).items()},
        _numbers(_mapping(summary, "metrics")),
        {name: points for name, points in curves.items() if points},
        rows[-1]["epoch"] if rows else 0,
        one_line({"running": "unfinished"}.get(status, status), LONGEST_VALUE),
        one_line(error, LONGEST_ERROR),
    )


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    return [(not part.isdigit(), int(part) if part.isdecimal() else 0, part) for part in path.parts]


def _summary(directory: Path) -> dict[str, Any] | str:
    try:
        found = read_summary(directory)
    except (OSError, RecursionError):
        return "summary.json cannot be read"
    return found if isinstance(found, dict) else "summary.json holds no mapping"


def _rows(directory: Path) -> list[dict[str, float]] | str:
    """The rows that have a step and an epoch, with the numbers in them."""
    try:
        rows = [_numbers(row) for row in read_metrics(directory) if isinstance(row, dict)]
    except (OSError, ValueError, RecursionError):
        return "metrics.jsonl cannot be read"
    return [row for row in rows if {"step", "epoch"} <= row.keys()]


def _config(directory: Path) -> dict[str, Any] | str:
    # the C loader reads 200 configs in a second less
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        found = yaml.load((directory / "config.yaml").read_text(), loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return "config.yaml is missing or cannot be read"
    return found if isinstance(found, dict) else "config.yaml holds no mapping"


def _settings(config: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    if not config:
        return {}
    choices = {**_mapping(config, "choices"), **_mapping(summary, "choices")}
    chosen = {str(group): plain(option) for group, option in choices.items() if group not in NO_SETTINGS}
    kept = {key: value for key, value in _flat(config) if not f"{key}.".startswith(tuple(f"{k}." for k in NO_SETTINGS))}
    for group in chosen:
        target = kept.pop(f"{group}._target_", None)  # the choice says the same
        if target is not None and names_target(_list(summary, "overrides"), group):
            chosen[group] = target
    return {**chosen, **kept}


def names_target(overrides: Iterable[Any], group: str) -> bool:
    """Whether a command line names the code of a group's part itself, so that the group's choice is not what ran."""
    return any(str(override).lstrip("+").startswith(f"{group}._target_=") for override in overrides)


def _setting(config: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    """The summary's; a run that did not finish has none there, and its config tells most of it."""
    dataset, likelihood, objective = (_mapping(config, key) for key in ("dataset", "likelihood", "objective"))
    told = {
        "dataset": {**_mapping(config, "choices"), **_mapping(summary, "choices")}.get("dataset"),
        "binarize": dataset.get("binarize"),
        "likelihood": str(likelihood.get("_target_", "")).rpartition(".")[2] or None,
        "samples_of_z": objective.get("samples"),
        "val_size": dataset.get("val_size"),
    }
    measured = _mapping(summary, "setting")
    return {key: value for key in SETTING if (value := measured.get(key, told.get(key))) is not None}


def _mapping(outer: Mapping[str, Any], key: str) -> dict[str, Any]:
    inner = outer.get(key)
    return inner if isinstance(inner, dict) else {}


def _list(outer: Mapping[str, Any], key: str) -> list[Any]:
    inner = outer.get(key)
    return inner if isinstance(inner, list) else []


def _flat(config: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", plain(value)


def plain(value: Any) -> float | str:
    """A number where it is one that JSON can hold, else text as YAML writes it, on one line of at most 80 letters."""
    if _is_number(value):
        return value
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return one_line(text, LONGEST_VALUE)


def _numbers(found: Mapping[Any, Any]) -> dict[str, float]:
    return {str(name): value for name, value in found.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    """Whether `value` is a finite number; the bound also keeps out integers that no float can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
