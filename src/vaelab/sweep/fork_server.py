"""The fork server: imports once what all jobs need, so that a job starts in a fraction of a second."""

import multiprocessing
import multiprocessing.forkserver
import os
from multiprocessing.context import ForkServerContext

PRELOADED = ["vaelab.cli.preload"]


def start() -> ForkServerContext:
    """Start the fork server, unless it runs already; it imports while the caller goes on."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = before or "1"  # read as torch is imported; each job sets its own number later
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
    return context
