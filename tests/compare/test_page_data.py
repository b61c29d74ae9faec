"""Runs beside each other: the settings that differ, means over seeds, and what must not be ranked."""

import json
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import yaml

from helpers.fakes import summary_of
from helpers.made_up_runs import made_up_run
from vaelab.compare.curves import MAX_POINTS, mean_and_error
from vaelab.compare.differing import differing
from vaelab.compare.page_data import page_data
from vaelab.errors import UserError
from vaelab.run.record import RunRecord


def run_with(settings):
    run = RunRecord(Path("run"), {}, {}, [])
    run.settings = settings
    return run


@pytest.mark.parametrize(
    ("runs", "keys"),
    [
        # a choice of one number is the number
        ([{"latent": "d2", "latent.dim": 2}, {"latent": "d8", "latent.dim": 8}], ["latent.dim"]),
        ([{"latent": "d2", "latent.dim": 2}, {"latent": "d2", "latent.dim": 37}], ["latent.dim"]),
        # another is its name, not what follows from it
        (
            [
                {"model": "mlp", "model._target_": "a", "model.hidden": "[400]"},
                {"model": "conv", "model._target_": "b", "model.features": 64},
            ],
            ["model"],
        ),
        # but what varies within it stays
        (
            [
                {"optimizer": "adam", "optimizer.lr": 1e-3, "optimizer.eps": 1},
                {"optimizer": "adam", "optimizer.lr": 1e-2, "optimizer.eps": 1},
                {"optimizer": "sgd", "optimizer.lr": 1e-2},
            ],
            ["optimizer", "optimizer.lr"],
        ),
        ([{"seed": 0, "trainer.epochs": 1}, {"seed": 1, "trainer.epochs": 2}], ["trainer.epochs", "seed"]),
        ([{"seed": 0}, {"seed": 0}], []),
        ([{"seed": 0}, {}], []),  # a run without a config differs in nothing that is known
    ],
)
def test_the_settings_shown_are_those_that_tell_runs_apart(runs, keys):
    assert differing([run_with(run) for run in runs]) == keys


def test_a_mean_and_its_standard_error_are_those_of_the_textbook():
    values = [-101.0, -99.5, -100.2, -98.0]
    mean, error = mean_and_error(values)
    assert mean == pytest.approx(np.mean(values))
    assert error == pytest.approx(np.std(values, ddof=1) / sqrt(4))
    assert mean_and_error([3.0]) == (3.0, None)


@pytest.fixture
def sweep(tmp_path):
    number = 0
    for latent in (2, 16):
        for seed in (0, 1, 2):
            made_up_run(tmp_path / "sweep" / str(number), latent=latent, seed=seed)
            number += 1
    made_up_run(tmp_path / "sweep/6", latent=2, seed=3, status="failed", error="no", epochs=1)
    return tmp_path / "sweep"


def test_runs_are_best_first_and_those_without_a_score_last(sweep):
    runs = page_data([sweep])["runs"]
    scores = [run["metrics"]["val/elbo"] for run in runs[:-1]]
    assert len(scores) == 6
    assert scores == sorted(scores, reverse=True)
    assert runs[-1]["status"] == "failed"


def test_runs_that_differ_by_seed_only_are_one_group_of_those_that_finished(sweep):
    data = page_data([sweep])
    assert data["settings"] == ["latent.dim", "seed"]
    means = [group["metrics"]["val/elbo"] for group in data["groups"]]
    assert means == sorted(means, reverse=True)
    assert sorted(group["status"] for group in data["groups"]) == ["3 of 3 finished", "3 of 4 finished"]
    for group in data["groups"]:
        assert set(group["settings"]) == {"latent.dim"}
        members = [data["runs"][index] for index in group["members"]]
        assert {run["settings"]["latent.dim"] for run in members} == {group["settings"]["latent.dim"]}
        finished = [run for run in members if run["status"] == "finished"]
        scores = [run["metrics"]["val/elbo"] for run in finished]
        assert group["metrics"]["val/elbo"] == pytest.approx(np.mean(scores))
        assert group["errors"]["val/elbo"] == pytest.approx(np.std(scores, ddof=1) / sqrt(3))
        curve = group["curves"]["val/kl"]
        assert curve["x"] == [1, 2, 3]
        assert curve["y"] == pytest.approx(np.mean([run["curves"]["val/kl"]["y"] for run in finished], 0), rel=1e-4)
        assert len(curve["error"]) == 3


def put_evaluation(directory, log_likelihood, samples, best_epoch=3, images=100, **others):
    found = {
        "settings": {"split": "test", "images": images, "images_of_split": 100, "best_epoch": best_epoch},
        "metrics": {"log_likelihood": log_likelihood, "elbo": 1.0, "mig": 0.3, "psnr": None},
        "depends_on": {"log_likelihood": f"a lower bound of log p(x) with {samples} samples of z"},
        **others,
    }
    (directory / "evaluation.json").write_text(json.dumps(found))


def test_what_was_measured_after_a_run_stands_beside_and_can_sort(tmp_path):
    for number in range(4):
        made_up_run(tmp_path / str(number), seed=number)
    before = {run["directory"]: run["metrics"]["test/elbo"] for run in page_data([tmp_path])["runs"]}
    for number, bound in enumerate([-86.5, -85.5, -87.5]):
        put_evaluation(tmp_path / str(number), bound, samples=500 if number else 5000, images=100 - number)
    for sort, expected in (("test/log_likelihood", [-85.5, -86.5, -87.5, None]), ("test/mig", [0.3, 0.3, 0.3, None])):
        data = page_data([tmp_path], sort)
        assert [run["metrics"].get(sort) for run in data["runs"]] == expected
    assert data["metrics"]["test/log_likelihood"]["label"] == "test log p(x)"
    assert "test/psnr" not in data["metrics"]
    assert {run["directory"]: run["metrics"]["test/elbo"] for run in data["runs"]} == before, "the run's own"
    (note,) = data["notes"]
    for estimate in ("500 samples of z, of 99 of the images", "500 samples of z, of 98", "5000 samples of z."):
        assert estimate in note


def test_groups_of_seeds_are_sorted_as_runs_are_and_count_those_that_finished(sweep):
    for number in range(7):
        put_evaluation(sweep / str(number), -100.0 + number, samples=500, best_epoch=None if number == 6 else 3)
    by_bound = page_data([sweep], "test/log_likelihood")["groups"]
    assert [group["metrics"]["test/log_likelihood"] for group in by_bound] == [-96.0, -99.0]
    assert sorted(group["status"] for group in by_bound) == ["3 of 3 finished", "3 of 4 finished"]
    for number in range(6):
        put_evaluation(sweep / str(number), -100.0 - number, samples=500)
    assert page_data([sweep], "test/log_likelihood")["groups"][0]["name"] != by_bound[0]["name"]


def test_an_evaluation_of_other_weights_than_the_run_has_now_is_left_out(tmp_path):
    put_evaluation(made_up_run(tmp_path / "0"), -85.5, 5000, best_epoch=2)
    data = page_data([tmp_path])
    assert "test/log_likelihood" not in data["metrics"]
    assert data["notes"] == []


def test_a_metric_that_no_run_has_cannot_sort(tmp_path):
    made_up_run(tmp_path / "0")
    with pytest.raises(UserError, match=r"--sort must be a metric of these runs \(val/elbo, .*\), got val/elob"):
        page_data([tmp_path], "val/elob")


@pytest.mark.parametrize("others", [{"metrics": {"elbo": "best"}}, {"settings": []}, {"settings": {"split": "../val"}}])
def test_an_evaluation_that_is_damaged_is_named_and_left_out(tmp_path, others):
    made_up_run(tmp_path / "0")
    put_evaluation(tmp_path / "0", -85.5, 5000, **others)
    (run,) = page_data([tmp_path])["runs"]
    assert "test/log_likelihood" not in run["metrics"]
    assert run["error"].startswith("evaluation.json must hold what vaelab evaluate --output writes")


def test_the_same_seed_again_is_no_further_draw(tmp_path):
    for name in ("first", "again"):
        made_up_run(tmp_path / name, seed=5)
    data = page_data([tmp_path])
    assert data["groups"] == []
    assert len({run["name"] for run in data["runs"]}) == 2  # and each can still be told by its name


def test_runs_measured_on_something_else_are_said_to_be_so_and_not_mixed_in_the_ranking(tmp_path):
    for number, dataset in enumerate(("mnist", "fashion_mnist", "mnist", "fashion_mnist")):
        made_up_run(tmp_path / str(number), dataset=dataset, seed=number)
    data = page_data([tmp_path])
    (note,) = data["notes"]
    assert "differ in dataset," in note
    assert data["setting"] == ""
    datasets = [run["settings"]["dataset"] for run in data["runs"]]
    assert datasets == sorted(datasets)
    assert all("dynamic" in run["setting"] for run in data["runs"])


def test_runs_measured_alike_have_one_setting_and_no_note(sweep):
    data = page_data([sweep])
    assert data["notes"] == []
    assert data["setting"].startswith("mnist, binarize dynamic, BernoulliLikelihood, mass, validation images: 5000")


def test_long_curves_are_thinned_to_their_ends_and_the_page_is_told(tmp_path):
    run_dir = made_up_run(tmp_path / "run", epochs=1)
    rows = [{"step": step, "epoch": step, "val/elbo": -step} for step in range(1, 1001)]
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = page_data([tmp_path])
    x = data["runs"][0]["curves"]["val/elbo"]["x"]
    assert (len(x), x[0], x[-1]) == (MAX_POINTS, 1, 1000)
    assert x == sorted(set(x))
    assert data["notes"] == ["Curves of more than 300 points, up to 1,000, are thinned to 300."]


def test_a_run_without_a_config_is_a_row_with_its_own_name(sweep):
    (sweep / "0/config.yaml").unlink()
    (run,) = [run for run in page_data([sweep])["runs"] if run["error"].startswith("config.yaml")]
    assert run["settings"] == {}
    assert "latent=d2" in run["name"]


def test_a_run_that_kept_no_validation_images_is_ranked_by_what_it_has(tmp_path):
    run_dir = made_up_run(tmp_path / "run")
    summary = summary_of(run_dir)
    summary["metrics"] = {name: value for name, value in summary["metrics"].items() if "val/" not in name}
    (run_dir / "summary.json").write_text(json.dumps(summary))
    assert list(page_data([tmp_path])["metrics"]) == ["test/elbo", "test/bits_per_dim", "train/elbo"]


def test_metrics_of_a_part_of_ones_own_are_further_columns(tmp_path):
    run_dir = made_up_run(tmp_path / "run")
    summary = summary_of(run_dir)
    summary["metrics"] |= {"val/iwae": -90.5, "test/iwae": -91.5}
    (run_dir / "summary.json").write_text(json.dumps(summary))
    data = page_data([tmp_path])
    assert list(data["metrics"])[-2:] == ["test/iwae", "val/iwae"]
    assert data["metrics"]["val/iwae"]["label"] == "val iwae"
    assert data["runs"][0]["metrics"]["val/iwae"] == -90.5


def test_runs_of_two_models_differ_in_the_model_and_not_in_its_target_too(tmp_path):
    for name, target in (("mlp", "vaelab.model.mlp.networks"), ("conv", "vaelab.model.conv.networks")):
        for seed in (0, 1):
            run_dir = made_up_run(tmp_path / f"{name}{seed}", seed=seed)
            config = yaml.safe_load((run_dir / "config.yaml").read_text())
            # an older version had the same part at another place
            config["model"]["_target_"] = target if seed else target.replace(".model", "")
            summary = summary_of(run_dir)
            summary["choices"]["model"] = name
            (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
            (run_dir / "summary.json").write_text(json.dumps(summary))
    assert page_data([tmp_path])["settings"] == ["model", "seed"]


def test_the_names_of_runs_have_rounded_numbers_and_their_settings_all_digits(tmp_path):
    for seed, lr in enumerate((0.0013385298778232698, 0.01)):
        made_up_run(tmp_path / str(seed), lr=lr, latent=16)
    data = page_data([tmp_path])
    assert sorted(run["name"] for run in data["runs"]) == ["optimizer.lr=0.00134", "optimizer.lr=0.01"]
    assert 0.0013385298778232698 in {run["settings"]["optimizer.lr"] for run in data["runs"]}


def test_a_long_value_is_cut(tmp_path):
    run_dir = made_up_run(tmp_path / "run")
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    (run_dir / "config.yaml").write_text(yaml.safe_dump({**config, "model": {"hidden": "x" * 10_000}}))
    made_up_run(tmp_path / "other")
    assert len(json.dumps(page_data([tmp_path]))) < 10_000


def test_runs_without_an_elbo_are_shown_by_their_loss(tmp_path):
    for number, name in enumerate(("a", "b")):
        run_dir = made_up_run(tmp_path / name, epochs=2, seed=number)
        summary = summary_of(run_dir)
        summary["metrics"] = {key: value for key, value in summary["metrics"].items() if "elbo" not in key}
        (run_dir / "summary.json").write_text(json.dumps(summary))
        rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
        rows = [{key: value for key, value in row.items() if "elbo" not in key} for row in rows]
        (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = page_data([tmp_path])
    assert "loss" in data["charts"]
    assert {"val/loss", "test/loss"} <= data["metrics"].keys()
    assert all(run["curves"]["val/loss"]["y"] for run in data["runs"])
    assert len(data["groups"]) == 1
