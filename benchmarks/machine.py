"""What the numbers were measured on, and how much work an image is."""

import os
import platform
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.job import Column, Job

PACKAGES = ("torch", "lightning", "pythae", "vaelab")


def facts(job: Job, models: list[str]) -> tuple[dict[str, Any], dict[str, int]]:
    """The machine, and by model the operations of an image; asked in a worker, so that the harness needs no torch."""
    return describe(job), {model: flops_per_image(replace(job, column=Column(model, 8, "float32"))) for model in models}


def describe(job: Job) -> dict[str, Any]:
    """The machine and the versions."""
    import torch

    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if job.device == "cuda" else "cpu",
        "python": platform.python_version(),
        "versions": {package: installed(package) for package in PACKAGES},
    }


def cpu_model() -> str:
    """The CPU's name, as exactly as the system gives it."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    if "model name" not in fields:
        return platform.processor() or platform.machine()
    family = f" (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else ""
    return fields["model name"] + family


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def flops_per_image(job: Job) -> int:
    """Floating point operations of products and convolutions, forward and backward, without the images' gradient."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.network import IMAGE_SHAPES
    from benchmarks.rows.plain import Row

    row = Row(job)
    x = torch.rand(job.column.batch, *IMAGE_SHAPES[job.column.model], device=job.device)
    with FlopCounterMode(display=False) as counter:
        row.mean_loss(x).backward()
    return counter.get_total_flops() // job.column.batch
