"""One command in a forked copy of this process, in a place where it may touch nothing but its own directory.

A fork starts in some milliseconds, for all that a command imports is imported already.
"""

import atexit
import hashlib
import os
import re
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent.parent
LIMIT = 20.0  # seconds, those not counted in which it waited for a core
MEMORY = 8 << 30  # bytes of addresses
CODES = (0, 1, 2, 130, 143)
STACKS = ("Traceback (most recent call last)", "--- Logging error ---", "Fatal Python error")
SENTENCE = re.compile(r"vaelab( [a-z]+)*: |run\.py: error: ")  # argparse has a form of its own
ADVICE = (
    "vaelab: go on with the jobs",
    "vaelab: begin a new sweep",
)  # below what its jobs have said
SECRET = "canary-4f1d9a"  # stands in files outside, so that it may be shown nowhere
ENVIRONMENT = ("WANDB_", "HYDRA_", "VAELAB_", "XDG_", "MPL", "PYTHON")  # what would change a run


@dataclass(frozen=True)
class Outcome:
    """How a command ended; a negative code is a signal."""

    code: int
    out: str
    err: str
    seconds: float
    hung: bool = False


@dataclass(frozen=True)
class Verdict:
    """What was tried, how it ended in a word or two for the table, and what was wrong with that."""

    what: str
    ending: str
    complaints: list[str] = field(default_factory=list)


class Place:
    """The folder of a case: `run` is what the command may change, `out` where it is asked to write."""

    def __init__(self, folder: Path, template: Path | None = None) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.folder, self.run, self.out, self.outside = folder, folder / "run", folder / "out", folder / "outside"
        self.home, self.cwd, self.tmp = folder / "home", folder / "cwd", folder / "tmp"
        for made in (self.out, self.outside / "folder", self.home, self.cwd, self.tmp):
            made.mkdir(parents=True)
        for name in ("file", "folder/file"):
            (self.outside / name).write_text(f"{SECRET}: 1\n")
        if template is not None:
            shutil.copytree(template, self.run, symlinks=True)

    def snapshot(self) -> dict[str, tuple]:
        """All that must stay as it is. Call `hide` before, to see also what is only read."""
        found = {}
        for folder in (self.outside, self.home, self.cwd, self.tmp):
            for path in sorted(folder.rglob("*")):
                stat, is_file = path.lstat(), path.is_file()
                content = hashlib.sha256(path.read_bytes()).hexdigest() if is_file else ""
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns), follow_symlinks=False)
                read = stat.st_atime_ns if is_file and folder == self.outside else 0
                name = str(path.relative_to(self.folder))
                found[name] = (stat.st_mode, stat.st_size, stat.st_mtime_ns, read, content)
        return found

    def hide(self) -> None:
        """Date the last reading of the files outside before their writing: so the next one is noted (relatime)."""
        for path in self.outside.rglob("*"):
            if path.is_file():
                os.utime(path, ns=(10**9, path.stat().st_mtime_ns))


def touched(before: dict[str, tuple], after: dict[str, tuple]) -> list[str]:
    """What differs between two snapshots, in words."""
    return [f"touched {name}" for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]


def run_py(place: Place, *arguments: str, **options: Any) -> Outcome:
    """`python run.py ARGUMENTS`."""

    def call() -> None:
        from vaelab.cli.launch import main

        sys.argv = ["run.py", *arguments]
        main(ROOT / "conf")

    return forked(call, place, **options)


def vaelab(place: Place, *arguments: str, **options: Any) -> Outcome:
    """`vaelab ARGUMENTS`."""

    def call() -> None:
        from vaelab.cli.commands import main

        sys.argv = ["vaelab", *arguments]
        main(list(arguments))

    return forked(call, place, **options)


def preload() -> None:
    """Import what commands import, and fork from one thread only."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in [name for name in os.environ if name.startswith(ENVIRONMENT)]:
        del os.environ[name]
    os.environ["COLUMNS"] = "200"
    import torch

    import vaelab.cli.commands
    import vaelab.cli.preload
    import vaelab.compare.listing
    import vaelab.compare.page
    import vaelab.run.load  # noqa: F401

    torch.set_num_threads(1)
    _limit_memory()  # here too, for what a command leaves is read here
    assert threading.active_count() == 1


def forked(
    call: Callable[[], object],
    place: Place,
    kill: Callable[[float], bool] = lambda _: False,
    alone: bool = False,
    limit: float | None = None,
) -> Outcome:
    """What `call` does in a copy of this process.

    Args:
        call: returns, or raises SystemExit with the exit code.
        place: where.
        kill: from the seconds that have passed to whether it is now killed with -9.
        alone: whether the processes that it has started live on then.
        limit: seconds until it hangs, None for LIMIT.
    """
    sys.stdout.flush()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _child(call, place)
    hung = False
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            break
        passed = time.monotonic() - started
        hung = hung or passed - _waited_for_a_core(pid) > (limit or LIMIT)
        if hung or kill(passed):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL) if alone and not hung else os.killpg(pid, signal.SIGKILL)
        time.sleep(0.002)
    seconds = time.monotonic() - started
    if not alone:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    out, err = (_text(place.folder / name) for name in ("stdout", "stderr"))
    return Outcome(os.waitstatus_to_exitcode(status), out, err, seconds, hung)


def _text(path: Path) -> str:
    return path.read_bytes()[: 1 << 24].decode(errors="replace") if path.exists() else ""


def _waited_for_a_core(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _child(call: Callable[[], object], place: Place) -> NoReturn:
    code = 1
    try:
        os.setsid()
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(place.folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(place.cwd)
        os.environ.update(HOME=str(place.home), TMPDIR=str(place.tmp))
        _limit_memory()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = _exit_code(call)
        threading._shutdown()  # as the interpreter ends: what waits there forever hangs here too
        atexit._run_exitfuncs()
        sys.stdout.flush()
    finally:
        os._exit(code)


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _exit_code(call: Callable[[], object]) -> int:
    try:
        call()
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 255
        print(error.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def complaints(outcome: Outcome) -> list[str]:
    """What no command may do, whatever it is given."""
    if outcome.hung:
        return [f"no exit within {LIMIT:g} s"]
    shown = outcome.out + outcome.err
    found = ["a stack" for _ in range(1) if any(mark in shown for mark in STACKS)]
    if outcome.code not in CODES:
        found.append(f"killed by signal {-outcome.code}" if outcome.code < 0 else f"exit code {outcome.code}")
    said = [line for line in outcome.err.splitlines() if SENTENCE.match(line)]
    sentences = [line for line in said if not line.startswith(ADVICE)]
    if outcome.code in (1, 2) and (len(sentences) > 1 or not said) and not found:
        found.append(f"{len(sentences)} sentences instead of one")
    if "\x1b" in shown:
        found.append("a terminal sequence is printed")
    if SECRET in shown:
        found.append("a file outside is shown")
    return found
