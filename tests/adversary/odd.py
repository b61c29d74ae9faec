"""Odd but valid values in JSON, YAML and checkpoints."""

import io
import json
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import yaml

NUMBERS = (None, True, False, 0, -1, 3, 10**400, 2**63, 0.5, -0.0, 1e308, float("nan"), float("inf"))
TEXTS = (
    *(
        "",
        "nan",
        "0",
        "a" * 10**6,
        "\x1b[31mred\x1b]0;title\x07",
        "é ü \u202e",
        "a\nb\r\nc",
        "=1+1",
        "<script>",
        "[bold]",
    ),
    *(
        "${oc.env:HOME}",
        "../../outside/file",
        "/dev/zero",
        "$(id)",
        "os.system",
        "vaelab.cli.commands.main",
        "builtins.print",
    ),
)
COLLECTIONS = (
    *([], {}, [[]], [None], ["x"] * 1000, {"": None}, {"a": {"b": {}}}, {"_target_": 3}),
    {"_target_": "os.system", "command": "touch ../outside/run"},
)
PLAIN = (*NUMBERS, *TEXTS, *COLLECTIONS)
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in pairwise("abcdefghi")
)
YAML = (
    BOMB,
    "a: &a [*a]\n",
    "a: &a {b: *a}\n",
    "[" * 20_000,
    "".join(f"{' ' * depth}a:\n" for depth in range(2_000)),
    "a: !!python/object/apply:os.system ['touch ../outside/run']\n",
    "a: 2020-01-01\n",
    "? {a: b}\n: c\n",
    "1: 2\ntrue: no\n",
    "--- {}\n--- {}\n",
    "null\n",
    "- a\n",
    "text\n",
    "seed: 0\nseed: 1\n",
    "<<: {seed: 3}\n",
    "a: \x00\n",
    "\ufeffseed: 0\n",
    "a: 0o777\nb: 1e9999\nc: 0x" + "f" * 1000 + "\n",
    "a: " + "9" * 100_000 + "\n",
)


class Malicious:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> tuple:
        return exec, ("import pathlib; pathlib.Path('../outside/run').touch()",)


TENSORS: tuple[Callable[[torch.Tensor], Any], ...] = (
    lambda t: torch.zeros(()),
    lambda t: torch.zeros(0),
    lambda t: torch.zeros(3, 3),
    lambda t: t.flatten()[:1].expand(t.shape) if t.numel() else t,
    lambda t: torch.zeros(1).as_strided(t.shape, [0] * t.dim()),
    lambda t: t.unsqueeze(0),
    lambda t: t.flatten()[:-1],
    lambda t: t.double(),
    lambda t: t.half(),
    lambda t: t.bool(),
    lambda t: t.to(torch.complex64),
    lambda t: t.to_sparse() if t.dim() else t.long(),
    lambda t: torch.full_like(t, float("nan")),
    lambda t: torch.full_like(t, float("inf")),
    lambda t: t * 1e30,
    lambda t: -t - 1,
    lambda t: t.mT.contiguous().mT if t.dim() > 1 else t.flip(0) if t.dim() else t + 1e9,
    lambda t: torch.nn.Parameter(t) if t.is_floating_point() else t,
    lambda t: torch.empty(t.shape, device="meta"),
    lambda t: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8),
)


def odd_json(rng: random.Random, path: Path) -> str:
    """A value of a JSON file, or of one line of JSON lines, exchanged."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    number = rng.randrange(len(lines))
    found, what = _exchanged(rng, json.loads(lines[number]), lambda _: rng.choice(PLAIN))
    lines[number] = json.dumps(found) if rng.random() < 0.9 else "[" * 100_000
    path.write_text("\n".join(lines) + "\n")
    return f"line {number + 1}: {what}"


def odd_yaml(rng: random.Random, path: Path) -> str:
    """A value of a YAML file exchanged, or the file replaced by, or ended with, hostile YAML."""
    text, chance = path.read_text(), rng.random()
    if chance < 0.7:
        found, what = _exchanged(rng, yaml.safe_load(text), lambda _: rng.choice(PLAIN))
        path.write_text(yaml.safe_dump(found, sort_keys=False))
        return what
    number = rng.randrange(len(YAML))
    path.write_bytes(((text if chance < 0.85 else "") + YAML[number]).encode())
    return f"{'and then' if chance < 0.85 else 'only'} YAML[{number}]"


def odd_checkpoint(rng: random.Random, path: Path) -> str:
    """A value of a checkpoint exchanged."""

    def other(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and rng.random() < 0.7:
            return rng.choice(TENSORS)(value)
        return Malicious() if rng.random() < 0.05 else rng.choice((*PLAIN, torch.zeros(2)))

    found, what = _exchanged(rng, torch.load(path, weights_only=True), other)
    buffer = io.BytesIO()
    torch.save(found, buffer)
    path.write_bytes(buffer.getvalue())
    return what


def _exchanged(rng: random.Random, root: Any, other: Callable[[Any], Any]) -> tuple[Any, str]:
    """The value with one inside it exchanged, left out or given another key, and which."""
    places = list(_places(root))
    if not places or rng.random() < 0.05:
        found = other(root)
        return found, f"all = {found!r:.60}"
    holder, key, name = rng.choice(places)
    chance = rng.random()
    if chance < 0.15:
        del holder[key]
        return root, f"without {name}"
    if chance < 0.2 and isinstance(holder, dict):
        new = rng.choice(["", "x", "__class__", "\x1b[31m", 3])
        holder[new] = holder.pop(key)
        return root, f"{name} under the key {new!r}"
    holder[key] = other(holder[key])
    return root, f"{name} = {holder[key]!r:.60}".replace("\n", " ")


def _places(value: Any, name: str = "") -> Any:
    """Each (holder, key, dotted name) inside nested dictionaries and lists."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key, f"{name}.{key}".lstrip(".")
        yield from _places(inner, f"{name}.{key}")
