"""Random command lines of `run.py` and `vaelab`: all keys, groups and options, odd values, broken grammar.

What would rightly take long is left out: downloads, compiling, launchers that start other programs.
"""

import random
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from . import templates
from .harness import ROOT, Outcome, Place, Verdict, complaints, run_py, touched, vaelab
from .templates import TINY

COUNT = 2000
BASE = (*TINY, "trainer.epochs=1", "trainer.max_steps=2", "hydra.run.dir=../out/run", "hydra.sweep.dir=../out/sweep")


def _words(text: str) -> list[str]:
    return text.split()


NUMBERS = (*_words("0 1 2 -1 3.5 1e-3 1e999 nan inf -0"), "9" * 20, *_words("1e308 1_000 0x10 1000000000"))
WORDS = (*_words("null true false relu x é ''"), "'a b'", *_words('" \\ $HOME % a=b a:b ??? # ~ *'))
NESTED = _words("[] [8] [8,8] [-1] [null] [x] [[8]] {} {a:1} {_target_:os.getcwd} [ {a [1,2 )")
REFERENCES = _words("${seed} ${x} ${oc.env:UNSET} ${oc.env:HOME} ${ ${run_dir:a} ${hydra:job.num} ${..seed}")
CODE = _words("torch.optim.LBFGS torch.optim.Adam torch.nn.Linear vaelab.nope os.getcwd builtins.print vaelab.vae.VAE")
SWEPT = _words("0,1 relu,x range(0,2) choice(0,1) interval(0,1) glob(*) tag(log,interval(1,2)) int(interval(1,2))")
VALUES = (NUMBERS, WORDS, NESTED, REFERENCES, CODE, SWEPT)
HYDRA = _words(
    "job_logging.root.level job_logging.handlers verbose job.name job.chdir job.num output_subdir mode run.dir "
    "sweep.dir sweep.subdir searchpath job.env_set callbacks callbacks.report launcher sweeper.params sweeper.n_trials "
    "sweeper.max_batch_size overrides.task help.header runtime.cwd x"
)
OPTIONS = (
    *_words("-m -m -m --multirun --help -h --version --cfg --cfg=job -c=x --resolve --package=x --info --info=config"),
    *_words("-p --config-name=x --config-name=config --config-path=x --config-dir=x --hydra-help"),
    *("--shell-completion", "-sc", "--lr=1", "-x", "--", "-", "", "=", "@", "seed", "é", "\udcff", "a" * 9000),
)
CMAES = "hydra/sweeper=optuna hydra/sweeper/sampler=cmaes"
SEARCHES = ("hydra/sweeper=optuna", CMAES, "hydra/sweeper=x", "hydra/launcher=slurm")
SLOW = {("trainer.compile", "true"), ("trainer.max_steps", "null"), ("trainer.max_steps", "1000000000")}
VERBS = ("generate", "evaluate", "runs", "compare", "dashboard", "x", "")
FLAGS = _words(
    "--num-samples --output -o --grid --seed --pixel-noise --trust --device --split --help --importance-samples "
    "--entity --project --sweep --sweep-keys -x --"
)
RUNS = ("../run/run", "../run/sweep", "../run/sweep/0", "../run")
PATHS = (*RUNS, "../out", ".", "", "x", "../run/run/config.yaml", "/dev/null", "é")


def prepare(root: Path) -> dict[str, Any]:
    """All keys, groups and options; and a run and a sweep to name."""
    templates.make(root)
    both = root / "both"
    both.mkdir()
    (root / "run").rename(both / "run")
    (root / "sweep").rename(both / "sweep")
    groups = {folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in (ROOT / "conf").iterdir()}
    groups = {name: options for name, options in sorted(groups.items()) if options and name != "dataset"}
    keys = sorted(_keys(yaml.safe_load((both / "run" / "config.yaml").read_text())))
    return {"groups": groups, "keys": keys, "both": both}


def _keys(config: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        if key != "choices":
            yield prefix + key
            yield from _keys(value, f"{prefix}{key}.") if isinstance(value, dict) else ()


def case(rng: random.Random, number: int, root: Path, made: dict[str, Any]) -> Verdict:
    """One command line."""
    place = Place(root / "case", made["both"])
    name, words = ("vaelab", _vaelab(rng)) if rng.random() < 0.15 else ("run.py", _run_py(rng, made))
    before = place.snapshot()
    outcome: Outcome = (vaelab if name == "vaelab" else run_py)(place, *words)
    mays = ("cwd/", "home/.cache", "tmp/")  # W&B, which a line may choose, keeps files there
    after = {path: entry for path, entry in place.snapshot().items() if not path.startswith(mays)}
    found = complaints(outcome) + touched(before, after)
    shown = shlex.join(word for word in words if word not in BASE).encode(errors="backslashreplace").decode()
    return Verdict(f"{name} {shown:.300}", f"{name}: {'broken' if found else f'exit code {outcome.code}'}", found)


def _run_py(rng: random.Random, made: dict[str, Any]) -> list[str]:
    words = list(BASE)
    for _ in range(rng.choice((1, 1, 2, 3))):
        word = _word(rng, made)
        if rng.random() < 0.08:
            word = _misspelt(rng, word)
        place = rng.choice((0, len(words), rng.randint(0, len(words))))
        words[place:place] = word.split(" ") if word in SEARCHES else [word]
    if any("optuna" in word for word in words):
        words += ["hydra.sweeper.n_trials=2", "latent.dim=1,2", *(["-m"] if rng.random() < 0.8 else [])]
    return [word.replace("\0", "") for word in words]  # which no system passes on


def _word(rng: random.Random, made: dict[str, Any]) -> str:
    key, value = rng.choice(made["keys"]), rng.choice(rng.choice(VALUES))
    group = rng.choice(list(made["groups"]))
    if (key, value) in SLOW or (key == "dataset._target_" and value != "x"):
        value = "x"
    option, odd = rng.choice(made["groups"][group]), rng.choice((value, *PATHS))
    hydra = rng.choice(HYDRA)
    return rng.choice(
        (
            *[f"{key}={value}"] * 6,
            *(f"{group}={option}", f"{group}={value}", f"{group}@{key}={value}", f"~{key}", f"~{key}={value}"),
            *(f"+{key}.x={value}", f"++{key}={value}", f"+x={value}", f"{key}.x.y={value}"),
            *(f"hydra.{hydra}={value}", f"++hydra.{hydra}={value}", rng.choice(SEARCHES)),
            *(f"resume={odd}", f"sweep={odd}", *[rng.choice(OPTIONS)] * 2),
        )
    )


def _misspelt(rng: random.Random, word: str) -> str:
    place = rng.randint(0, len(word))
    return word[:place] + rng.choice(["", *"=,:~+@.[]{}'\"\\$#é \n\t\x1b"]) + word[place + rng.choice((0, 1)) :]


def _vaelab(rng: random.Random) -> list[str]:
    words = [rng.choice(VERBS), *rng.choices(PATHS, k=rng.choice((0, 1, 1, 1, 2)))]
    for _ in range(rng.choice((0, 1, 2))):
        value = rng.choice((rng.choice(rng.choice(VALUES)), *PATHS))
        words[1:1] = [rng.choice(FLAGS), value][: rng.choice((1, 2, 2))]
    if words[0] in ("generate", "compare"):
        words += ["--output", "../out/it.png" if words[0] == "generate" else "../out/it.html"]
    return words
