"""Jobs at a time follow the GPUs, or the cores of a machine without one."""

import os

import pytest

from vaelab.errors import UserError
from vaelab.sweep import places
from vaelab.sweep.attempt import Limits
from vaelab.sweep.places import Places


@pytest.fixture
def gpus(monkeypatch):
    """Makes Places find GPUs; returns how often they were counted."""
    counts = []

    def found(*names):
        monkeypatch.setattr(places, "gpus_are_possible", lambda: True)
        monkeypatch.setattr(places, "visible_gpus", lambda context: counts.append(1) or list(names))
        return counts

    return found


def test_a_torch_without_gpus_beside_a_driver_gives_all_cores_to_jobs(monkeypatch, tmp_path):
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 0\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(places, "gpus_are_possible", lambda: False)
    assert Places(None, 1).devices == [""] * len(os.sched_getaffinity(0))


def test_the_number_of_jobs_follows_gpus_or_cores(gpus, monkeypatch):
    counts = gpus("0", "1")
    assert len(Places(None, 3)) == 6
    assert Places(None, 2).devices == ["0", "1", "0", "1"]
    assert Places(3, 2).devices == ["0", "1", "0"]
    with pytest.raises(UserError, match="n_jobs must be at most 6"):
        assert Places(7, 3).devices
    counts.clear()
    cores = len(os.sched_getaffinity(0))
    assert len(Places(None, 0)) == cores
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert Places(1, 0).environment(0)["OMP_NUM_THREADS"] == str(cores)
    assert Places(4 * cores, 0).environment(0)["OMP_NUM_THREADS"] == "1"
    assert counts == []


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Places(0, 0), "n_jobs"),
        (lambda: Places(True, 0), "n_jobs"),
        (lambda: Places(1, -1), "jobs_per_gpu"),
        (lambda: Limits(0, 0, 1), "timeout_min"),
        (lambda: Limits(None, 0.5, 1), "retries"),
        (lambda: Limits(None, 0, -1), "grace_seconds"),
    ],
)
def test_a_number_out_of_range_is_refused_by_its_name(make, name):
    with pytest.raises(ValueError, match=f"^{name} must"):
        make()
