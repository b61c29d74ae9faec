"""A run directory as its small files tell it, and what is said where they tell nothing."""

import hashlib
import json

import pytest
import yaml

from helpers.fakes import summary_of
from helpers.made_up_runs import made_up_run
from vaelab.run.lock import only_writer
from vaelab.run.record import RunRecord
from vaelab.run.summary import read_summary, write_summary


def test_settings_are_choices_and_plain_keys_without_directories_and_loggers(tmp_path):
    settings = RunRecord(made_up_run(tmp_path / "run", latent=16)).settings
    assert settings["latent.dim"] == 16
    assert settings["model"] == "mlp"
    assert settings["model.hidden"] == "[400]"
    assert settings["dataset.binarize"] == "dynamic"
    assert not any(key.startswith(("logger", "choices", "resume", "dataset.root")) for key in settings)


def test_a_choice_says_what_ran_and_its_target_nothing_more(tmp_path):
    chosen, own = (made_up_run(tmp_path / name) for name in ("chosen", "own"))
    config = yaml.safe_load((own / "config.yaml").read_text())
    config["model"]["_target_"] = "mine.networks"
    (own / "config.yaml").write_text(yaml.safe_dump(config))
    summary = summary_of(own)
    (own / "summary.json").write_text(json.dumps({**summary, "overrides": ["model._target_=mine.networks"]}))
    found = [RunRecord(directory).settings for directory in (chosen, own)]
    assert [settings["model"] for settings in found] == ["mlp", "mine.networks"]
    assert not any("model._target_" in settings for settings in found)


def test_a_training_point_is_the_mean_of_an_epoch_and_a_validation_point_is_as_logged(tmp_path):
    run_dir = made_up_run(tmp_path / "run", epochs=4)
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    curves = RunRecord(run_dir).curves
    assert curves["val/kl"] == [(row["epoch"], row["val/kl"]) for row in rows if "val/kl" in row]
    second = [row["train/elbo"] for row in rows if "train/elbo" in row and 1 < row["epoch"] <= 2]
    assert curves["train/elbo"][1] == (2.0, pytest.approx(sum(second) / len(second)))


def test_a_run_that_did_not_finish_has_its_curves_and_error_but_no_metrics(tmp_path):
    run = RunRecord(made_up_run(tmp_path / "run", epochs=2, status="failed", error="the loss\nis not finite"))
    assert (run.status, run.error, run.metrics, run.epochs) == ("failed", "the loss is not finite", {}, 2.0)
    assert len(run.curves["val/elbo"]) == 2
    assert run.measured_on["dataset"] == "mnist"
    assert run.measured_on["likelihood"] == "BernoulliLikelihood"


@pytest.mark.parametrize(
    ("summary", "status", "merit"),
    [
        ({"status": "finished", "metrics": {"val/elbo": -2.5, "val/loss": 1.5, "train/elbo": -1.0}}, "finished", -2.5),
        ({"status": "finished", "metrics": {"train/elbo": -1.0, "train/loss": 0.5}}, "finished", -1.0),
        ({"status": "pruned", "metrics": {"val/elbo": -3.0}}, "pruned", -3.0),
        ({"status": "failed", "metrics": {"val/elbo": -3.0}}, "failed", None),
        ({"status": "killed"}, "killed", None),
        ({"status": "running"}, "killed", None),
        ({}, "damaged", None),
    ],
)
def test_only_a_run_that_ended_well_has_a_merit(summary, status, merit, tmp_path):
    write_summary(tmp_path, summary)
    run = RunRecord(tmp_path)
    assert (run.status, run.merit, run.ended_well) == (status, merit, merit is not None)


def test_a_run_goes_on_while_its_lock_is_held(tmp_path):
    write_summary(tmp_path, {"status": "running"})
    with only_writer(tmp_path):
        assert RunRecord(tmp_path).status == "running"
    assert RunRecord(tmp_path).status == "killed"


def test_a_folder_without_a_run_tells_nothing(tmp_path):
    run = RunRecord(tmp_path / "none")
    assert (run.status, run.merit, run.settings, run.curves, run.epochs) == ("damaged", None, {}, {}, 0)


def test_the_curve_of_merit_is_that_of_the_validations(tmp_path):
    run = RunRecord(made_up_run(tmp_path / "run", epochs=3))
    assert run.merit_curve == run.curves["val/elbo"]


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("summary.json", "{", "summary.json must hold a JSON object"),
        ("summary.json", "[1]", "summary.json must hold a JSON object"),
        ("summary.json", "[" * 100_000, "summary.json must hold a JSON object"),
        ("metrics.jsonl", "{\n", "metrics.jsonl has 1 of 1 lines without a step and an epoch"),
        ("metrics.jsonl", "\x00\n", "metrics.jsonl has 1 of 1 lines without a step and an epoch"),
        ("config.yaml", "a: [", "config.yaml must be YAML that can be read"),
        ("config.yaml", "- 1", "config.yaml must hold the keys of a config"),
        ("config.yaml", None, "config.yaml is missing"),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_is_read(file, content, said, tmp_path):
    run_dir = made_up_run(tmp_path / "run")
    if content is None:
        (run_dir / file).unlink()
    else:
        (run_dir / file).write_text(content)
    run = RunRecord(run_dir)
    assert run.error.startswith(said)
    assert run.damaged == (file,)
    assert (run.status == "damaged") == (file == "summary.json")
    assert bool(run.curves) == (file != "metrics.jsonl")


def test_values_that_no_json_can_hold_and_values_of_another_kind_are_left_out(tmp_path):
    run_dir = made_up_run(tmp_path / "run", epochs=1)
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2000, "epoch": 2, "val/elbo": NaN, "val/kl": "high"}\n[]\n{"val/elbo": 1}\n')
        file.write('{"step": 2100, "epoch": 3, "val/elbo": -80, "val/kl": 1' + "0" * 400 + "}\n")
    summary = summary_of(run_dir)
    (run_dir / "summary.json").write_text(
        json.dumps({**summary, "metrics": {"val/elbo": float("inf"), "val/kl": True}})
    )
    config = (run_dir / "config.yaml").read_text().replace("lr: 0.001", "lr: .nan")
    (run_dir / "config.yaml").write_text(config)
    run = RunRecord(run_dir)
    assert [epoch for epoch, _ in run.curves["val/elbo"]] == [1.0, 3]
    assert [epoch for epoch, _ in run.curves["val/kl"]] == [1.0]
    assert run.metrics == {}
    json.dumps(run.settings, allow_nan=False)


def test_a_summary_that_cannot_be_read_is_a_damaged_run(tmp_path):
    run_dir = made_up_run(tmp_path / "run")
    (run_dir / "summary.json").unlink()
    (run_dir / "summary.json").mkdir()
    assert RunRecord(run_dir).status == "damaged"


def test_a_summary_of_which_a_digit_was_changed_is_damaged(tmp_path):
    run_dir = made_up_run(tmp_path / "run")
    path = run_dir / "summary.json"
    path.write_text(path.read_text().replace('"val/elbo": -', '"val/elbo": -9', 1))
    run = RunRecord(run_dir)
    assert (run.status, run.damaged, run.metrics) == ("damaged", ("summary.json",), {})
    assert "what its checksum says" in run.error


def test_rows_that_the_run_did_not_write_are_said_though_each_can_be_read(tmp_path):
    run_dir = made_up_run(tmp_path / "run")
    path = run_dir / "metrics.jsonl"
    written = {"count": 1, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    write_summary(run_dir, {**read_summary(run_dir), "rows": written})
    assert RunRecord(run_dir).damaged == ()
    path.write_bytes(path.read_bytes().partition(b"\n")[2])
    run = RunRecord(run_dir)
    assert (run.damaged, run.status) == (("metrics.jsonl",), "finished")
    assert "metrics.jsonl is not what the run wrote" in run.error
