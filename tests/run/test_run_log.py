"""`run.log`: appended to, never through a link, and a disk that is full costs a line and no stack."""

import errno
import logging
import os
import re

import pytest

from vaelab.errors import PastHydraError, UserError
from vaelab.files import folder
from vaelab.run.run_log import RunLog


@pytest.fixture
def log():
    """Makes a logger that writes to a file."""
    loggers = []

    def make(path):
        found = logging.Logger("a run")
        found.addHandler(RunLog(path))
        loggers.append(found)
        return found

    yield make
    for found in loggers:
        for handler in found.handlers:
            handler.close()


def test_lines_are_appended_and_are_there_at_once(log, tmp_path):
    (tmp_path / "run.log").write_text("before\n")
    log(str(tmp_path / "run.log")).warning("now, é")
    assert (tmp_path / "run.log").read_text(encoding="utf-8") == "before\nnow, é\n"


@pytest.mark.parametrize("kind", ["link", "FIFO", "folder"])
def test_what_is_no_regular_file_is_one_sentence_past_hydra(kind, log, tmp_path):
    (tmp_path / "mine").write_text("mine")
    path = tmp_path / "run.log"
    {"link": lambda: path.symlink_to("mine"), "FIFO": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
    with pytest.raises(PastHydraError) as raised:
        log(path)
    assert isinstance(raised.value.args[0], UserError)
    assert f"{path} must be a regular file, got a {kind}" in str(raised.value.args[0])
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_log_that_cannot_be_opened_is_one_sentence_that_names_it(inline, monkeypatch):
    def read_only(directory, name):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(directory / name))

    monkeypatch.setattr(folder, "append", read_only)
    code, _, err = inline("dataset=digits", "logger=local", "hydra.run.dir=run")
    assert code == 1
    assert re.fullmatch(r"vaelab: \S*/run/run\.log could not be written or read: Read-only file system; .*\n", err)
