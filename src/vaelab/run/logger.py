"""Where metrics and pictures go: JSON lines always, Weights & Biases when wanted."""

import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vaelab.errors import ArgumentError, UserError, check_choice, check_number, one_line
from vaelab.evaluation.pictures.figures import save_curves
from vaelab.files import folder
from vaelab.run.row_writer import RowWriter
from vaelab.run.rows import read_rows
from vaelab.run.wandb_files import PICTURES, UNREACHABLE, run_id_of
from vaelab.run.wandb_process import WandbProcess
from vaelab.run.wandb_run import WandbSettings

log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")
PROJECT = re.compile(r"[^/\\#?%:\x00-\x1f]{1,128}")  # what W&B takes for a name
LONGEST_TAG = 64


class Logger:
    """Writes `metrics.jsonl` and, unless the mode is `disabled`, has a process bring it to W&B, which stops nothing.

    Args:
        run_dir: the run's directory.
        mode: `auto` is online where W&B has a key, offline where not; or `online`, `offline`, `disabled`.
        project: W&B project.
        entity: W&B user or team, or None for the key's own.
        tags: W&B tags.
        finish_timeout: seconds that W&B has, after the end of the run, for what it has not taken yet.
        explore: whether the page of `vaelab explore` is made, and goes to W&B, when the last epoch has ended.

    Raises:
        ValueError: if a setting is none that W&B takes.
    """

    def __init__(
        self,
        run_dir: Path,
        mode: str,
        project: str,
        entity: str | None,
        tags: Sequence[str],
        finish_timeout: float,
        explore: bool = False,
    ) -> None:
        check_choice("mode", mode, MODES)
        check_number("finish_timeout", finish_timeout, 1)
        for name, value in (("project", project), ("entity", entity)):
            if not (isinstance(value, str) and PROJECT.fullmatch(value)) and (name, value) != ("entity", None):
                raise ArgumentError(name, f"must be a name of 1 to 128 letters without / \\ # ? % :, got {value!r}")
        if isinstance(tags, str) or not all(isinstance(tag, str) and 0 < len(tag) <= LONGEST_TAG for tag in tags):
            raise ArgumentError(
                "tags", f"must be a list of words of at most {LONGEST_TAG} letters, [a,b], got {tags!r}"
            )
        if not isinstance(explore, bool):
            raise ArgumentError("explore", f"must be true or false, got {explore!r}")
        self.run_dir = run_dir
        self.mode = mode
        self.explore = explore
        self._options = {"mode": mode, "project": project, "entity": entity, "tags": tuple(tags)}
        self._finish_timeout = finish_timeout
        self._sweep_dir: Path | None = None
        self._wandb: WandbProcess | None = None
        self._rows = RowWriter(run_dir)

    def start(self, config: Mapping[str, Any], name: str, group: str | None) -> None:
        """Start, or resume, the W&B run of this directory."""
        if self.mode == "disabled":
            return
        self._sweep_dir = None if group is None else self.run_dir.parent
        reachable = self._sweep_dir is None or not folder.exists(self._sweep_dir, UNREACHABLE)
        try:
            for inner in ("wandb", PICTURES):
                folder.make(self.run_dir, inner)
            run_id, resumed = run_id_of(self.run_dir)
            about = {"name": name, "group": group, "config": dict(config), "run_id": run_id, "resumed": resumed}
            settings = WandbSettings(**self._options, **about, reachable=reachable)
            self._wandb = WandbProcess(self.run_dir.absolute(), settings, self._finish_timeout)
        except (OSError, UserError) as error:  # hours of training are worth more
            log.warning("W&B cannot be started (%s); the run goes on without it", one_line(error, 300))

    def log(self, row: Mapping[str, float]) -> None:
        """Write a row of metrics with `step` and `epoch`; what is not finite is left out, for JSON cannot hold it."""
        row = {name: value for name, value in row.items() if math.isfinite(value)}
        self._rows.append(row)
        if self._wandb is not None:
            self._wandb.say()

    def log_pictures(self, names: Iterable[str]) -> None:
        """Send pictures of the run directory, such as `samples.png`, to W&B with the next row."""
        if self._wandb is not None:
            for name in names:
                folder.link(self.run_dir, name, f"{PICTURES}/{len(self._rows)}-{name}")

    @property
    def position(self) -> dict[str, Any]:
        """The place in `metrics.jsonl`, of rows that are safely on the disk, for a checkpoint to keep."""
        return self._rows.state

    @property
    def written(self) -> dict[str, Any]:
        """How many rows `metrics.jsonl` has, and its SHA-256, by which a summary tells whether it is whole."""
        return {"count": len(self._rows), "sha256": self._rows.state["sha256"]}

    def rewind(self, position: Mapping[str, Any] | None) -> None:
        """Drop the rows that were written after a checkpoint, None for all; ValueError if it can be no position."""
        self._rows.rewind(position)

    def draw_curves(self, title: str, picture_format: str) -> None:
        """Draw `curves.png`, and the curves as `pdf` or `svg` where that is wanted."""
        save_curves(self.run_dir / "curves.png", read_rows(self.run_dir), title, picture_format)

    def finish(self, status: str, summary: Mapping[str, Any]) -> None:
        """Close the files and the W&B run; status is `finished`, `pruned`, `failed` or `killed`."""
        with suppress(OSError):  # a row that could not be written has raised already
            self._rows.close()
        if self._wandb is None:
            return
        process, self._wandb = self._wandb, None
        process.finish(status, summary)
        if process.unreachable and self._sweep_dir is not None:
            with suppress(OSError):
                folder.write(self._sweep_dir, UNREACHABLE, b"")


class NoLogger:
    """Stands in for a `Logger` where another process logs the run."""

    position = None
    explore = False

    def start(self, config: Mapping[str, Any], name: str, group: str | None) -> None:
        """Nothing."""

    def log(self, row: Mapping[str, float]) -> None:
        """Nothing."""

    def log_pictures(self, names: Iterable[str]) -> None:
        """Nothing."""

    def draw_curves(self, title: str, picture_format: str) -> None:
        """Nothing."""

    def rewind(self, position: Mapping[str, Any] | None) -> None:
        """Nothing."""

    def finish(self, status: str, summary: Mapping[str, Any]) -> None:
        """Nothing."""
