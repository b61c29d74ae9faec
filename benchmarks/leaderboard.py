"""Every model of vaelab in the same time on the same images.

    python -m benchmarks.leaderboard mnist             train what is lacking on MNIST, two models beside each other
    python -m benchmarks.leaderboard --collect         the evaluated runs into docs/leaderboard.md

A model is a preset that leaves the dataset open; one whose figures are in docs/leaderboard.json is not trained again,
so that a board can be filled in parts, on one machine after another. How many steps fill its time is measured before
any of them trains, so that what runs beside the trainings later costs them minutes but no steps.
"""

import argparse
import json
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.commands import ROOT, is_finished, train, vaelab
from benchmarks.tables import markdown
from vaelab.compare.page import write_page
from vaelab.evaluation.metrics import label, metric
from vaelab.run.find import find_runs
from vaelab.run.labels import decimal
from vaelab.run.ranking import describe
from vaelab.run.record import RunRecord

RUNS = ROOT / "outputs" / "leaderboard"
DOCS = ROOT / "docs"
KNOWN = "leaderboard.json"
EVALUATION = "evaluation.json"  # in the directory of a run
COMPARISON = "leaderboard-runs.html"
MOST_PICTURES = 2_000_000  # characters in that page, which is a part of the repository
SIDE_BY_SIDE = 2
SECONDS = 600  # of one core, in training steps
BATCH_SIZE = 128
SHARED = (
    *("scheduler=cosine", "trainer.epochs=100_000", f"trainer.batch_size={BATCH_SIZE}", "trainer.threads=1"),
    *("trainer.precision=bfloat16", "trainer.compile=false"),
)
PROBE = ("trainer.pictures_every=0", "trainer.evaluate_test=false", "logger=local")
METRICS = ("test/log_likelihood", "test/elbo", "test/reconstruction", "test/kl", "test/bits_per_dim")


@dataclass(frozen=True)
class Board:
    """Images on which the models meet.

    Args:
        network: overrides of every model but a whole one, such as a ladder.
        every: epochs from one validation, checkpoint and picture to the next.
        probe: steps that show a model's speed, for some seconds each.
        samples: of the importance-weighted bound, for each image.
    """

    network: Sequence[str]
    every: int
    probe: int
    samples: int


BOARDS = {
    "mnist": Board(["latent.dim=32"], every=10, probe=1000, samples=500),
    "cifar10": Board(["model=conv", "latent.dim=128"], every=1, probe=100, samples=20),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.leaderboard",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("boards", nargs="*", metavar="DATASET", help=", ".join(BOARDS))
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the runs (outputs/leaderboard)")
    parser.add_argument("--collect", action="store_true", help="write docs/leaderboard.md, .json and .html")
    options = parser.parse_args()
    if unknown := [name for name in options.boards if name not in BOARDS]:
        parser.error(f"there is no board of {', '.join(unknown)}; there are {', '.join(BOARDS)}")
    for dataset in options.boards:
        measured = known(DOCS)
        lacking = [model for model in models() if f"{dataset}/{model}" not in measured]
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            for part in (measure_speed, train_for_its_time):
                list(pool.map(lambda model, part=part, dataset=dataset: part(model, dataset, options.runs), lacking))
        for model in lacking:  # on all cores, so not while others train
            evaluate(model, dataset, options.runs)
    if options.collect:
        collect(options.runs, DOCS)


def models() -> list[str]:
    """The presets that leave the dataset open, by name."""
    presets = sorted(path.stem for path in (ROOT / "conf/experiment").glob("*.yaml"))
    return [name for name in presets if "dataset" not in _choices(name)]


def overrides_of(model: str, dataset: str) -> list[str]:
    """The overrides by which a model trains."""
    board = BOARDS[dataset]
    network = [] if _choices(model).get("model") == "ladder" else board.network
    every = [f"trainer.{what}_every={board.every}" for what in ("evaluate", "checkpoint", "pictures")]
    return [f"experiment={model}", f"dataset={dataset}", *network, *SHARED, *every]


def measure_speed(model: str, dataset: str, runs: Path) -> None:
    """Train a model for as many steps as show its speed; one that fails says so, and keeps no other from training."""
    directory = _probe(model, dataset, runs)
    if not is_finished(directory) and not is_finished(runs / dataset / model):
        _train(directory, [*overrides_of(model, dataset), *PROBE, f"trainer.max_steps={BOARDS[dataset].probe}"])


def train_for_its_time(model: str, dataset: str, runs: Path) -> None:
    """Train a model whose speed is known, where it lacks, for the steps that fill its time."""
    directory, probe = runs / dataset / model, _probe(model, dataset, runs)
    if is_finished(probe) and not is_finished(directory):
        speed = json.loads((probe / "summary.json").read_text())["images_per_second"]
        steps = round(SECONDS * speed / BATCH_SIZE)
        _train(directory, [*overrides_of(model, dataset), f"trainer.max_steps={steps}"])


def evaluate(model: str, dataset: str, runs: Path) -> None:
    """Evaluate a model that has trained and was not evaluated yet."""
    directory = runs / dataset / model
    if is_finished(directory) and not (directory / EVALUATION).exists():
        samples = str(BOARDS[dataset].samples)
        vaelab("evaluate", str(directory), "--importance-samples", samples, "--output", str(directory / EVALUATION))


def collect(runs: Path, docs: Path) -> None:
    """Write the page of the runs evaluated here or before, its data, and the comparison page of those here."""
    here = find_runs(filter(Path.exists, (runs / dataset for dataset in BOARDS)))
    evaluated = [path for path in here if (path / EVALUATION).exists()]
    measured = known(docs) | {f"{path.parent.name}/{path.name}": _measured(RunRecord(path)) for path in evaluated}
    (docs / KNOWN).write_text(json.dumps(measured, indent=2, sort_keys=True) + "\n")
    (docs / "leaderboard.md").write_text(page(measured))
    if evaluated:
        evaluated = [Path(os.path.relpath(path)) for path in evaluated]  # the page names them
        write_page(evaluated, docs / COMPARISON, METRICS[0], MOST_PICTURES)


def known(docs: Path) -> dict[str, dict[str, Any]]:
    """What was measured before, by dataset and model."""
    path = docs / KNOWN
    return json.loads(path.read_text()) if path.exists() else {}


def page(measured: Mapping[str, dict[str, Any]]) -> str:
    """The page in Markdown: a table for all that was measured on the same, the highest bound first."""
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for name, run in measured.items():
        groups.setdefault(run["measured_on"], {})[Path(name).name] = run
    template = (Path(__file__).parent / "leaderboard.md").read_text()
    tables = "\n".join(_section(on, runs) for on, runs in sorted(groups.items()))
    boards = " ".join(dict.fromkeys(name.partition("/")[0] for name in sorted(measured, reverse=True)))
    return template.format(minutes=SECONDS // 60, tables=tables, boards=boards)


def _probe(model: str, dataset: str, runs: Path) -> Path:
    return runs / "speed" / dataset / model


def _train(directory: Path, overrides: list[str]) -> None:
    try:
        train(directory, overrides)
    except SystemExit:
        print(f"{directory.name} on {directory.parent.name} failed", flush=True)


def _choices(model: str) -> dict[str, str]:
    """The options that a preset chooses, by group, itself or by a preset that it begins with."""
    chosen: dict[str, str] = {}
    for default in yaml.safe_load((ROOT / f"conf/experiment/{model}.yaml").read_text())["defaults"]:
        if isinstance(default, dict):
            chosen |= {group.rpartition("/")[2]: option for group, option in default.items()}
        elif default != "_self_":
            chosen |= _choices(default)
    return chosen


def _measured(run: RunRecord) -> dict[str, Any]:
    """What a run's own files say of it."""
    return {
        "measured_on": describe(run.measured_on),
        "bound": run.evaluation.depends_on.get(METRICS[0], ""),
        "metrics": {name: run.metrics[name] for name in METRICS if name in run.metrics},
        "epochs": run.summary["epochs"],
    }


def _section(measured_on: str, runs: Mapping[str, dict[str, Any]]) -> str:
    """The table of models that were measured on the same."""
    names = [name for name in METRICS if any(name in run["metrics"] for run in runs.values())]
    by = names[0]
    lines = [
        [f"`{model}`", *(_shown(run, name) for name in names), f"{run['epochs']:.1f}"]
        for model, run in sorted(runs.items(), key=lambda item: -item[1]["metrics"].get(by, -math.inf))
    ]
    bounds = {run["bound"] for run in runs.values() if run["bound"]}
    bound = f"{label(METRICS[0])}: {', '.join(sorted(bounds))}.\n\n" if bounds else ""
    return f"## {measured_on}\n\n{bound}{markdown(['model', *map(label, names), 'epochs'], lines)}"


def _shown(run: dict[str, Any], name: str) -> str:
    value = run["metrics"].get(name)
    return "" if value is None else decimal(value, f",.{metric(name).digits}f")


if __name__ == "__main__":
    main()
