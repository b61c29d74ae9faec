"""A run read for a comparison: what its files tell, and what is said where they tell nothing."""

import hashlib
import json

import pytest
import yaml

from helpers.fakes import summary_of
from helpers.made_up_runs import made_up_run
from vaelab.errors import UserError
from vaelab.run.compared import find_run_directories, jobs_of, read_run
from vaelab.run.records import read_summary, write_summary


def test_runs_are_found_in_runs_and_sweeps_each_once_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 9, 2):
        made_up_run(tmp_path / "sweep" / str(number))
    alone = made_up_run(tmp_path / "alone")
    found = find_run_directories([tmp_path / "sweep", alone, tmp_path])
    assert [directory.name for directory in found] == ["2", "9", "10", "alone"]


@pytest.mark.parametrize(("path", "said"), [("nowhere", "is no folder"), ("empty", "holds no run")])
def test_a_folder_without_runs_is_one_sentence(path, said, tmp_path):
    (tmp_path / "empty").mkdir()
    made_up_run(tmp_path / "run")
    with pytest.raises(UserError, match=said):
        find_run_directories([tmp_path / "run", tmp_path / path])


def test_settings_are_choices_and_plain_keys_without_directories_and_loggers(tmp_path):
    settings = read_run(made_up_run(tmp_path / "run", latent=16)).settings
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
    found = [read_run(directory).settings for directory in (chosen, own)]
    assert [settings["model"] for settings in found] == ["mlp", "mine.networks"]
    assert not any("model._target_" in settings for settings in found)


def test_a_training_point_is_the_mean_of_an_epoch_and_a_validation_point_is_as_logged(tmp_path):
    run_dir = made_up_run(tmp_path / "run", epochs=4)
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    curves = read_run(run_dir).curves
    assert curves["val/kl"] == [(row["epoch"], row["val/kl"]) for row in rows if "val/kl" in row]
    second = [row["train/elbo"] for row in rows if "train/elbo" in row and 1 < row["epoch"] <= 2]
    assert curves["train/elbo"][1] == (2.0, pytest.approx(sum(second) / len(second)))


def test_a_run_that_did_not_finish_has_its_curves_and_error_but_no_metrics(tmp_path):
    run = read_run(made_up_run(tmp_path / "run", epochs=2, status="failed", error="the loss\nis not finite"))
    assert (run.status, run.error, run.metrics, run.epochs) == ("failed", "the loss is not finite", {}, 2.0)
    assert len(run.curves["val/elbo"]) == 2
    assert run.setting["dataset"] == "mnist"
    assert run.setting["likelihood"] == "BernoulliLikelihood"
    assert read_run(made_up_run(tmp_path / "killed", status="running")).status == "unfinished"


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
    run = read_run(run_dir)
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
    run = read_run(run_dir)
    assert [epoch for epoch, _ in run.curves["val/elbo"]] == [1.0, 3]
    assert [epoch for epoch, _ in run.curves["val/kl"]] == [1.0]
    assert run.metrics == {}
    json.dumps(run.settings, allow_nan=False)


def test_a_summary_that_cannot_be_read_is_a_damaged_run(tmp_path):
    run_dir = made_up_run(tmp_path / "run")
    (run_dir / "summary.json").unlink()
    (run_dir / "summary.json").mkdir()
    assert read_run(run_dir).status == "damaged"


def test_a_summary_of_which_a_digit_was_changed_is_damaged(tmp_path):
    run_dir = made_up_run(tmp_path / "run")
    path = run_dir / "summary.json"
    path.write_text(path.read_text().replace('"val/elbo": -', '"val/elbo": -9', 1))
    run = read_run(run_dir)
    assert (run.status, run.damaged, run.metrics) == ("damaged", ("summary.json",), {})
    assert "what its checksum says" in run.error


def test_rows_that_the_run_did_not_write_are_said_though_each_can_be_read(tmp_path):
    run_dir = made_up_run(tmp_path / "run")
    path = run_dir / "metrics.jsonl"
    written = {"count": 1, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    write_summary(run_dir, {**read_summary(run_dir), "rows": written})
    assert read_run(run_dir).damaged == ()
    path.write_bytes(path.read_bytes().partition(b"\n")[2])
    run = read_run(run_dir)
    assert (run.damaged, run.status) == (("metrics.jsonl",), "finished")
    assert "metrics.jsonl is not what the run wrote" in run.error


def test_a_run_whose_summary_is_gone_is_found_all_the_same(tmp_path):
    (made_up_run(tmp_path / "0") / "summary.json").unlink()
    (found,) = find_run_directories([tmp_path])
    assert read_run(found).status == "damaged"
    assert jobs_of(tmp_path) == [found]
