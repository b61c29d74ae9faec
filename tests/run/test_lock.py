"""Two writers do not meet in a run directory, and others can tell whether there is one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vaelab.errors import UserError
from vaelab.run import lock as lock_module
from vaelab.run.lock import has_writer, only_writer

HOLD = "import sys\nfrom vaelab.run.lock import only_writer\nfrom pathlib import Path\n"
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
    monkeypatch.setattr(lock_module, "WAIT_SECONDS", 0.2)
    with pytest.raises(UserError, match="in use by another process"), only_writer(tmp_path):
        pass


def test_a_killed_writer_leaves_the_directory_free(other_process, tmp_path):
    assert has_writer(tmp_path)
    other_process.kill()
    other_process.wait()
    assert not has_writer(tmp_path)
    with only_writer(tmp_path):
        pass


def test_a_directory_is_free_again_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), only_writer(tmp_path):
            assert has_writer(tmp_path)
            _ = 1 / 0
    assert not has_writer(tmp_path)


@pytest.mark.parametrize("kind", ["link", "dangling link", "FIFO", "folder"])
def test_a_lock_that_is_no_regular_file_is_one_sentence(kind, tmp_path):
    mine, lock = tmp_path / "mine", tmp_path / "run/.lock"
    mine.write_text("mine")
    lock.parent.mkdir()
    make = {"link": mine, "dangling link": tmp_path / "none"}
    {"FIFO": os.mkfifo, "folder": Path.mkdir}.get(kind, lambda path: path.symlink_to(make[kind]))(lock)
    with pytest.raises(UserError, match=r"\.lock must be a regular file, got a"), only_writer(lock.parent):
        pass
    assert not has_writer(lock.parent)
    assert mine.read_text() == "mine"
    assert not (tmp_path / "none").exists()
