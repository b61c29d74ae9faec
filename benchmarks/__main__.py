"""vaelab beside other ways to train the same variational autoencoder, in turns on one machine.

    python -m benchmarks                                      all rows and columns
    python -m benchmarks --columns mlp-32-float32 --rows tutorial vaelab
    python -m benchmarks --whole --scaling --starts           those alone, unless --columns are named too

Every row trains the same network on the same images in batches of the same size with the same loss, which is checked
first. Each has a process of its own, set up and warmed up before any is timed; then they take turns, A B C A B C, of
some seconds each, so that what else happens on the machine meets all of them.
"""

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.job import IMAGES, ROWS, Column, Job, MistakeError, column_named, default_columns
from benchmarks.losses import same_losses
from benchmarks.machine import facts
from benchmarks.picture import draw
from benchmarks.rounds import measure_column
from benchmarks.scaling import measure_scaling
from benchmarks.starts import measure_starts
from benchmarks.tables import show_column, show_scaling, show_starts, show_whole
from benchmarks.whole import measure_whole
from benchmarks.worker import Worker, call


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--columns", nargs="+", metavar="NAME", help="such as mlp-32-float32, conv-128-bfloat16")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn (2)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each row (7)")
    parser.add_argument("--root", default=os.environ.get("VAELAB_DATA", "data"), help="folder of the datasets (data)")
    parser.add_argument("--override", action="append", default=[], metavar="KEY=VALUE", help="of vaelab's config")
    parser.add_argument("--whole", action="store_true", help="whole processes, from launch to exit")
    parser.add_argument("--epochs", type=int, default=10, help="of a whole process (10)")
    parser.add_argument("--scaling", action="store_true", help="vaelab on 10,000 to 60,000 images")
    parser.add_argument("--starts", action="store_true", help="what is waited for before anything trains")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all results, for machines")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="the columns as bars, a PNG")
    parser.add_argument("--synthetic", action="store_true", help=argparse.SUPPRESS)  # random images, for the tests
    options = parser.parse_args()
    if options.rounds < 1 or options.epochs < 1 or not options.seconds > 0:
        parser.error("--rounds, --epochs and --seconds must be above 0")
    if options.picture and not options.columns and _has_others(options):
        parser.error("--picture shows columns; name some with --columns")
    for file in (options.json, options.picture):
        if file and not file.parent.is_dir():
            parser.error(f"the folder of {file} must exist")
    return options


def _has_others(options: argparse.Namespace) -> bool:
    return options.whole or options.scaling or options.starts


def main() -> None:
    options = arguments()
    try:
        results = measure(options)
    except MistakeError as error:
        sys.exit(f"benchmarks: {error}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n")
    if options.picture and "columns" in results:
        machine = results["machine"]
        place = machine["device"] if options.device == "cuda" else f"{machine['cpu']}, threads: {machine['threads']}"
        draw(options.picture, results["columns"], f"{place}, torch {machine['versions']['torch']}")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for; prints a table as soon as it is known."""
    if options.columns:
        columns = [column_named(name) for name in options.columns]
    else:
        columns = [] if _has_others(options) else default_columns(options.device)
    job = Job(
        row="plain",
        column=Column("mlp", 32, "float32"),
        device=options.device,
        root=str(Path(options.root).expanduser().resolve()),
        synthetic=options.synthetic,
        folder="",
        seconds=options.seconds,
        overrides=tuple(options.override),
    )
    settings = {key: value for key, value in vars(options).items() if key not in ("json", "picture")}
    models = [model for model in IMAGES if any(column.model == model for column in columns)]
    compared = models or (["mlp"] if options.whole else [])
    with Worker(call, job, facts, models) as worker:
        losses = same_losses(compared, options.rows, job) if compared else {}
        machine, flops = worker.answer()["result"]
    results: dict[str, Any] = {"machine": machine, "settings": settings, "loss_per_image": losses}
    if columns:
        results["columns"] = {}
        for column in columns:
            found = measure_column(column, options.rows, job, options.rounds, flops[column.model], say)
            results["columns"][column.name] = found
            show_column(column.name, found, options.device)
    if options.whole:
        results["whole"] = measure_whole(options.rows, replace(job, epochs=options.epochs), say)
        show_whole(results["whole"], options.epochs)
    if options.scaling:
        results["scaling"] = measure_scaling(job, options.rounds, say)
        show_scaling(results["scaling"])
    if options.starts:
        results["starts"] = measure_starts(job, options.rounds, say)
        show_starts(results["starts"])
    return results


def say(text: str) -> None:
    """Tell on standard error what is going on."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
