"""The summary of a run: what earlier launches wrote stays, a failure is written down, damage is said."""

import json
import os

import pytest

from vaelab.errors import UserError
from vaelab.run.summary import Summary, read_summary, record_failure, write_summary

TOLD = {"overrides": ["seed=1"], "name": "first", "group": None}
SETTING = {"dataset": "digits"}
BEGAN = {"status": "running", **TOLD, "setting": SETTING}


def test_a_summary_is_read_as_it_was_written_and_none_is_empty(tmp_path):
    assert read_summary(tmp_path) == {}
    summary = Summary(tmp_path, TOLD, resumed=False)
    assert read_summary(tmp_path) == {}
    summary.began(SETTING)
    assert read_summary(tmp_path) == BEGAN
    summary.ended("finished", {"metrics": {"val/elbo": -1.5}})
    seconds = read_summary(tmp_path)["seconds"]
    assert read_summary(tmp_path) == {
        **BEGAN,
        "status": "finished",
        "metrics": {"val/elbo": -1.5},
        "seconds": seconds,
    }


def test_a_resumed_run_keeps_its_name_and_adds_overrides_and_seconds(tmp_path):
    write_summary(tmp_path, {"status": "killed", **TOLD, "seconds": 100, "error": "stopped", "metrics": {}})
    later = Summary(tmp_path, {**TOLD, "name": "second", "overrides": ["trainer.epochs=2"]}, resumed=True)
    later.began(SETTING)
    overrides = ["seed=1", "trainer.epochs=2"]
    assert read_summary(tmp_path) == {**BEGAN, "overrides": overrides}
    later.failed("failed", UserError("no\nmore"))
    found = read_summary(tmp_path)
    assert (found["status"], found["error"], found["overrides"]) == ("failed", "no more", overrides)
    assert 100 <= found["seconds"] < 110


def test_a_damaged_summary_is_lost_and_written_anew(tmp_path):
    (tmp_path / "summary.json").write_text('{"status": "fin')
    with pytest.raises(UserError, match=r"summary\.json must hold a JSON object"):
        read_summary(tmp_path)
    summary = Summary(tmp_path, TOLD, resumed=True)
    assert summary.lost
    summary.began(SETTING)
    assert read_summary(tmp_path) == BEGAN


@pytest.mark.parametrize("began", [True, False])
def test_a_failure_is_added_to_what_the_run_has_written(began, tmp_path):
    write_summary(tmp_path, {"status": "running", **TOLD})
    if began:
        (tmp_path / "config.yaml").touch()
    record_failure(tmp_path, {"overrides": ["seed=2"]}, UserError("killed\nhere"))
    kept = TOLD if began else {"overrides": ["seed=2"]}
    assert read_summary(tmp_path) == {**kept, "status": "failed", "error": "killed here"}


def test_a_summary_of_which_a_digit_was_changed_is_damaged(tmp_path):
    write_summary(tmp_path, {"metrics": {"val/elbo": -12.5}})
    path = tmp_path / "summary.json"
    path.write_text(path.read_text().replace("-12.5", "-912.5"))
    with pytest.raises(UserError, match="what its checksum says"):
        read_summary(tmp_path)
    path.write_text(json.dumps({"metrics": {"val/elbo": -1}}))
    assert read_summary(tmp_path) == {"metrics": {"val/elbo": -1}}


@pytest.mark.parametrize("kind", ["link", "FIFO"])
def test_a_summary_replaces_what_has_its_name(kind, tmp_path):
    mine, path = tmp_path / "mine", tmp_path / "run/summary.json"
    mine.write_text("mine")
    path.parent.mkdir()
    path.symlink_to(mine) if kind == "link" else os.mkfifo(path)
    write_summary(path.parent, {"status": "finished"})
    assert read_summary(path.parent) == {"status": "finished"}
    assert mine.read_text() == "mine"
