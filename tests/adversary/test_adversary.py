"""Some cases of each campaign; and what the campaigns rest on notices what it is there to notice."""

import subprocess
import sys

import pytest

from conftest import ROOT, clean_environment

TRY = """
import os, signal, sys, tempfile, threading, time
from pathlib import Path
from tests.adversary import harness

def call():
    {}

harness.LIMIT = 1.0
place = harness.Place(Path(tempfile.mkdtemp()) / "case")
place.hide()
before = place.snapshot()
outcome = harness.forked(call, place)
print(harness.complaints(outcome) + harness.touched(before, place.snapshot()))
"""
CALLS = {
    "pass": "[]",
    "print('vaelab: no', file=sys.stderr); sys.exit(1)": "[]",
    "(Path.cwd().parent / 'run').mkdir()": "[]",
    "raise KeyError('x')": "['a stack']",
    "time.sleep(60)": "['no exit within 1 s']",
    "threading.Thread(target=time.sleep, args=(60,)).start()": "['no exit within 1 s']",
    "os.kill(os.getpid(), signal.SIGSEGV)": "['killed by signal 11']",
    "sys.exit(3)": "['exit code 3']",
    "sys.exit(1)": "['0 sentences instead of one']",
    "print('vaelab: no\\nvaelab: no', file=sys.stderr); sys.exit(2)": "['2 sentences instead of one']",
    "print(chr(27) + '[31m')": "['a terminal sequence is printed']",
    "print(Path('../outside/file').read_text())": "['a file outside is shown', 'touched outside/file']",
    "Path('../outside/folder/file').read_text()": "['touched outside/folder/file']",
    "Path('../outside/file').open('w').close()": "['touched outside/file']",
    "Path('x').touch()": "['touched cwd/x']",
    "(Path.home() / 'x').touch()": "['touched home/x']",
    "(Path(os.environ['TMPDIR']) / 'x').touch()": "['touched tmp/x']",
}


def python(*arguments, timeout):
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=timeout)


@pytest.mark.parametrize("call", CALLS)
def test_what_a_command_may_not_do_is_noticed(call):
    done = python("-c", TRY.format(call), timeout=60)
    assert done.stdout == CALLS[call] + "\n", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("campaign", "count"), [("damages", 45), ("links", 45), ("kills", 2), ("servers", 2), ("lines", 60)]
)
def test_some_cases_of_a_campaign_go_well(campaign, count):
    done = python("-m", "tests.adversary", "--campaign", campaign, "--count", str(count), timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
