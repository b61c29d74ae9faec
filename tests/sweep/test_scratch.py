"""Copies of the config files of a sweep: gone with it, or with the next one if it was killed."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from vaelab.sweep import scratch
from vaelab.sweep.scratch import PREFIX, locked_folder, remove_abandoned

HOLD = "from vaelab.sweep.scratch import locked_folder\nprint(locked_folder()[0], flush=True)\ninput()\n"


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files, empty, of this process and of those it starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_of_a_killed_sweep_is_removed_and_that_of_a_live_one_kept(temporary):
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    folder = Path(process.stdout.readline().strip())
    (folder / "inner").mkdir()
    try:
        remove_abandoned()
        assert folder.is_dir()
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert folder.is_dir()
    remove_abandoned()
    assert names(temporary) == []


def test_ones_own_folder_is_kept_while_it_is_locked(temporary):
    folder, lock = locked_folder()
    remove_abandoned()
    assert Path(folder).is_dir()
    os.close(lock)
    remove_abandoned()
    assert not Path(folder).exists()


def test_links_files_fifos_and_folders_of_other_names_are_kept(temporary, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "file").touch()
    (temporary / f"{PREFIX}link").symlink_to(outside)
    (temporary / f"{PREFIX}file").touch()
    os.mkfifo(temporary / f"{PREFIX}fifo")
    (temporary / "another").mkdir()
    (temporary / f"{PREFIX}left").mkdir()
    (temporary / f"{PREFIX}left/link").symlink_to(outside)
    remove_abandoned()
    assert names(temporary) == ["another", *(f"{PREFIX}{name}" for name in ("fifo", "file", "link"))]
    assert names(outside) == ["file"]


def test_a_folder_of_another_user_is_kept(temporary, monkeypatch):
    (temporary / f"{PREFIX}theirs").mkdir()
    monkeypatch.setattr(scratch.os, "getuid", lambda: temporary.stat().st_uid + 1)
    remove_abandoned()
    assert names(temporary) == [f"{PREFIX}theirs"]


def test_a_folder_that_is_removed_before_it_was_locked_is_made_again(temporary, monkeypatch):
    made = []

    def taken(prefix):
        made.append(tempfile.mkdtemp(prefix=prefix))
        if len(made) == 1:
            remove_abandoned()
        return made[-1]

    monkeypatch.setattr(scratch, "mkdtemp", taken)
    folder, lock = locked_folder()
    os.close(lock)
    assert len(made) == 2
    assert names(temporary) == [Path(folder).name]


def test_a_folder_that_is_removed_while_it_waits_for_its_lock_is_made_again(temporary, monkeypatch):
    waited = []

    def flock(lock, how):
        if not waited:
            (temporary / names(temporary)[0]).rmdir()
        waited.append(lock)

    monkeypatch.setattr(scratch.fcntl, "flock", flock)
    folder, lock = locked_folder()
    os.close(lock)
    assert len(waited) == 2
    assert names(temporary) == [Path(folder).name]
