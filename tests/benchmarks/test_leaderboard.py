"""The leaderboard: every model composes, trains its time, and stands in the page by its bound."""

import json

import pytest

from conftest import ROOT


@pytest.fixture
def leaderboard(monkeypatch):
    """The module `benchmarks.leaderboard`."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import leaderboard

    return leaderboard


def test_every_model_composes_with_what_all_share(leaderboard, compose):
    models = leaderboard.models()
    assert {"vae", "ladder_vae", "vq_vae"} <= {*models}
    assert not {"mnist_tutorial", "mnist_speedrun", "burda_iwae5", "demo"} & {*models}
    for dataset in leaderboard.BOARDS:
        for model in models:
            assert compose(*leaderboard.overrides_of(model, dataset))["trainer"]["batch_size"] == 128


@pytest.mark.slow
def test_models_train_their_time_once_and_are_ranked_by_the_bound(leaderboard, data_root, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(leaderboard, "SECONDS", 2)
    monkeypatch.setattr(leaderboard, "BOARDS", {"mnist": leaderboard.Board(["model.hidden=[8]"], every=1, samples=2)})
    monkeypatch.setattr(leaderboard, "SHARED", (*leaderboard.SHARED, "logger=local", f"dataset.root={data_root}"))
    for model in ("rae_l2", "vae", "beta_vae", "vae"):
        leaderboard.run(model, "mnist", tmp_path / "runs")
    assert capfd.readouterr().out.count("$ vaelab") == 9, "what is finished is not done again"
    (tmp_path / "docs").mkdir()
    leaderboard.collect(tmp_path / "runs", tmp_path / "docs")

    groups = json.loads((tmp_path / "docs/leaderboard.json").read_text())
    with_density, without = sorted(groups, key=lambda group: -len(group["runs"]))
    bounds = [run["metrics"]["test/log_likelihood"] for run in with_density["runs"]]
    assert bounds == sorted(bounds, reverse=True)
    for run in with_density["runs"]:
        assert run["minutes"] * 60 == pytest.approx(2, abs=1.5)
    (run,) = without["runs"]
    assert run["model"] == "rae_l2"
    assert "test/log_likelihood" not in run["metrics"]
    text = (tmp_path / "docs/leaderboard.md").read_text()
    lines = [f"| `{run['model']}` | {bound:,.2f} |" for run, bound in zip(with_density["runs"], bounds, strict=True)]
    assert text.index(lines[0]) < text.index(lines[1])
    assert (tmp_path / "docs/leaderboard.html").stat().st_size > 1_000_000
