"""Output of a run about itself: its config, its summary, and its rows here and in W&B."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from vaelab.dataset.images import Dataset
from vaelab.errors import UserError
from vaelab.files import folder
from vaelab.run.environment import git_commit
from vaelab.run.logger import Logger, NoLogger
from vaelab.run.saved import write_config
from vaelab.run.summary import FAILED, KILLED, Summary
from vaelab.training.signals import Interrupted

log = logging.getLogger(__name__)

FOLDERS = ("", "checkpoints", "images", "wandb")


@dataclass(frozen=True)
class RunSpec:
    """One launch of a run.

    Attributes:
        config: resolved.
        run_dir: the run's directory, which exists.
        overrides: the command line, for the summary.
        name: of the run in W&B.
        group: of the sweep in W&B, or None.
        trusted: packages whose code a saved config may run; None for a config of the person's own.
        resumed: from the last checkpoint.
    """

    config: Mapping[str, Any]
    run_dir: Path
    overrides: list[str]
    name: str
    group: str | None = None
    trusted: list[str] | None = None
    resumed: bool = False


class RunOutput:
    """Writes nothing until the run begins; then says how it ends, also where an error leaves the `with`.

    Args:
        spec: of the run.
        is_main_process: of several, only that one writes.

    Attributes:
        summary: what `summary.json` holds.
        logger: where the training's rows go; of the main process it is set before the run begins.
    """

    def __init__(self, spec: RunSpec, is_main_process: bool) -> None:
        self._spec = spec
        self._is_main_process = is_main_process
        self._began = False
        told = {"overrides": spec.overrides, "git_commit": git_commit(), "name": spec.name, "group": spec.group}
        self._summary = Summary(spec.run_dir, {**told, "choices": spec.config.get("choices", {})}, spec.resumed)
        if self._summary.lost and is_main_process:
            log.warning(
                "summary.json is damaged, and written anew; with it are lost the overrides and seconds of before"
            )
        self.logger: Logger | NoLogger = NoLogger()

    @property
    def summary(self) -> Mapping[str, Any]:
        """The content of `summary.json`."""
        return self._summary.content

    def __enter__(self) -> "RunOutput":
        return self

    def keep_images(self, dataset: Dataset) -> None:
        """Keep which file images of one's own were prepared in, whose name has their key.

        Raises:
            UserError: if the run began with others.
        """
        if dataset.stored is None:
            return
        name, before = dataset.stored.path.name, self._summary.content.get("images")
        if before not in (None, name):
            raise UserError(
                f"{self._spec.run_dir} was trained on the images in {before}, and these, or the settings by which they "
                f"are prepared, have changed since, to {name}; bring the old ones back, or start a new run"
            )
        self._summary.content["images"] = name

    def begin(self, measured_on: Mapping[str, Any]) -> None:
        """Write the config and the summary, with what the metrics will be measured on, and begin the W&B run."""
        run_dir, config = self._spec.run_dir, self._spec.config
        self._began = True
        if self._is_main_process:
            for name in FOLDERS:
                folder.remove_temporaries(run_dir, name)
            write_config(run_dir, {**config, "resume": None})
            self._summary.began(measured_on)
        kept = self._summary.content
        self.logger.start({**config, "git_commit": kept["git_commit"]}, kept["name"], kept["group"])

    def end(self, status: str, results: Mapping[str, Any]) -> None:
        """Write what the run has reached, and close the W&B run."""
        if self._is_main_process:
            self._summary.ended(status, {**results, "rows": self.logger.written})
        self.logger.finish(status, {**results["metrics"], "best_epoch": results["best_epoch"]})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            status = KILLED if isinstance(error, Interrupted | KeyboardInterrupt) else FAILED
            if self._began and self._is_main_process:
                self._summary.failed(status, error)
            self.logger.finish(status, {})
