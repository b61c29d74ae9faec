"""What is printed for people."""

import sys

from rich import box
from rich.console import Console
from rich.table import Table

WIDTH_OF_A_FILE = 200  # where standard output is no terminal nothing needs to be folded


def table(*columns: str, numbers: tuple[str, ...] = (), last: tuple[str, ...] = ()) -> Table:
    """An empty table with columns of text, then of numbers, then of text."""
    made = Table(box=box.SIMPLE_HEAD)
    for name in columns:
        made.add_column(name, overflow="fold")
    for name in numbers:
        made.add_column(name, justify="right")
    for name in last:
        made.add_column(name, overflow="fold")
    return made


def show(*parts: Table | str) -> None:
    """Print tables and lines to standard output."""
    console = Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=True, width=width())
    for part in parts:
        console.print(f"  {part}" if isinstance(part, str) else part)
    if isinstance(parts[-1], str):
        console.print()


def width() -> int:
    """The columns that there are for a line of standard output."""
    return Console(file=sys.stdout).width if sys.stdout.isatty() else WIDTH_OF_A_FILE
