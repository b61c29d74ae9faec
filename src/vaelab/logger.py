"""Where metrics and pictures go: JSON lines always, Weights & Biases when wanted."""

import logging
import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from vaelab.errors import check_choice, one_line
from vaelab.records import write_text
from vaelab.rows import Rows

log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")
EXIT_CODES = {"finished": 0, "pruned": 0, "failed": 1, "killed": 130}


class Logger:
    """Writes `metrics.jsonl` and, unless the mode is `disabled`, a W&B run; W&B never stops a training.

    Args:
        run_dir: the run's directory.
        mode: `auto` is online where W&B has a key, offline where not; or `online`, `offline`, `disabled`.
        project: W&B project.
        entity: W&B user or team, or None for the key's own.
        tags: W&B tags.

    Raises:
        ValueError: if the mode is unknown.
    """

    def __init__(self, run_dir: Path, mode: str, project: str, entity: str | None, tags: list[str]) -> None:
        check_choice("mode", mode, MODES)
        self.run_dir = run_dir
        self.mode = mode
        self._wandb_options = {"project": project, "entity": entity, "tags": tags}
        self._wandb_run: Any = None
        self._rows = Rows(run_dir)

    def start(self, config: Mapping[str, Any], name: str, group: str | None) -> None:
        """Begin, or go on with, the W&B run of this directory."""
        if self.mode != "disabled":
            self._guarded("start", lambda: self._start_wandb(config, name, group))

    def log(self, row: Mapping[str, float]) -> None:
        """Write a row of metrics with `step` and `epoch`; what is not finite is left out, for JSON cannot hold it."""
        row = {name: value for name, value in row.items() if math.isfinite(value)}
        self._rows.append(row)
        self._guarded("log", lambda: self._wandb_run.log(dict(row)))

    def log_pictures(self, pictures: Mapping[str, Path], step: int, epoch: float) -> None:
        """Send pictures that were written to the run directory to W&B."""

        def send() -> None:
            import wandb

            images = {f"pictures/{name}": wandb.Image(str(path)) for name, path in pictures.items()}
            self._wandb_run.log({**images, "step": step, "epoch": epoch})

        self._guarded("log pictures", send)

    @property
    def position(self) -> dict[str, Any]:
        """The place in `metrics.jsonl`, of rows that are safely on the disk, for a checkpoint to keep."""
        return self._rows.state

    def rewind(self, position: Mapping[str, Any] | None) -> None:
        """Drop the rows that were written after a checkpoint, or all, when the run goes on from there."""
        self._rows.rewind(position)

    def finish(self, status: str, summary: Mapping[str, Any]) -> None:
        """Close the files and the W&B run; status is `finished`, `pruned`, `failed` or `killed`."""

        def close() -> None:
            self._wandb_run.summary.update({**summary, "status": status})
            self._wandb_run.finish(exit_code=EXIT_CODES[status])

        self._guarded("finish", close)
        self._wandb_run = None
        with suppress(OSError):  # a row that could not be written has raised already
            self._rows.close()

    def _start_wandb(self, config: Mapping[str, Any], name: str, group: str | None) -> None:
        import wandb

        mode = self.mode
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
        folder = self.run_dir / "wandb"
        folder.mkdir(exist_ok=True)
        id_file = folder / "run_id"
        options = {
            **self._wandb_options,
            "dir": str(self.run_dir),
            "id": id_file.read_text() if id_file.exists() else None,
            "name": name,
            "group": group,
            "config": dict(config),
            "resume": "allow",
            # a killed process loses at most the last second of an offline run
            "settings": wandb.Settings(
                silent=True,
                init_timeout=30,
                reinit="finish_previous",
                x_transaction_log_flush_interval=1.0,
                disable_job_creation=True,  # W&B Launch's; takes half a second
            ),
        }
        try:
            self._wandb_run = wandb.init(mode=mode, **options)
        except wandb.Error as error:
            if mode != "online":
                raise
            log.warning(
                "W&B cannot be reached (%s); the run is logged offline", one_line(f"{type(error).__name__}: {error}")
            )
            mode, self._wandb_run = "offline", wandb.init(mode="offline", **options)
        write_text(id_file, self._wandb_run.id)
        for axis, names in (("step", ("train/*", "images_per_second")), ("epoch", ("val/*", "test/*", "pictures/*"))):
            self._wandb_run.define_metric(axis)
            for pattern in names:
                self._wandb_run.define_metric(pattern, step_metric=axis)
        if mode == "online":
            log.info("W&B: %s", self._wandb_run.url)
        elif mode == "offline":
            log.info("W&B: offline; upload with: wandb sync %s", Path(self._wandb_run.dir).parent)

    def _guarded(self, action: str, call: Callable[[], None]) -> None:
        if self._wandb_run is None and action != "start":
            return
        try:
            call()
        except Exception as error:
            # Whatever goes wrong between here and a server, hours of training are worth more.
            log.warning(
                "W&B failed to %s (%s); the run goes on without it",
                action,
                one_line(f"{type(error).__name__}: {error}"),
            )
            self._wandb_run = None


class NoLogger:
    """Stands in for a `Logger` where another process logs the run."""

    position = None

    def start(self, config: Mapping[str, Any], name: str, group: str | None) -> None:
        """Nothing."""

    def log(self, row: Mapping[str, float]) -> None:
        """Nothing."""

    def rewind(self, position: Mapping[str, Any] | None) -> None:
        """Nothing."""

    def finish(self, status: str, summary: Mapping[str, Any]) -> None:
        """Nothing."""


def has_key() -> bool:
    """Whether W&B has a key to log in with."""
    import wandb

    wandb.setup(wandb.Settings(silent=True))
    try:
        return bool(wandb.login(prompt=False))
    except Exception as error:
        log.warning("W&B cannot be asked for a key (%s)", one_line(f"{type(error).__name__}: {error}"))
        return False
