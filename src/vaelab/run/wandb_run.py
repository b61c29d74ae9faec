"""A run directory's rows and pictures as a W&B run.

The training writes `metrics.jsonl` and a process of its own reads it, so that whatever becomes of W&B, its server or
the network, no step waits for it. A row's step in W&B is the number of its line. Whoever begins finds out which rows
W&B has, by the server or, offline, by the files that earlier launches wrote, and brings those that it lacks: after any
number of deaths each row is there once.
"""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaelab.errors import one_line
from vaelab.run.growing_file import GrowingFile
from vaelab.run.rows import METRICS
from vaelab.run.wandb_account import has_key
from vaelab.run.wandb_files import first_line_to_bring, pictures_of_row, sync_command

INIT_SECONDS = 30
AXES = {"step": ("train/*", "images_per_second"), "epoch": ("val/*", "test/*", "pictures/*")}

Say = Callable[[str, str], None]


class NotWantedError(Exception):
    """There is nothing to bring: W&B's own settings say so, or its files hold all rows."""


@dataclass(frozen=True)
class WandbSettings:
    """Options of a W&B run.

    Args:
        mode: `auto`, `online` or `offline`.
        project: W&B project.
        entity: W&B user or team, or None for the key's own.
        tags: W&B tags.
        name: of the run.
        group: of the run, or None.
        config: of the run.
        run_id: of the run.
        resumed: whether an earlier launch has started it.
        reachable: whether the server may be there; if not, `auto` and `online` are offline.
        upload_seconds: at the end of the run, for what is not uploaded yet.
        is_rest: only to complete W&B's files.
    """

    mode: str
    project: str
    entity: str | None
    tags: tuple[str, ...]
    name: str
    group: str | None
    config: Mapping[str, Any]
    run_id: str
    resumed: bool
    reachable: bool = True
    upload_seconds: float = 0.0
    is_rest: bool = False


class WandbRun:
    """The W&B run of a directory, from one launch.

    Args:
        run_dir: absolute.
        settings: of the W&B run.
        say: called with a kind and a text of what the training, or the person, is to know.
    """

    def __init__(self, run_dir: Path, settings: WandbSettings, say: Say) -> None:
        self._run_dir = run_dir
        self._settings = settings
        self._say = say
        self._rows = GrowingFile(run_dir, METRICS)
        self._log = GrowingFile(run_dir, "run.log", from_end=True)
        self._next = 0
        self._run: Any = None

    def begin(self) -> None:
        """Start, or resume, the W&B run; offline where the server cannot be reached."""
        import wandb

        mode = self._mode()
        brought = first_line_to_bring(self._run_dir)
        if mode == "disabled" or (self._settings.is_rest and brought >= self._rows.count()):
            raise NotWantedError
        if mode != "online":
            self._say("offline", "")
        try:
            self._run = self._init(mode)
        except wandb.Error as error:
            if mode != "online":
                raise
            self._say_unreachable(error)
            wandb.teardown()
            mode, self._run = "offline", self._init("offline")
        self._next = self._run.starting_step if mode == "online" else brought
        for axis, names in AXES.items():
            self._run.define_metric(axis)
            for pattern in names:
                self._run.define_metric(pattern, step_metric=axis)
        if mode == "online":
            self._say("info", f"W&B: {self._run.url}")
        else:
            self._say("info", f"W&B: offline; upload with: {sync_command(self._run_dir)}")

    def bring(self) -> None:
        """Bring the rows that W&B lacks, as far as they are written."""
        for number, line in self._rows.new():
            if number >= self._next:
                waiting = pictures_of_row(self._run_dir, number)
                self._run.log({**json.loads(line), **_media(waiting)}, step=number, commit=True)
                self._next = number + 1
                self._keep_one_copy(number, waiting)
        for _, line in self._log.new():
            print(line.decode(errors="replace"), flush=True)  # W&B shows what this process prints

    def finish(self, exit_code: int, summary: Mapping[str, Any]) -> None:
        """Bring what is left and close the run; TimeoutError if it could not be uploaded in time."""
        self.bring()
        assert self._run.step >= 0  # its own program answers, and has all rows
        self._say("alive", "")
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=exit_code)

    def _mode(self) -> str:
        import wandb

        mode = self._settings.mode
        if mode == "auto":
            mode = wandb.setup().settings.mode  # W&B's own settings, of the environment and of the home folder
        if mode != "online" or not self._settings.reachable:
            return "offline" if mode == "online" else mode
        self._say("contacted", "")
        if self._settings.mode == "online":
            return mode
        try:
            return "online" if has_key() else "offline"
        except Exception as error:  # a key is looked at by the server
            self._say_unreachable(error)
            return "offline"

    def _say_unreachable(self, error: Exception) -> None:
        reason = one_line(f"{type(error).__name__}: {error}", 300)
        self._say("unreachable", f"W&B cannot be reached, or takes no such key ({reason}); the run is logged offline")

    def _init(self, mode: str) -> Any:
        import wandb

        options = self._settings
        return wandb.init(
            mode=mode,
            project=options.project,
            entity=options.entity,
            tags=options.tags,
            name=options.name,
            group=options.group,
            config=dict(options.config),
            dir=str(self._run_dir),
            id=options.run_id,
            resume="allow" if options.resumed else None,
            settings=wandb.Settings(
                silent=False,
                init_timeout=INIT_SECONDS,
                finish_timeout=options.upload_seconds,
                finish_timeout_raises=True,
                console="wrap_raw",
                x_stats_pid=os.getppid(),
                # a killed process loses at most the last second of what is on the disk
                x_transaction_log_flush_interval=1.0,
                disable_job_creation=True,  # W&B Launch's; takes half a second
                disable_git=True,
            ),
        )

    def _keep_one_copy(self, number: int, waiting: Mapping[str, Path]) -> None:
        """Put the pictures of a row in the place of the copies that W&B has made of them."""
        for name, path in waiting.items():
            for copy in Path(self._run.dir, "media").rglob(f"{name}_{number}_*{path.suffix}"):
                with suppress(OSError):
                    path.replace(copy)
            path.unlink(missing_ok=True)


def _media(pictures: Mapping[str, Path]) -> dict[str, Any]:
    """As W&B takes pictures; one that cannot be read is left out, for it is worth no row."""
    import wandb

    found = {}
    for name, path in pictures.items():
        with suppress(Exception):
            media = {".gif": wandb.Video, ".html": wandb.Html}.get(path.suffix, wandb.Image)
            found[f"pictures/{name}"] = media(str(path))
    return found
