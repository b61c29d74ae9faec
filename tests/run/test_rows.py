"""Rows as they are read: whole lines, bounded, and of a run that goes on the last one about training."""

import os
from pathlib import Path

import pytest

from helpers.made_up_runs import made_up_run
from vaelab.errors import UserError
from vaelab.run import rows
from vaelab.run.record import RunRecord
from vaelab.run.rows import last_training_row, read_rows

ROWS = """{"step": 100, "epoch": 1.5, "train/elbo": -99.5, "images_per_second": 12345.6}
{"val/elbo": -90.0}
{"st"""


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("x" * 10_000 + "\n" + ROWS)
    return tmp_path


def test_the_rows_are_those_of_whole_lines(tmp_path):
    assert read_rows(tmp_path) == []
    (tmp_path / "metrics.jsonl").write_text(ROWS)
    assert [len(row) for row in read_rows(tmp_path)] == [4, 1]


def test_the_last_whole_row_about_training_is_found(run_dir, tmp_path):
    assert last_training_row(run_dir)["train/elbo"] == -99.5
    assert last_training_row(tmp_path / "none") == {}


@pytest.mark.parametrize(
    "line",
    [
        '{"epoch": "one", "train/elbo": null, "images_per_second": [1]}',
        '["train/elbo"]',
        '{"train/elbo": NaN, "epoch": 1e400}',
        "[" * 1000 + '"train/elbo"',
    ],
)
def test_of_an_odd_row_only_numbers_are_shown(line, tmp_path):
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    assert last_training_row(tmp_path) == {}


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("rows")])
def test_what_is_no_file_of_rows_has_none_and_is_not_waited_for(make, tmp_path):
    (tmp_path / "rows").write_text('{"train/elbo": 1}\n')
    make(tmp_path / "metrics.jsonl")
    assert last_training_row(tmp_path) == {}


@pytest.mark.parametrize("kind", ["link", "FIFO", "sparse"])
def test_untrusted_rows_are_neither_followed_nor_waited_for(kind, run_dir, tmp_path):
    path = tmp_path / "odd/metrics.jsonl"
    path.parent.mkdir()
    if kind == "sparse":
        path.touch()
        os.truncate(path, 200 * 10**9)
    else:
        path.symlink_to(run_dir / "metrics.jsonl") if kind == "link" else os.mkfifo(path)
    assert last_training_row(path.parent) == {}


def test_a_damaged_metrics_file_is_one_sentence_for_who_needs_all_rows(tmp_path):
    run_dir = made_up_run(tmp_path / "run", epochs=1)
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write("[]\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl must hold a JSON object in each line, line 19 is damaged"):
        read_rows(run_dir)


def test_metrics_have_a_bounded_number_of_rows(tmp_path, monkeypatch):
    run_dir = made_up_run(tmp_path / "run", epochs=1)
    monkeypatch.setattr(rows, "MOST_ROWS", 10)
    assert RunRecord(run_dir).error == "metrics.jsonl may hold 10 rows at most; move it away"
    with pytest.raises(UserError, match="10 rows"):
        read_rows(run_dir)
