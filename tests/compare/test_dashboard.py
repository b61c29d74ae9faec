"""The W&B workspace, panel by panel, as it would be sent."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from helpers.fakes import small_dataset, small_vae, summary_of
from helpers.made_up_runs import made_up_run
from vaelab.cli.commands import main
from vaelab.compare import dashboard
from vaelab.errors import UserError
from vaelab.evaluation.evaluator import nothing
from vaelab.evaluation.pictures.draw import draw_pictures

# wandb-workspaces is written in pydantic's old style, which pydantic says at its import


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sections(offline):
    """Runs the command and returns {section: panels} of the file it wrote."""

    def run(*arguments):
        main(["dashboard", "--entity", "me", "--project", "digits", "--output", "spec.json", *arguments])
        written = json.loads(Path("spec.json").read_text())
        assert (written["entity"], written["project"]) == ("me", "digits")
        found = written["spec"]["section"]["panelBankConfig"]["sections"]
        return {section["name"]: section["panels"] for section in found}

    return run


def of_type(panels, view_type):
    return [panel["config"] for panel in panels if panel["viewType"] == view_type]


def test_curves_show_train_and_validation_over_epochs(sections):
    curves = sections()["Curves"]
    configs = of_type(curves, "Run History Line Plot")
    assert len(configs) == len(curves)
    assert [config["metrics"] for config in configs] == [
        ["train/elbo", "val/elbo"],
        ["train/reconstruction", "val/reconstruction"],
        ["train/kl", "val/kl"],
        ["train/loss", "val/loss"],
    ]
    assert {config["xAxis"] for config in configs} == {"epoch"}
    assert {config["yAxisTitle"] for config in configs} == {"nats per image"}


def test_reconstruction_is_shown_against_kl(sections):
    (config,) = of_type(sections()["Rate and distortion"], "Scatter Plot")
    assert (config["xAxis"], config["yAxis"]) == ("summary:val/kl", "summary:val/reconstruction")


def test_pictures_are_those_that_a_run_draws(sections, tmp_path):
    vae, dataset = small_vae(latent_dim=2), small_dataset(kinds=10)
    draw_pictures(vae, dataset, tmp_path, epoch=1, may_stop=nothing)
    drawn = draw_pictures(vae, dataset, tmp_path, epoch=2, may_stop=nothing, is_last=True)
    assert drawn.pop() == "samples.gif"
    keys = [config["mediaKeys"] for config in of_type(sections()["Pictures"], "Media Browser")]
    assert keys == [*([f"pictures/{Path(name).stem}"] for name in drawn), ["pictures/samples_by_epoch"]]


@pytest.mark.parametrize(
    ("arguments", "accessors"),
    [
        ([], ["config:latent.value.dim", "config:objective.value.beta", "config:optimizer.value.lr"]),
        (["--sweep-keys", "optimizer.lr, seed"], ["config:optimizer.value.lr", "config:seed.value"]),
    ],
)
def test_a_sweep_has_parallel_coordinates_and_importance(arguments, accessors, sections):
    panels = sections(*arguments)["Sweep"]
    (config,) = of_type(panels, "Parallel Coordinates Plot")
    scores = ["summary:val/elbo", "summary:val/reconstruction", "summary:val/kl"]
    assert [column["accessor"] for column in config["columns"]] == [*accessors, *scores]
    (config,) = of_type(panels, "Parameter Importance")
    assert config["targetKey"] == "val/elbo"


def test_the_keys_can_be_those_that_differ_in_a_sweep(sections, tmp_path):
    for number, (latent, dataset) in enumerate([(2, "mnist"), (8, "mnist"), (2, "fashion_mnist")]):
        made_up_run(tmp_path / "sweep" / str(number), latent=latent, dataset=dataset, seed=number)
    (config,) = of_type(sections("--sweep", "sweep")["Sweep"], "Parallel Coordinates Plot")
    accessors = {column["accessor"] for column in config["columns"]}
    assert {"config:choices.value.dataset", "config:latent.value.dim"} < accessors
    assert not any("seed" in accessor for accessor in accessors)


def test_a_part_named_by_its_target_is_found_where_wandb_has_it(tmp_path):
    for name in ("mine.one", "mine.two"):
        run_dir = made_up_run(tmp_path / "sweep" / name)
        config = yaml.safe_load((run_dir / "config.yaml").read_text())
        config["model"]["_target_"] = name
        (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
        summary = summary_of(run_dir)
        summary["overrides"] = [f"model._target_={name}"]
        (run_dir / "summary.json").write_text(json.dumps(summary))
    assert dashboard.keys_of_sweep(tmp_path / "sweep") == ["model._target_"]


def test_the_metrics_are_those_that_a_run_logs(inline, sections, tmp_path):
    code, _, err = inline("dataset=digits", "logger=local", "trainer.max_steps=2", "hydra.run.dir=run")
    assert code == 0, err
    logged = {name for line in Path("run/metrics.jsonl").read_text().splitlines() for name in json.loads(line)}
    shown = {name for config in of_type(sections()["Curves"], "Run History Line Plot") for name in config["metrics"]}
    assert shown | {"epoch"} <= logged


def test_without_a_key_the_specification_is_written_and_one_line_says_so(offline, capfd):
    main(["dashboard", "--entity", "me", "--project", "digits"])
    assert "what would be sent is in dashboard.json" in capfd.readouterr().out
    assert json.loads(Path("dashboard.json").read_text())["displayName"] == "vaelab"


def test_with_a_key_it_is_sent_and_its_address_printed(monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)
    sent = []
    monkeypatch.setattr(dashboard, "can_send", lambda: True)
    monkeypatch.setattr(
        dashboard, "send", lambda made: sent.append(dashboard.specification(made)) or "https://example.org"
    )
    main(["dashboard", "--entity", "me", "--project", "digits"])
    assert capfd.readouterr().out == "workspace: https://example.org\n"
    assert sent[0]["project"] == "digits"
    assert list(tmp_path.iterdir()) == []


def test_trouble_with_the_network_or_the_rights_is_one_sentence():
    class Refused:
        entity, project = "me", "digits"

        def save(self):
            raise RuntimeError("permission denied\nfor me")

    with pytest.raises(
        UserError, match=r"did not take the workspace of me/digits \(RuntimeError: permission denied for me\)"
    ):
        dashboard.send(Refused())


def test_without_the_package_one_sentence_says_how_to_install_it(offline, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(SystemExit) as exit_info:
        main(["dashboard", "--entity", "me", "--project", "digits"])
    assert exit_info.value.code == 1
    assert "pip install 'vaelab[dashboard]'" in capfd.readouterr().err


def test_a_sweep_in_which_nothing_differs_is_one_sentence(offline, tmp_path):
    made_up_run(tmp_path / "sweep/0")
    with pytest.raises(UserError, match="differ in no setting"):
        dashboard.keys_of_sweep(tmp_path / "sweep")
