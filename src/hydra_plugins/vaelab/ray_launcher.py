"""`hydra/launcher=ray`: the jobs of a sweep as tasks of a Ray cluster."""

from collections.abc import Sequence

from hydra.core.utils import JobReturn, configure_log
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from vaelab.sweep.composition import Composer, job_return


class RayLauncher(Launcher):
    """Runs every job as a task of a cluster; `conf/hydra/launcher/ray.yaml` says what each setting means."""

    def __init__(self, address: str | None, num_cpus: float, num_gpus: float, retries: int) -> None:
        self._address = address
        self._resources = {"num_cpus": num_cpus, "num_gpus": num_gpus, "max_retries": retries}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives, and read the config files."""
        self._config = config
        self._composer = Composer(hydra_context, task_function, config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; their numbers begin at `initial_job_idx`."""
        from vaelab.sweep.cluster import run_on_ray  # only who uses it needs Ray
        from vaelab.sweep.view import SweepView

        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        jobs = list(self._composer.jobs(job_overrides, initial_job_idx))
        with SweepView(len(jobs)) as view:
            outcomes = run_on_ray(jobs, self._address, self._resources, view)
        return [job_return(*ended) for ended in zip(job_overrides, outcomes, strict=True)]
