"""What is reproduced of published figures: each row can be trained, and the page says what its runs measured."""

import json
import re
import shlex
from dataclasses import replace

import pytest

from conftest import ROOT

RUNS = {
    "vae": {},
    "wide": {"overrides": ["model.hidden=[9]"]},
    "again": {"of": "vae", "evaluate": ["--sampler", "gmm"]},
}


@pytest.fixture
def published(monkeypatch):
    """The modules `rows`, `page` and `collect` of `benchmarks.published`."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.published import collect, page, rows

    return rows, page, collect


def names():
    return [path.stem for path in (ROOT / "conf/experiment").glob("*.yaml")]


@pytest.mark.slow
def test_every_run_of_every_row_composes(published, compose):
    rows, _, _ = published
    for row in rows.read_rows().values():
        assert row.name in names()
        for run, seed, _ in row.jobs():
            assert compose(*row.training(run, seed))["seed"] == seed


def test_every_row_says_where_its_figures_are_published(published):
    rows, _, _ = published
    for row in rows.read_rows().values():
        for figure in row.published:
            assert figure.keys() == {"figure", "by", "url"}
            assert float(figure["figure"])
            assert figure["url"].startswith("https://arxiv.org/abs/")


def test_the_page_is_made_of_what_was_measured(published):
    rows, page, _ = published
    measured = json.loads((ROOT / "docs/reproduction.json").read_text())
    expected = page.page(rows.read_rows().values(), measured)
    assert (ROOT / "docs/reproduction.md").read_text() == expected, "run: python -m benchmarks.published --collect"


def test_the_commands_of_the_page_come_through_the_shell_and_make_as_they_are_meant(published):
    rows, _, _ = published
    text = (ROOT / "docs/reproduction.md").read_text()
    in_full = re.findall(r"In full, on a GPU: `make reproduce NAME=(\w+) (ARGS=.*)`\.", text)
    assert in_full
    for name, argument in in_full:
        (word,) = shlex.split(argument)
        expected = ["--runs", "outputs/full", "--override", *rows.read_rows()[name].full]
        assert shlex.split(word.removeprefix("ARGS=")) == expected
    assert all(command == command.strip() for command in re.findall(r"`(vaelab [^`]*)`", text))


def test_several_seeds_are_a_mean_with_its_standard_deviation(published):
    _, page, _ = published
    runs = [{"figure": value, "standard_error": 0.2} for value in (1.0, 2.0, 3.0)]
    assert page.figure(runs) == "2.000 ± 1.000 over 3 seeds"
    assert page.figure(runs[:1]) == "1.00 ± 0.20"


@pytest.mark.slow
def test_a_row_is_trained_and_evaluated_once_and_collected(published, data_root, tmp_path, capfd):
    from benchmarks.published.__main__ import reproduce

    rows, page, collect = published
    evaluated = ("--importance-samples", "3", "--limit", "50")
    row = replace(rows.read_rows()["burda_vae"], evaluate=evaluated, runs=RUNS)
    short = ["trainer.max_steps=3", "trainer.compile=false", "logger=local", f"dataset.root={data_root}"]
    with pytest.raises(SystemExit):
        reproduce(row, tmp_path, [*short, "no_such_key=1"])
    reproduce(row, tmp_path, short)
    assert capfd.readouterr().out.count("$ vaelab") == 7
    reproduce(row, tmp_path, short)
    assert "$ vaelab" not in capfd.readouterr().out, "what is finished is not done again"

    (tmp_path / "docs").mkdir()
    collect.collect([row], tmp_path, tmp_path / "docs")
    runs = json.loads((tmp_path / "docs/reproduction.json").read_text())["burda_vae"]
    for run in runs:
        trained = {"again": "vae"}.get(run["run"], run["run"])
        found = json.loads((tmp_path / f"burda_vae/{trained}-0/evaluation-{run['run']}.json").read_text())
        assert run["figure"] == found["metrics"]["log_likelihood"]
        assert page.figure([run]) in (tmp_path / "docs/reproduction.md").read_text()
    assert len(list((tmp_path / "docs/reproduction").glob("burda_vae-*-curves.png"))) == 2
    drawn = {run: (tmp_path / f"docs/reproduction/burda_vae-{run}-samples.png").read_bytes() for run in RUNS}
    assert drawn["vae"] == (tmp_path / "burda_vae/vae-0/samples.png").read_bytes()
    assert drawn["again"] == (tmp_path / "burda_vae/vae-0/samples-again.png").read_bytes(), "as it was evaluated"
