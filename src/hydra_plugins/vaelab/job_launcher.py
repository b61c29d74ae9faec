"""What the launchers share: jobs are composed here, run in processes elsewhere, and shown."""

from abc import abstractmethod
from collections.abc import Sequence

from hydra.core.utils import JobReturn, configure_log
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from vaelab.sweep.composition import Composer, job_return
from vaelab.sweep.jobs import Runner


class JobLauncher(Launcher):
    """Launches the jobs of a sweep with a runner."""

    @abstractmethod
    def runner(self) -> Runner:
        """Runs the jobs."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives, and read the config files."""
        self._config = config
        self._composer = Composer(hydra_context, task_function, config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; their numbers begin at `initial_job_idx`."""
        from vaelab.sweep.view import SweepView  # imports rich, which `--help` must not wait for

        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        runner = self.runner()
        with SweepView(len(job_overrides), runner.n_jobs) as view:
            outcomes = runner.run(self._composer.jobs(job_overrides, initial_job_idx), view)
        return [job_return(*ended) for ended in zip(job_overrides, outcomes, strict=True)]
