"""What the fork server imports leaves CUDA alone: each job's process chooses its GPU before CUDA starts there."""

import subprocess
import sys

import pytest

PROBE = """
import torch

def asked(*arguments):
    raise SystemExit("CUDA was asked for")

for name in ("_cuda_getDeviceCount", "_cuda_init"):
    setattr(torch._C, name, asked)
import threading
import vaelab.cli.preload
assert not torch.cuda.is_initialized()
assert threading.active_count() == 1, threading.enumerate()
"""


@pytest.mark.slow
def test_the_imports_start_neither_cuda_nor_a_thread():
    assert subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True).stderr == ""
