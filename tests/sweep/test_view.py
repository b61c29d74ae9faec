"""What is shown of a sweep that runs."""

import io
import logging
from pathlib import Path

import pytest
from rich.console import Console

from vaelab.errors import UserError
from vaelab.run.summary import write_summary
from vaelab.sweep import view as sweep_view
from vaelab.sweep.jobs import Job, Outcome
from vaelab.sweep.view import SweepView


def job(number: int, directory: Path) -> Job:
    return Job(number, f"seed={number}", directory, [], float)


@pytest.fixture
def run_dir(tmp_path):
    rows = [
        '{"step": 100, "epoch": 1.5, "train/elbo": -99.5, "images_per_second": 12345.6}',
        '{"val/elbo": -90.0}',
        '{"st',
    ]
    (tmp_path / "metrics.jsonl").write_text("x" * 10_000 + "\n" + "\n".join(rows))
    write_summary(tmp_path, {"status": "finished", "metrics": {"val/elbo": -2.5}})
    return tmp_path


def test_on_a_terminal_a_line_is_shown_for_each_running_job_and_counts(run_dir, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(
        sweep_view, "Console", lambda **options: Console(file=screen, force_terminal=True, width=100, color_system=None)
    )
    with SweepView(total=5, n_jobs=2) as view:
        view.ended(job(0, run_dir), Outcome(-2.5, None, 4.0))
        view.ended(job(1, run_dir), Outcome(None, UserError("a [bold] mistake"), 4.0))
        view.update({2: job(2, run_dir)})
    shown = screen.getvalue()
    assert "job 0  ELBO -2.50  seed=0  4.0 s" in shown
    assert "job 1  failed: a [bold] mistake  seed=1" in shown
    assert "2    1.5  -99.50    12,346  seed=2" in shown
    assert "1 done, 1 failed, 1 running, 2 to go" in shown


def test_elsewhere_a_line_is_logged_for_each_job_that_ended(run_dir, caplog):
    with caplog.at_level(logging.INFO), SweepView(total=2) as view:
        view.update({0: job(0, run_dir)})
        view.ended(job(0, run_dir), Outcome(-2.5, None, 4.0))
    assert caplog.messages == ["2 jobs", "job 0  ELBO -2.50  seed=0  4.0 s  (1 done, 0 failed, 1 to go)"]


@pytest.mark.parametrize(("value", "shown"), [(-2.5, "reconstruction -2.50"), (None, "done")])
def test_a_run_without_an_elbo_is_told_by_its_reconstruction(value, shown, tmp_path, caplog):
    write_summary(tmp_path, {"status": "finished", "metrics": {"val/reconstruction": -2.5}})
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "epoch": 1, "train/loss": 2.5}\n')
    with caplog.at_level(logging.INFO), SweepView(total=2) as view:
        view.update({0: job(0, tmp_path)})
        view.ended(job(0, tmp_path), Outcome(value, None, 4.0))
    assert caplog.messages[1].startswith(f"job 0  {shown}  seed=0")
