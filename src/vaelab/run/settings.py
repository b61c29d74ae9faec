"""What a run was set to, as plain values by key, and what its numbers were measured on."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from vaelab.errors import is_number, one_line

# What a number was measured on; between runs that differ in one of these, a larger ELBO is not a better one.
CONDITIONS = ("dataset", "binarize", "likelihood", "log_prob_is", "conditional", "val_size", "ranked_by")
ELBO = "the ELBO"  # by which runs are ranked that have one
# Where things are, and what is logged: no setting of the model or its training.
NO_SETTINGS = (
    "logger",
    "dataset.root",
    "trainer.pictures_every",
    "trainer.picture_format",
    "resume",
    "trust",
    "choices",
)
LONGEST_VALUE = 80
MOST_ENTRIES = 500  # settings or choices of an untrusted run; one's own has far fewer


def settings(config: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    """The choice of each group (or, where that is not what ran, the `_target_` that did) and the keys of the config.

    Keys are such as `optimizer.lr`; directories and loggers are left out. Empty where there is no config.
    """
    if not config:
        return {}
    choices = islice(_choices(config, summary).items(), MOST_ENTRIES)
    chosen = {short(group): plain(option) for group, option in choices if group not in NO_SETTINGS}
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


def measured_on(config: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    """The conditions that the summary tells; where the run did not finish, those of them that its config tells."""
    dataset, likelihood = (_mapping(config, key) for key in ("dataset", "likelihood"))
    configured = {
        "dataset": _choices(config, summary).get("dataset"),
        "binarize": dataset.get("binarize"),
        "likelihood": str(likelihood.get("_target_", "")).rpartition(".")[2] or None,
        "conditional": _choices(config, summary).get("conditional"),
        "val_size": dataset.get("val_size"),
    }
    told = {**configured, **summary.get("setting", {})}
    return {key: plain(told[key]) for key in CONDITIONS if told.get(key) is not None}


def names_target(overrides: Iterable[Any], group: str) -> bool:
    """Whether a command line names the code of a group's part itself, so that the group's choice is not what ran."""
    return any(str(override).lstrip("+").startswith(f"{group}._target_=") for override in overrides)


def plain(value: Any) -> float | str:
    """A number where it is one that JSON can hold, else text as YAML writes it, on one line of at most 80 letters."""
    if is_number(value):
        return value
    return short(value if isinstance(value, str) else json.dumps(value, default=str))


def short(text: object) -> str:
    """A text on one line of at most 80 letters."""
    return one_line(text, LONGEST_VALUE)


def _choices(config: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    return {**_mapping(config, "choices"), **summary.get("choices", {})}


def _mapping(outer: Mapping[str, Any], key: str) -> dict[str, Any]:
    inner = outer.get(key)
    return inner if isinstance(inner, dict) else {}


def _flat(config: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield short(f"{prefix}{key}"), plain(value)
