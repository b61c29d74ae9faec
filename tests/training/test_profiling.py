"""The profile of a run's steps."""

import json
import os

import pytest
import torch

from vaelab.training.profiling import SKIPPED_STEPS, TRACED_STEPS, StepProfiler, profile_text


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Puts back what a profiler sets for its process."""
    monkeypatch.setenv("KINETO_LOG_LEVEL", os.environ.get("KINETO_LOG_LEVEL", "99"))


def profiled(run_dir, steps):
    """Make steps under the profiler of a run; each is a product of matrices."""
    matrix = torch.ones(50, 50)
    with StepProfiler(run_dir, wanted=True) as profiler:
        for _ in range(steps):
            torch.mm(matrix, matrix)
            profiler.step()


@pytest.mark.parametrize("traced", [7, TRACED_STEPS])
def test_the_trace_and_a_table_of_the_steps_after_the_first_are_written(traced, tmp_path):
    profiled(tmp_path, SKIPPED_STEPS + traced + (10 if traced == TRACED_STEPS else 0))
    events = json.loads((tmp_path / "profile.json").read_text())["traceEvents"]
    assert sum(event["name"] == "aten::mm" for event in events) == traced
    table = (tmp_path / "profile.txt").read_text()
    assert table.startswith(f"{traced} training steps, by the time of the host\n")
    (line,) = (line for line in table.splitlines() if "aten::mm " in line)
    assert line.split()[-1] == str(traced)


@pytest.mark.parametrize("steps", [0, 3, SKIPPED_STEPS])
def test_a_run_too_short_to_profile_says_so(steps, tmp_path, caplog):
    profiled(tmp_path, steps)
    assert caplog.messages[0].startswith("no step was profiled, for training or its first epoch ended within 20 steps")
    assert not list(tmp_path.iterdir())


class Averages(list):
    """What torch gives of steps on a GPU, as far as it is looked at."""

    def table(self, sort_by, **_):
        return f"by {sort_by}\n"


def test_a_gpu_has_a_table_of_its_own():
    events = [torch.autograd.profiler_util.FunctionEventAvg() for _ in range(2)]
    events[0].device_type, events[1].device_type = torch.autograd.DeviceType.CPU, torch.autograd.DeviceType.CUDA
    assert profile_text(Averages(events[:1]), 5).count("training steps") == 1
    both = profile_text(Averages(events), 5)
    assert "by the time of the host\nby self_cpu_time_total" in both
    assert "by the time of the device\nby self_device_time_total" in both


@pytest.mark.slow
def test_a_run_is_profiled_within_its_first_epoch(inline, tmp_path):
    small = ("dataset=digits", "logger=local", "trainer.pictures_every=0", "hydra.run.dir=run")
    code, out, err = inline(*small, "trainer.profile=true", "trainer.epochs=2")
    assert (code, err) == (0, "")
    assert "profile.txt" in out
    assert (tmp_path / "run/profile.txt").read_text().startswith("21 training steps")  # an epoch has 41
