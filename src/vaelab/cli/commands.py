"""The `vaelab` command: train and sweep; generate from runs, evaluate, list and compare them, make a dashboard."""

import argparse
import logging
import math
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vaelab.cli.options import PICTURES, SAMPLES, TABLE, parser
from vaelab.errors import OUT_OF_MEMORY, SCRIPT, UserError, check_output, is_out_of_memory, one_line, say, visible
from vaelab.run import EXPLORER
from vaelab.run.terminal import VisibleFormatter

MOST_IN_A_PICTURE = 4096
COMPLETION = ("-sc", "--shell-completion")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    os.environ.pop(SCRIPT, None)  # messages name this command
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["train"]:
        sys.exit(_launch(arguments[1:]))
    if arguments[:1] == ["sweep"]:
        sys.exit(_launch(["-m", *arguments[1:]]))
    if arguments and arguments[0] in COMPLETION:  # the shell's function of Hydra leaves `train` out
        os.environ["COMP_LINE"] = re.sub(r"^(\S+)\s+(train|sweep)\b", r"\1", os.environ.get("COMP_LINE", ""))
        sys.exit(_launch(arguments))
    if not arguments:
        parser().print_help(sys.stderr)  # argparse would name no command
        sys.exit(2)
    options = parser().parse_args(arguments)
    try:
        with _warnings_shown():
            ACTIONS[options.command](options)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        if not isinstance(error, UserError | OSError) and not is_out_of_memory(error):
            print(visible("".join(traceback.format_exception(error)), lines=True), file=sys.stderr)
            sys.exit(1)
        say(OUT_OF_MEMORY if is_out_of_memory(error) else one_line(error))
        sys.exit(getattr(error, "exit_code", 1))


def _launch(arguments: list[str]) -> int:
    from vaelab.cli.config_files import installed  # Hydra, for which the other commands need not wait
    from vaelab.cli.launch import launch_here

    return launch_here(arguments, installed())


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


def _generate(options: argparse.Namespace) -> None:
    named = (options.output or Path(SAMPLES)).suffix.lower().lstrip(".")
    kind = options.format or (named if named in PICTURES else "png")
    output = options.output or Path(SAMPLES).with_suffix(f".{kind}")
    check_output(output, f".{kind}")  # before torch is imported and the model loaded
    if kind != "npz" and options.num_samples > MOST_IN_A_PICTURE:
        came = f"got --num-samples {options.num_samples}; --format npz takes more"
        raise UserError(f"a picture shows at most {MOST_IN_A_PICTURE:,} images, {came}", 2)
    from vaelab.export.images import save_images
    from vaelab.run.load import load_run

    run = load_run(options.run, options.trust, options.device)
    _spare(output, options.output)
    images = run.sample(
        options.num_samples,
        options.seed,
        options.pixel_noise,
        sampler=options.sampler,
        temperature=options.temperature,
    )
    columns = math.isqrt(options.num_samples - 1) + 1 if options.grid else options.num_samples
    save_images(output, images, columns)
    print(visible(f"{options.num_samples} samples in {output}"))


def _spare(output: Path, asked: Path | None) -> None:
    """Raise UserError where a file would be overwritten that nobody has named."""
    if asked is None and os.path.lexists(output):
        raise UserError(f"{output} is there already; to overwrite it add --output {output}, or name another file", 2)


def _evaluate(options: argparse.Namespace) -> None:
    from vaelab.cli.evaluate import evaluate

    evaluate(options)


def _encode(options: argparse.Namespace) -> None:
    output = options.output or Path(TABLE)
    check_output(output, ".parquet", ".npz")
    from vaelab.cli.encode import encode
    from vaelab.run.load import load_run

    run = load_run(options.run, options.trust, options.device)
    _spare(output, options.output)
    encode(run, options.data, output)


def _export(options: argparse.Namespace) -> None:
    from vaelab.export.folder import export
    from vaelab.export.networks import PARTS
    from vaelab.run.load import load_run

    run = load_run(options.run, options.trust)
    output = options.output or Path(f"{run.path.resolve().name}-{options.format}")
    files = export(run, options.format, [options.part] if options.part else PARTS, output)
    print(visible(f"{', '.join(files)} in {output}"))


def _explore(options: argparse.Namespace) -> None:
    if options.output is not None:
        check_output(options.output, ".html")  # before torch is imported and the model loaded
    from vaelab.explore.page import write_page
    from vaelab.run.load import load_run

    run = load_run(options.run, options.trust)
    output = options.output or run.path / EXPLORER
    size = write_page(run, output)
    print(visible(f"{size / 1e6:.1f} MB in {output}; open it in a browser"))


def _runs(options: argparse.Namespace) -> None:
    from vaelab.compare.listing import list_runs

    list_runs(options.folder)


def _compare(options: argparse.Namespace) -> None:
    from vaelab.compare.page import write_page

    count = write_page(options.paths, options.output, options.sort)
    print(visible(f"{count} {'run' if count == 1 else 'runs'} in {options.output}; open it in a browser"))


def _dashboard(options: argparse.Namespace) -> None:
    from vaelab.compare.dashboard import can_send, keys_of_sweep, project_workspace, send, write

    keys = options.sweep_keys if options.sweep is None else keys_of_sweep(options.sweep)
    found = project_workspace(options.entity, options.project, keys)
    if options.output is not None:
        write(found, options.output)
        print(f"the workspace of {options.entity}/{options.project} in {options.output}; nothing was sent")
    elif can_send():
        print(f"workspace: {send(found)}")
    else:
        write(found, Path("dashboard.json"))
        print("W&B is offline, out of reach or has no key (wandb login): what would be sent is in dashboard.json")


ACTIONS = {
    "train": lambda options: sys.exit(_launch([])),  # after `--`
    "sweep": lambda options: sys.exit(_launch(["-m"])),
    "generate": _generate,
    "evaluate": _evaluate,
    "encode": _encode,
    "export": _export,
    "explore": _explore,
    "runs": _runs,
    "compare": _compare,
    "dashboard": _dashboard,
}

if __name__ == "__main__":
    main()
