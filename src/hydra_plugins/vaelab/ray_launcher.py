"""`hydra/launcher=ray`: the jobs of a sweep as tasks of a Ray cluster."""

from typing import TYPE_CHECKING

from hydra_plugins.vaelab.job_launcher import JobLauncher

if TYPE_CHECKING:
    from vaelab.sweep.cluster import Cluster


class RayLauncher(JobLauncher):
    """Runs every job as a task of a cluster; `conf/hydra/launcher/ray.yaml` says what each keyword means."""

    def __init__(
        self, address: str | None, num_cpus: float, num_gpus: float, retries: int, grace_seconds: float
    ) -> None:
        self._address = address
        self._resources = {"num_cpus": num_cpus, "num_gpus": num_gpus, "max_retries": retries}
        self._grace_seconds = grace_seconds

    def runner(self) -> "Cluster":
        """The cluster."""
        from vaelab.sweep.cluster import Cluster  # only who uses it needs Ray

        return Cluster(self._address, self._resources, self._grace_seconds)
