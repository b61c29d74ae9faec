"""The config of a search: `conf/hydra/sweeper/optuna.yaml`, which says what each key means."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from vaelab.errors import UserError, check_integer, check_number

COMMAND_LINE = 2


@dataclass(frozen=True)
class SearchConfig:
    """The keys of `hydra.sweeper`."""

    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any] | None
    n_trials: int
    n_jobs: int
    direction: str | list[str] | None
    metrics: str | list[str]
    max_failure_rate: float
    storage: str | None
    study_name: str
    params: Mapping[str, Any] | None

    def check(self) -> None:
        """Raise UserError if a number is out of range, or a package is missing."""
        if find_spec("optuna") is None or find_spec("cmaes") is None:
            raise UserError(
                "hydra/sweeper=optuna needs packages that are not installed; run: pip install 'vaelab[hpo]'",
                COMMAND_LINE,
            )
        try:
            check_integer("n_trials", self.n_trials, 1)
            check_integer("n_jobs", self.n_jobs, 1)
            check_number("max_failure_rate", self.max_failure_rate, 0)
        except ValueError as error:
            raise UserError(f"hydra.sweeper.{error}", COMMAND_LINE) from error

    @property
    def overrides(self) -> list[str]:
        """The `params` as overrides."""
        return [f"{key}={'null' if value is None else value}" for key, value in (self.params or {}).items()]

    @property
    def sampler_keywords(self) -> dict[str, Any]:
        """The keywords of the sampler's class, which `_target_` names."""
        return {key: value for key, value in self.sampler.items() if key != "_target_"}
