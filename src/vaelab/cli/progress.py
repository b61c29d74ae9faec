"""How far a command is, where a terminal shows it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def progress(name: str) -> Iterator[tuple[Callable[[int], None], Callable[[str], None]]]:
    """Names what is done and counts the images it has seen: `advance(images)`, and `begin(name)` of what is next."""
    console = Console(stderr=True)
    shown = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}: {task.completed:,.0f} images"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with shown:
        task = shown.add_task(name, total=None)
        yield partial(shown.advance, task), lambda name: shown.reset(task, total=None, description=name)
