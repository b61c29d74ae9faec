"""Runs that are logged to a W&B server: it fails in every way it can, or the process is killed with -9, at any row.

A run whose server fails ends well, in time, and says in one line what to do. What was killed, or was not taken, is
gone on with once the server answers again: then it holds each row of `metrics.jsonl` once, in its order, at W&B's own
step of its place.
"""

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

from .harness import ROOT, Outcome, Place, Verdict, complaints
from .kills import LONG, Kind
from .templates import rows

sys.path.insert(0, str(ROOT / "tests"))
from helpers.wandb_server import MODES, StoredRun, WandbServer

COUNT = 40
FAULTS = (*(mode for mode in MODES if mode != "ok"), "killed")
ONLINE = ("logger=wandb", "logger.mode=online")
KIND = Kind((*LONG, *ONLINE, "hydra.run.dir=../run"), ("resume=../run",), "config.yaml")
FINISH_SECONDS = 15 + 2  # of the setting, and of what follows it on a busy machine
LIMIT = 60.0
LINE = "W&B has not taken all rows and pictures"


def prepare(root: Path) -> tuple[WandbServer, int, float]:
    """The server, and the bytes of the rows and the seconds of a run to which nothing happens."""
    server = WandbServer()
    os.environ.update(server.environment)
    place = Place(root / "whole")
    outcome = KIND(place, limit=LIMIT)
    assert outcome.code == 0, outcome.err
    assert not _faults(place.run, server)
    return server, (place.run / "metrics.jsonl").stat().st_size, outcome.seconds


def case(rng: random.Random, number: int, root: Path, made: tuple[WandbServer, int, float]) -> Verdict:
    """A fault after a share of the rows; then the run goes on."""
    server, written, whole_seconds = made
    fault, share = FAULTS[number % len(FAULTS)], rng.random()
    server.runs.clear()
    server.mode = "ok"
    place = Place(root / "case")
    if fault == "killed":
        found, what = _kill(rng, place, written), "killed"
    else:
        outcome = KIND(place, kill=_when_over(place.run, share * written, server, fault), limit=LIMIT)
        found, what = complaints(outcome), f"{fault} after {share:.0%} of the rows"
        found += [f"exit code {outcome.code}"] * bool(outcome.code)
        found += ["later than it may be"] * (outcome.seconds > whole_seconds * 2 + FINISH_SECONDS)
        found += _silent(outcome, place.run, server)
    server.mode = "ok"
    outcome = KIND(place, limit=LIMIT)
    found += complaints(outcome) + [f"exit code {outcome.code} at the end"] * bool(outcome.code)
    found = found or _faults(place.run, server)
    return Verdict(what, f"{fault}: {'broken' if found else 'whole'}", found)


def _kill(rng: random.Random, place: Place, written: int) -> list[str]:
    found = []
    for share in sorted(rng.random() for _ in range(rng.choice((1, 2, 3)))):
        over = _when_over(place.run, share * written)
        outcome = KIND(place, kill=over, alone=rng.random() < 0.5, limit=LIMIT)
        found += complaints(outcome) if outcome.code != -9 else []
    return found


def _when_over(
    run_dir: Path, size: float, server: WandbServer | None = None, mode: str = ""
) -> Callable[[float], bool]:
    """Whether so many bytes of rows are written; then a server that is given fails, and nothing is killed."""
    file = run_dir / "metrics.jsonl"

    def over(_: float) -> bool:
        if not file.exists() or file.stat().st_size < size:
            return False
        if server is None:
            return True
        if server.mode == "ok":
            server.mode = mode
        return False

    return over


def _silent(outcome: Outcome, run_dir: Path, server: WandbServer) -> list[str]:
    """Whether rows are lacking and not one line says so."""
    lines = [line for line in outcome.out.splitlines() if LINE in line or "W&B cannot be reached" in line]
    stored = _stored(run_dir, server)
    lacking = stored is None or len(stored.history) < len(rows(run_dir))
    return [f"{len(lines)} lines of what W&B lacks"] * (lacking and len(lines) != 1)


def _stored(run_dir: Path, server: WandbServer) -> StoredRun | None:
    """What the server has of the run; that of the case before may still be arriving."""
    return server.runs.get((run_dir / "wandb/run_id").read_text())


def _faults(run_dir: Path, server: WandbServer) -> list[str]:
    """What is wrong with the rows at the server."""
    stored = _stored(run_dir, server)
    if stored is None:
        return ["the server has no run"]
    steps = [row["_step"] for row in stored.history]
    wanted = rows(run_dir)
    if steps != list(range(len(wanted))):
        return [f"the server has {len(steps)} rows for {len(wanted)}, their steps {steps[:3]} to {steps[-3:]}"]
    differing = [row for row, sent in zip(wanted, stored.history, strict=True) if not row.items() <= sent.items()]
    return [f"the server has {len(differing)} other rows"] * bool(differing)
