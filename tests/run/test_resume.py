"""A run that is interrupted in any way and resumed equals one that was not."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from conftest import ROOT, clean_environment

SMALL = ("dataset=digits", "logger=local", "trainer.batch_size=100", "trainer.log_every=7", "trainer.pictures_every=2")
TIMES = ("images_per_second",)


def weights(run_dir: Path) -> dict:
    return torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)


def assert_equal(first, second) -> None:
    """Equal to the last bit, whatever the nesting."""
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_equal(one, other)
    else:
        assert first == second


def assert_same_run(first: Path, second: Path) -> None:
    one, other = weights(first), weights(second)
    for part in ("model", "average", "optimizer"):
        assert_equal(one[part], other[part])
    assert_equal(metrics(first), metrics(second))
    summaries = [json.loads((run_dir / "summary.json").read_text()) for run_dir in (first, second)]
    assert summaries[0]["status"] == summaries[1]["status"] == "finished"
    assert summaries[0]["metrics"] == summaries[1]["metrics"]
    assert summaries[0]["best_epoch"] == summaries[1]["best_epoch"]


def metrics(run_dir: Path) -> list[dict]:
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Six epochs in one go."""
    run_dir = tmp_path_factory.mktemp("uninterrupted") / "run"
    arguments = [sys.executable, ROOT / "run.py", *SMALL, "trainer.epochs=6", f"hydra.run.dir={run_dir}"]
    subprocess.run(arguments, check=True, env=clean_environment(), capture_output=True)
    return run_dir


@pytest.mark.slow
def test_three_and_three_epochs_equal_six(run_py, tmp_path, uninterrupted):
    run_dir = tmp_path / "run"
    assert run_py(*SMALL, "trainer.epochs=3", f"hydra.run.dir={run_dir}").returncode == 0
    resumed = run_py(f"resume={run_dir}", "trainer.epochs=6")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(uninterrupted, run_dir)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [
        ("trainer.ema=0.9", "scheduler=cosine", "scheduler.warmup_steps=20"),
        ("trainer.compile=true", "trainer.ema=0.9"),
    ],
)
def test_max_steps_in_the_middle_of_an_epoch_goes_on_there(run_py, tmp_path, changed):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    setting = (*SMALL, "trainer.epochs=40", "trainer.evaluate_every=9", "trainer.pictures_every=40", *changed)
    assert run_py(*setting, f"hydra.run.dir={whole}").returncode == 0
    process = start(*setting, f"hydra.run.dir={parts}")
    wait_for(parts / "metrics.jsonl", rows=3)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert run_py(f"resume={parts}").returncode == 0
    assert_same_run(whole, parts)


@pytest.mark.slow
def test_an_override_takes_effect_on_resume(inline, tmp_path):
    run_dir = tmp_path / "run"
    assert inline(*SMALL, "trainer.epochs=1", f"hydra.run.dir={run_dir}")[0] == 0
    code, _, err = inline(f"resume={run_dir}", "trainer.epochs=2", "optimizer.lr=0.0005", "optimizer.weight_decay=0.01")
    assert code == 0, err
    assert metrics(run_dir)[-2]["step"] == 2 * 13
    assert {row["train/lr"] for row in metrics(run_dir) if "train/lr" in row} == {0.001, 0.0005}
    (group,) = weights(run_dir)["optimizer"]["param_groups"]
    assert group["weight_decay"] == 0.01


@pytest.mark.parametrize(
    ("override", "code", "sentence"),
    [
        ("objective.beta=0.5", 1, "nothing is left to train, and the validation of this run was with another loss"),
        ("+foo=1", 2, "the config has no key 'foo'"),
    ],
)
def test_a_resume_that_would_spoil_a_finished_run_is_refused_and_changes_nothing(
    inline, tmp_path, uninterrupted, override, code, sentence
):
    run_dir = shutil.copytree(uninterrupted, tmp_path / "run")
    before = {name: (run_dir / name).read_bytes() for name in ("config.yaml", "summary.json", "metrics.jsonl")}
    returned, _, err = inline(f"resume={run_dir}", override)
    assert (returned, err.count("\n")) == (code, 1)
    assert sentence in err
    assert before == {name: (run_dir / name).read_bytes() for name in before}


@pytest.mark.slow
def test_resume_with_another_model_is_one_sentence_and_loses_nothing(inline, tmp_path):
    run_dir = tmp_path / "run"
    assert inline(*SMALL, "trainer.epochs=1", f"hydra.run.dir={run_dir}")[0] == 0
    before, rows = weights(run_dir), metrics(run_dir)
    code, _, err = inline(f"resume={run_dir}", "model.hidden=[30]", "trainer.epochs=2")
    assert code == 1
    assert "does not fit" in err
    assert len(err.strip().splitlines()) == 1
    assert_equal(before, weights(run_dir))
    assert rows == metrics(run_dir)


def start(*arguments) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, ROOT / "run.py", *arguments],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, rows: int, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists() or len(path.read_bytes().splitlines()) < rows:
        assert time.monotonic() < end, f"{path} did not reach {rows} rows"
        time.sleep(0.005)


LONG = (*SMALL, "trainer.epochs=5000")


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_a_checkpoint_and_its_exit_code(run_py, tmp_path, signum, code):
    run_dir = tmp_path / "run"
    process = start(*LONG, f"hydra.run.dir={run_dir}", "trainer.checkpoint_every=5000")
    wait_for(run_dir / "metrics.jsonl", rows=20)
    process.send_signal(signum)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in out + err
    assert f"resume={run_dir}" in out
    assert json.loads((run_dir / "summary.json").read_text())["status"] == "killed"
    assert weights(run_dir)["progress"]["step"] >= metrics(run_dir)[-1]["step"] > 0


def test_a_second_interrupt_leaves_at_once(tmp_path):
    waiting = "with StopRequest(): print(flush=True); time.sleep(60)"
    busy = f"from vaelab.training.signals import StopRequest; import time\n{waiting}"
    process = subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=2)
    assert process.returncode == -signal.SIGINT


def kill_and_resume(tmp_path: Path, kills: int, seed: int, *setting: str) -> Path:
    """Start a run, kill it with -9 at random moments, resume it each time, and let it finish."""
    run_dir = tmp_path / "killed"
    chance = random.Random(seed)
    arguments = [*setting, f"hydra.run.dir={run_dir}"]
    done = 0
    while done < kills:
        process = start(*arguments)
        while process.poll() is None and not (run_dir / "metrics.jsonl").exists():
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 1.5))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            done += 1
        process.communicate()
        if (run_dir / "config.yaml").exists():
            arguments = [f"resume={run_dir}"]
        if process.returncode == 0:
            break
    finished = subprocess.run(
        [sys.executable, ROOT / "run.py", f"resume={run_dir}"], env=clean_environment(), capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    return run_dir


@pytest.mark.slow
def test_killed_at_random_moments_equals_uninterrupted(run_py, tmp_path):
    setting = (*SMALL, "trainer.epochs=60", "trainer.pictures_every=20")
    whole = tmp_path / "whole"
    assert run_py(*setting, f"hydra.run.dir={whole}").returncode == 0
    assert_same_run(whole, kill_and_resume(tmp_path, 5, 0, *setting))
