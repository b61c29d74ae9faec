"""`hydra/launcher=stacked`: the jobs of a sweep several in a process, trained as one where they can be."""

from hydra_plugins.vaelab.job_launcher import JobLauncher
from vaelab.errors import UserError
from vaelab.sweep.attempt import Limits
from vaelab.sweep.places import Places
from vaelab.sweep.pool import Pool
from vaelab.sweep.stacks import Stacks


class StackedLauncher(JobLauncher):
    """Runs so many processes of so many jobs at a time; `conf/hydra/launcher/stacked.yaml` says what each means.

    Raises:
        UserError: if a keyword is out of range.
    """

    def __init__(
        self,
        runs: int,
        n_jobs: int | None,
        jobs_per_gpu: int,
        timeout_min: float | None,
        retries: int,
        grace_seconds: float,
    ) -> None:
        try:
            self._stacks = Stacks(Pool(Places(n_jobs, jobs_per_gpu), Limits(timeout_min, retries, grace_seconds)), runs)
        except ValueError as error:
            raise UserError(f"hydra.launcher.{error}") from error

    def runner(self) -> Stacks:
        """The processes."""
        return self._stacks
