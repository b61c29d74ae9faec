"""The benchmark suite: every row computes the same loss, and a short run prints its table and writes its files."""

import json
import sys
from importlib.util import find_spec

import pytest
from PIL import Image

from conftest import ROOT

SHORT = ("--synthetic", "--seconds", "0.05", "--rounds", "1")


@pytest.fixture
def benchmarks(command):
    """Runs `python -m benchmarks ARGUMENTS` from the repository's root."""
    return lambda *arguments: command(sys.executable, "-m", "benchmarks", *SHORT, *arguments, cwd=ROOT)


@pytest.mark.slow
def test_a_short_run_prints_its_table_and_writes_its_files(benchmarks, tmp_path):
    numbers, picture = tmp_path / "numbers.json", tmp_path / "bars.png"
    done = benchmarks(
        *("--columns", "mlp-32-float32", "--rows", "plain", "vaelab", "--override", "trainer.compile=false"),
        *("--json", numbers, "--picture", picture),
    )

    assert done.returncode == 0, done.stderr
    assert "mlp-32-float32" in done.stdout
    found = json.loads(numbers.read_text())
    losses = found["loss_per_image"]["mlp"]
    assert losses["plain"] == pytest.approx(losses["vaelab"], rel=1e-5)
    rows = found["columns"]["mlp-32-float32"]["rows"]
    assert list(rows) == ["plain", "vaelab"]
    for row in rows.values():
        assert len(row["images_per_second"]) == 1
        assert row["median"] > 0
        assert row["share_of_peak"] > 0
        assert row["peak_mb"] > 0
    with Image.open(picture) as opened:
        assert opened.width == 1000


@pytest.mark.slow
def test_all_rows_compute_the_same_loss(command):
    done = command(sys.executable, "-c", LOSSES, cwd=ROOT)

    assert done.returncode == 0, done.stderr
    for losses in json.loads(done.stdout).values():
        assert {"tutorial", "plain", "vaelab"} <= losses.keys()
        for library in ("lightning", "pythae"):
            assert (library in losses) == (find_spec(library) is not None)
        assert list(losses.values()) == pytest.approx([losses["plain"]] * len(losses), rel=1e-5)


LOSSES = """
import json
from benchmarks.job import ROWS, Column, Job
from benchmarks.losses import same_losses

if __name__ == "__main__":
    job = Job("plain", Column("mlp", 32, "float32"), "cpu", "data", synthetic=True, folder="", seconds=0.05)
    print(json.dumps(same_losses(["mlp", "conv"], list(ROWS), job)))
"""


def test_rows_that_differ_in_their_loss_are_not_compared(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.job import MistakeError
    from benchmarks.losses import require_equal

    require_equal("mlp", {"plain": 100.0, "vaelab": 100.0005})
    for other in (100.01, float("nan")):
        with pytest.raises(MistakeError, match="must compute the same loss"):
            require_equal("mlp", {"plain": 100.0, "vaelab": other})


def test_an_unknown_column_is_refused_with_an_example(benchmarks):
    done = benchmarks("--columns", "mlp-32-float16")

    assert done.returncode == 1
    assert done.stderr.startswith("benchmarks: a column must be named like mlp-32-float32")


@pytest.mark.slow
def test_whole_processes_and_growing_data_are_measured(benchmarks, tmp_path):
    numbers = tmp_path / "numbers.json"
    rows = ("--rows", "plain", "vaelab", "--epochs", "1", "--override", "trainer.compile=false")
    done = benchmarks("--whole", "--scaling", "--starts", *rows, "--json", numbers)
    assert done.returncode == 0, done.stderr
    found = json.loads(numbers.read_text())
    assert found["whole"]["vaelab"]["seconds"] > 0
    assert found["whole"]["vaelab"]["test_loss"] == pytest.approx(found["whole"]["plain"]["test_loss"], rel=0.01)
    assert [row["seconds_per_image_epoch"] > 0 for row in found["scaling"].values()] == [True] * 4
    starts = found["starts"]
    assert 0 < starts["import vaelab"] < starts["launch to first step"]
    assert 0 < starts["going on with it, 3 jobs"] < starts["a sweep, 3 jobs"]


def test_where_results_cannot_be_written_is_said_first(benchmarks, tmp_path):
    done = benchmarks("--json", tmp_path / "missing" / "numbers.json")
    assert done.returncode == 2
    assert "must exist" in done.stderr
