"""Versions, device and git commit with which a run was trained."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from vaelab.machine.device import device_name

PACKAGES = ("vaelab", "torch", "torchvision", "hydra-core", "omegaconf", "wandb", "numpy")


def versions(device: torch.device) -> dict[str, str]:
    """Versions of Python and packages, and the name of the device."""
    return {"python": platform.python_version(), "device": device_name(device), **{p: _version(p) for p in PACKAGES}}


def git_commit() -> str | None:
    """The commit of vaelab's checkout, None where it is installed otherwise, perhaps inside a checkout of another."""
    git = ["git", "-C", str(Path(__file__).parent)]
    command = [*git, "rev-parse", "HEAD"]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True, check=True)
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
