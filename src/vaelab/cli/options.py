"""The commands of `vaelab` and their options."""

import argparse
import math
from pathlib import Path
from typing import Any

from vaelab.errors import ABOVE_ALL_INTEGERS, one_line
from vaelab.run import EXPLORER

MOST_DIGITS = len(str(ABOVE_ALL_INTEGERS - 1))
SAMPLES, TABLE = "samples.png", "z.parquet"
PICTURES = ("png", "npz", "gif")
EXPORTS = ("onnx", "torch", "safetensors")


def parser() -> argparse.ArgumentParser:
    """What reads the command line; `train` and `sweep` stand in its help only, for Hydra reads theirs."""
    found = argparse.ArgumentParser(
        prog="vaelab", description="Train variational autoencoders, and use what was trained."
    )
    commands = found.add_subparsers(required=True, dest="command", metavar="COMMAND")
    commands.add_parser("train", help="train a model, or resume a run: vaelab train --help", add_help=False)
    commands.add_parser("sweep", help="train one for each combination of options: vaelab sweep --help", add_help=False)
    _add_generate(commands)
    _add_evaluate(commands)
    _add_encode(commands)
    _add_export(commands)
    _add_explore(commands)
    _add_runs(commands)
    _add_compare(commands)
    _add_dashboard(commands)
    return found


def _add_generate(commands: Any) -> None:
    generate = commands.add_parser("generate", help="draw images from a run into a PNG, a GIF or an array")
    _add_run(generate)
    generate.add_argument("--num-samples", type=_positive, default=10, metavar="N", help="how many images (10)")
    what = "a picture, an animation that shows one after the other, or an array (by the output's name, else png)"
    generate.add_argument("--format", choices=PICTURES, help=what)
    where = f"the file ({SAMPLES} or the like, unless there is one)"
    generate.add_argument("-o", "--output", type=Path, metavar="FILE", help=where)
    generate.add_argument("--grid", action="store_true", help="a square of images instead of a row")
    generate.add_argument("--seed", type=_seed, default=0, help="of the noise (0)")
    generate.add_argument(
        "--pixel-noise", action="store_true", help="draw pixels from p(x|z) instead of showing its mean"
    )
    _add_sampler(generate, "of z")
    generate.add_argument("--temperature", type=_temperature, default=1.0, help="factor of the prior's noise (1)")


def _add_sampler(command: Any, of: str) -> None:
    source = f"{of}: the prior, or a mixture of 10 normals or a flow fitted to training images (prior)"
    command.add_argument("--sampler", choices=("prior", "gmm", "flow"), default="prior", help=source)


def _add_evaluate(commands: Any) -> None:
    told = "ELBO, reconstruction, KL and bits/dim of a run on its dataset, and active units; more when asked"
    evaluate = commands.add_parser("evaluate", help=told, description=told)
    _add_run(evaluate)
    evaluate.add_argument("--split", choices=("test", "val", "train"), default="test")
    bound = "also log p(x), bounded with K samples of z"
    evaluate.add_argument("--importance-samples", type=_positive, default=0, metavar="K", help=bound)
    evaluate.add_argument("--similarity", action="store_true", help="also PSNR and SSIM of the reconstructions")
    evaluate.add_argument("--aggregate", action="store_true", help="also I(x; z) and how q(z) differs from p(z)")
    evaluate.add_argument("--probe", action="store_true", help="also the accuracy of a linear classifier of z")
    evaluate.add_argument("--factors", action="store_true", help="also MIG, DCI and SAP, by factors that are known")
    distance = "also a Fréchet distance of samples in features of a small classifier trained here, which is no FID"
    evaluate.add_argument("--fcd", action="store_true", help=distance)
    _add_sampler(evaluate, "of these samples' z")
    evaluate.add_argument("--all", action="store_true", help="all of these but those with a K or a FILE")
    inception = "also FID, with the weights of torch-fidelity's Inception network"
    evaluate.add_argument("--fid-weights", type=Path, metavar="FILE", help=inception)
    evaluate.add_argument("--limit", type=_positive, metavar="N", help="only N images, spread evenly over the split")
    evaluate.add_argument("--seed", type=_seed, default=0, help="of all that is drawn but the ELBO (0)")
    evaluate.add_argument("--output", type=Path, metavar="FILE", help="write everything with its settings as JSON")


def _add_encode(commands: Any) -> None:
    told = "embed images: means and standard deviations of q(z|x), labels and names as a table"
    encode = commands.add_parser("encode", help=told, description=told)
    _add_run(encode)
    data = "train, val or test of the run's dataset, a picture or a folder of such, an array, or a Parquet file"
    encode.add_argument("data", metavar="DATA", help=data)
    where = f"the table, .parquet or .npz ({TABLE}, unless there is one)"
    encode.add_argument("-o", "--output", type=Path, metavar="FILE", help=where)


def _add_export(commands: Any) -> None:
    told = "a folder for other programs, or for a hub: the networks or the weights, the config, a model card"
    export = commands.add_parser("export", help=told, description=told)
    _add_run(export, device=False)
    kinds = "networks that need no vaelab, as ONNX or as a program of torch.export's, or weights for load_run"
    export.add_argument("--format", choices=EXPORTS, required=True, help=kinds)
    export.add_argument("--part", choices=("encoder", "decoder"), help="only one of the two networks")
    where = "the folder (the run's name and the format)"
    export.add_argument("-o", "--output", type=Path, metavar="DIR", help=where)


def _add_explore(commands: Any) -> None:
    told = "a page to walk through the latent space of a run in a browser, without a server or a network"
    explore = commands.add_parser("explore", help=told, description=told)
    _add_run(explore, device=False)
    where = f"the page (RUN_DIR/{EXPLORER}, to which vaelab compare links)"
    explore.add_argument("-o", "--output", type=Path, metavar="FILE", help=where)


def _add_runs(commands: Any) -> None:
    runs = commands.add_parser("runs", help="all runs below a folder, those that compare in a table, best first")
    runs.add_argument("folder", type=Path, nargs="?", default=Path("outputs"), metavar="DIR")


def _add_compare(commands: Any) -> None:
    compare = commands.add_parser("compare", help="a page with curves, settings, metrics and pictures of many runs")
    compare.add_argument("paths", type=Path, nargs="+", metavar="DIR", help="of a run, or of a sweep")
    page = Path("compare.html")
    compare.add_argument("-o", "--output", type=Path, default=page, metavar="FILE", help=f"the page ({page})")
    compare.add_argument("--sort", metavar="METRIC", help="best first by this, such as test/log_likelihood")


def _add_dashboard(commands: Any) -> None:
    dashboard = commands.add_parser("dashboard", help="a workspace in W&B with the curves and pictures of a project")
    dashboard.add_argument("--entity", required=True, help="the W&B user or team")
    dashboard.add_argument("--project", required=True, help="as in logger.project")
    keys = dashboard.add_mutually_exclusive_group()
    example = "keys to plot: latent.dim,optimizer.lr"
    keys.add_argument("--sweep-keys", type=_keys, default=[], metavar="KEY,...", help=example)
    keys.add_argument("--sweep", type=Path, metavar="DIR", help="plot the keys that differ in this sweep")
    instead = "write what would be sent as JSON, and send nothing"
    dashboard.add_argument("--output", type=Path, metavar="FILE", help=instead)


def _add_run(command: argparse.ArgumentParser, device: bool = True) -> None:
    command.add_argument("run", type=Path, metavar="RUN_DIR")
    package = "a package whose code the run's config may name"
    command.add_argument("--trust", action="append", default=[], metavar="PACKAGE", help=package)
    if device:
        best = "auto, cuda, cuda:1, mps or cpu (auto: the best there is)"
        command.add_argument("--device", default="auto", help=best)


def _positive(text: str) -> int:
    return _integer(text, 1)


def _seed(text: str) -> int:
    return _integer(text, 0)


def _integer(text: str, minimum: int) -> int:
    if not text.isdecimal() or len(text) > MOST_DIGITS or int(text) < minimum:
        raise argparse.ArgumentTypeError(
            f"expected an integer of at least {minimum} and of {MOST_DIGITS} digits at most, got {one_line(text, 80)!r}"
        )
    return int(text)


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text!r}")
    return value


def _keys(text: str) -> list[str]:
    return [key.strip() for key in text.split(",") if key.strip()]
