"""One run as a comparison sees it: settings, final metrics and curves, as far as its small files tell."""

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from vaelab.errors import UserError, one_line, visible
from vaelab.evaluation.metrics import merit
from vaelab.files import folder
from vaelab.run.records import METRICS, SUMMARY, checked_summary, epoch_means, is_number, metrics_lines
from vaelab.run.saved import CONFIG, read_config

log = logging.getLogger(__name__)


# What a number was measured on; between runs that differ in one of these, a larger ELBO is not a better one.
SETTING = ("dataset", "binarize", "likelihood", "log_prob_is", "samples_of_z", "val_size")
CURVES = ("elbo", "reconstruction", "kl")
# Where things are, and what is logged: no setting of the model or its training.
NO_SETTINGS = ("logger", "dataset.root", "trainer.pictures_every", "resume", "trust", "choices")
LONGEST_VALUE = 80
LONGEST_OVERRIDE = 1000
LONGEST_ERROR = 300
# Of a stranger's run; one's own has far fewer.
MOST_OVERRIDES = 200
MOST_ENTRIES = 500  # settings, choices, metrics
MOST_FOLDERS = 200_000
DEEPEST_FOLDER = 30
IN_ROWS = ("step", "epoch", *(f"{split}/{name}" for split in ("train", "val") for name in CURVES))

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
        damaged: the names of its files that could not be read, or not wholly.
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
    damaged: tuple[str, ...] = ()

    @property
    def shown_status(self) -> str:
        """The status, with the names of damaged files."""
        others = [name for name in self.damaged if self.status != "damaged" or name != SUMMARY]
        return f"{self.status} ({', '.join(others)} damaged)" if others else self.status

    @property
    def merit(self) -> float | None:
        """The figure of merit, higher is better; None for a run without final metrics."""
        return merit(self.metrics)


def find_run_directories(paths: Iterable[Path]) -> list[Path]:
    """The run directories among `paths` and below them, each once, in the order of their numbers.

    Links are not followed; a folder that cannot be looked through is told in the log.

    Raises:
        UserError: for a path that is no folder or has no run in it or below it.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path} is no folder; name directories of runs or sweeps", exit_code=2)
        below = list(_below(path))
        if not below:
            raise UserError(f"{path} holds no run, that is no summary.json in it or below it; name another directory")
        for directory in sorted(below, key=_natural):
            found.setdefault(directory.resolve(), directory)
    return list(found.values())


def _below(path: Path) -> Iterator[Path]:
    """The folders with a `summary.json` or a `metrics.jsonl`, whatever that is."""
    depth = len(path.parts)
    for count, (place, folders, files) in enumerate(os.walk(path, onerror=_not_looked_through), 1):
        if {SUMMARY, METRICS} & {*files, *folders}:
            yield Path(place)
        if len(Path(place).parts) - depth >= DEEPEST_FOLDER:
            folders.clear()
        if count == MOST_FOLDERS:
            log.warning("%s holds more than %d folders, the others were not looked through", path, MOST_FOLDERS)
            return


def _not_looked_through(error: OSError) -> None:
    log.warning("%s cannot be looked through (%s)", error.filename, error.strerror)


def jobs_of(sweep_dir: Path) -> list[Path]:
    """The run directories in a sweep's directory, in the order of their numbers; a link to one is none."""
    with os.scandir(sweep_dir) as entries:
        folders = [sweep_dir / entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return sorted(
        (path for path in folders if any(os.path.lexists(path / name) for name in (SUMMARY, METRICS))), key=_natural
    )


def read_run(directory: Path) -> ComparedRun:
    """What the small files of a run directory tell; what is missing or damaged is empty and named in `error`."""
    problems: dict[str, str] = {}
    summary = _unless(problems, SUMMARY, {"status": "damaged"}, checked_summary, directory)
    config = _unless(problems, CONFIG, {}, read_config, directory)
    rows = _rows(directory, summary.get("rows"), problems)
    status = summary.get("status", "damaged")
    curves = {f"train/{name}": epoch_means(rows, f"train/{name}") for name in CURVES}
    for name in (f"val/{name}" for name in CURVES):
        curves[name] = [(row["epoch"], row[name]) for row in rows if name in row]
    return ComparedRun(
        directory=directory,
        name=one_line(summary.get("name") or directory.resolve().name, LONGEST_VALUE),
        overrides=[_cut(override) for override in summary.get("overrides", [])[:MOST_OVERRIDES]],
        settings=_settings(config, summary),
        setting={key: plain(value) for key, value in _setting(config, summary).items()},
        metrics={_key(name): value for name, value in _first(summary.get("metrics", {}))},
        curves={name: points for name, points in curves.items() if points},
        epochs=rows[-1]["epoch"] if rows else 0,
        status=one_line({"running": "unfinished"}.get(status, status), LONGEST_VALUE),
        error="; ".join([*filter(None, [one_line(summary.get("error", ""), LONGEST_ERROR)]), *problems.values()]),
        damaged=tuple(name for name in problems if _had(directory, name, summary)),
    )


def _had(directory: Path, name: str, summary: Mapping[str, Any]) -> bool:
    """Whether the run must have had the file; one that failed may have done so before it began."""
    return os.path.lexists(directory / name) or (name == CONFIG and summary.get("status") != "failed")


def _unless(
    problems: dict[str, str], name: str, instead: Mapping[str, Any], read: Callable[[Path], Any], directory: Path
) -> Any:
    """What a file holds, or what stands in for it where it cannot be read, which then is among the problems."""
    try:
        return read(directory)
    except FileNotFoundError:
        problems[name] = f"{name} is missing"
    except (UserError, OSError) as error:
        problems[name] = _problem(error, directory)
    return instead


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    return [(not part.isdigit(), int(part) if part.isdecimal() else 0, part) for part in path.parts]


def _problem(error: Exception, directory: Path) -> str:
    return one_line(str(error).replace(f"{directory}/", ""), LONGEST_ERROR)


def _rows(directory: Path, written: Any, problems: dict[str, str]) -> list[dict[str, float]]:
    """The rows that have a step and an epoch, with those of their numbers that are drawn.

    Args:
        directory: of the run.
        written: what the summary of a run that ended says of the file.
        problems: to which is added what is wrong with it.
    """
    rows: list[dict[str, float]] = []
    count = 0
    try:
        for line in metrics_lines(directory):
            count += 1
            row = {name: line[name] for name in IN_ROWS if is_number(line.get(name))} if line is not None else {}
            if {"step", "epoch"} <= row.keys():
                rows.append(row)
        if isinstance(written, dict) and written.get("sha256") != folder.checksum(directory, METRICS):
            problems[METRICS] = f"{METRICS} is not what the run wrote"
    except (UserError, OSError) as error:
        problems[METRICS] = _problem(error, directory)
    if len(rows) < count:
        problems[METRICS] = f"{METRICS} has {count - len(rows)} of {count} lines without a step and an epoch"
    return rows


def _settings(config: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    if not config:
        return {}
    choices = {**_mapping(config, "choices"), **summary.get("choices", {})}
    chosen = {_key(group): plain(option) for group, option in _first(choices) if group not in NO_SETTINGS}
    kept = {
        key: value
        for key, value in islice(_flat(config), MOST_ENTRIES)
        if not f"{key}.".startswith(tuple(f"{k}." for k in NO_SETTINGS))
    }
    for group in chosen:
        target = kept.pop(f"{group}._target_", None)  # the choice says the same
        if target is not None and names_target(summary.get("overrides", ()), group):
            chosen[group] = target
    return {**chosen, **kept}


def names_target(overrides: Iterable[Any], group: str) -> bool:
    """Whether a command line names the code of a group's part itself, so that the group's choice is not what ran."""
    return any(str(override).lstrip("+").startswith(f"{group}._target_=") for override in overrides)


def _setting(config: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    """The summary's; a run that did not finish has none there, and its config tells most of it."""
    dataset, likelihood, objective = (_mapping(config, key) for key in ("dataset", "likelihood", "objective"))
    told = {
        "dataset": {**_mapping(config, "choices"), **summary.get("choices", {})}.get("dataset"),
        "binarize": dataset.get("binarize"),
        "likelihood": str(likelihood.get("_target_", "")).rpartition(".")[2] or None,
        "samples_of_z": objective.get("samples"),
        "val_size": dataset.get("val_size"),
    }
    measured = summary.get("setting", {})
    return {key: value for key in SETTING if (value := measured.get(key, told.get(key))) is not None}


def _mapping(outer: Mapping[str, Any], key: str) -> dict[str, Any]:
    inner = outer.get(key)
    return inner if isinstance(inner, dict) else {}


def _flat(config: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield _key(f"{prefix}{key}"), plain(value)


def plain(value: Any) -> float | str:
    """A number where it is one that JSON can hold, else text as YAML writes it, on one line of at most 80 letters."""
    if is_number(value):
        return value
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return one_line(text, LONGEST_VALUE)


def _key(name: object) -> str:
    return one_line(name, LONGEST_VALUE)


def _cut(override: str) -> str:
    return visible(override if len(override) <= LONGEST_OVERRIDE else override[:LONGEST_OVERRIDE] + " ...")


def _first(mapping: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return islice(mapping.items(), MOST_ENTRIES)
