"""Every command of the README and the docs, run on small images for two steps."""

import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from importlib.metadata import metadata
from textwrap import dedent

import numpy as np
import pytest
import yaml
from PIL import Image

from conftest import ROOT
from helpers.pages import PAGES, commands
from vaelab.cli.commands import main as vaelab

TWO_STEPS = ("trainer.max_steps=2", "trainer.threads=1", "trainer.pictures_every=0")
SHORT = ("dataset=digits", *TWO_STEPS)
OWN = ("dataset.path=", "dataset.source")  # in commands that train on images of one's own


def is_extra(name):
    return name in metadata("vaelab").get_all("Provides-Extra")


# What cannot be run here, and what is looked at instead.
NOT_RUN = {
    **{f"pip install 'vaelab[{extra}]'": partial(is_extra, extra) for extra in ("parallel", "hpo", "onnx")},
    "source .venv/bin/activate": lambda: "$(VENV)/bin" in (ROOT / "Makefile").read_text(),
    # a test of its own starts a cluster
    "python run.py -m hydra/launcher=ray hydra.launcher.num_cpus=2 hydra.launcher.num_gpus=0.5 seed=0,1,2,3": (
        lambda: (ROOT / "conf/hydra/launcher/ray.yaml").exists()
    ),
    # and another the same with SLURM's place taken by one machine
    "python run.py -m hydra/launcher=slurm hydra.launcher.partition=gpu seed=0,1,2,3": (
        lambda: "submitit_slurm" in (ROOT / "conf/hydra/launcher/slurm.yaml").read_text()
    ),
    # the line that resumes it runs it first
    "python run.py -m hydra/launcher=pool dataset=digits seed=0,1,2,3": (
        lambda: "python run.py -m hydra/launcher=pool dataset=digits seed=0,1,2,3 sweep=SWEEP_DIR" in commands()
    ),
    # a hundred jobs, measured by hand
    "python run.py -m hydra/launcher=pool dataset=digits 'seed=range(100)' trainer.max_steps=20": (
        lambda: "trainer.max_steps=20" in (ROOT / "docs/scale.md").read_text()
    ),
    # the network of a listing, which a test of its own adds to a copy of the project
    "python run.py model=linear model.features=32": lambda: "model/linear.yaml" in (ROOT / "docs/parts.md").read_text(),
    "wandb sweep conf/wandb_sweep.yaml": lambda: "program: run.py" in (ROOT / "conf/wandb_sweep.yaml").read_text(),
    "wandb agent ENTITY/vaelab/SWEEP_ID": lambda: (ROOT / "run.py").exists(),
    "wandb sync --include-online RUN_DIR/wandb": lambda: shutil.which("wandb", path=f"{sys.prefix}/bin"),
}


@pytest.fixture
def run_py_inline(inline):
    """Runs the arguments of `python run.py` in this process."""

    def run(*arguments):
        code, out, err = inline(*arguments)
        assert code == 0, err
        return out

    return run


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Where the run of `trained` is kept for the next test."""
    return tmp_path_factory.mktemp("first") / "run"


@pytest.fixture
def trained(run_py_inline, first, tmp_path):
    """A run in outputs/run."""
    if not first.exists():
        run_py_inline(*SHORT, "logger=local", f"hydra.run.dir={first}")
    shutil.copytree(first, tmp_path / "outputs/run")


@pytest.fixture
def own_images(tmp_path, monkeypatch):
    """The images that the pages speak of, in the current folder."""
    datasets = pytest.importorskip("datasets", reason="needs the extra hf")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    levels = np.random.default_rng(0).integers(256, size=(60, 8, 8), dtype=np.uint8)
    pictures = list(map(Image.fromarray, levels))
    (tmp_path / "photos").mkdir()
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"photos/{number}.jpg")
    np.savez(tmp_path / "images.npz", images=levels)
    columns = datasets.Dataset.from_dict({"image": pictures}).cast_column("image", datasets.Image())
    columns.to_parquet(tmp_path / "images.parquet")
    own = """
        import torch
        class MyDataset(torch.utils.data.Dataset):
            def __init__(self, root): self.root = root
            def __len__(self): return 60
            def __getitem__(self, number): return torch.full((8, 8), number, dtype=torch.uint8)
    """
    (tmp_path / "mypkg.py").write_text(dedent(own))
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("line", commands())
def test_every_command_runs(line, request, run_py_inline, command, tmp_path):
    if line in NOT_RUN:
        assert NOT_RUN[line]()
        return
    if "RUN_DIR" in line or line.startswith("vaelab"):
        request.getfixturevalue("trained")
    if any(word in line for word in OWN):
        request.getfixturevalue("own_images")
    program, *arguments = shlex.split(line.replace("RUN_DIR", "outputs/run"))
    if program == "make":
        program, *arguments = planned(arguments)
    if program == "vaelab":
        vaelab(arguments)
    elif program == "./multirun.sh":
        program, *arguments = started_by_multirun(arguments, command, tmp_path)
        assert arguments.pop(0) == "-m"
        for take in (first_value, last_value):
            assert request.getfixturevalue("compose")(*map(take, arguments))["model"]
    elif program == "torchrun":
        arguments[arguments.index("run.py")] = ROOT / "run.py"
        start = (sys.executable, "-m", "torch.distributed.run")
        done = command(*start, *arguments, *SHORT, "logger=local")
        assert done.returncode == 0, done.stderr
    elif program == "python" and arguments[0] == "run.py":
        shortly(run_py_inline, arguments[1:])


def started_by_multirun(arguments, command, folder):
    """What multirun.sh gives to python."""
    shutil.copy(ROOT / "multirun.sh", folder)
    (folder / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (folder / "python").chmod(0o755)
    done = command(folder / "multirun.sh", *arguments, env={"PATH": f"{folder}:/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def first_value(override):
    return override.partition(",")[0]


def last_value(override):
    key, _, values = override.partition("=")
    return f"{key}={values.rpartition(',')[2]}"


def planned(arguments):
    """The last command that make would run; the benchmarks take minutes, of those the options are looked up."""
    make = ("make", "-n", "--no-print-directory", "-C", ROOT, *arguments)
    lines = subprocess.run(make, check=True, capture_output=True, text=True).stdout.splitlines()
    program, *rest = shlex.split(lines[-1])
    if rest[:2] == ["-m", "benchmarks"]:
        known = (ROOT / "benchmarks/__main__.py").read_text()
        assert all(f'"{option}"' in known for option in rest[2:])
        return ["benchmarks"]
    if rest[:2] == ["-m", "benchmarks.published"]:  # a test of its own trains a row for three steps
        assert set(rest[2:]) <= yaml.safe_load((ROOT / "benchmarks/published/rows.yaml").read_text()).keys()
        return ["benchmarks"]
    return [program.rpartition("/")[2], *rest]


def shortly(run_py_inline, arguments):
    """Run what was written on a small dataset, for two steps."""
    if "--help" in arguments or "--cfg" in arguments:
        assert "model" in run_py_inline(*arguments)
        return
    whole = " ".join(arguments)
    short = [*(TWO_STEPS if any(word in whole for word in OWN) else SHORT)]
    short += [] if "logger" in whole else ["logger=local"]
    if any(argument.startswith("resume=") for argument in arguments):
        short = ["trainer.max_steps=4"]
    if "hydra/sweeper=optuna" in arguments:
        short.append("hydra.sweeper.n_trials=1")
    if "sweep=SWEEP_DIR" in arguments:
        arguments = [argument for argument in arguments if argument != "sweep=SWEEP_DIR"]
        run_py_inline(*arguments, *short, "hydra.sweep.dir=outputs/sweep")
        short.append("sweep=outputs/sweep")
    run_py_inline(*arguments, *short)


@pytest.mark.slow
def test_commands_in_tables_compose(compose):
    rows = [line for text in PAGES.values() for line in text.splitlines() if line.startswith("|")]
    lines = {line for row in rows for line in re.findall(r"`python run\.py ([^`]*)`", row)}
    assert lines
    for line in lines:
        assert compose(*shlex.split(line))["model"]
