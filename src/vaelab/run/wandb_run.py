"""A run directory's rows and pictures as a W&B run, brought there by a process that does nothing else.

The training writes `metrics.jsonl` and this process reads it, so that whatever becomes of W&B, its server or the
network, no step waits for it. A row's step in W&B is the number of its line. Whoever begins asks which rows W&B has,
the server or, offline, the files that earlier launches wrote, and brings those that it lacks: after any number of
deaths each row is there once.
"""

import json
import logging
import multiprocessing
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from vaelab.errors import UserError, in_shell, one_line
from vaelab.files import folder
from vaelab.run.rows import METRICS

POLL_SECONDS = 0.25
INIT_SECONDS = 30
LARGEST_CHUNK = 64_000_000  # bytes read at a time
EXIT_CODES = {"finished": 0, "pruned": 0, "failed": 1, "killed": 130}
LOST = 137  # what a shell gives for a process that was killed with -9
RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
RUN_ID_FILE = "wandb/run_id"
PICTURES = "wandb/pictures"  # `<line>-<name>.png`: to be sent with the row of that line
AXES = {"step": ("train/*", "images_per_second"), "epoch": ("val/*", "test/*", "pictures/*")}
UNDELIVERED = ("Fatal error while uploading", "Timed out finishing")  # how W&B says that its server lacks rows
END_OF_WARNINGS = "vaelab: no more of W&B's"

Say = Callable[[str, str], None]


class NotWantedError(Exception):
    """There is nothing to bring: W&B's own settings say so, or its files hold all rows."""


@dataclass(frozen=True)
class WandbSettings:
    """What a W&B run is begun with.

    Args:
        mode: `auto`, `online` or `offline`.
        project: W&B project.
        entity: W&B user or team, or None for the key's own.
        tags: W&B tags.
        name: of the run.
        group: of the run, or None.
        config: of the run.
        run_id: of the run.
        resumed: whether an earlier launch has begun it.
        reachable: whether the server may be there; if not, `auto` and `online` are offline.
        upload_seconds: at the end of the run, for what is not uploaded yet.
        is_rest: only to complete W&B's files.
    """

    mode: str
    project: str
    entity: str | None
    tags: tuple[str, ...]
    name: str
    group: str | None
    config: Mapping[str, Any]
    run_id: str
    resumed: bool
    reachable: bool = True
    upload_seconds: float = 0.0
    is_rest: bool = False


class WandbRun:
    """The W&B run of a directory, from one launch.

    Args:
        run_dir: absolute.
        settings: what it is begun with.
        say: called with a kind and a text of what the training, or the person, is to know.
    """

    def __init__(self, run_dir: Path, settings: WandbSettings, say: Say) -> None:
        self._run_dir = run_dir
        self._settings = settings
        self._say = say
        self._rows = _Lines(run_dir, METRICS)
        self._log = _Lines(run_dir, "run.log", from_end=True)
        self._next = 0
        self._run: Any = None

    def begin(self) -> None:
        """Begin, or go on with, the W&B run; offline where the server cannot be reached."""
        import wandb

        mode = self._mode()
        brought = first_line_to_bring(self._run_dir)
        if mode == "disabled" or (self._settings.is_rest and brought >= self._rows.count()):
            raise NotWantedError
        if mode != "online":
            self._say("offline", "")
        try:
            self._run = self._init(mode)
        except wandb.Error as error:
            if mode != "online":
                raise
            self._say_unreachable(error)
            wandb.teardown()
            mode, self._run = "offline", self._init("offline")
        self._next = self._run.starting_step if mode == "online" else brought
        for axis, names in AXES.items():
            self._run.define_metric(axis)
            for pattern in names:
                self._run.define_metric(pattern, step_metric=axis)
        if mode == "online":
            self._say("info", f"W&B: {self._run.url}")
        else:
            self._say("info", f"W&B: offline; upload with: {sync_command(self._run_dir)}")

    def bring(self) -> None:
        """Bring the rows that W&B lacks, as far as they are written."""
        for number, line in self._rows.new():
            if number >= self._next:
                waiting = self._waiting(number)
                self._run.log({**json.loads(line), **_images(waiting)}, step=number, commit=True)
                self._next = number + 1
                self._keep_one_copy(number, waiting)
        for _, line in self._log.new():
            print(line.decode(errors="replace"), flush=True)  # W&B shows what this process prints

    def finish(self, exit_code: int, summary: Mapping[str, Any]) -> None:
        """Bring what is left and close the run; TimeoutError if it could not be uploaded in time."""
        self.bring()
        assert self._run.step >= 0  # its own program answers, and has all rows
        self._say("alive", "")
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=exit_code)

    def _mode(self) -> str:
        import wandb

        mode = self._settings.mode
        if mode == "auto":
            mode = wandb.setup().settings.mode  # W&B's own settings, of the environment and of the home folder
        if mode != "online" or not self._settings.reachable:
            return "offline" if mode == "online" else mode
        self._say("asked", "")
        if self._settings.mode == "online":
            return mode
        try:
            return "online" if has_key() else "offline"
        except Exception as error:  # a key is looked at by the server
            self._say_unreachable(error)
            return "offline"

    def _say_unreachable(self, error: Exception) -> None:
        reason = one_line(f"{type(error).__name__}: {error}", 300)
        self._say("unreachable", f"W&B cannot be reached, or takes no such key ({reason}); the run is logged offline")

    def _init(self, mode: str) -> Any:
        import wandb

        options = self._settings
        return wandb.init(
            mode=mode,
            project=options.project,
            entity=options.entity,
            tags=options.tags,
            name=options.name,
            group=options.group,
            config=dict(options.config),
            dir=str(self._run_dir),
            id=options.run_id,
            resume="allow" if options.resumed else None,
            settings=wandb.Settings(
                silent=False,
                init_timeout=INIT_SECONDS,
                finish_timeout=options.upload_seconds,
                finish_timeout_raises=True,
                console="wrap_raw",
                x_stats_pid=os.getppid(),
                # a killed process loses at most the last second of what is on the disk
                x_transaction_log_flush_interval=1.0,
                disable_job_creation=True,  # W&B Launch's; takes half a second
                disable_git=True,
            ),
        )

    def _keep_one_copy(self, number: int, waiting: Mapping[str, Path]) -> None:
        """Put the pictures of a row in the place of the copies that W&B has made of them."""
        for name, path in waiting.items():
            for copy in Path(self._run.dir, "media").rglob(f"{name}_{number}_*.png"):
                with suppress(OSError):
                    path.replace(copy)
            path.unlink(missing_ok=True)

    def _waiting(self, number: int) -> dict[str, Path]:
        """The pictures that go with the row of that line, by name."""
        paths = sorted((self._run_dir / PICTURES).glob(f"{number}-*.png"))
        return {
            path.stem.partition("-")[2]: path
            for path in paths
            if folder.exists(self._run_dir, f"{PICTURES}/{path.name}")
        }


def bring(run_dir: Path, settings: WandbSettings, orders: Connection, reports: Connection) -> None:
    """What the process does, from its first line to its last: bring rows until it is told how the run has ended.

    Args:
        run_dir: absolute.
        settings: what the W&B run is begun with.
        orders: from the training: (status, summary) at the end. Where it is closed without, the training has died.
        reports: to the training: (kind, text). `offline`, `asked`, `begun`, `alive`, `done` and `failed` tell where
            this is, `unreachable` and `undelivered` what the server does; `info` and `warning` are for the person.
    """
    _part_from_training(orders, reports)
    threading.Thread(target=_outlive_training, args=(2 * settings.upload_seconds,), daemon=True).start()
    speech = threading.Lock()

    def say(kind: str, text: str = "") -> None:
        with speech, suppress(OSError):  # the training may have died
            reports.send((kind, text))

    all_forwarded = _forward_warnings(say)
    try:
        _remove_links(run_dir)
        with FileLock(run_dir / "wandb" / ".lock"):  # the process of an earlier launch may still be uploading
            run = WandbRun(run_dir, settings, say)
            run.begin()
            say("begun")
            while not orders.poll(POLL_SECONDS):
                run.bring()
            with suppress(TimeoutError):  # of which W&B warns too
                run.finish(*_end_of_run(orders))
        all_forwarded()
        say("done")
    except NotWantedError:
        say("done")
    except BaseException as error:
        reason = one_line(f"{type(error).__name__}: {error}", 300)
        say("failed", f"W&B failed ({reason}); the run goes on without it")
    reports.close()
    os._exit(0)  # W&B's threads may wait for ever; its own program ends with its parent


def _end_of_run(orders: Connection) -> tuple[int, Mapping[str, Any]]:
    """The exit code and the summary of a run that has ended, or died."""
    try:
        status, summary = orders.recv()
    except EOFError:
        return LOST, {}
    return EXIT_CODES[status], {**summary, "status": status}


def sync_command(run_dir: Path) -> str:
    """What a person types to upload what W&B's files in a run directory hold."""
    return f"wandb sync --include-online {in_shell(str(run_dir / 'wandb'))}"


def first_line_to_bring(run_dir: Path) -> int:
    """The number of the first line that no W&B file of the run directory holds, as W&B's own program reads them."""
    from wandb.util import get_core_path

    steps = [-1]
    for file in (run_dir / "wandb").glob("*run-*/run-*.wandb"):
        if not folder.exists(run_dir, str(file.relative_to(run_dir))):
            continue
        command = [get_core_path(), "leet", "inspect", "-json", "-no-observability", "-run-file", str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as reader:
            assert reader.stdout is not None
            for line in reader.stdout:
                if b'"type":"history"' in line:
                    with suppress(ValueError, KeyError, TypeError):  # the last may be torn
                        steps.append(int(json.loads(line)["history"]["step"]["num"]))
    return max(steps) + 1


def has_key() -> bool:
    """Whether W&B has a key to log in with; raises what W&B does where its server does not take it, or answer."""
    import wandb

    return bool(wandb.login(prompt=False))


def folder_of_settings() -> Path:
    """Where W&B may look for `wandb/settings`: beside the program, and not where a person happens to be.

    That may be a stranger's folder, whose settings would send the key to another server.
    """
    program = Path(sys.argv[0]).resolve()
    return program.parent if program.is_file() else Path(program.anchor)


def _images(pictures: Mapping[str, Path]) -> dict[str, Any]:
    """As W&B takes pictures; one that cannot be read is left out, for it is worth no row."""
    import wandb

    found = {}
    for name, path in pictures.items():
        with suppress(Exception):
            found[f"pictures/{name}"] = wandb.Image(str(path))
    return found


class _Lines:
    """The whole lines of a growing file, with their numbers."""

    def __init__(self, run_dir: Path, name: str, from_end: bool = False) -> None:
        self._run_dir, self._name = run_dir, name
        self._inode = self._inode_now()
        self._position = folder.size(run_dir, name) if from_end else 0
        self._number = 0

    def new(self) -> Iterator[tuple[int, bytes]]:
        """Those that came since the last call; all of them anew where another file has come in the place of the old."""
        if self._inode != self._inode_now():
            self._inode, self._position, self._number = self._inode_now(), 0, 0
        while content := folder.read_on(self._run_dir, self._name, self._position, LARGEST_CHUNK):
            *lines, _ = content.split(b"\n")
            if not lines:
                return
            for line in lines:
                yield self._number, line
                self._position += len(line) + 1
                self._number += 1

    def count(self) -> int:
        """How many there are in all."""
        return folder.read_on(self._run_dir, self._name, 0, folder.size(self._run_dir, self._name)).count(b"\n")

    def _inode_now(self) -> int | None:
        try:
            return (self._run_dir / self._name).lstat().st_ino
        except OSError:
            return None


def run_id_of(run_dir: Path) -> tuple[str, bool]:
    """The id of the W&B run of a directory, and whether it had one; one that W&B would not have given is none."""
    with suppress(OSError, ValueError, UserError):
        found = folder.read(run_dir, RUN_ID_FILE, 64).decode().strip()
        if RUN_ID.fullmatch(found):
            return found, True
    made = secrets.token_hex(4)
    folder.write(run_dir, RUN_ID_FILE, made.encode())
    return made, False


def _remove_links(run_dir: Path) -> None:
    """Remove the links that W&B makes anew, which in a stranger's directory may lead anywhere."""
    for path in (run_dir / "wandb").iterdir():
        if path.is_symlink():
            path.unlink()


def _part_from_training(orders: Connection, reports: Connection) -> None:
    """Keep nothing of the process that this one is a copy of: no file, no signal, no log, no folder."""
    os.setsid()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(signum, signal.SIG_IGN)  # a scheduler asks all processes of a job; the training says when to end
    parent = multiprocessing.parent_process()
    assert parent is not None
    kept = sorted((2, orders.fileno(), reports.fileno(), parent.sentinel))
    for before, after in zip(kept, [*kept[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
        os.closerange(before + 1, after)
    for logger in (logging.getLogger(), logging.getLogger("vaelab")):
        logger.handlers.clear()
    os.chdir(folder_of_settings())


def _outlive_training(seconds: float) -> None:
    """End this process, and W&B's own, so many seconds after the training's, whatever they wait for."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    time.sleep(seconds)
    for found in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found.kill()
    os._exit(1)


def _forward_warnings(say: Say) -> Callable[[], None]:
    """Make standard output and error this process's own, and pass on what W&B warns of there.

    Returns:
        What waits until all that was written up to then is passed on.
    """
    reading, writing = os.pipe()
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    os.close(writing)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)

    def forward() -> None:
        with os.fdopen(reading, errors="replace") as lines:
            for line in lines:
                if line.strip() == END_OF_WARNINGS:
                    return
                found = re.match(r"wandb: (?:WARNING|ERROR) (.*)", line)
                if found and found[1].startswith(UNDELIVERED):
                    say("undelivered", "")
                elif found:
                    say("warning", f"W&B: {one_line(found[1], 300)}")

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()

    def all_forwarded() -> None:
        print(END_OF_WARNINGS, file=sys.stderr, flush=True)
        thread.join(1.0)

    return all_forwarded
