"""Tables and lines for people."""

import logging
import sys
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from vaelab.errors import visible

WIDTH_OF_A_FILE = 200  # where standard output is no terminal nothing needs to be folded


class VisibleFormatter(logging.Formatter):
    """Formats messages, which may hold untrusted text, so that no terminal obeys them, from the file either."""

    def format(self, record: logging.LogRecord) -> str:
        """The message with its stack."""
        return visible(super().format(record), lines=True)


class _VisibleTable(Table):
    """A table whose cells, which may hold untrusted text, no terminal obeys."""

    def add_column(self, header: Any = "", *rest: Any, **options: Any) -> None:
        super().add_column(visible(header, lines=True), *rest, **options)

    def add_row(self, *cells: Any, **options: Any) -> None:
        super().add_row(*(visible(cell) for cell in cells), **options)


def table(*columns: str, numbers: tuple[str, ...] = (), last: tuple[str, ...] = ()) -> Table:
    """An empty table with columns of text, then of numbers, then of text."""
    empty = _VisibleTable(box=box.SIMPLE_HEAD)
    for name in columns:
        empty.add_column(name, overflow="fold")
    for name in numbers:
        empty.add_column(name, justify="right")
    for name in last:
        empty.add_column(name, overflow="fold")
    return empty


def show(*parts: Table | str) -> None:
    """Print tables and lines to standard output."""
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True, width=width())
    for part in parts:
        console.print(f"  {visible(part)}" if isinstance(part, str) else part)
    if isinstance(parts[-1], str):
        console.print()


def width() -> int:
    """The columns that there are for a line of standard output."""
    return Console(file=sys.stdout).width if sys.stdout.isatty() else WIDTH_OF_A_FILE
