"""The problem of a search: what is varied, and which metrics are to become smaller or larger."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaelab.errors import UserError, check_choice
from vaelab.evaluation.metrics import DOWN, MERIT, UP, changes_meaning, metric
from vaelab.sweep.search.config import COMMAND_LINE
from vaelab.sweep.search.space import as_overrides, probes

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DIRECTIONS = {DOWN: "minimize", UP: "maximize"}


@dataclass(frozen=True)
class Problem:
    """The problem of a search.

    Args:
        space: the values of what is varied, by key.
        fixed: overrides of every trial.
        objectives: directions, `minimize` or `maximize`, by the name of a metric of `summary.json`.
    """

    space: Mapping[str, "BaseDistribution"]
    fixed: list[str]
    objectives: Mapping[str, str]

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """The overrides of a trial with these values of what is varied."""
        return [*self.fixed, *as_overrides(params)]

    def probes(self) -> list[list[str]]:
        """The overrides of a few trials in which every word of every choice occurs, to see that each composes."""
        return [self.overrides(probe) for probe in probes(self.space)]

    def warning(self) -> str | None:
        """A warning of keys that are varied although an objective is not the same thing under each of their values."""
        changed = {(key, name): None for key in self.space for name in self.objectives if changes_meaning(key, name)}
        if not changed:
            return None
        keys, names = (", ".join(dict.fromkeys(column)) for column in zip(*changed, strict=True))
        remedy = "search each value by itself"
        if all(metric(name).name == "loss" and not changes_meaning(key, MERIT) for key, name in changed):
            remedy = f"leave hydra.sweeper.metrics at {MERIT}"
        return f"{names} means something else under each value of {keys}, so that its best is no better model; {remedy}"


def objectives_of(metrics: str | list[str] | None, direction: str | list[str] | None) -> dict[str, str]:
    """The directions of `hydra.sweeper.metrics` by their names; where none is given, the better one of each.

    Raises:
        UserError: if they do not fit each other.
    """
    names = [metrics] if isinstance(metrics, str) else list(metrics or ())
    if not names:
        raise UserError(f"hydra.sweeper.metrics must name metrics, such as {MERIT}, got {metrics}", COMMAND_LINE)
    directions = [direction] if isinstance(direction, str) else direction or list(map(_better, names))
    for given in directions:
        try:
            check_choice("direction", given, tuple(DIRECTIONS.values()))
        except ValueError as error:
            raise UserError(f"hydra.sweeper.{error}", COMMAND_LINE) from error
    if len(set(names)) != len(directions):
        raise UserError(
            f"hydra.sweeper.direction must have one entry for each of hydra.sweeper.metrics, got {len(directions)} for "
            f"{', '.join(names)}",
            COMMAND_LINE,
        )
    return dict(zip(names, directions, strict=True))


def _better(name: str) -> str:
    """The direction in which a metric gets better; UserError where neither is by itself."""
    better = metric(name).better
    if better is None:
        raise UserError(
            f"hydra.sweeper.direction must be given for {name}, which is better neither higher nor lower by itself; "
            f"set it to minimize or maximize, in a list for several metrics",
            COMMAND_LINE,
        )
    return DIRECTIONS[better]
