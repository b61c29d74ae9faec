"""A progress bar where there is a terminal."""

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vaelab.evaluation.metrics import label


class ProgressBar:
    """Epoch, ELBO, images/s and the time left; nothing unless it is wanted and standard error is a terminal."""

    def __init__(self, total_steps: int, total_epochs: int, wanted: bool = True) -> None:
        console = Console(stderr=True)
        self.visible = wanted and console.is_terminal
        self._total_epochs = total_epochs
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[metrics]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not self.visible,
        )
        self._task = self._progress.add_task("", total=total_steps, epoch="", metrics="")

    def __enter__(self) -> "ProgressBar":
        if self.visible:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.visible:
            self._progress.stop()

    def update(self, row: Mapping[str, float]) -> None:
        """Show where the run is by a row of its metrics: the mean ELBO, or loss, since the row before."""
        name = "elbo" if "train/elbo" in row else "loss"
        mean, speed = row[f"train/{name}"], row["images_per_second"]
        self._progress.update(
            self._task,
            completed=row["step"],
            epoch=f"{min(int(row['epoch']) + 1, self._total_epochs)}/{self._total_epochs}",
            metrics=f"{label(name)} {mean:.2f}  {speed:,.0f} images/s",
        )
