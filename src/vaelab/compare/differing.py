"""Settings that tell runs apart."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from vaelab.run.record import RunRecord

MOST_KEYS = 2000  # settings of all runs that are held against each other


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
