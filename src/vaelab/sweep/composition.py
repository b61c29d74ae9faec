"""From the overrides of a sweep's jobs to work that another process can do."""

import os
import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any
from weakref import finalize

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from vaelab.errors import PastHydraError
from vaelab.sweep.failed_job import FailedJob
from vaelab.sweep.jobs import Job, Outcome
from vaelab.sweep.plan import names_of_jobs
from vaelab.sweep.scratch import locked_folder, remove, remove_abandoned


def chooses_option(override: Override, loader: ConfigLoaderImpl) -> bool:
    """Whether an override chooses an option of a group, and sets no value."""
    return not isinstance(override.value(), dict) and loader.repository.group_exists(override.key_or_group)


class SweepLoader:
    """Composes a sweep's jobs as Hydra's own loader does, but what they choose of the groups once for all of them.

    Only values differ between most jobs: these are set in a copy of what those choices compose. Where that cannot be
    done, Hydra composes, or says why it cannot.

    Args:
        loader: Hydra's own.
    """

    def __init__(self, loader: ConfigLoaderImpl) -> None:
        self._loader = loader
        self._parsed = cache(self._parse)
        self._chosen: dict[tuple[str, ...], bytes] = {}  # pickled, for deepcopy takes six times as long

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: Sequence[str]) -> DictConfig:
        """The config of a job of the sweep `master_config`."""
        if not master_config.hydra.searchpath:  # else there are groups that the loader's repository does not know
            with suppress(HydraException, OmegaConfBaseException):
                return self._with_values(master_config, sweep_overrides)
        return self._by_hydra(master_config, sweep_overrides)

    def _by_hydra(self, master_config: DictConfig, overrides: Sequence[str]) -> DictConfig:
        config = self._loader.load_sweep_config(master_config, list(overrides))
        # of the files themselves, where copies of them were read
        config.hydra.runtime.config_sources = master_config.hydra.runtime.config_sources
        return config

    def _with_values(self, master_config: DictConfig, overrides: Sequence[str]) -> DictConfig:
        parsed = [self._parsed(override) for override in overrides]
        choices = tuple(text for text, (_, is_value) in zip(overrides, parsed, strict=True) if not is_value)
        if choices not in self._chosen:
            self._chosen[choices] = pickle.dumps(self._by_hydra(master_config, choices))
        config = pickle.loads(self._chosen[choices])
        self._loader._apply_overrides_to_config([override for override, is_value in parsed if is_value], config)
        of_task = [override for override, _ in parsed if not override.is_hydra_override()]
        config.hydra.overrides.task = [override.input_line for override in of_task]
        config.hydra.job.override_dirname = get_overrides_dirname(of_task, **config.hydra.job.config.override_dirname)
        OmegaConf.copy_cache(from_config=master_config, to_config=config)
        return config

    def _parse(self, text: str) -> tuple[Override, bool]:
        """An override, and whether it sets a value of the experiment, and chooses no files."""
        override = OverridesParser.create().parse_override(text)
        self._loader.validate_sweep_overrides_legal(overrides=[override], run_mode=RunMode.RUN, from_shell=True)
        return override, not chooses_option(override, self._loader) and not override.is_hydra_override()


class Composer:
    """Composes the jobs of a sweep from the config files as they are now, whatever is changed in them later.

    Args:
        context: Hydra's; it is made to read copies of the files.
        task_function: the work of a job.
        config: of the sweep.
        merit_of_before: of a run directory and the config of a job the figure of merit, if it has ended well before.
    """

    def __init__(
        self,
        context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
        merit_of_before: Callable[[Path, DictConfig], float | None],
    ) -> None:
        context.config_loader = SweepLoader(context.config_loader)
        self._context = context
        self._task_function = task_function
        self._merit_of_before = merit_of_before
        self._config = config
        remove_abandoned()
        copies, lock = locked_folder()
        finalize(self, remove, copies, lock)  # a launcher is not told when the sweep has ended
        for number, source in enumerate(context.config_loader.get_sources()):
            if source.scheme() == "file":  # conf/ itself, or a folder of --config-dir
                source.path = shutil.copytree(source.path, Path(copies, str(number)), ignore=_all_but_yaml)

    def jobs(self, job_overrides: Sequence[Sequence[str]], first_number: int) -> Iterator[Job]:
        """The jobs, each composed as it is asked for."""
        sweep_dir = Path(str(self._config.hydra.sweep.dir))
        names = names_of_jobs(
            sweep_dir, {str(number): [*given] for number, given in enumerate(job_overrides, first_number)}
        )
        for number, overrides in enumerate(job_overrides, first_number):
            config = self._context.config_loader.load_sweep_config(self._config, overrides)
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
                # resolved here, for another process does not know the resolvers
                config.hydra.sweep.dir = str(sweep_dir)
                config.hydra.sweep.subdir = subdir = str(config.hydra.sweep.subdir)
            directory, task_overrides = sweep_dir / subdir, list(config.hydra.overrides.task)
            call = partial(_execute, config, self._task_function, self._context.callbacks, Path.cwd())
            merit = self._merit_of_before(directory, config)
            yield Job(number, names[str(number)], directory, task_overrides, call, merit)


def _all_but_yaml(directory: str, names: list[str]) -> list[str]:
    """What is left out of a copy: a folder of --config-dir could hold anything."""
    return [
        name for name in names if name.startswith(".") or not (name.endswith(".yaml") or Path(directory, name).is_dir())
    ]


def _execute(config: DictConfig, task_function: TaskFunction, callbacks: Any, folder: Path, **given: Any) -> Any:
    """Do a job as Hydra does it in its own process; return or raise what the task function, `given` these, does."""
    os.chdir(folder)
    setup_globals()
    version.setbase(config.hydra.runtime.version_base)
    try:
        done = run_job(
            hydra_context=HydraContext(config_loader=None, callbacks=callbacks),  # type: ignore[arg-type]
            task_function=partial(task_function, **given),
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
