"""Damages at random places of every file of a run or sweep directory, which each command then uses.

A damage may be refused in a sentence, or passed over with a word, or change nothing. It may not silently give another
result: neither what is trained or drawn, nor the rows and figures that are recorded. Where the checksum of a file was
made anew, as others would, and where a command only shows values of which nobody else knows what they were, there
may be another result; then the command only has to end well.
"""

import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from . import templates
from .harness import Outcome, Place, Verdict, complaints, touched
from .odd import odd_checkpoint, odd_json, odd_yaml
from .templates import VERBS

COUNT = 500
OFTEN = ("config.yaml", "metrics.jsonl", "summary.json", "multirun.yaml", "last.pt", "best.pt")
ONLY_SHOWN = {  # values of which no other file knows what they were
    "runs": ("summary.json", "metrics.jsonl", "multirun.yaml"),
    "compare": ("summary.json", "metrics.jsonl", "multirun.yaml", ".png"),
    "sweep": ("summary.json", "0/metrics.jsonl"),
}
prepare = templates.make


def case(rng: random.Random, number: int, root: Path, expected: dict[str, tuple[Any, Counter]]) -> Verdict:
    """One damage and one command on it."""
    verb = list(VERBS)[number % len(VERBS)]
    place = Place(root / "case", root / VERBS[verb].template)
    files = sorted(path for path in place.run.rglob("*") if path.is_file())
    path = rng.choices(files, [4 if file.name in OFTEN else 1 for file in files])[0]
    what, forged = damage(rng, path)
    what = f"{verb}: {path.relative_to(place.run)}: {what}"
    only_shown = str(path).endswith(ONLY_SHOWN.get(verb, ())) and _readable(path)
    place.hide()
    before = place.snapshot()
    outcome = VERBS[verb](place)
    found = complaints(outcome) + touched(before, place.snapshot())
    if found:
        return Verdict(what, f"{verb}: broken", found)
    if outcome.code != 0:
        return Verdict(what, f"{verb}: refused", _cut_short(verb, outcome))
    ending = _ending(place, verb, outcome, expected)
    silent = ending == "silent" and not only_shown and not forged
    return Verdict(what, f"{verb}: {ending}", ["another result, and not a word of it"] if silent else [])


def _cut_short(verb: str, outcome: Outcome) -> list[str]:
    """One bad job may end neither a list of runs nor the report of a sweep."""
    if verb in ("runs", "compare"):
        return ["one bad job ended it"]
    if verb == "sweep" and outcome.code == 1 and "jobs finished" not in outcome.out:
        return ["the sweep failed without its table"]
    return []


def _ending(place: Place, verb: str, outcome: Outcome, expected: dict[str, tuple[Any, Counter]]) -> str:
    result, usual = expected[verb]
    try:
        same = VERBS[verb].result(place, outcome) == result
    except Exception:  # what is damaged and stays so cannot be compared
        same = False
    return "same" if same else "said" if VERBS[verb].warnings(place, outcome) - usual else "silent"


def _readable(path: Path) -> bool:
    """Whether a damaged file still holds what its name says."""
    try:
        if path.suffix == ".yaml":
            yaml.safe_load(path.read_text())
        elif path.suffix in (".json", ".jsonl"):
            whole_lines = path.read_bytes().split(b"\n")[:-1] if path.suffix == ".jsonl" else [path.read_bytes()]
            return all(isinstance(json.loads(line), dict) for line in whole_lines)
    except Exception:  # whatever a damage makes of it
        return False
    return True


def damage(rng: random.Random, path: Path) -> tuple[str, bool]:
    """Damage a file; what was done, and whether its checksum was made anew."""
    odd = {".json": odd_json, ".jsonl": odd_json, ".yaml": odd_yaml, ".pt": odd_checkpoint}.get(path.suffix)
    checksum = path.with_name(path.name + ".sha256")
    if odd is not None and rng.random() < 0.5:
        what, forged = odd(rng, path), path.suffix == ".pt" or rng.random() < 0.7
    else:
        what, forged = rng.choice(DAMAGES)(rng, path), rng.random() < 0.2
    if forged and checksum.is_file() and path.is_file() and path.stat().st_size < 1 << 30:
        checksum.write_text(hashlib.sha256(path.read_bytes()).hexdigest() + "\n")
        return f"{what}, checksum made anew", True
    return what, False


def _change(change: Callable[[random.Random, bytearray, int, int], object]) -> Callable[[random.Random, Path], str]:
    """A damage between two places, which are seldom far apart."""

    def damage(rng: random.Random, path: Path) -> str:
        content = bytearray(path.read_bytes())
        start = rng.randint(0, max(0, len(content) - 1))
        end = min(len(content), start + rng.choice([1, 1, 3, 16, 500, 10**9]))
        change(rng, content, start, end)
        path.write_bytes(content)
        return f"{change.__name__} {start} to {end}"

    return damage


def flip(rng: random.Random, content: bytearray, start: int, end: int) -> None:
    """One bit."""
    if content:
        content[start] ^= 1 << rng.randrange(8)


def delete(rng: random.Random, content: bytearray, start: int, end: int) -> None:
    """Bytes."""
    del content[start:end]


def zero(rng: random.Random, content: bytearray, start: int, end: int) -> None:
    """Bytes."""
    content[start:end] = bytes(end - start)


def scramble(rng: random.Random, content: bytearray, start: int, end: int) -> None:
    """Bytes."""
    content[start:end] = rng.randbytes(end - start)


def insert(rng: random.Random, content: bytearray, start: int, end: int) -> None:
    """Bytes that are not there yet, or, as often, lines that are."""
    lines = bytes(content).splitlines(keepends=True)
    content[start:start] = rng.choice([rng.randbytes(8), b"\n", b"\x1b[31m", rng.choice(lines or [b"{}"])])


def truncate(rng: random.Random, content: bytearray, start: int, end: int) -> None:
    """From here on."""
    del content[start:]


def _remove(rng: random.Random, path: Path) -> str:
    path.unlink()
    return "removed"


def _grow(rng: random.Random, path: Path) -> str:
    os.truncate(path, 200 * 10**9)
    return "made a sparse file of 200 GB"


def _make_folder(rng: random.Random, path: Path) -> str:
    path.unlink()
    path.mkdir()
    return "made a folder"


CHANGES = (flip, flip, delete, zero, scramble, insert, truncate, truncate)
DAMAGES = (*map(_change, CHANGES), _remove, _grow, _make_folder)
