"""The small files of a run directory: damage is no crash, a death is written down, two writers do not meet."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vaelab.errors import UserError
from vaelab.run import records
from vaelab.run.records import only_writer, read_summary, record_death, write_summary


def test_a_damaged_summary_is_its_status_alone(tmp_path):
    assert read_summary(tmp_path) == {}
    (tmp_path / "summary.json").write_text('{"status": "fin')
    assert read_summary(tmp_path) == {"status": "damaged"}


def test_a_death_is_added_to_what_the_run_had_written(tmp_path):
    write_summary(tmp_path, {"status": "running", "overrides": ["seed=1"], "name": "seed=1"})
    record_death(tmp_path, ["seed=2"], UserError("killed\nhere"))
    assert read_summary(tmp_path) == {
        "status": "failed",
        "overrides": ["seed=1"],
        "name": "seed=1",
        "error": "killed here",
    }


HOLD = "import sys\nfrom vaelab.run.records import only_writer\nfrom pathlib import Path\n"
HOLD += "with only_writer(Path(sys.argv[1])):\n    print('holds it', flush=True)\n    input()\n"


@pytest.fixture
def other_process(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "holds it\n"
    yield process
    process.kill()
    process.communicate()


def test_a_directory_in_use_is_refused_after_a_while(other_process, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "WAIT_SECONDS", 0.2)
    with pytest.raises(UserError, match="in use by another process"), only_writer(tmp_path):
        pass


def test_a_killed_writer_leaves_the_directory_free(other_process, tmp_path):
    other_process.kill()
    other_process.wait()
    with only_writer(tmp_path):
        pass


def test_a_directory_is_free_again_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), only_writer(tmp_path):
            _ = 1 / 0


@pytest.mark.parametrize("kind", ["link", "dangling link", "FIFO", "folder"])
def test_a_lock_that_is_no_regular_file_is_one_sentence(kind, tmp_path):
    mine, lock = tmp_path / "mine", tmp_path / "run/.lock"
    mine.write_text("mine")
    lock.parent.mkdir()
    make = {"link": mine, "dangling link": tmp_path / "none"}
    {"FIFO": os.mkfifo, "folder": Path.mkdir}.get(kind, lambda path: path.symlink_to(make[kind]))(lock)
    with pytest.raises(UserError, match=r"\.lock must be a regular file, got a"), only_writer(lock.parent):
        pass
    assert mine.read_text() == "mine"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("kind", ["link", "FIFO"])
def test_a_summary_replaces_what_has_its_name(kind, tmp_path):
    mine, path = tmp_path / "mine", tmp_path / "run/summary.json"
    mine.write_text("mine")
    path.parent.mkdir()
    path.symlink_to(mine) if kind == "link" else os.mkfifo(path)
    write_summary(path.parent, {"status": "finished"})
    assert read_summary(path.parent) == {"status": "finished"}
    assert mine.read_text() == "mine"
