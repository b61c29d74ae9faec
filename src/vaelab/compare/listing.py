"""All runs below a folder as tables, one for those that compare, best first."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from rich.table import Table

from vaelab.compare.differing import differing
from vaelab.errors import visible
from vaelab.evaluation.metrics import label, metric
from vaelab.run.find import find_runs
from vaelab.run.labels import decimal, rounded
from vaelab.run.ranking import describe, ranked, shown_merit
from vaelab.run.record import RunRecord
from vaelab.run.terminal import show, table, width

USUAL = ("model", "latent.dim")  # shown also where they do not differ, if there is room
# what a person looks for first, where there is no room for all that differs
FIRST = ("model", "latent", "likelihood", "prior", "posterior", "conditional", "objective", "optimizer", "seed")
GAP = 2  # letters from a column to the next


@dataclass(frozen=True)
class Column:
    """A column of a table: its head, of one line or two, and what stands below it."""

    head: str
    cells: list[str]

    @property
    def width(self) -> int:
        """In letters."""
        return max(map(len, [*self.head.split("\n"), *self.cells])) + GAP


def list_runs(folder: Path) -> None:
    """Print a table for all runs that were measured on the same, one below the other, a line a run, best first.

    Raises:
        UserError: for a folder that is none, or has no run below it.
    """
    parts: list[Table | str] = []
    for group in ranked(map(RunRecord, find_runs([folder]))):
        shown, left_out = _table(group)
        parts += [describe(group[0].measured_on), shown]
        parts += [f"differing in {', '.join(left_out)} too, see: vaelab compare {folder}", ""] if left_out else []
    show(*parts)


def _table(group: Sequence[RunRecord]) -> tuple[Table, list[str]]:
    """The table of runs that compare, and the settings in which they differ that it has no room for."""
    scores = [_scores(group, name) for name in (shown_merit(group), "test/elbo", "test/bits_per_dim")]
    scores = [column for column in scores if any(column.cells)]
    ends = [
        Column("status", [run.shown_status for run in group]),
        Column("directory", [visible(run.directory) for run in group]),
    ]
    settings = _settings(group)
    room = width() - GAP - sum(column.width for column in [*scores, *ends])
    widths = accumulate(column.width for column in settings.values())
    count = sum(taken <= room for taken in widths)
    shown = list(settings.values())[:count]
    rows = table(numbers=tuple(column.head for column in scores), last=tuple(column.head for column in [*shown, *ends]))
    rows.padding = (0, GAP - 1, 0, 0)
    for row in zip(*(column.cells for column in [*scores, *shown, *ends]), strict=True):
        rows.add_row(*row)
    apart = set(differing(group))
    return rows, [key for key in list(settings)[count:] if key in apart]


def _scores(group: Sequence[RunRecord], name: str) -> Column:
    values = (run.metrics.get(name) for run in group)
    head = label(name).replace(" ", "\n", 1)
    return Column(head, ["" if value is None else decimal(value, f",.{metric(name).digits}f") for value in values])


def _settings(group: Sequence[RunRecord]) -> dict[str, Column]:
    """A column for every setting that tells the runs apart, headed by the last word of its key, such as `lr`."""
    groups = {name: place for place, name in enumerate(FIRST)}
    by_place = sorted(differing(group), key=lambda key: groups.get(key.split(".")[0], len(FIRST)))
    keys = list(dict.fromkeys([*by_place, *USUAL]))
    ends = [key.rpartition(".")[2] for key in keys]
    heads = [key if ends.count(end) > 1 else end for key, end in zip(keys, ends, strict=True)]
    return {
        key: Column(head, [rounded(run.settings.get(key, "")) for run in group])
        for key, head in zip(keys, heads, strict=True)
    }
