"""One job: a new run, one that is resumed, or one of a sweep that goes on where it was."""

import logging
import signal
import traceback
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing import current_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from vaelab.cli.keys import files_of, plain
from vaelab.cli.resume import not_one_run
from vaelab.errors import PastHydraError, UserError, forget_frames, one_line, resuming
from vaelab.machine import ranks
from vaelab.machine.garbage import collect_what_comes
from vaelab.run import EXPLORER, continuation
from vaelab.run.lock import only_writer
from vaelab.run.record import RunRecord
from vaelab.run.saved import CONFIG
from vaelab.run.summary import RUNNING, record_failure, write_summary
from vaelab.sweep.plan import name_of_job
from vaelab.sweep.search.pruning import pruning_callback, validated_metric
from vaelab.sweep.search.storage import storage_url
from vaelab.training.signals import SCHEDULER, AfterValidation, Interrupted

if TYPE_CHECKING:
    from vaelab.run.execute import Company

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where a job writes, and what it is called.

    Args:
        run_dir: the directory of its run.
        sweep_dir: that of its sweep, or None.
        overrides: of its command line, as written.
    """

    run_dir: Path
    sweep_dir: Path | None
    overrides: list[str]

    @classmethod
    def of(cls, hydra_config: Any) -> "Place":
        """The place that Hydra has chosen."""
        sweep_dir = Path(hydra_config.sweep.dir) if hydra_config.mode == RunMode.MULTIRUN else None
        overrides = OmegaConf.to_container(hydra_config.overrides.task)  # not resolved
        assert isinstance(overrides, list)
        return cls(Path(hydra_config.runtime.output_dir), sweep_dir, overrides)

    @property
    def name(self) -> str:
        """Of the run: what differs from the other jobs of its sweep."""
        number = self.run_dir.name
        return number if self.sweep_dir is None else name_of_job(self.sweep_dir, number, self.overrides)

    @property
    def group(self) -> str | None:
        """Of the runs of its sweep in W&B."""
        return None if self.sweep_dir is None else self.sweep_dir.name

    @property
    def told(self) -> dict[str, Any]:
        """What a summary tells of the job before it has run."""
        return {"name": self.name, "group": self.group, "overrides": self.overrides}

    @property
    def has_run(self) -> bool:
        """Whether a run has begun here."""
        return (self.run_dir / CONFIG).exists()


def job(config: DictConfig, company: "Company | None" = None) -> float:
    """One run, by itself or in a sweep; returns its figure of merit, which a sweeper maximises, or raises.

    Args:
        config: composed.
        company: of the runs that it is trained with in one process.
    """
    keep_logging_quiet()  # here too, for a job may have a process of its own
    hydra_config = HydraConfig.get()
    place = Place.of(hydra_config)
    try:
        ranks.current().all_gather(None)  # after an error the first removes the directory, which no other may then make
        return _run(place, plain(config), hydra_config, company)
    except Interrupted as error:
        sentence = _say_stopped(place, error)
        if error.signum in SCHEDULER:
            signal.raise_signal(error.signum)  # the checkpoint is written: now whoever handles it may requeue the job
        if current_process().name != "MainProcess":  # the worker was asked to stop, not the sweep
            raise UserError(sentence) from error
        raise
    except (Exception, SystemExit) as error:
        log.debug("%s", "".join(traceback.format_exception(error)))
        error = _without_exit(error)
        if place.sweep_dir is None:
            raise PastHydraError(error) from error
        error = _in_words(error, hydra_config)
        _report_failure(place, error)
        forget_frames(error)  # Hydra keeps the error of each job until the sweep ends
        raise error


def merit_of_before(run_dir: Path, composed: DictConfig) -> float | None:
    """The figure of merit of a job of a sweep that has ended well before; None of one that is to be run.

    Args:
        run_dir: of the job.
        composed: by Hydra for it, with the node `hydra`.
    """
    try:
        if not (run_dir / CONFIG).exists():
            return None
        return continuation.merit_of_before(run_dir, {**plain(composed), "choices": _choices(composed.hydra)})
    except Exception:  # the job itself says what is wrong, and no other ends with it
        return None


def keep_logging_quiet() -> None:
    """Keep logging from printing a stack of its own for each line that a full disk does not take."""
    logging.raiseExceptions = False


def _run(place: Place, config: dict[str, Any], hydra_config: Any, company: "Company | None") -> float:
    from vaelab.run.execute import RunSpec, execute  # imports torch, which `--help` must not wait for

    collect_what_comes()
    run_dir, overrides = place.run_dir, place.overrides
    resumed = config["resume"] is not None
    if resumed and (place.sweep_dir is not None or Path(config["resume"]).resolve() != run_dir.resolve()):
        raise not_one_run()
    trusted = config.pop("trust") if resumed else None
    if not resumed:
        config["choices"] = _choices(hydra_config)
    with only_writer(run_dir) if ranks.current().is_main_process else nullcontext():
        if place.sweep_dir is not None and place.has_run:
            config, trusted = continuation.resumed_config(run_dir, config, overrides)
            record = RunRecord(run_dir)
            if record.merit is not None:
                return record.merit
            if "overrides" not in record.summary:  # it is gone or damaged, and the report needs what it said
                write_summary(run_dir, {"status": RUNNING, **place.told})
            overrides, resumed = [], True
        pruned = _pruning(hydra_config, place)
        spec = RunSpec(config, run_dir, overrides, place.name, place.group, trusted, resumed)
        explorer = partial(_explorer, trusted=_packages(config) if trusted is None else trusted)
        return execute(spec, pruned, explorer, company)


def _explorer(run_dir: Path, trusted: Iterable[str]) -> list[str]:
    """Make the page of `vaelab explore` in a run directory; one that cannot be made costs a warning, and no run."""
    from vaelab.explore.page import write_page  # imports what exports networks
    from vaelab.run.load import load_run

    try:
        write_page(load_run(run_dir, trusted), run_dir / EXPLORER)
    except Exception as error:  # a full disk, or what the exporter cannot do
        log.debug("%s", "".join(traceback.format_exception(error)))
        log.warning("no explorer: %s", one_line(error, 300))
        return []
    return [EXPLORER]


def _packages(config: Any) -> set[str]:
    """The packages of all that a config of the person's own names."""
    if isinstance(config, dict):
        own = {config["_target_"].partition(".")[0]} if isinstance(config.get("_target_"), str) else set()
        return own.union(*map(_packages, config.values()))
    return set().union(*map(_packages, config)) if isinstance(config, list) else set()


def _choices(hydra_config: Any) -> dict[str, str]:
    chosen = hydra_config.runtime.choices
    return {group: option for group, option in chosen.items() if "/" not in group and option is not None}


def _pruning(hydra_config: Any, place: Place) -> AfterValidation | None:
    """What prunes a trial of a search after a validation; None for any other job."""
    pruner = OmegaConf.select(hydra_config, "sweeper.pruner")
    if place.sweep_dir is None or not pruner:
        return None
    sweeper = hydra_config.sweeper
    metric = validated_metric(sweeper.metrics)
    assert metric is not None  # the sweeper has checked it
    url = storage_url(sweeper.storage, place.sweep_dir)
    return pruning_callback(url, sweeper.study_name, int(hydra_config.job.num), instantiate(pruner), metric)


def _say_stopped(place: Place, error: Interrupted) -> str:
    """Log, and return, by what the run was stopped and how to go on with it."""
    sentence = f"{error}; go on with: {resuming(place.run_dir)}" if place.has_run else str(error)
    log.info("%s", sentence)
    return sentence


def _without_exit(error: Exception | SystemExit) -> Exception:
    """The error; a sentence where code of a part exits, which must not end the other jobs of a sweep."""
    if not isinstance(error, SystemExit):
        return error
    instead = UserError(f"the run called sys.exit({error.code!r}); HYDRA_FULL_ERROR=1 shows where")
    instead.__cause__ = error
    return instead


def _in_words(error: Exception, hydra_config: Any) -> Exception:
    """The error of a job as the sentence that a run by itself would end with; a bug of the code stays what it is."""
    from vaelab.cli.sentences import sentence  # only a failed job needs it

    text, exit_code = sentence(error, files_of(hydra_config))
    if text is None:
        return error
    said = UserError(text, exit_code)
    said.__cause__ = error
    return said


def _report_failure(place: Place, error: Exception) -> None:
    if not place.has_run:  # the report of the sweep needs a row of it all the same
        record_failure(place.run_dir, place.told, error)
    log.error("job %s failed: %s", place.run_dir.name, one_line(error))
