"""The `vaelab` command."""

import json

import pytest
from PIL import Image

from vaelab.cli import main

QUICK = ("dataset=digits", "logger=local", "trainer.epochs=1", "trainer.pictures_every=0")


@pytest.fixture
def run_dir(inline, tmp_path):
    code, _, err = inline(*QUICK, "hydra.run.dir=outputs/run")
    assert code == 0, err
    return tmp_path / "outputs/run"


def test_generate_writes_a_row_or_a_grid(run_dir, tmp_path, capfd):
    main(["generate", str(run_dir), "--num-samples", "10", "--output", "row.png"])
    with Image.open(tmp_path / "row.png") as row:
        assert row.width > 9 * row.height
    main(["generate", str(run_dir), "--num-samples", "10", "--output", "new/grid.png", "--grid"])
    with Image.open(tmp_path / "new/grid.png") as grid:
        assert 0.5 < grid.width / grid.height < 2
    assert "10 samples in row.png" in capfd.readouterr().out


def test_evaluate_prints_what_the_summary_holds(run_dir, capfd):
    main(["evaluate", str(run_dir)])
    out = capfd.readouterr().out
    summary = json.loads((run_dir / "summary.json").read_text())
    assert f"{summary['metrics']['test/elbo']:.4f}" in out
    assert "nats per image" in out


def test_runs_lists_every_run_below_a_folder_best_first(run_dir, inline, capfd):
    inline(*QUICK, "trainer.epochs=3", "hydra.run.dir=outputs/longer")
    inline(*QUICK, "objective.beta=-1", "hydra.run.dir=outputs/broken")
    main(["runs", "outputs"])
    lines = capfd.readouterr().out.splitlines()
    order = [
        next(n for n, line in enumerate(lines) if f"outputs/{name}" in line) for name in ("longer", "run", "broken")
    ]
    assert order == sorted(order)
    assert "failed" in lines[order[2]]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["generate", "nowhere"], 1), (["runs", "nowhere"], 2), (["generate", "x", "--num-samples", "0"], 2), ([], 2)],
)
def test_a_mistake_is_one_sentence_and_an_exit_code(arguments, code, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == code
    assert "Traceback" not in capfd.readouterr().err
