"""A directory to work in holds nothing but files and folders."""

import os
import threading

import pytest

from helpers.odd_files import dangling_link, link, odd
from vaelab.errors import UserError
from vaelab.files import checks, folder


@odd
@pytest.mark.parametrize("name", ["study.db", "inner/deeper/study.db", "wandb/run_id", "wandb/run/latest-run"])
def test_a_plain_directory_has_no_links_and_no_special_files(put, came, name, run_dir, outside):
    (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
    (run_dir / "fine").touch()
    checks.check_plain(run_dir)
    put(run_dir / name, outside)
    if came == "a folder":
        checks.check_plain(run_dir)
        return
    with pytest.raises(UserError) as raised:
        checks.check_plain(run_dir)
    assert str(raised.value) == f"{run_dir / name} must be a regular file, got {came}; move it away"


def test_a_linked_folder_is_not_plain_and_is_not_entered(run_dir, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path)
    (run_dir / "images").symlink_to(tmp_path)
    with pytest.raises(UserError, match="images must be a regular file, got a link"):
        checks.check_plain(run_dir)


@pytest.mark.parametrize("name", ["latest-run", "debug.log", "debug-internal.log", "debug-core.log"])
@pytest.mark.parametrize("put", [link, dangling_link])
def test_links_of_wandb_pass(put, name, run_dir, outside):
    for place in ("wandb", "wandb/run-1/logs", "3/wandb"):  # of a run, of its W&B run, and of a job of a sweep
        (run_dir / place).mkdir(parents=True)
        put(run_dir / place / name, outside)
    checks.check_plain(run_dir)


def test_a_fifo_with_the_name_of_a_link_of_wandb_is_refused(run_dir):
    (run_dir / "wandb").mkdir()
    os.mkfifo(run_dir / "wandb/debug.log")
    with pytest.raises(UserError, match="got a FIFO"):
        checks.check_plain(run_dir)


def test_a_directory_that_is_too_large_or_too_deep_is_not_walked_to_its_end(run_dir, monkeypatch):
    (run_dir / "/".join(["deep"] * (checks.DEEPEST + 1))).mkdir(parents=True)
    checks.check_plain(run_dir)
    (run_dir / "/".join(["deep"] * (checks.DEEPEST + 1)) / "file").touch()
    with pytest.raises(UserError, match="nested at most 50 deep"):
        checks.check_plain(run_dir)
    monkeypatch.setattr(checks, "MOST_FILES", 10)
    for number in range(9):
        (run_dir / f"inner/{number}").touch()
    with pytest.raises(UserError, match="may hold 10 files at most"):
        checks.check_plain(run_dir)


def test_a_directory_that_is_not_there_has_nothing_to_refuse(tmp_path):
    checks.check_plain(tmp_path / "none")


def test_a_directory_whose_files_come_and_go_is_walked(run_dir):
    stop = threading.Event()

    def write_on():
        while not stop.is_set():
            folder.write(run_dir, "file", b"x")

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        for _ in range(200):
            checks.check_plain(run_dir)
    finally:
        stop.set()
        writer.join()
