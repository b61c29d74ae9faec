"""What is taken off the command line before Hydra parses it, and the commands that are printed."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, clean_environment
from vaelab.cli.arguments import CommandLine, command_line
from vaelab.cli.config_files import ConfigFiles
from vaelab.cli.resume import with_resumed_config, with_sweep_dir
from vaelab.errors import SCRIPT, UserError, in_shell, resuming
from vaelab.run.saved import read_config

CONF = ROOT / "conf"
FILES = ConfigFiles(CONF)
QUICK = ("dataset=digits", "logger=local", "trainer.max_steps=1", "trainer.pictures_every=0")
ODD = [
    "Zoë",
    "a=b",
    "a,b",
    "it's",
    'say "x"',
    "[b]",
    "{c}",
    "#d",
    "a b",
    " a  b ",
    "$HOME",
    "$(id)",
    "~e",
    "~",
    "back\\slash\\",
    "\\'\\",
    "%(x)s %s",
    "*?",
    "(1)",
    "!x&;|<>`",
    "???",
    "a\tb",
    "\x1b[31m",
    "no\u00a0break",
    "\u202eright",
    "😀",
    os.fsdecode(b"\xff"),
]


def line(*overrides, multirun=False):
    return CommandLine(["-m"] if multirun else [], list(overrides), multirun)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of one step."""
    run_dir = tmp_path_factory.mktemp("finished") / "run"
    arguments = [sys.executable, ROOT / "run.py", *QUICK, f"hydra.run.dir={run_dir}"]
    subprocess.run(arguments, check=True, env=clean_environment(), capture_output=True)
    return run_dir


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_a_run_is_resumed_whatever_its_directory_is_called(inline, finished, tmp_path, name):
    shutil.copytree(finished, tmp_path / name)
    code, _, err = inline(f"resume={name}", "trainer.max_steps=2")
    assert (code, err) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    summary = json.loads((tmp_path / name / "summary.json").read_text())
    assert summary["step"] == 2
    assert summary["overrides"][-1] == "trainer.max_steps=2"
    assert not any("resume" in override for override in summary["overrides"])


@pytest.mark.parametrize("name", ODD)
def test_a_sweep_goes_on_whatever_its_directory_is_called(compose_sweep_dir, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    (tmp_path / name / "multirun.yaml").write_text("hydra: {overrides: {task: [seed=1]}}")
    found = with_sweep_dir(line("seed=1", f"sweep={name}", multirun=True))
    assert Path(compose_sweep_dir(*found.overrides)) == Path(name)


@pytest.fixture
def compose_sweep_dir():
    """The directory of the sweep in the config that Hydra makes of overrides."""
    from hydra import compose, initialize_config_dir

    from vaelab.cli.launch import register

    register()

    def run(*overrides):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("config", list(overrides), return_hydra_config=True).hydra.sweep.dir

    return run


@pytest.mark.parametrize("name", ODD)
def test_a_printed_command_gives_a_shell_the_very_path(name, tmp_path, monkeypatch):
    monkeypatch.setenv(SCRIPT, f"{name}/run.py")
    printed = resuming(tmp_path / name)
    assert printed.isprintable()
    assert " ".join(printed.split()) == printed  # as a sentence, on one line, shows it
    words = subprocess.run(["bash", "-c", f"printf '%s\\0' {printed}"], capture_output=True, check=True).stdout
    assert words.split(b"\0")[:-1] == [
        b"python",
        os.fsencode(f"{name}/run.py"),
        b"resume=" + os.fsencode(tmp_path / name),
    ]


@pytest.mark.parametrize(("text", "word"), [("seed=0,1", "seed=0,1"), ("a b", "'a b'"), ("a\n", "$'a\\012'")])
def test_what_a_shell_understands_is_left_as_it_is(text, word):
    assert in_shell(text) == word


ALL_ODD = "Zoë's [runs]  {1}, =$x#"


def pasted(command, out):
    """Run what was printed as a person would who pastes it."""
    return command("bash", "-c", out.replace("python run.py", f"python {shlex.quote(str(ROOT / 'run.py'))}"))


@pytest.mark.slow
def test_the_command_printed_for_a_run_works(inline, command, finished, tmp_path):
    shutil.copytree(finished, tmp_path / ALL_ODD)
    code, _, err = inline(*QUICK, f'hydra.run.dir="{ALL_ODD}"')
    assert code == 1
    printed = re.search(r"go on with it by (.*), or choose another", err)[1]
    process = pasted(command, f"{printed} trainer.max_steps=2")
    assert process.returncode == 0, process.stderr
    assert json.loads((tmp_path / ALL_ODD / "summary.json").read_text())["step"] == 2


@pytest.mark.slow
def test_the_command_printed_for_a_sweep_works(inline, command, tmp_path):
    place = f'hydra.sweep.dir="{ALL_ODD}"'
    code, _, err = inline("-m", *QUICK, "optimizer.lr=1e-3,-1", place)
    assert code == 1
    printed = err.splitlines()[-1].rpartition("not begun: ")[2]
    process = pasted(command, printed)
    assert "1 of 2 jobs finished" in process.stdout
    assert process.stderr.splitlines()[-1].endswith(printed.split(" -m ")[1])
    assert [path.name for path in tmp_path.iterdir()] == [ALL_ODD]


@pytest.mark.parametrize("override", ["resume=~/run", "++resume=~/run", "resume=~nobody_of_that_name"])
def test_a_home_that_the_shell_has_left_is_found(finished, tmp_path, monkeypatch, override):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(finished.parent))
    if "nobody" in override:
        with pytest.raises(UserError, match="got ~nobody_of_that_name"):
            with_resumed_config(line(override), FILES)
        return
    assert with_resumed_config(line("seed=1", override), FILES) == (line("seed=1"), "resumed")
    (tmp_path / "~").mkdir()
    (tmp_path / "~/run").mkdir()
    with pytest.raises(UserError, match="got ~/run"):  # as it is written comes first
        with_resumed_config(line(override), FILES)


@pytest.mark.parametrize("nothing", ["", "null"])
@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_the_last_resume_holds_and_may_be_none(nothing, prefix, finished):
    none = f"{prefix}resume={nothing}"
    assert with_resumed_config(line("resume=nowhere", none), FILES) == (line(), "config")
    assert with_resumed_config(line(none, f"resume={finished}"), FILES) == (line(), "resumed")


def test_resume_is_refused_with_a_sweep_or_another_config(finished):
    with pytest.raises(UserError, match="begin with vaelab train resume=RUN_DIR"):
        with_resumed_config(line(f"resume={finished}", multirun=True), FILES)
    with pytest.raises(UserError, match="--config-name other"):
        with_resumed_config(CommandLine(["-cn", "other"], [f"resume={finished}"], False, "other"), FILES)


@pytest.mark.parametrize("choice", ["logger=local", "dataset=digits", "+model=mlp"])
def test_a_choice_that_a_resumed_run_has_is_no_other(choice, finished):
    assert with_resumed_config(line("seed=1", choice, f"resume={finished}"), FILES) == (line("seed=1"), "resumed")


@pytest.mark.parametrize("choice", ["logger=wandb", "dataset=mnist", "~model", "~model=mlp", "experiment=null"])
def test_any_other_choice_is_refused(choice, finished):
    with pytest.raises(UserError, match="a resumed run keeps its parts, got another"):
        with_resumed_config(line(choice, f"resume={finished}"), FILES)


def test_a_run_that_logs_to_wandb_is_not_taken_for_a_local_one(finished, monkeypatch):
    online = {**read_config(finished), "logger": {"mode": "online"}}
    monkeypatch.setattr("vaelab.cli.resume.read_config", lambda _: online)
    with pytest.raises(UserError, match=r"logger\.mode=disabled"):
        with_resumed_config(line("logger=local", f"resume={finished}"), FILES)


def test_a_directory_with_an_interpolation_in_its_name_is_refused(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "${x}")
    with pytest.raises(UserError, match="resume must name a directory without"):
        with_resumed_config(line(f"resume={tmp_path}/${{x}}"), FILES)


@pytest.mark.parametrize(
    ("arguments", "flags", "overrides"),
    [
        ("a=1 -m b=2,3", "-m", "a=1 b=2,3"),
        ("a=1 b=2,3 -m", "-m", "a=1 b=2,3"),
        ("-m a=1 --config-dir x b=2", "-m --config-dir x", "a=1 b=2"),
        ("a=1 --cfg job b=2", "--cfg job", "a=1 b=2"),
        ("a=1 -sc query=bash b=2", "-sc", "a=1 query=bash b=2"),
        ("a=1 --config-dir=x ~b", "--config-dir=x", "a=1 ~b"),
        ("-m", "-m", ""),
        ("", "", ""),
    ],
)
def test_flags_are_told_from_overrides_wherever_they_stand(arguments, flags, overrides):
    found = command_line(arguments.split(), FILES)
    assert (found.flags, found.overrides) == (flags.split(), overrides.split())
    assert found.multirun == ("-m" in arguments.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--cfg foo", "invalid choice: 'foo'"),
        ("seed=1 --cfg", "expected one argument"),
        ("--c job", "ambiguous option"),
        ("--info seed=1", "invalid choice: 'seed=1'"),
        ("--experimental-rerun run.pickle", "go on with a run by resume=RUN_DIR"),
    ],
)
def test_what_is_no_flag_is_refused_in_a_sentence(arguments, sentence):
    with pytest.raises(UserError, match=sentence) as refused:
        command_line(arguments.split(), FILES)
    assert refused.value.exit_code == 2


@pytest.mark.slow
def test_flags_after_overrides_are_understood(inline):
    code, out, _ = inline("dataset=digits", "--cfg", "job", "seed=7")
    assert code == 0
    assert "seed: 7" in out.splitlines()
    code, out, err = inline(*QUICK, "-m", "seed=0,1")
    assert code == 0, err
    assert "2 of 2 jobs finished" in out
    assert inline("seed=1", "--info", "defaults")[0] == 0
