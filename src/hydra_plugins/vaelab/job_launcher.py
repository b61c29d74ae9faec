"""What the launchers share: jobs are composed here, run in processes elsewhere, and shown."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence

from hydra.core.utils import JobReturn, configure_log
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from vaelab.cli.job import merit_of_before
from vaelab.sweep.composition import Composer, job_return
from vaelab.sweep.jobs import Job, Outcome, Runner, View


class JobLauncher(Launcher):
    """Launches the jobs of a sweep with a runner."""

    @abstractmethod
    def runner(self) -> Runner:
        """Runs the jobs."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives, and read the config files."""
        self._config = config
        self._composer = Composer(hydra_context, task_function, config, merit_of_before)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; their numbers begin at `initial_job_idx`."""
        from vaelab.sweep.view import SweepView  # imports rich, which `--help` must not wait for

        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        runner = self.runner()
        with SweepView(len(job_overrides), runner.n_jobs) as view:
            before: dict[int, Outcome] = {}
            jobs = self._not_ended(self._composer.jobs(job_overrides, initial_job_idx), before, view)
            outcomes = runner.run(jobs, view) | before
        return [
            job_return(overrides, outcomes[number]) for number, overrides in enumerate(job_overrides, initial_job_idx)
        ]

    def _not_ended(self, jobs: Iterable[Job], before: dict[int, Outcome], view: View) -> Iterator[Job]:
        """The jobs that have work to do; how the others ended before is put into `before`, and no process starts."""
        for job in jobs:
            if job.merit is None:
                yield job
            else:
                before[job.number] = Outcome(job.merit, None, 0.0)
                view.ended(job, before[job.number])
