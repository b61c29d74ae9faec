"""The profile of a run's steps."""

import json

import pytest


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
