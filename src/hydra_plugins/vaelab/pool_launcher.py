"""`hydra/launcher=pool`: the jobs of a sweep side by side on one machine."""

from collections.abc import Sequence

from hydra.core.utils import JobReturn, configure_log
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from vaelab.errors import UserError
from vaelab.sweep.composition import Composer, job_return
from vaelab.sweep.pool import Pool


class PoolLauncher(Launcher):
    """Runs every job in a process of its own, so many at a time; `conf/hydra/launcher/pool.yaml` says what each means.

    Raises:
        UserError: if a setting is out of range.
    """

    def __init__(
        self, n_jobs: int | None, jobs_per_gpu: int, timeout_min: float | None, retries: int, grace_seconds: float
    ) -> None:
        try:
            self._pool = Pool(n_jobs, jobs_per_gpu, timeout_min, retries, grace_seconds)
        except ValueError as error:
            raise UserError(f"hydra.launcher.{error}") from error

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives, and read the config files."""
        self._config = config
        self._composer = Composer(hydra_context, task_function, config)
        self._pool.start()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; their numbers begin at `initial_job_idx`."""
        from vaelab.sweep.view import SweepView  # imports rich, which `--help` must not wait for

        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        with SweepView(len(job_overrides), self._pool.n_jobs) as view:
            outcomes = self._pool.run(self._composer.jobs(job_overrides, initial_job_idx), view)
        return [job_return(*ended) for ended in zip(job_overrides, outcomes, strict=True)]
