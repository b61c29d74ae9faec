"""Links, FIFOs, sockets and folders under every name of a run or sweep directory, which each command then uses.

Nothing outside may be written, nor, through a link, be read. What lies behind a link is sometimes what the name should
hold, so that whoever follows it goes on without noticing.
"""

import itertools
import os
import random
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import templates
from .harness import Place, Verdict, complaints, touched
from .templates import VERBS

FILES = (
    *("config.yaml", "config.yaml.sha256", "metrics.jsonl", "metrics.jsonl.sha256", "summary.json", "run.log", ".lock"),
    *(
        "model.safetensors",
        "samples.png",
        "reconstructions.png",
        "curves.png",
        "interpolations.png",
        "samples.gif",
        "profile.json",
        "profile.txt",
        "output.log",
    ),
    *(f"checkpoints/{stem}{end}" for stem in ("last", "best") for end in (".pt", ".pt.sha256", ".tmp")),
    *(f"checkpoints/{stem}.previous{end}" for stem in ("last", "best") for end in (".pt", ".pt.sha256")),
    *("images/samples_0001.png", "images/samples_0003.png", "images/reconstructions_0003.png"),
    *("wandb/run_id", "wandb/settings", "wandb/latest-run", "wandb/debug.log"),
)
WRITTEN = (
    "config.yaml",
    "summary.json",
    "model.safetensors",
    "curves.png",
    "samples.png",
    "checkpoints/last.pt.sha256",
)
FOLDERS = ("checkpoints", "images", "wandb")
OF_RUN = (*FILES, *(f"{name}.tmp" for name in WRITTEN), *FOLDERS)
OF_SWEEP = (
    *("multirun.yaml", "results.csv", "results.tmp", "comparison.png", "comparison.tmp", "comparison.png.tmp"),
    *("study.db", "search.yaml", "importance.png", "optimization_results.yaml", ".submitit", "0", "1"),
    *(f"1/{name}" for name in OF_RUN),
)


def _link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def _to_what_it_was(path: Path, outside: Path) -> None:
    """A link to what the name held, which lies outside now; to an empty file where it held nothing."""
    target = outside / "moved"
    if path.exists():
        shutil.move(path, target)
    else:
        target.touch()
    _link(path, target)


def _hard(path: Path, outside: Path) -> None:
    """A second name of a file outside, which holds what the name held."""
    target = outside / "moved"
    if path.is_file():
        shutil.move(path, target)
    else:
        target.write_text("{}\n")
    _remove(path)
    os.link(target, path)


def _socket(path: Path, outside: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the address of a socket may have a hundred letters
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


KINDS: dict[str, Callable[[Path, Path], object]] = {
    "link to a file": lambda path, outside: _link(path, outside / "file"),
    "link to what it was": _to_what_it_was,
    "link to nothing": lambda path, outside: _link(path, outside / "new"),
    "link to a folder": lambda path, outside: _link(path, outside / "folder"),
    "link to itself": lambda path, outside: _link(path, path),
    "link to endless zeros": lambda path, outside: _link(path, Path("/dev/zero")),
    "hard link": _hard,
    "FIFO": lambda path, outside: os.mkfifo(path),
    "socket": _socket,
    "folder": lambda path, outside: path.mkdir(),
}


def _all() -> list[tuple[str, str, str]]:
    """Every verb with every name and every kind, in an order of its own."""
    found = [
        (verb, name, kind)
        for verb in VERBS
        for name, kind in itertools.product(OF_RUN if VERBS[verb].template == "run" else OF_SWEEP, KINDS)
    ]
    random.Random(0).shuffle(found)
    return found


CASES = _all()
COUNT = len(CASES)
prepare = templates.make


def case(rng: random.Random, number: int, root: Path, expected: dict[str, Any]) -> Verdict:
    """One name of one kind and one command; every seed has the same cases."""
    verb, name, kind = CASES[number % COUNT]
    what = f"{verb}: {name}: {kind}"
    place = Place(root / "case", root / VERBS[verb].template)
    path = place.run / name
    path.parent.mkdir(exist_ok=True)
    if kind != "link to what it was" and kind != "hard link":
        _remove(path)
    KINDS[kind](path, place.outside)
    place.hide()
    before = place.snapshot()
    outcome = VERBS[verb](place)
    found = complaints(outcome) + touched(before, _without_names(kind, before, place.snapshot()))
    if verb in ("runs", "compare") and outcome.code != 0 and not found:
        found = ["one bad job ended it"]
    ending = "broken" if found else "refused" if outcome.code else "passed over"
    return Verdict(what, f"{kind}: {ending}", found)


def _without_names(kind: str, before: dict[str, tuple], after: dict[str, tuple]) -> dict[str, tuple]:
    """To read a hard link is to read a file of the directory: only what is written counts there."""
    if kind != "hard link":
        return after
    return {name: (*entry[:3], before.get(name, entry)[3], entry[4]) for name, entry in after.items()}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
