"""The draws of a search: each trial is a function of (seed, its number, the trials before).

So a search that goes on after an interruption draws what it would have drawn without one.
"""

import warnings
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GridSampler

from vaelab.errors import UserError
from vaelab.sweep.search.cmaes import rebuilt_from_trials
from vaelab.sweep.search.config import COMMAND_LINE


class Sampling:
    """Optuna's samplers, one for each trial.

    Args:
        kind: of Optuna's samplers.
        settings: its keywords, with a `seed` perhaps.
        space: what is varied.
        objectives: how many there are.

    Raises:
        UserError: if this kind cannot search that space.
    """

    def __init__(
        self,
        kind: type[BaseSampler],
        settings: Mapping[str, Any],
        space: Mapping[str, BaseDistribution],
        objectives: int,
    ) -> None:
        self._kind = kind
        self._settings = dict(settings)
        self.grid = _grid(space) if issubclass(kind, GridSampler) else None
        numbers = [name for name, values in space.items() if not isinstance(values, CategoricalDistribution)]
        if issubclass(kind, CmaEsSampler) and (len(numbers) < 2 or objectives > 1):
            raise UserError(
                f"hydra/sweeper/sampler=cmaes must have two or more numbers to vary and one objective, "
                f"got {len(numbers)} and {objectives}; choose tpe",
                COMMAND_LINE,
            )
        try:
            self.sampler(0)
        except (TypeError, ValueError) as error:
            raise UserError(f"hydra.sweeper.sampler: {error}", COMMAND_LINE) from error

    def sampler(self, number: int) -> BaseSampler:
        """The sampler that draws the trial of that number."""
        settings = self._settings
        if self.grid is not None:
            settings = {**settings, "search_space": self.grid}  # its seed orders all trials: the same for each
        elif settings.get("seed") is not None:
            seed = np.random.SeedSequence((settings["seed"], number)).generate_state(1)[0]
            settings = {**settings, "seed": int(seed)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = self._kind(**settings)
        return rebuilt_from_trials(sampler) if isinstance(sampler, CmaEsSampler) else sampler


def _grid(space: Mapping[str, BaseDistribution]) -> dict[str, list[Any]]:
    """Every value of every variable; UserError for an interval, which has no list of values."""
    grid = {}
    for name, values in space.items():
        if isinstance(values, CategoricalDistribution):
            grid[name] = list(values.choices)
        elif values.step is None:
            raise UserError(
                f"hydra/sweeper/sampler=grid must have choices or ranges, got an interval for {name}; write "
                f"{name}=range(FROM,TO,STEP), or choose tpe",
                COMMAND_LINE,
            )
        else:
            number, low, step = type(values.low), Decimal(str(values.low)), Decimal(str(values.step))
            steps = round((values.high - values.low) / values.step)
            grid[name] = [number(low + index * step) for index in range(steps + 1)]  # 0.3, where floats add up to more
    return grid
