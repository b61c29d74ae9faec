"""The profile of a run's steps."""

import json
from types import SimpleNamespace

import pytest
from rich.console import Console
from torch.autograd import DeviceType

from vaelab.training.profiling import profile_tables


def event(key, device_type, count, self_cpu=0, self_device=0, annotation=False):
    return SimpleNamespace(
        key=key,
        device_type=device_type,
        count=count,
        self_cpu_time_total=self_cpu,
        self_device_time_total=self_device,
        is_user_annotation=annotation,
    )


# Two steps on a GPU as torch reports them: 700 µs of the host and 800 µs of kernels.
ON_A_GPU = [
    event("ProfilerStep*", DeviceType.CPU, 2, self_cpu=300, annotation=True),
    event("Optimizer.step#Adam.step", DeviceType.CPU, 2, self_cpu=100, annotation=True),
    event("aten::addmm", DeviceType.CPU, 4, self_cpu=200, self_device=600),
    event("aten::_fused_adam_", DeviceType.CPU, 2, self_cpu=40, self_device=200),
    event("cudaLaunchKernel", DeviceType.CPU, 6, self_cpu=60),
    event("ProfilerStep*", DeviceType.CUDA, 2, self_device=900, annotation=True),
    event("Optimizer.step#Adam.step", DeviceType.CUDA, 2, self_device=200, annotation=True),
    event("sgemm_128x64", DeviceType.CUDA, 4, self_device=600),
    event("multi_tensor_apply_kernel", DeviceType.CUDA, 2, self_device=200),
]


def shown(tables):
    """{name: (microseconds, share)} of each table, and their headings."""
    rows, titles = [], []
    for table in tables:
        console = Console(width=110)
        with console.capture() as capture:
            console.print(table)
        lines = capture.get().splitlines()
        titles.append(table.columns[0].header)
        rows.append({})
        for line in lines:
            if "%" in line:
                words = line.split()
                at = next(number for number, word in enumerate(words) if word.endswith("%"))
                rows[-1][" ".join(words[: at - 1])] = (float(words[at - 1].replace(",", "")), words[at])
    return rows, titles


def test_each_microsecond_of_host_and_device_is_counted_once():
    (host, device), titles = shown(profile_tables(ON_A_GPU, steps=2))
    assert ["host" in title for title in titles] == [True, False]
    assert "device (CUDA)" in titles[1]
    assert host == {
        "Python between the operations": (150.0, "42.9%"),
        "aten::addmm": (100.0, "28.6%"),
        "Optimizer.step#Adam.step": (50.0, "14.3%"),
        "cudaLaunchKernel": (30.0, "8.6%"),
        "aten::_fused_adam_": (20.0, "5.7%"),
        "0 more": (0.0, "0.0%"),
        "all": (350.0, "100.0%"),
    }
    assert device == {
        "sgemm_128x64": (300.0, "75.0%"),
        "multi_tensor_apply_kernel": (100.0, "25.0%"),
        "0 more": (0.0, "0.0%"),
        "all": (400.0, "100.0%"),
    }


def test_a_cpu_has_one_table():
    events = [event for event in ON_A_GPU if event.device_type == DeviceType.CPU]
    assert len(profile_tables(events, steps=2)) == 1


def test_a_profile_is_written_beside_the_run(run_py, tmp_path):
    run_dir = tmp_path / "run"
    small = ("dataset=digits", "logger=local", "trainer.pictures_every=0", f"hydra.run.dir={run_dir}")
    finished = run_py(*small, "trainer.profile=true", "trainer.epochs=2")
    assert finished.returncode == 0, finished.stderr
    assert "profile.txt" in finished.stdout
    assert finished.stderr == ""
    assert json.loads((run_dir / "profile.json").read_text())["traceEvents"]
    lines = (run_dir / "profile.txt").read_text().splitlines()
    assert "21 training steps" in lines[1]  # an epoch has 41
    assert any("addmm" in line for line in lines)
    *shares, rest, whole = [float(line.split("%")[0].split()[-1]) for line in lines if "%" in line]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) + rest == pytest.approx(100, abs=1)
    assert whole == 100


def test_a_run_too_short_to_profile_says_so(run_py, tmp_path):
    small = ("dataset=digits", "logger=local", "trainer.pictures_every=0", f"hydra.run.dir={tmp_path / 'run'}")
    finished = run_py(*small, "trainer.profile=true", "trainer.max_steps=3")
    assert finished.returncode == 0, finished.stderr
    assert "no step was profiled, for training or its first epoch ended within 20 steps" in finished.stdout
