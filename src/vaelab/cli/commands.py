"""The `vaelab` command: generate from runs, evaluate them, list and compare them, make a dashboard."""

import argparse
import logging
import math
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vaelab.errors import OUT_OF_MEMORY, UserError, check_output, is_out_of_memory, one_line, say, visible
from vaelab.evaluation.metrics import metric
from vaelab.run.summary import SUMMARY
from vaelab.run.terminal import VisibleFormatter

if TYPE_CHECKING:
    from vaelab.run.load import Run


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    options = _parser().parse_args(arguments)
    try:
        with _warnings_shown():
            options.command(options)
    except Exception as error:
        if not isinstance(error, UserError | OSError) and not is_out_of_memory(error):
            print(visible("".join(traceback.format_exception(error)), lines=True), file=sys.stderr)
            sys.exit(1)
        say(OUT_OF_MEMORY if is_out_of_memory(error) else one_line(error))
        sys.exit(getattr(error, "exit_code", 1))


@contextmanager
def _warnings_shown() -> Iterator[None]:
    """Log warnings to standard error as sentences are said there."""
    handler = logging.StreamHandler()
    handler.setFormatter(VisibleFormatter("vaelab: %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vaelab", description="Use runs that `python run.py` has trained.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    generate = commands.add_parser("generate", help="draw images from a run's prior into a PNG")
    generate.set_defaults(command=_generate)
    _add_run_arguments(generate)
    generate.add_argument("--num-samples", type=_positive, default=10, metavar="N", help="how many images (10)")
    generate.add_argument(
        "--output", type=Path, default=Path("samples.png"), metavar="FILE", help="the PNG (samples.png)"
    )
    generate.add_argument("--grid", action="store_true", help="a square of images instead of a row")
    generate.add_argument("--seed", type=int, default=0, help="of the noise (0)")
    generate.add_argument(
        "--pixel-noise", action="store_true", help="draw pixels from p(x|z) instead of showing its mean"
    )

    evaluate = commands.add_parser("evaluate", help="ELBO, reconstruction, KL and bits/dim of a run on its dataset")
    evaluate.set_defaults(command=_evaluate)
    _add_run_arguments(evaluate)
    evaluate.add_argument("--split", choices=("test", "val", "train"), default="test")
    evaluate.add_argument(
        "--importance-samples",
        type=_positive,
        default=0,
        metavar="K",
        help="also log p(x), bounded with K samples of z",
    )

    runs = commands.add_parser("runs", help="all runs below a folder, those that compare in a table, best first")
    runs.set_defaults(command=_runs)
    runs.add_argument("folder", type=Path, nargs="?", default=Path("outputs"), metavar="DIR")

    compare = commands.add_parser("compare", help="a page with curves, settings, metrics and pictures of many runs")
    compare.set_defaults(command=_compare)
    compare.add_argument("paths", type=Path, nargs="+", metavar="DIR", help="of a run, or of a sweep")
    compare.add_argument(
        "-o", "--output", type=Path, default=Path("compare.html"), metavar="FILE", help="the page (compare.html)"
    )

    dashboard = commands.add_parser("dashboard", help="a workspace in W&B with the curves and pictures of a project")
    dashboard.set_defaults(command=_dashboard)
    dashboard.add_argument("--entity", required=True, help="the W&B user or team")
    dashboard.add_argument("--project", required=True, help="as in logger.project")
    keys = dashboard.add_mutually_exclusive_group()
    keys.add_argument(
        "--sweep-keys",
        type=_keys,
        default=[],
        metavar="KEY,...",
        help="settings to plot: latent.dim,optimizer.lr",
    )
    keys.add_argument("--sweep", type=Path, metavar="DIR", help="plot the settings that differ in this sweep")
    dashboard.add_argument(
        "--output", type=Path, metavar="FILE", help="write what would be sent as JSON, and send nothing"
    )
    return parser


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN_DIR")
    parser.add_argument(
        "--trust", action="append", default=[], metavar="PACKAGE", help="a package whose code the run's config may name"
    )
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:1, mps or cpu (auto: the best there is)")


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text!r}")
    return int(text)


def _keys(text: str) -> list[str]:
    return [key.strip() for key in text.split(",") if key.strip()]


def _generate(options: argparse.Namespace) -> None:
    check_output(options.output, ".png")  # before torch is imported and the model loaded
    from vaelab.evaluation.figures import save_grid
    from vaelab.run.load import load_run

    run = load_run(options.run, options.trust, options.device)
    images = run.sample(options.num_samples, options.seed, options.pixel_noise)
    columns = math.isqrt(options.num_samples - 1) + 1 if options.grid else options.num_samples
    save_grid(options.output, images, columns)
    print(visible(f"{options.num_samples} samples in {options.output}"))


def _evaluate(options: argparse.Namespace) -> None:
    from vaelab.run.load import load_run

    run = load_run(options.run, options.trust, options.device)
    found = run.evaluate(options.split, options.importance_samples)
    for name, value in found.items():
        unit = metric(name).unit
        if name == "log_likelihood":
            unit += f", a lower bound of log p(x) with {options.importance_samples} samples of z"
        print(visible(f"{options.split}/{name:<16} {value:12.4f}  {unit}"))
    print(_beside_record(run, options.split, found))


def _beside_record(run: "Run", split: str, found: Mapping[str, float]) -> str:
    """How figures compare with those that the run has recorded, in one line."""
    recorded = run.recorded(split)
    if SUMMARY in run.record.damaged:
        return "summary.json is damaged, and its figures are not compared with"
    if not recorded:
        return f"summary.json holds no figures of {split} to compare with"
    apart = {name: abs(found[name] - value) for name, value in recorded.items() if found.get(name, value) != value}
    if not apart:
        return "equal to summary.json to the last digit"
    versions, worst = run.summary.get("versions", {}), max(apart, key=apart.__getitem__)
    where = one_line(f"{versions.get('device', 'another device')} with torch {versions.get('torch', 'unknown')}", 200)
    return f"summary.json, recorded on {where}, differs by up to {apart[worst]:.1e} ({split}/{worst})"


def _runs(options: argparse.Namespace) -> None:
    from vaelab.compare.listing import list_runs

    list_runs(options.folder)


def _compare(options: argparse.Namespace) -> None:
    from vaelab.compare.page import write_page

    count = write_page(options.paths, options.output)
    print(visible(f"{count} {'run' if count == 1 else 'runs'} in {options.output}; open it in a browser"))


def _dashboard(options: argparse.Namespace) -> None:
    from vaelab.compare.dashboard import can_send, keys_of_sweep, project_workspace, send, write

    keys = options.sweep_keys if options.sweep is None else keys_of_sweep(options.sweep)
    made = project_workspace(options.entity, options.project, keys)
    if options.output is not None:
        write(made, options.output)
        print(f"the workspace of {options.entity}/{options.project} in {options.output}; nothing was sent")
    elif can_send():
        print(f"workspace: {send(made)}")
    else:
        write(made, Path("dashboard.json"))
        print("W&B is offline, out of reach or has no key (wandb login): what would be sent is in dashboard.json")


if __name__ == "__main__":
    main()
