"""`hydra/sweeper=grid`: every combination of the values of a sweep."""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class GridSweeper(BasicSweeper):
    """Hydra's own sweeper, which composes every job a second time, before the first begins, to find what is wrong.

    Here enough are composed for every override to have been in one: 200 of a grid of 100 x 100.
    """

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Raise what Hydra raises of a job that cannot be composed."""
        seen: set[str] = set()
        for overrides in batch:
            if not seen.issuperset(overrides):
                seen.update(overrides)
                super().validate_batch_is_legal([overrides])
