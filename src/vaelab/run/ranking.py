"""Best first, among runs that can be ranked against each other."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from vaelab.evaluation.metrics import MERIT, MERIT_WITHOUT_VALIDATION, UP, metric
from vaelab.run.record import RunRecord
from vaelab.run.settings import CONDITIONS, ELBO

MERITS = (
    MERIT,
    "val/reconstruction",
    MERIT_WITHOUT_VALIDATION,
    "train/reconstruction",
)  # the first that a run has is its merit
UNSAID = {("ranked_by", ELBO), ("conditional", "none")}  # conditions that go without saying
FAR = 5  # times as far below the best run as runs usually begin: what has diverged, not what trained badly


def ranked(runs: Iterable[RunRecord], by: str | None = None) -> list[list[RunRecord]]:
    """The runs in groups that were measured on the same, each best first and those without a figure of merit last.

    What a run does not tell of what it was measured on, as a failed one, keeps it out of no group.

    Args:
        runs: of any conditions.
        by: the metric that says what is best; None for the figure of merit.
    """
    groups: list[list[RunRecord]] = []
    for run in sorted(runs, key=lambda run: place(run.merit, run.metrics, by)):
        home = next((group for group in groups if not apart([group[0], run])), None)
        if home is None:
            groups.append([run])
        else:
            home.append(run)
    return sorted(groups, key=lambda group: (group[0].merit is None, describe(group[0].measured_on)))


def place(merit: float | None, metrics: Mapping[str, float], by: str | None) -> tuple[bool, bool, float]:
    """What to sort by: first the best by a metric, then without it by merit, as for no metric, last without merit."""
    value = None if by is None else metrics.get(by)
    if value is None:
        return merit is None, True, -(merit or 0)
    return merit is None, False, -value if metric(by).better == UP else value


def apart(runs: Sequence[RunRecord]) -> list[str]:
    """The conditions in which runs differ; one that a run does not tell is no difference."""
    return [key for key in CONDITIONS if len({run.measured_on[key] for run in runs if key in run.measured_on}) > 1]


def describe(measured_on: Mapping[str, Any]) -> str:
    """What a number was measured on, in words: `digits, binarize dynamic, BernoulliLikelihood, ...`."""
    words = {
        "binarize": "binarize {}",
        "conditional": "given {}",
        "val_size": "validation images: {}",
        "ranked_by": "ranked by {}",
    }
    told = [(key, measured_on[key]) for key in CONDITIONS if key in measured_on]
    return ", ".join(words.get(key, "{}").format(value) for key, value in told if (key, value) not in UNSAID)


def shown_merit(group: Sequence[RunRecord]) -> str:
    """The name of the metric by which the runs of a group are ranked."""
    found = {name for run in group if run.merit is not None for name in run.metrics}
    return next((name for name in MERITS if name in found), MERITS[0])


def typical(group: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs of a group that a picture's axes are made for: with final metrics, and not diverged.

    How far a run may fall behind is measured by how far below the best one runs begin.
    """
    scored = [(run.merit, run) for run in group if run.merit is not None]
    if not scored:
        return []
    best = max(score for score, _ in scored)
    lowest = [min((value for _, value in run.merit_curve), default=score) for score, run in scored]
    floor = best - FAR * median(best - value for value in lowest)
    return [run for score, run in scored if score >= floor]
