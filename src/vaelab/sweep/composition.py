"""From the overrides of a sweep's jobs to work that another process can do."""

import os
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from weakref import finalize

from hydra import version
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from vaelab.errors import PastHydraError
from vaelab.sweep.failed_job import FailedJob
from vaelab.sweep.jobs import Job, Outcome
from vaelab.sweep.plan import name_of_job
from vaelab.sweep.scratch import locked_folder, remove, remove_abandoned


class Composer:
    """Composes the jobs of a sweep from the config files as they are now, whatever is changed in them later.

    Args:
        context: Hydra's; it is made to read copies of the files.
        task_function: the work of a job.
        config: of the sweep.
    """

    def __init__(self, context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._context = context
        self._task_function = task_function
        self._config = config
        remove_abandoned()
        copies, lock = locked_folder()
        finalize(self, remove, copies, lock)  # a launcher is not told when the sweep has ended
        for number, source in enumerate(context.config_loader.get_sources()):
            if source.scheme() == "file":  # conf/ itself, or a folder of --config-dir
                source.path = shutil.copytree(source.path, Path(copies, str(number)), ignore=_all_but_yaml)

    def jobs(self, job_overrides: Sequence[Sequence[str]], first_number: int) -> Iterator[Job]:
        """The jobs, each composed as it is asked for."""
        for number, overrides in enumerate(job_overrides, first_number):
            config = self._context.config_loader.load_sweep_config(self._config, list(overrides))
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
                config.hydra.runtime.config_sources = self._config.hydra.runtime.config_sources  # not the copies
                # resolved here, for another process does not know the resolvers
                config.hydra.sweep.dir = sweep_dir = str(self._config.hydra.sweep.dir)
                config.hydra.sweep.subdir = subdir = str(config.hydra.sweep.subdir)
            task_overrides = list(config.hydra.overrides.task)
            name = name_of_job(Path(sweep_dir), number, task_overrides)
            call = partial(_execute, config, self._task_function, self._context.callbacks, Path.cwd())
            yield Job(number, name, Path(sweep_dir, subdir), task_overrides, call)


def _all_but_yaml(directory: str, names: list[str]) -> list[str]:
    """What is left out of a copy: a folder of --config-dir could hold anything."""
    return [
        name for name in names if name.startswith(".") or not (name.endswith(".yaml") or Path(directory, name).is_dir())
    ]


def _execute(config: DictConfig, task_function: TaskFunction, callbacks: Any, folder: Path) -> Any:
    """Do a job as Hydra does it in its own process; return or raise what the task function does."""
    os.chdir(folder)
    setup_globals()
    version.setbase(config.hydra.runtime.version_base)
    try:
        done = run_job(
            hydra_context=HydraContext(config_loader=None, callbacks=callbacks),  # type: ignore[arg-type]
            task_function=task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    except PastHydraError as error:  # here is nothing of Hydra to get past, and a pool tells of an Exception
        raise error.args[0] from error
    if done.status == JobStatus.FAILED:
        raise done._return_value  # asked for by its public name it would also print
    return done.return_value


def job_return(overrides: Sequence[str], outcome: Outcome) -> JobReturn:
    """What Hydra's sweepers expect of a job that ended."""
    kind = JobReturn if outcome.error is None else FailedJob
    done = kind(overrides=list(overrides), working_dir=str(Path.cwd()))
    done.status = JobStatus.COMPLETED if outcome.error is None else JobStatus.FAILED
    done.return_value = outcome.value if outcome.error is None else outcome.error
    return done
