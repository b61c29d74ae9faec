"""`hydra/sweeper=optuna`: a search whose trials are the jobs of a sweep."""

import logging
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from vaelab.errors import UserError, check_choice, check_integer, check_number
from vaelab.evaluation.metrics import DOWN, MERIT, UP, changes_meaning, metric
from vaelab.run.lock import only_writer
from vaelab.sweep.search.pruning import validated_metric
from vaelab.sweep.search.space import as_overrides, probes, search_space

if TYPE_CHECKING:
    from vaelab.sweep.search.search import Search

log = logging.getLogger(__name__)

COMMAND_LINE = 2
DIRECTIONS = {DOWN: "minimize", UP: "maximize"}
SUBDIR = "${hydra.job.num}"  # the study finds what became of a trial by its number


class OptunaSweeper(Sweeper):
    """Searches with Optuna; `conf/hydra/sweeper/optuna.yaml` says what each setting means."""

    def __init__(
        self,
        sampler: Mapping[str, Any],
        pruner: Mapping[str, Any] | None,
        n_trials: int,
        n_jobs: int,
        direction: str | list[str] | None,
        metrics: str | list[str],
        max_failure_rate: float,
        storage: str | None,
        study_name: str,
        params: Mapping[str, Any] | None,
    ) -> None:
        self._sampler = dict(sampler)
        self._pruner = pruner
        self._n_trials = n_trials
        self._n_jobs = n_jobs
        self._direction = direction
        self._metrics = metrics
        self._max_failure_rate = max_failure_rate
        self._storage = storage
        self._study_name = study_name
        self._params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives, and make the launcher.

        Raises:
            UserError: if a setting is out of range, or a package is missing.
        """
        self._check(config)
        self._objectives = _objectives(self._direction, self._metrics, pruned=bool(self._pruner))
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

        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        asked = [f"{key}={'null' if value is None else value}" for key, value in self._params.items()]
        space, fixed = search_space(parser.parse_overrides([*asked, *arguments]))
        if warning := _warning(space, self._objectives):
            log.warning("%s", warning)
        self._require_validation([*fixed, *as_overrides(probes(space)[0])])
        kind = get_class(self._sampler["_target_"])
        settings = {key: value for key, value in self._sampler.items() if key != "_target_"}
        sampling = Sampling(kind, settings, space, len(self._objectives))
        pruner = instantiate(self._pruner) if self._pruner else None
        self.validate_batch_is_legal([[*fixed, *as_overrides(probe)] for probe in probes(space)])

        directory = Path(self.config.hydra.sweep.dir)
        directory.mkdir(parents=True, exist_ok=True)
        with only_writer(directory):
            search = Search(
                directory, space, fixed, self._objectives, sampling, pruner, self._storage, self._study_name
            )
            OmegaConf.save(self.config, directory / "multirun.yaml")
            self._run(search)

    def _check(self, config: DictConfig) -> None:
        if find_spec("optuna") is None or find_spec("cmaes") is None:
            raise UserError(
                "hydra/sweeper=optuna needs packages that are not installed; run: pip install -e '.[hpo]'", COMMAND_LINE
            )
        subdir = OmegaConf.to_container(config.hydra.sweep, resolve=False)["subdir"]
        if subdir != SUBDIR:
            raise UserError(f"a search must have hydra.sweep.subdir={SUBDIR}, got {subdir}; leave it out", COMMAND_LINE)
        try:
            check_integer("n_trials", self._n_trials, 1)
            check_integer("n_jobs", self._n_jobs, 1)
            check_number("max_failure_rate", self._max_failure_rate, 0)
        except ValueError as error:
            raise UserError(f"hydra.sweeper.{error}", COMMAND_LINE) from error

    def _require_validation(self, overrides: list[str]) -> None:
        """Raise UserError, before a trial trains for nothing, if what is searched for is never measured."""
        wanted = [name for name in self._objectives if name.startswith("val/")]
        config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        if wanted and OmegaConf.select(config, "dataset.val_size") == 0:
            raise UserError(
                f"a search for {wanted[0]} must have validation images, got dataset.val_size=0; keep some, or set "
                f"hydra.sweeper.metrics={wanted[0].replace('val/', 'train/')}",
                COMMAND_LINE,
            )

    def _run(self, search: "Search") -> None:
        from optuna.trial import TrialState

        from vaelab.sweep.search.report import write_best, write_pictures

        try:
            for batch in search.batches(self._n_jobs, self._n_trials):
                jobs = [[*search.fixed, *as_overrides(trial.params)] for trial in batch]
                for trial, done in zip(batch, self.launcher.launch(jobs, batch[0].number), strict=True):
                    search.tell(trial.number, ended_well=done.status == JobStatus.COMPLETED)
                write_best(search)
                failed = search.count(TrialState.FAIL)
                if failed > self._max_failure_rate * self._n_trials:
                    raise UserError(
                        f"{failed} trials failed, more than hydra.sweeper.max_failure_rate={self._max_failure_rate:g} "
                        f"of {self._n_trials} allows; their summary.json says why"
                    )
        finally:
            write_best(search)
            write_pictures(search)
        if not search.best:
            raise UserError(f"all {len(search.trials)} trials failed; the lines above say why")
        log.info("best.yaml in %s names the best trial and the command that runs it again", search.directory)


def _objectives(direction: str | list[str] | None, metrics: str | list[str], pruned: bool) -> dict[str, str]:
    """Directions by metric.

    Raises:
        UserError: if they do not fit each other, or a pruner cannot compare them.
    """
    names = [metrics] if isinstance(metrics, str) else list(metrics or ())
    if not names:
        raise UserError(f"hydra.sweeper.metrics must name metrics, such as {MERIT}, got {metrics}", COMMAND_LINE)
    directions = [direction] if isinstance(direction, str) else direction or list(map(_better, names))
    for given in directions:
        try:
            check_choice("direction", given, tuple(DIRECTIONS.values()))
        except ValueError as error:
            raise UserError(f"hydra.sweeper.{error}", COMMAND_LINE) from error
    if len(set(names)) != len(directions):
        raise UserError(
            f"hydra.sweeper.direction must have one entry for each of hydra.sweeper.metrics, got {len(directions)} for "
            f"{', '.join(names)}",
            COMMAND_LINE,
        )
    if pruned and (len(names) > 1 or validated_metric(names) is None):
        raise UserError(
            f"a pruner must have one objective, and one of the validation such as {MERIT}, got {', '.join(names)}; "
            f"choose hydra/sweeper/pruner=none",
            COMMAND_LINE,
        )
    return dict(zip(names, directions, strict=True))


def _better(name: str) -> str:
    """The direction in which a metric gets better; UserError where neither is by itself."""
    better = metric(name).better
    if better is None:
        raise UserError(
            f"hydra.sweeper.direction must be given for {name}, which is better neither higher nor lower by itself; "
            f"set it to minimize or maximize, in a list for several metrics",
            COMMAND_LINE,
        )
    return DIRECTIONS[better]


def _warning(space: Iterable[str], objectives: Iterable[str]) -> str | None:
    """What to say of a search over keys under whose values an objective is not the same thing."""
    changed = {(key, name): None for key in space for name in objectives if changes_meaning(key, name)}
    if not changed:
        return None
    keys, names = (", ".join(dict.fromkeys(column)) for column in zip(*changed, strict=True))
    remedy = "search each value by itself"
    if all(metric(name).name == "loss" and not changes_meaning(key, MERIT) for key, name in changed):
        remedy = f"leave hydra.sweeper.metrics at {MERIT}"
    return f"{names} means something else under each value of {keys}, so that its best is no better model; {remedy}"
