"""Best first, among runs that can be ranked against each other."""

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from statistics import median
from typing import Any

from vaelab.evaluation.metrics import MERIT
from vaelab.run.compared import SETTING, ComparedRun

FAR = 5  # times as far below the best run as runs usually begin: what has diverged, not what trained badly


def ranked(runs: Iterable[ComparedRun]) -> list[list[ComparedRun]]:
    """The runs in groups that were measured on the same, each best first and those without a figure of merit last.

    What a run does not tell of what it was measured on, as a failed one, keeps it out of no group.
    """
    groups: list[list[ComparedRun]] = []
    for run in sorted(runs, key=lambda run: inf if run.merit is None else -run.merit):
        home = next((group for group in groups if not apart([group[0], run])), None)
        if home is None:
            groups.append([run])
        else:
            home.append(run)
    return sorted(groups, key=lambda group: (group[0].merit is None, describe(group[0].setting)))


def apart(runs: Sequence[ComparedRun]) -> list[str]:
    """The keys of the setting in which runs differ; one that a run does not tell is no difference."""
    return [key for key in SETTING if len({run.setting[key] for run in runs if key in run.setting}) > 1]


def describe(setting: Mapping[str, Any]) -> str:
    """What a number was measured on, in words: `digits, binarize dynamic, BernoulliLikelihood, ...`."""
    words = {"binarize": "binarize {}", "samples_of_z": "samples of z: {}", "val_size": "validation images: {}"}
    return ", ".join(words.get(key, "{}").format(setting[key]) for key in SETTING if key in setting)


def typical(group: Sequence[ComparedRun]) -> list[ComparedRun]:
    """The runs of a group that a picture's axes are made for: with final metrics, and not diverged.

    How far a run may fall behind is measured by how far below the best one runs begin.
    """
    scored = [(run.merit, run) for run in group if run.merit is not None]
    if not scored:
        return []
    best = max(score for score, _ in scored)
    lowest = [min((value for _, value in run.curves.get(MERIT, ())), default=score) for score, run in scored]
    floor = best - FAR * median(best - value for value in lowest)
    return [run for score, run in scored if score >= floor]
