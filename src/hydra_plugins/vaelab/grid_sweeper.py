"""`hydra/sweeper=grid`: every combination of the values of a sweep."""

from collections.abc import Sequence
from functools import cache

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class GridSweeper(BasicSweeper):
    """Hydra's own sweeper, but for how it finds, before the first job begins, one that cannot be composed.

    Hydra composes all of them for it. Here enough are composed for every value to have met every choice of the groups:
    199 jobs of a grid of 100 x 100 values.
    """

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
        """Whether an override chooses an option of a group."""
        assert self.hydra_context is not None
        group = override.lstrip("+~").partition("=")[0].partition("@")[0]
        return self.hydra_context.config_loader.repository.group_exists(group)
