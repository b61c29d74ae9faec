"""From the command line of a training or a sweep to its exit code: Hydra composes, and a mistake is one sentence."""

import logging
import os
import secrets
import signal
import sys
import traceback
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from vaelab.cli.arguments import CommandLine, command_line
from vaelab.cli.config_files import ConfigFiles
from vaelab.cli.job import job, keep_logging_quiet
from vaelab.cli.keys import Root
from vaelab.cli.leftovers import Leftovers
from vaelab.cli.resume import with_resumed_config, with_sweep_dir
from vaelab.errors import SCRIPT, PastHydraError, UserError, command, one_line, say, visible
from vaelab.machine import ranks
from vaelab.machine.garbage import collect_nothing
from vaelab.sweep.failed_job import JobFailedError
from vaelab.sweep.report import SweepReport, failed_before_they_began
from vaelab.training.signals import Interrupted

MULTIRUN = ("-m", "--multirun")


def main(conf: Path) -> NoReturn:
    """`python run.py ARGUMENTS` over the config folder `conf`; leaves with its exit code."""
    os.environ[SCRIPT] = sys.argv[0]
    sys.exit(launch_here(sys.argv[1:], conf))


def launch_here(arguments: list[str], conf: Path) -> int:
    """`launch` of a process that does nothing else."""
    if not set(MULTIRUN).intersection(arguments):  # a sweep composes jobs without end, and trains them elsewhere
        collect_nothing()
    return launch(arguments, conf)


def launch(arguments: list[str], conf: Path) -> int:
    """Train, sweep, or answer `--help` and the like; returns the exit code.

    Args:
        arguments: those of `run.py`.
        conf: the config folder.
    """
    stack_wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
    keep_logging_quiet()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises what went wrong instead of printing it in its own way
    os.environ["PYTHONSAFEPATH"] = "1"  # processes that are started import nothing from the folder that one is in
    register()
    before = signal.signal(signal.SIGTERM, _terminate)
    files = ConfigFiles(conf)
    try:
        _join_ranks()
        line = command_line(arguments, files)
        files = files.over(line.config_dir)
        _refuse_sweep_of_ranks(line)
        _compose_and_run(line, files)
        code = 0
    except BaseException as error:
        if stack_wanted and not isinstance(error, SystemExit):
            raise
        code = _explain(error, files)
    finally:
        signal.signal(signal.SIGTERM, before)
        Leftovers.remove()
    sweep_dir = SweepReport.finish()
    if sweep_dir is not None and code != 0:
        _advise(sweep_dir)
    return code


def register() -> None:
    """Make known to Hydra what `conf/` asks for: the typed root, and the resolvers of run directories and commands."""
    OmegaConf.register_new_resolver("run_dir", _shared_run_dir, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("command", lambda kind="train": command(sweep=kind == "sweep"), replace=True)
    ConfigStore.instance().store(name="root", node=Root)
    # Hydra copies it, which nothing changes while Hydra runs, for each group that --help lists
    ConfigStore.__deepcopy__ = lambda store, memo: store


def _compose_and_run(line: CommandLine, files: ConfigFiles) -> None:
    line, config_name = with_resumed_config(with_sweep_dir(line), files)
    sys.argv[1:] = line.arguments  # where Hydra reads them
    hydra.main(version_base="1.3", config_path=str(files.folders[0]), config_name=config_name)(job)()
    ranks.leave()


def _advise(sweep_dir: Path) -> None:
    """Say how to go on with a sweep; a job that failed before it began may have had no chance with its settings."""
    if failed := failed_before_they_began(sweep_dir):
        names = one_line(", ".join(failed), 200)
        say(f"begin a new sweep with other settings if they are why this failed before it began: job {names}")
    say(f"go on with the jobs that have not finished, or not begun: {_again(sweep_dir)}")


def _again(sweep_dir: Path) -> str:
    """The command that goes on with the sweep that Hydra has run."""
    given = [word for word in sys.argv[1:] if word not in MULTIRUN]
    kept = [word for word in given if not word.lstrip("+").startswith("hydra.sweep.dir=")]
    return command(*kept, f"sweep={sweep_dir}", sweep=True)


def unique_run_dir(parent: str) -> str:
    """`<parent>/<date>_<time>-<id>`, which no other launch uses, in the same second either."""
    return f"{parent}/{datetime.now():%Y%m%d_%H%M%S}-{secrets.token_hex(4)}"


def _shared_run_dir(parent: str) -> str:
    return ranks.current().broadcast(lambda: unique_run_dir(parent))


def _terminate(signum: int, frame: FrameType | None) -> None:
    """Outside a run, which answers signals itself, SIGTERM ends the process as an error does: with its report."""
    reporting = sys.exc_info()[0] is not None
    if reporting and not ranks.current().is_single:
        return  # torchrun sends it to every rank once one has ended, and this one is about to say why
    raise Interrupted(signum)


def _join_ranks() -> None:
    """Connect with the processes that torchrun started beside this one; all but the first are silent."""
    found = ranks.join()
    if not found.is_main_process:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        logging.disable()


def _refuse_sweep_of_ranks(line: CommandLine) -> None:
    if not ranks.current().is_single and (line.multirun or "hydra.mode=MULTIRUN" in line.overrides):
        start = f"start {command(sweep=True)} without torchrun"
        raise UserError(f"the ranks of torchrun train one run, got a sweep; {start}")


def _explain(error: BaseException, files: ConfigFiles) -> int:
    """Say on standard error what went wrong; return the exit code."""
    from vaelab.cli.sentences import sentence  # only a failed command needs it

    was_said = False
    if isinstance(error, PastHydraError):
        error = error.args[0]
    if isinstance(error, JobFailedError):
        error, was_said = error.__cause__ or error, True
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, Interrupted):
        return 128 + error.signum
    text, code = sentence(error, files)
    if was_said and (text is not None or error.__traceback__ is None):  # a bug has a stack to show, if of here
        return code
    if not ranks.current().may_say(text or repr(error), error):
        return code
    if text is None:
        print(visible("".join(traceback.format_exception(error)), lines=True), end="", file=sys.stderr)
    else:
        say(text)
    return code
