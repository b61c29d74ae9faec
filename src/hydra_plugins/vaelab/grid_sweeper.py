"""`hydra/sweeper=grid`: every combination of the values of a sweep."""

from collections.abc import Mapping, Sequence
from functools import cache

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from vaelab.errors import UserError, check_integer
from vaelab.sweep.composition import chooses_option


class GridSweeper(BasicSweeper):
    """Hydra's own sweeper, but for how it finds, before the first job begins, one that cannot be composed.

    Hydra composes all of them for it. Here enough are composed for every value to have met every choice of the groups:
    199 jobs of a grid of 100 x 100 values.

    Raises:
        UserError: if a keyword is out of range.
    """

    def __init__(self, max_batch_size: int | None, params: Mapping[str, str] | None = None) -> None:
        if max_batch_size is not None:
            try:
                check_integer("max_batch_size", max_batch_size, 1)
            except ValueError as error:
                raise UserError(f"hydra.sweeper.{error}") from error
        super().__init__(max_batch_size, params)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Raise what Hydra raises of a job that cannot be composed."""
        chooses, met = cache(self._chooses), set()
        for overrides in batch:
            choices = tuple(filter(chooses, overrides))
            pairs = {(choices, override) for override in overrides}
            if not met.issuperset(pairs):
                met |= pairs
                super().validate_batch_is_legal([overrides])

    def _chooses(self, override: str) -> bool:
        assert self.hydra_context is not None
        return chooses_option(OverridesParser.create().parse_override(override), self.hydra_context.config_loader)
