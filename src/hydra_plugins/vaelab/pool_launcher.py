"""`hydra/launcher=pool`: the jobs of a sweep side by side on one machine."""

from hydra_plugins.vaelab.job_launcher import JobLauncher
from vaelab.errors import UserError
from vaelab.sweep.attempt import Limits
from vaelab.sweep.places import Places
from vaelab.sweep.pool import Pool


class PoolLauncher(JobLauncher):
    """Runs every job in a process of its own, so many at a time; `conf/hydra/launcher/pool.yaml` says what each means.

    Raises:
        UserError: if a keyword is out of range.
    """

    def __init__(
        self, n_jobs: int | None, jobs_per_gpu: int, timeout_min: float | None, retries: int, grace_seconds: float
    ) -> None:
        try:
            self._pool = Pool(Places(n_jobs, jobs_per_gpu), Limits(timeout_min, retries, grace_seconds))
        except ValueError as error:
            raise UserError(f"hydra.launcher.{error}") from error

    def runner(self) -> Pool:
        """The pool."""
        return self._pool
