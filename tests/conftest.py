"""Fixtures: the real datasets, a command line that runs `run.py`, and small parts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers.browser import browser, chromium, opened  # noqa: F401  # fixtures for all

ROOT = Path(__file__).resolve().parent.parent
UNPACK = ROOT.parent / "shared" / "data" / "unpack.py"  # a developer's copy of the datasets, where there is one

torch.set_num_threads(1)  # two test processes share the cores


@pytest.hookimpl(tryfirst=True)  # before tests are left out by their marks
def pytest_collection_modifyitems(items):
    """What is seen in a browser is slow, and so is the site of the documentation."""
    for item in items:
        if {"browser", "site"} & set(item.fixturenames):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    """The folder with the real mnist.safetensors and cifar10.safetensors."""
    configured = Path(os.environ.get("VAELAB_DATA", ROOT / "data"))
    if (configured / "mnist.safetensors").exists() and (configured / "cifar10.safetensors").exists():
        return configured
    if not UNPACK.exists():
        pytest.skip(f"needs mnist.safetensors and cifar10.safetensors in {configured}; `python run.py` downloads them")
    folder = tmp_path_factory.getbasetemp().parent / "vaelab-data"
    folder.mkdir(exist_ok=True)
    from filelock import FileLock

    with FileLock(folder / "lock"):
        if not (folder / "done").exists():
            subprocess.run([sys.executable, UNPACK, folder, "--torchvision"], check=True, stdout=subprocess.DEVNULL)
            (folder / "done").touch()
    return folder


@pytest.fixture
def command(tmp_path):
    """Runs a command in an empty folder with W&B offline and returns the finished process."""

    def run(*arguments, cwd=tmp_path, timeout=300, env=None, **options):
        return subprocess.run(
            [str(argument) for argument in arguments],
            cwd=cwd,
            env={**clean_environment(), **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            **options,
        )

    return run


@pytest.fixture
def run_py(command):
    """Runs `python run.py ARGUMENTS` in an empty folder."""
    return lambda *arguments, **options: command(sys.executable, ROOT / "run.py", *arguments, **options)


@pytest.fixture
def inline(tmp_path, monkeypatch, capfd):
    """Runs the command line of `run.py` in this process, in an empty folder; returns exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(IGNORED)]:
        monkeypatch.delenv(name)
    for name in (
        "HYDRA_FULL_ERROR",
        "PYTHONSAFEPATH",
        "VAELAB_RUN_PY",
    ):  # which the command line sets for what it starts
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("vaelab.cli.launch.collect_nothing", lambda: None)  # this process does other things too

    def run(*arguments):
        from vaelab.cli.launch import main

        monkeypatch.setattr(sys, "argv", ["run.py", *map(str, arguments)])
        os.environ["HYDRA_FULL_ERROR"] = "0"
        with pytest.raises(SystemExit) as exit_info:
            main(ROOT / "conf")
        out, err = capfd.readouterr()
        return exit_info.value.code, out, err

    return run


@pytest.fixture
def compose():
    """Composes a config from overrides into plain dictionaries."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from vaelab.cli.launch import register

    register()

    def run(*overrides):
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return OmegaConf.to_container(compose("config", list(overrides)), resolve=True)

    return run


@pytest.fixture
def three_threads(monkeypatch):
    """torch would use three threads, whatever the machine, and nobody has said otherwise."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    from vaelab.machine.threads import own_number_of_threads

    with own_number_of_threads():
        torch.set_num_threads(3)
        yield


IGNORED = ("WANDB_", "HYDRA_", "VAELAB_DATA")  # what would change a run


def clean_environment():
    """The environment without what would change a run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(IGNORED)}
    return {**kept, "OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"}
