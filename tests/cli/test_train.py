"""`vaelab train` and `vaelab sweep`: what `run.py` does, with the options of a project over vaelab's."""

import json
import os
import subprocess
import sys

import pytest

from conftest import ROOT, clean_environment
from vaelab.cli.commands import main
from vaelab.cli.config_files import ConfigFiles, installed
from vaelab.errors import UserError

OWN = {
    "mine.py": "from vaelab.model.mlp import networks\n",
    "conf/model/mine.yaml": "_target_: mine.networks\nhidden: [8]\nactivation: relu\n",
    "conf/experiment/mine.yaml": (
        "# @package _global_\ndefaults:\n  - override /model: mine\n  - override /dataset: digits\n"
        "  - override /logger: local\n\ntrainer:\n  max_steps: 2\n  pictures_every: 0\n"
    ),
    "conf/experiment/typo.yaml": "# @package _global_\ndefaults:\n  - mine\n\nmodel:\n  hiden: [3]\n",
}
MINE = ("--config-dir", "conf", "experiment=mine")


@pytest.fixture
def vaelab(inline, capfd):
    """Runs `vaelab ARGUMENTS` in this process, in the folder of `inline`; returns exit code, output, errors."""

    def run(*arguments):
        os.environ["HYDRA_FULL_ERROR"] = "0"
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    return run


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name, text in OWN.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return tmp_path


@pytest.mark.slow
def test_a_project_trains_its_own_part_and_resumes_it_with_trust(vaelab, project):
    code, _, err = vaelab("train", *MINE, "hydra.run.dir=outputs/run")
    assert (code, err) == (0, "")
    code, _, err = vaelab("train", "resume=outputs/run", "trainer.max_steps=3")
    assert code == 1
    assert "trust=[mine]" in err
    code, _, err = vaelab("train", "resume=outputs/run", "trainer.max_steps=3", "trust=[mine]")
    assert (code, err) == (0, "")
    summary = json.loads((project / "outputs/run/summary.json").read_text())
    assert (summary["step"], summary["choices"]["model"]) == (3, "mine")
    code, _, err = vaelab("train", *MINE, "hydra.run.dir=outputs/run")
    assert code == 1
    assert f"go on with it by vaelab train resume={project}/outputs/run" in err


@pytest.mark.slow
def test_a_sweep_goes_on_with_the_command_that_is_printed(vaelab, project):
    code, out, err = vaelab("sweep", *MINE, "optimizer.lr=1e-3,1e30", "hydra.sweep.dir=sweep")
    assert code == 1
    assert "1 of 2 jobs finished" in out
    again = "vaelab sweep experiment=mine optimizer.lr=1e-3,1e30 --config-dir conf sweep=sweep"
    assert err.splitlines()[-1].endswith(again)
    code, out, err = vaelab(*again.split()[1:])
    assert code == 1
    assert err.splitlines()[-1].endswith(again)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("train experiment=typo", 1, "did you mean 'hidden'? (in conf/experiment/typo.yaml)"),
        ("train activatoin=tanh", 2, "did you mean model.activation=tanh?"),
        ("train foo=1", 2, "vaelab train --cfg job lists all keys"),
        ("train --foo", 2, "vaelab train has no option --foo"),
        ("train model=mine,mlp", 2, "model=mine,mlp has commas; for a sweep begin with vaelab sweep\n"),
        ("train seed=range(3)", 2, "begin with vaelab sweep 'seed=range(3)'"),
        ("train model=mien", 2, "model has no option 'mien'; did you mean 'mine'"),
        ("train sweep=conf", 2, "sweep must name the directory of a sweep"),
        ("sweep resume=conf", 1, "begin with vaelab train resume=RUN_DIR"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_command_that_was_used(vaelab, project, arguments, code, said):
    returned, _, err = vaelab(*arguments.split(), "--config-dir", "conf")
    assert returned == code, err
    assert err.startswith("vaelab: ")
    assert len(err.splitlines()) == 1, err
    assert said in err


def test_a_mistake_in_a_file_of_ones_own_names_its_folder(vaelab, project):
    (project / "conf").rename(project / "own")
    (project / "own/experiment/rooted.yaml").write_text("# @package _global_\ntraner:\n  epochs: 3\n")
    _, _, err = vaelab("train", "experiment=rooted", "--config-dir", "own")
    assert "own/experiment/rooted.yaml has a key 'traner'" in err


def test_help_and_completion_name_the_command(vaelab, monkeypatch):
    code, out, _ = vaelab("sweep", "--help")
    assert code == 0
    assert "vaelab train [group=option ...] [key=value ...]" in out
    assert "vaelab sweep latent=d2,d20" in out
    assert "run.py" not in out
    monkeypatch.setenv("COMP_LINE", "vaelab train mod")
    code, out, _ = vaelab("-sc", "query=bash")
    assert (code, out.split()) == (0, ["model.", "model="])


def test_vaelab_train_help_loads_neither_torch_nor_wandb():
    watched = (
        "import sys\nfrom vaelab.cli.commands import main\n"
        "try: main(['train', '--help'])\n"
        "finally: assert not {'torch', 'wandb', 'matplotlib'} & sys.modules.keys()"
    )
    process = subprocess.run([sys.executable, "-c", watched], env=clean_environment(), capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")


def test_the_installed_config_files_of_a_clone_are_its_own():
    assert installed() == ROOT / "conf"


def test_a_file_that_would_not_be_used_is_refused(vaelab, project):
    (project / "conf/model/mlp.yaml").write_bytes((ROOT / "conf/model/mlp.yaml").read_bytes())
    assert ConfigFiles(ROOT / "conf").over(str(project / "conf")).has_group("experiment")
    (project / "conf/model/mlp.yaml").write_text("_target_: mine.networks\n")
    with pytest.raises(UserError, match=r"conf/model/mlp\.yaml must have a name of its own"):
        ConfigFiles(ROOT / "conf").over(str(project / "conf"))
    code, _, err = vaelab("train", *MINE)
    assert code == 2
    assert "conf/model/mlp.yaml must have a name of its own" in err
