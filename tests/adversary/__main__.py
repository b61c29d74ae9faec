"""Repeats campaigns of random faults, prints what went wrong with what repeats it, and counts how the cases ended.

Each file of this folder with a `case` is a campaign, and has

    COUNT                                   cases, unless --count says how many
    prepare(root) -> made                   what all cases need, made once below `root`
    case(rng, number, root, made) -> Verdict

    python -m tests.adversary --campaign damages --count 500 --seed 0
    python -m tests.adversary --campaign damages --seed 0 --only 17 --keep /tmp/place
"""

import argparse
import importlib
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from .harness import preload

CAMPAIGNS = ("damages", "links", "kills", "servers", "lines")


def main() -> int:
    """Run the campaigns; 1 where a case went wrong."""
    options = _options()
    root = Path(tempfile.mkdtemp(prefix="adversary-")) if options.keep is None else options.keep.absolute()
    root.mkdir(parents=True, exist_ok=True)
    preload()
    try:
        wrong = [_campaign(name, options, root / name) for name in options.campaign or CAMPAIGNS]
    finally:
        if options.keep is None:
            shutil.rmtree(root, ignore_errors=True)
    return int(any(wrong))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.adversary", description=__doc__.split("\n")[0])
    parser.add_argument("--campaign", action="append", choices=CAMPAIGNS, help="one, or several; all unless given")
    parser.add_argument("--count", type=int, help="cases of each campaign")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="N", help="the case of that number alone, with what it printed")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work there and leave what the last case left")
    return parser.parse_args()


def _campaign(name: str, options: argparse.Namespace, root: Path) -> int:
    """Run one campaign and print how it went; how many cases went wrong."""
    campaign = importlib.import_module(f".{name}", __package__)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    made = campaign.prepare(root)
    numbers = range(options.count or campaign.COUNT) if options.only is None else [options.only]
    endings, wrong, started = Counter(), 0, time.monotonic()
    for number in numbers:
        verdict = campaign.case(random.Random(f"{options.seed} {name} {number}"), number, root, made)
        endings[verdict.ending] += 1
        if verdict.complaints:
            wrong += 1
            again = f"--campaign {name} --seed {options.seed} --only {number}"
            print(f"WRONG {'; '.join(verdict.complaints)} | {_printable(verdict.what)} | {again}", flush=True)
        if options.only is not None:
            _show(root / "case", _printable(verdict.what), verdict.ending)
    took = time.monotonic() - started
    print(f"\n{name}, seed {options.seed}: {len(numbers)} cases in {took:.0f} s, {wrong} wrong")
    for ending, count in sorted(endings.items()):
        print(f"  {count:6}  {ending}")
    return wrong


def _show(place: Path, *lines: str) -> None:
    print(*lines, sep="\n")
    for name in ("stdout", "stderr"):
        if (place / name).exists():
            print(f"--- {name}\n{(place / name).read_bytes()[:20_000].decode(errors='replace')}")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # nothing that was imported is asked to end
