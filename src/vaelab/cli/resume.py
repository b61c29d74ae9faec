"""`resume=RUN_DIR` and `sweep=DIR`, which Hydra does not know, in its words."""

import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import OmegaConf

from vaelab.cli.arguments import CommandLine
from vaelab.cli.config_files import ConfigFiles
from vaelab.errors import UserError, command
from vaelab.files import checks, folder
from vaelab.machine import ranks
from vaelab.run.continuation import on_this_machine, without_trust
from vaelab.run.saved import read_config
from vaelab.sweep.plan import read_plan

WRITTEN_BY_OTHERS = ("multirun.yaml", "study.db")  # in a sweep, as Hydra and SQLite do
WRITTEN = ("checkpoints", "config.yaml", "metrics.jsonl", "run.log", "summary.json", ".lock")  # by a run that goes on


def not_one_run() -> UserError:
    """The error of a resume among the jobs of a sweep, or in another directory than the run's."""
    return UserError(f"resume goes on with one run, in its own directory; begin with {command('resume=RUN_DIR')}")


def with_sweep_dir(line: CommandLine) -> CommandLine:
    """The command line with `sweep=DIR`, which goes on with a sweep, in Hydra's words.

    Raises:
        UserError: if DIR is no sweep, or one of other overrides.
    """
    line, given = line.without("sweep")
    if given is not None:
        sweep_dir = _path("sweep", given)
        if not (sweep_dir / "multirun.yaml").is_file():
            raise UserError(f"sweep must name the directory of a sweep, with its multirun.yaml, got {sweep_dir}", 2)
        if not line.multirun:
            needed = f"needs {command(sweep=True)} and its overrides again"
            raise UserError(f"sweep={sweep_dir} goes on with a sweep, which {needed}", 2)
        checks.require_writable(sweep_dir, (*WRITTEN_BY_OTHERS, ".lock"))
        from_here = str(sweep_dir) if sweep_dir.is_absolute() else f"./{sweep_dir}"  # ??? alone is a missing value
        quoted = QuotedString(from_here, Quote.single).with_quotes()
        line = replace(line, overrides=[*line.overrides, f"hydra.sweep.dir={quoted}"])
    for argument in line.overrides:
        if argument.startswith("hydra.sweep.dir="):
            sweep_dir = Path(str(OverridesParser.create().parse_override(argument).value()))
            checks.check_plain(sweep_dir)
            for name in WRITTEN_BY_OTHERS:
                folder.unshare(sweep_dir, name)
            _check_overrides(sweep_dir, [override for override in line.overrides if not override.startswith("hydra")])
    return line


def _path(key: str, given: str) -> Path:
    """The directory that a person has named; a `~` that the shell has left, for it stands after the `=`, is a home."""
    path = Path(given)
    if given.startswith("~") and not path.exists():
        with suppress(RuntimeError):  # there is no such user
            path = path.expanduser()
    if "${" in str(path.absolute()):
        raise UserError(f"{key} must name a directory without ${{ in its path, got {path}; give it another name", 2)
    return path


def _check_overrides(sweep_dir: Path, given: list[str]) -> None:
    """A job's number is its directory, so a sweep goes on with the same overrides only, in the same order."""
    try:
        found = read_plan(sweep_dir)
    except UserError:  # cut off as it was written: each job is still held to its own
        return
    if found is not None and without_trust(found.task) != without_trust(given):
        before = shlex.join(found.task)
        raise UserError(f"{sweep_dir} was begun with {before}; give the same overrides in that order", 2)


def with_resumed_config(line: CommandLine, files: ConfigFiles) -> tuple[CommandLine, str]:
    """The command line without `resume=`, and the config to compose: `conf/config.yaml`, or that of the run it names.

    Raises:
        UserError: if it names no run, its config may not be composed, or there is more to do than one run.
    """
    line, given = line.without("resume")
    if given in (None, "", "null"):
        return line, "config"
    if line.multirun:
        raise not_one_run()
    if line.config_name is not None:
        raise UserError(f"resume goes on with the config of its run, got --config-name {line.config_name}; omit it", 2)
    name, saved = ranks.current().broadcast(lambda: _saved_config(_path("resume", str(given))))
    run_dir = Path(name)
    checks.require_writable(run_dir, WRITTEN)  # before Hydra opens the log there, and raises in its own way
    line = _without_choices(line, saved, files)
    defaults = [{"override hydra/job_logging": "vaelab"}, "_self_"]
    hydra = {"run": {"dir": str(run_dir.absolute())}, "output_subdir": None, "job": {"name": "run"}}
    given_now = {"resume": str(run_dir.absolute()), "trust": []}
    node = {"defaults": defaults, **on_this_machine(saved), **given_now, "hydra": hydra}
    ConfigStore.instance().store(name="resumed", node=OmegaConf.create(node))
    return line, "resumed"


def _without_choices(line: CommandLine, saved: Mapping[str, Any], files: ConfigFiles) -> CommandLine:
    """The command line without the choices of parts that the run has already; UserError for any other choice."""
    kept = []
    for override in line.overrides:
        group, _, option = override.lstrip("+").partition("=")
        part = re.split("[=@]", override.lstrip("+~"))[0]
        if part not in files.groups:
            kept.append(override)
        elif not _has_chosen(saved, group, option):
            key = "logger.mode=disabled" if part == "logger" else f"{part}.KEY=VALUE"
            sentence = f"a resumed run keeps its parts, got another {part}; change single keys, {key}"
            raise UserError(sentence, 2)
    return replace(line, overrides=kept)


def _has_chosen(saved: Mapping[str, Any], group: str, option: str) -> bool:
    """Whether a run has that part; of loggers only while the mode is still that of the option."""
    is_disabled = saved.get("logger", {}).get("mode") == "disabled"
    if group == "logger" and is_disabled != (option == "local"):
        return False
    return saved.get("choices", {}).get(group) == option


def _saved_config(run_dir: Path) -> tuple[str, dict[str, Any]]:
    if not (run_dir / "config.yaml").is_file():
        raise UserError(f"resume must name the directory of a run, with its config.yaml, got {run_dir}")
    checks.check_plain(run_dir)
    return str(run_dir), read_config(run_dir)
