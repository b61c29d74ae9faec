"""The leaderboard: every model composes, trains its time, and stands in the page by its bound."""

import json

import pytest

from conftest import ROOT
from vaelab.run.summary import read_summary


@pytest.fixture
def leaderboard(monkeypatch):
    """The module `benchmarks.leaderboard`."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import leaderboard

    return leaderboard


@pytest.mark.slow
def test_every_model_composes_with_what_all_share(leaderboard, compose):
    models = leaderboard.models()
    assert {"vae", "ladder_vae", "vq_vae"} <= {*models}
    assert not {"mnist_tutorial", "mnist_speedrun", "burda_iwae5", "demo"} & {*models}
    for dataset in leaderboard.BOARDS:
        for model in models:
            assert compose(*leaderboard.overrides_of(model, dataset))["trainer"]["batch_size"] == 128


@pytest.mark.slow
def test_models_train_their_time_once_and_are_ranked_by_the_bound(leaderboard, data_root, tmp_path, monkeypatch, capfd):
    shared = (*leaderboard.SHARED, "logger=local", f"dataset.root={data_root}")
    monkeypatch.setattr(leaderboard, "SHARED", shared)
    monkeypatch.setattr(leaderboard, "SECONDS", 2)
    board = leaderboard.Board(["model.hidden=[8]"], every=1, probe=100, samples=2)
    monkeypatch.setattr(leaderboard, "BOARDS", {"mnist": board})
    overrides_of, models = leaderboard.overrides_of, ["aae", "rae_l2", "beta_vae", "vae"]
    monkeypatch.setattr(leaderboard, "models", lambda: models)
    fails = {"aae": ["no_such_key=1"]}
    monkeypatch.setattr(leaderboard, "overrides_of", lambda *run: [*overrides_of(*run), *fails.get(run[0], ())])
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(leaderboard, "DOCS", tmp_path / "docs")
    monkeypatch.setattr("sys.argv", ["leaderboard", "mnist", "--runs", str(tmp_path / "runs"), "--collect"])
    leaderboard.main()
    out = capfd.readouterr().out
    assert out.count("$ vaelab train") == 2 * 3 + 1
    assert out.count("$ vaelab evaluate") == 3
    assert "aae on mnist failed" in out
    models.remove("aae")
    leaderboard.main()
    assert "$ vaelab" not in capfd.readouterr().out, "what is finished is not done again"
    monkeypatch.setattr("sys.argv", ["leaderboard", "mnist", "--runs", str(tmp_path / "fresh"), "--collect"])
    leaderboard.main()
    assert "$ vaelab" not in capfd.readouterr().out, "nor what is known of runs that are elsewhere"

    measured = json.loads((tmp_path / "docs/leaderboard.json").read_text())
    assert measured.keys() == {"mnist/beta_vae", "mnist/rae_l2", "mnist/vae"}
    assert measured["mnist/rae_l2"]["measured_on"] != measured["mnist/vae"]["measured_on"]
    bounds = {model: measured[f"mnist/{model}"]["metrics"]["test/log_likelihood"] for model in ("beta_vae", "vae")}
    assert "test/log_likelihood" not in measured["mnist/rae_l2"]["metrics"]
    for model in models:
        speed = read_summary(tmp_path / "runs/speed/mnist" / model)["images_per_second"]
        assert read_summary(tmp_path / "runs/mnist" / model)["step"] == round(2 * speed / 128), "2 seconds of steps"
    text = (tmp_path / "docs/leaderboard.md").read_text()
    first, second = sorted(bounds, key=bounds.get, reverse=True)
    assert text.index(f"| `{first}` | {bounds[first]:,.2f} |") < text.index(f"| `{second}` | {bounds[second]:,.2f} |")
    comparison = (tmp_path / "docs/leaderboard-runs.html").read_text()
    assert all(f'"experiment":"{model}"' in comparison for model in models)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    leaderboard.collect(elsewhere, tmp_path / "docs")
    assert (tmp_path / "docs/leaderboard.md").read_text() == text, "what is known of runs that are not here stays"


def test_the_page_of_the_docs_is_made_of_what_was_measured(leaderboard):
    measured = leaderboard.known(leaderboard.DOCS)
    assert leaderboard.page(measured) == (leaderboard.DOCS / "leaderboard.md").read_text()
    assert {f"mnist/{model}" for model in leaderboard.models()} <= measured.keys()
    comparison = (leaderboard.DOCS / leaderboard.COMPARISON).read_text()
    for name in measured:
        assert f"outputs/leaderboard/{name}" in comparison
