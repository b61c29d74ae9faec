"""Every command and every listing of the README, tried."""

import re
import shlex
import shutil
import sys
from functools import partial
from importlib.metadata import metadata

import pytest
import torch

from conftest import ROOT
from vaelab.cli.commands import main as vaelab

README = (ROOT / "README.md").read_text()
QUICK = ("trainer.max_steps=2", "trainer.eval_batch_size=2500", "trainer.pictures_every=0", "model.activation=tanh")


def is_extra(name: str) -> bool:
    return name in metadata("vaelab").get_all("Provides-Extra")


# What cannot be run here, and what is looked at instead.
NOT_RUN = {
    **{f"pip install -e '.[{extra}]'": partial(is_extra, extra) for extra in ("parallel", "hpo")},
    "source .venv/bin/activate": lambda: "$(VENV)/bin" in (ROOT / "Makefile").read_text(),
    # a test of its own starts a cluster
    "python run.py -m hydra/launcher=ray hydra.launcher.num_cpus=2 hydra.launcher.num_gpus=0.5 seed=0,1,2,3": (
        lambda: (ROOT / "conf/hydra/launcher/ray.yaml").exists()
    ),
    # and another the same with SLURM's place taken by one machine
    "python run.py -m hydra/launcher=slurm hydra.launcher.partition=gpu seed=0,1,2,3": (
        lambda: "submitit_slurm" in (ROOT / "conf/hydra/launcher/slurm.yaml").read_text()
    ),
    "wandb sweep conf/wandb_sweep.yaml": lambda: "program: run.py" in (ROOT / "conf/wandb_sweep.yaml").read_text(),
    "wandb agent ENTITY/vaelab/SWEEP_ID": lambda: (ROOT / "run.py").exists(),
    "wandb sync --include-online RUN_DIR/wandb": lambda: shutil.which("wandb", path=f"{sys.prefix}/bin"),
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [re.split(r"\s+#", line)[0].strip() for line in lines if line.strip()]


@pytest.fixture
def trained(inline, tmp_path):
    code, _, err = inline("dataset=digits", "logger=local", "trainer.max_steps=2", "hydra.run.dir=outputs/run")
    assert code == 0, err
    return tmp_path / "outputs/run"


@pytest.mark.slow
@pytest.mark.parametrize("line", commands())
def test_every_command_runs(line, inline, command, trained, data_root, monkeypatch, tmp_path):
    monkeypatch.setenv("VAELAB_DATA", str(data_root))
    if line in NOT_RUN:
        assert NOT_RUN[line]()
        return
    program, *arguments = shlex.split(line.replace("RUN_DIR", "outputs/run"))
    if "sweep=SWEEP_DIR" in arguments:
        arguments = [*(argument for argument in arguments if argument != "sweep=SWEEP_DIR"), "sweep=outputs/sweep"]
        begin = [argument for argument in arguments if not argument.startswith("sweep=")]
        code, _, err = inline(*begin[1:], *QUICK, "dataset=digits", "hydra.sweep.dir=outputs/sweep")
        assert code == 0, err
    if program == "make":
        planned = command("make", "-n", "--no-print-directory", *arguments, cwd=ROOT)
        assert planned.returncode == 0
        arguments = shlex.split(planned.stdout.splitlines()[-1])[2:]
        program = "python"
        assert arguments[0].startswith("experiment=")
        arguments = ["run.py", *arguments]
    if program == "vaelab":
        vaelab(arguments)
    elif program == "./multirun.sh":
        quick = (*QUICK, "logger=local", "dataset=digits", f"hydra.sweep.dir={tmp_path}/sweep")
        done = command(ROOT / "multirun.sh", *arguments, *quick)
        assert done.returncode == 0, done.stderr
    elif program == "torchrun":
        arguments[arguments.index("run.py")] = str(ROOT / "run.py")
        start = (sys.executable, "-m", "torch.distributed.run")
        done = command(*start, *arguments, *QUICK[:-1], "logger=local", env={"VAELAB_DATA": str(data_root)})
        assert done.returncode == 0, done.stderr
    else:
        assert (program, arguments[0]) == ("python", "run.py")
        resumed = any(argument.startswith("resume=") for argument in arguments)
        asks = "--help" in arguments
        quick = () if resumed or asks else (*QUICK, "dataset=digits") if "-m" in arguments else QUICK
        if "hydra/sweeper=optuna" in arguments:
            quick = (*quick, "hydra.sweeper.n_trials=2")
        code, _, err = inline(*arguments[1:], *quick)
        assert code == 0, err


def test_the_notebook_listing_runs(trained):
    (listing,) = [block for block in blocks("python") if "load_run" in block]
    names = {"x": torch.rand(3, 1, 8, 8)}
    exec(listing.replace("RUN_DIR", str(trained)), names)
    assert names["z"].shape == (3, 20)


def test_a_model_is_added_as_shown(command, tmp_path):
    copy = tmp_path / "project"
    for name in ("conf", "src"):
        shutil.copytree(ROOT / name, copy / name)
    shutil.copy(ROOT / "run.py", copy)
    (code,) = [block for block in blocks("python") if "def networks" in block]
    (copy / "src/vaelab/model/linear.py").write_text(code)
    (copy / "conf/model/linear.yaml").write_text(blocks("yaml")[0])
    assert "python run.py model=linear model.features=32" in README
    done = command(
        sys.executable,
        copy / "run.py",
        *("model=linear", "model.features=32", "dataset=digits", "logger=local", "trainer.max_steps=2"),
        env={"PYTHONPATH": str(copy / "src")},
    )
    assert done.returncode == 0, done.stderr


def test_every_option_of_every_group_is_in_the_table():
    rows = {row[0].strip("`"): row[1] for row in re.findall(r"^\| (`\w+`) \| (.*) \|$", README, re.MULTILINE)}
    for folder in (path for path in (ROOT / "conf").iterdir() if path.is_dir() and path.name != "hydra"):
        for option in folder.glob("*.yaml"):
            if folder.name != "trainer":
                assert option.stem in rows[folder.name], f"{folder.name}={option.stem}"


def test_every_picture_and_link_is_there():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
