"""A job that finds a run in its directory: the same one is gone on with, any other is refused."""

import os
from pathlib import Path

import pytest
import yaml
from hydra.core.config_store import ConfigStore

from conftest import ROOT
from vaelab.cli.arguments import CommandLine
from vaelab.cli.config_files import ConfigFiles
from vaelab.cli.resume import with_resumed_config, with_sweep_dir
from vaelab.errors import UserError
from vaelab.run.continuation import names_root, on_this_machine, resumed_config
from vaelab.run.summary import write_summary

CONFIG = {"seed": 1, "resume": None, "trust": ["mine"], "optimizer": {"lr": 1e-05}}


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    write_summary(tmp_path, {"status": "running", "overrides": ["seed=1"]})
    return tmp_path


def test_the_same_config_is_the_persons_own(run_dir):
    assert resumed_config(run_dir, CONFIG, ["seed=1"]) == (CONFIG, None)


def test_after_a_change_of_the_files_the_saved_config_is_kept_and_names_trusted_code_only(run_dir):
    changed = {**CONFIG, "optimizer": {"lr": 0.5}}
    assert resumed_config(run_dir, changed, ["seed=1"]) == (CONFIG, ["mine"])


def rooted(root):
    return {**CONFIG, "dataset": {"name": "photos", "root": root}}


def test_a_dataset_that_was_moved_makes_no_other_run(run_dir):
    (run_dir / "config.yaml").write_text(yaml.safe_dump(rooted("/old")))
    assert resumed_config(run_dir, rooted("/new"), ["seed=1"]) == (rooted("/new"), None)
    changed = {**rooted("/new"), "optimizer": {"lr": 0.5}}
    assert resumed_config(run_dir, changed, ["seed=1"]) == (rooted("/new"), ["mine"])


@pytest.mark.parametrize(("variable", "root"), [(None, "/old"), ("", "/old"), ("/new", "/new")])
def test_a_saved_dataset_lies_where_the_environment_says(variable, root, monkeypatch):
    monkeypatch.delenv("VAELAB_DATA", raising=False)
    if variable is not None:
        monkeypatch.setenv("VAELAB_DATA", variable)
    assert on_this_machine(rooted("/old")) == rooted(root)
    assert on_this_machine(CONFIG) == CONFIG


def test_a_resumed_run_reads_the_dataset_where_the_environment_says(run_dir, monkeypatch):
    (run_dir / "config.yaml").write_text(yaml.safe_dump(rooted("/old")))
    monkeypatch.setenv("VAELAB_DATA", "/new")
    given = CommandLine([], [f"resume={run_dir}"], multirun=False, config_name=None)
    line, config_name = with_resumed_config(given, ConfigFiles(ROOT / "conf"))
    assert (line.overrides, config_name) == ([], "resumed")
    assert ConfigStore.instance().load("resumed.yaml").node.dataset.root == "/new"


@pytest.mark.parametrize("name", ["", "checkpoints", "metrics.jsonl", "run.log"])
def test_a_run_that_cannot_be_written_is_one_sentence_before_anything_is_opened(name, run_dir, monkeypatch):
    (run_dir / "metrics.jsonl").touch()
    (run_dir / "run.log").touch()
    (run_dir / "checkpoints").mkdir()
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != run_dir / name and allowed(path, mode))
    with pytest.raises(UserError, match=f"^{run_dir / name} must be writable to go on there, .* a copy of {run_dir}$"):
        with_resumed_config(
            CommandLine([], [f"resume={run_dir}"], multirun=False, config_name=None), ConfigFiles(ROOT / "conf")
        )


def test_a_sweep_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "multirun.yaml").write_text("hydra: {overrides: {task: [seed=1]}}")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match=f"^{tmp_path} must be writable"):
        with_sweep_dir(CommandLine(["-m"], ["seed=1", f"sweep={tmp_path}"], multirun=True, config_name=None))


@pytest.mark.parametrize("name", ["multirun.yaml", "study.db"])
def test_files_that_others_write_share_nothing_with_files_outside(name, tmp_path):
    sweep_dir, outside = tmp_path / "sweep", tmp_path / "outside"
    sweep_dir.mkdir()
    (sweep_dir / "multirun.yaml").write_text("hydra: {overrides: {task: [seed=1]}}")
    (sweep_dir / name).touch()
    os.link(sweep_dir / name, outside)
    with_sweep_dir(CommandLine(["-m"], ["seed=1", f"sweep={sweep_dir}"], multirun=True, config_name=None))
    assert (sweep_dir / name).stat().st_nlink == 1
    assert (sweep_dir / name).read_bytes() == outside.read_bytes()


@pytest.mark.parametrize(
    ("overrides", "variable", "named"),
    [
        (["seed=1"], None, False),
        (["dataset.root=/data"], None, True),
        (["++dataset.root=/data"], None, True),
        (["dataset.rooted=/data", "seed=dataset.root"], "", False),
        ([], "/data", True),
    ],
)
def test_the_person_names_the_folder_of_the_datasets(overrides, variable, named, monkeypatch):
    monkeypatch.delenv("VAELAB_DATA", raising=False)
    if variable is not None:
        monkeypatch.setenv("VAELAB_DATA", variable)
    assert names_root(overrides) == named


@pytest.mark.parametrize("damage", [False, True])
def test_another_run_is_refused(run_dir, damage):
    if damage:
        (run_dir / "summary.json").write_text("{")
    with pytest.raises(UserError, match="holds a run with other settings"):
        resumed_config(run_dir, {**CONFIG, "seed": 2}, ["seed=2"])
