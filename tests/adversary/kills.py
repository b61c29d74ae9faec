"""Runs and sweeps that are killed with -9, once or several times, and gone on with: none loses or doubles anything.

In the end the weights, the figures and the rows of `metrics.jsonl` are those of a run that was never interrupted, and
the parts of an offline W&B run hold, read in their order, each of these rows once, at W&B's own step of its place.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .harness import Outcome, Place, Verdict, complaints, run_py, touched
from .templates import TINY, rows, trained
from .wandb_files import offline_rows

COUNT = 100
LONG = (*TINY, "trainer.batch_size=10", "trainer.log_every=10", "trainer.epochs=6")
OFFLINE = ("logger=wandb", "logger.mode=offline")


@dataclass(frozen=True)
class Kind:
    """What is killed.

    Args:
        begin: its command line.
        go_on: that of what was begun, that is, once `mark` is there.
        mark: a file in its directory.
        jobs: its run directories.
    """

    begin: tuple[str, ...]
    go_on: tuple[str, ...]
    mark: str
    jobs: tuple[str, ...] = (".",)

    def __call__(self, place: Place, **options: Any) -> Outcome:
        """Begin, or go on."""
        return run_py(place, *(self.go_on if (place.run / self.mark).exists() else self.begin), **options)


def _run(*logger: str) -> Kind:
    return Kind((*LONG, *logger, "hydra.run.dir=../run"), ("resume=../run",), "config.yaml")


def _sweep(*logger: str) -> Kind:
    overrides = ("-m", *LONG, *logger, "seed=0,1")
    return Kind((*overrides, "hydra.sweep.dir=../run"), (*overrides, "sweep=../run"), "multirun.yaml", ("0", "1"))


@dataclass(frozen=True)
class Whole:
    """What was never interrupted: its seconds, the bytes of its rows, and its results."""

    seconds: float
    written: int
    results: list[tuple]


KINDS = {"run": _run(), "offline run": _run(*OFFLINE), "offline sweep": _sweep(*OFFLINE), "sweep": _sweep()}


def prepare(root: Path) -> dict[str, Whole]:
    """Each kind without a kill."""
    made = {}
    for name, kind in KINDS.items():
        place = Place(root / "whole")
        outcome = kind(place)
        assert outcome.code == 0, outcome.err
        results = [trained(place.run / job) for job in kind.jobs]
        made[name] = Whole(outcome.seconds, _written(place.run, kind), results)
    return made


def case(rng: random.Random, number: int, root: Path, made: dict[str, Whole]) -> Verdict:
    """Some kills of one run or sweep, at any moment and after any row, and going on to the end."""
    name = list(KINDS)[number % len(KINDS)]
    kind, whole, place = KINDS[name], made[name], Place(root / "case")
    before, killed, found = place.snapshot(), [], []
    for share in sorted(rng.random() for _ in range(rng.choice((1, 1, 2, 4)))):
        by_time, alone = rng.random() < 0.4, rng.random() < 0.5
        outcome = kind(place, kill=_moment(place.run, kind, whole, share, by_time), alone=alone)
        late = " (too late)" * (outcome.code == 0)
        killed.append(f"{share:.0%} of the {'time' if by_time else 'rows'}{' alone' * alone}{late}")
        found += complaints(outcome) if outcome.code != -9 else []
    outcome = kind(place)
    found += complaints(outcome) + [f"exit code {outcome.code} at the end" for _ in range(1) if outcome.code]
    found += touched(before, {path: entry for path, entry in place.snapshot().items() if _counts(path)})
    if not found:
        for job, result in zip(kind.jobs, whole.results, strict=True):
            found += _faults(place.run / job, result)
    return Verdict(f"{name}: killed after {', '.join(killed)}", f"{name}: {'broken' if found else 'whole'}", found)


def _moment(folder: Path, kind: Kind, whole: Whole, share: float, by_time: bool) -> Callable[[float], bool]:
    """When a share of the time, or of the rows, of what is never interrupted is over."""
    if by_time:
        return lambda passed: passed > share * whole.seconds
    return lambda _: _written(folder, kind) > share * whole.written


def _written(folder: Path, kind: Kind) -> int:
    """Bytes of all rows so far."""
    files = [folder / job / "metrics.jsonl" for job in kind.jobs]
    return sum(file.stat().st_size for file in files if file.exists())


def _counts(path: str) -> bool:
    """W&B keeps its own files in the home, and in the folder of temporary ones those that it had not moved yet."""
    return not path.startswith("home/") and (not path.startswith("tmp/") or path.startswith("tmp/vaelab"))


def _faults(run_dir: Path, whole: tuple) -> list[str]:
    words = ("rows of metrics.jsonl", "status", "figures", "weights")
    found = [f"other {word}" for word, one, other in zip(words, trained(run_dir), whole, strict=True) if one != other]
    if (run_dir / "wandb").exists():
        logged, wanted = offline_rows(run_dir), rows(run_dir)
        got = [{name: value for name, value in row.items() if name != "images_per_second"} for _, row in logged]
        lost, doubled = sum(row not in got for row in wanted), len(got) - sum(row in got for row in wanted)
        if lost or doubled:
            found.append(f"offline {lost} of {len(wanted)} rows are lost, {doubled} too many")
        elif got != wanted:
            found.append("the offline rows are in another order")
        elif len({step - place for place, (step, _) in enumerate(logged)}) != 1:
            found.append("W&B's own steps do not count the rows")
    return found
