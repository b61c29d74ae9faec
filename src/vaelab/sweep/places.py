"""Places for jobs: on GPUs, or on the cores of a machine without one."""

import os
from functools import cached_property

from vaelab.errors import UserError, check_integer
from vaelab.sweep import fork_server
from vaelab.sweep.gpus import gpus_are_possible, visible_gpus


class Places:
    """As many places as jobs run at a time.

    Args:
        n_jobs: jobs at a time; None for as many as there are places on GPUs, or cores where torch has no GPU.
        jobs_per_gpu: jobs that share a GPU; 0 hides the GPUs from all jobs.

    Raises:
        ValueError: if one is out of range.
    """

    def __init__(self, n_jobs: int | None, jobs_per_gpu: int) -> None:
        check_integer("jobs_per_gpu", jobs_per_gpu, 0)
        if n_jobs is not None:
            check_integer("n_jobs", n_jobs, 1)
        self._n_jobs = n_jobs
        self._jobs_per_gpu = jobs_per_gpu

    @cached_property
    def devices(self) -> list[str]:
        """CUDA_VISIBLE_DEVICES of each place; first asked for when the fork server is up.

        Raises:
            UserError: if there are fewer places on GPUs than jobs at a time.
        """
        per_gpu = self._jobs_per_gpu
        gpus = visible_gpus(fork_server.start()) if per_gpu and gpus_are_possible() else []
        devices = gpus * per_gpu  # each GPU gets a job before one gets a second
        if not devices:
            # without a GPU of its own no job may see one, for all would take the first
            return [""] * (self._n_jobs or _cores())
        if self._n_jobs is not None and self._n_jobs > len(devices):
            raise UserError(
                f"hydra.launcher.n_jobs must be at most {len(devices)}, jobs_per_gpu={per_gpu} times the GPUs, got "
                f"{self._n_jobs}; raise jobs_per_gpu, or set it to 0 for jobs without a GPU"
            )
        return devices[: self._n_jobs]

    def __len__(self) -> int:
        return len(self.devices)

    def environment(self, place: int) -> dict[str, str]:
        """The environment of a job in a place: its GPU alone, and so many threads that all jobs share the cores."""
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, _cores() // len(self)))
        return {**os.environ, "CUDA_VISIBLE_DEVICES": self.devices[place], "OMP_NUM_THREADS": threads}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
