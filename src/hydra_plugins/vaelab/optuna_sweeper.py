"""`hydra/sweeper=optuna`: a search whose trials are the jobs of a sweep."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from vaelab.errors import UserError
from vaelab.run.lock import only_writer
from vaelab.sweep.search.config import COMMAND_LINE, SearchConfig
from vaelab.sweep.search.problem import Problem, objectives_of
from vaelab.sweep.search.pruning import check_prunable
from vaelab.sweep.search.space import search_space

if TYPE_CHECKING:
    from vaelab.sweep.search.search import Search

log = logging.getLogger(__name__)

SUBDIR = "${hydra.job.num}"  # the study finds what became of a trial by its number


class OptunaSweeper(Sweeper):
    """Searches with Optuna; its keywords are those of `SearchConfig`."""

    def __init__(self, **keywords: Any) -> None:
        self._search_config = SearchConfig(**keywords)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives, and make the launcher.

        Raises:
            UserError: if the config of the search is out of range, or a package is missing.
        """
        self._search_config.check()
        subdir = OmegaConf.to_container(config.hydra.sweep, resolve=False)["subdir"]
        if subdir != SUBDIR:
            raise UserError(f"a search must have hydra.sweep.subdir={SUBDIR}, got {subdir}; leave it out", COMMAND_LINE)
        self._objectives = objectives_of(self._search_config.metrics, self._search_config.direction)
        if self._search_config.pruner:
            check_prunable(self._objectives)
        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Search; the overrides are those of the command line.

        Raises:
            UserError: if the search cannot be made of them, too many trials failed, or all did.
        """
        from vaelab.sweep.search.sampling import Sampling  # imports Optuna, which `--help` must not wait for
        from vaelab.sweep.search.search import Search
        from vaelab.sweep.search.study import open_study

        given = self._search_config
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        space, fixed = search_space(parser.parse_overrides([*given.overrides, *arguments]))
        problem = Problem(space, fixed, self._objectives)
        if warning := problem.warning():
            log.warning("%s", warning)
        self._check_trials(problem.probes())
        kind = get_class(given.sampler["_target_"])
        sampling = Sampling(kind, given.sampler_keywords, space, len(self._objectives))
        pruner = instantiate(given.pruner) if given.pruner else None

        directory = Path(self.config.hydra.sweep.dir)
        directory.mkdir(parents=True, exist_ok=True)
        with only_writer(directory):
            study = open_study(problem, directory, given.storage, given.study_name, pruner)
            OmegaConf.save(self.config, directory / "multirun.yaml")
            self._run(Search(directory, problem, study, sampling))

    def _check_trials(self, batch: list[list[str]]) -> None:
        """Raise, before one trains for nothing, where a trial cannot be composed or does not measure the objectives."""
        wanted = [name for name in self._objectives if name.startswith("val/")]
        for overrides in batch:
            config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
            if wanted and OmegaConf.select(config, "dataset.val_size") == 0:
                raise UserError(
                    f"a search for {wanted[0]} must have validation images, got dataset.val_size=0; keep some, or set "
                    f"hydra.sweeper.metrics={wanted[0].replace('val/', 'train/')}",
                    COMMAND_LINE,
                )

    @property
    def _config_dir(self) -> list[str]:
        """The flag that names the person's own config folder, where there is one."""
        sources = self.config.hydra.runtime.config_sources
        return [f"--config-dir={source.path}" for source in sources if source.provider == "command-line"]

    def _run(self, search: "Search") -> None:
        from vaelab.sweep.search.report import write_best, write_pictures

        given = self._search_config
        try:
            for batch in search.batches(given.n_jobs, given.n_trials):
                jobs = [search.problem.overrides(trial.params) for trial in batch]
                for trial, done in zip(batch, self.launcher.launch(jobs, batch[0].number), strict=True):
                    search.tell(trial.number, ended_well=done.status == JobStatus.COMPLETED)
                write_best(search, self._config_dir)
                search.require_success(given.max_failure_rate, given.n_trials)
        finally:
            write_best(search, self._config_dir)
            write_pictures(search)
        if not search.best:
            raise UserError(f"all {len(search.trials)} trials failed; the lines above say why")
        log.info("best.yaml in %s names the best trial and the command that runs it again", search.directory)
