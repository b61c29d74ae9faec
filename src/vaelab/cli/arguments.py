"""What Hydra does not know of itself of the command line of `run.py`: its keys, `resume=RUN_DIR` and `sweep=DIR`."""

import re
import shlex
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.experimental.callback import Callback
from omegaconf import MISSING, DictConfig, OmegaConf

from vaelab.cli.suggestions import did_you_mean
from vaelab.errors import PastHydraError, UserError
from vaelab.files import checks, folder
from vaelab.machine import ranks
from vaelab.run.continuation import on_this_machine, without_trust
from vaelab.run.saved import read_config
from vaelab.sweep.asked import read_begun

RESUME_ONE = "resume goes on with one run in its own directory; give it as resume=RUN_DIR, without -m"
WRITTEN_BY_OTHERS = ("multirun.yaml", "study.db")  # in a sweep, as Hydra and SQLite do
WRITTEN = ("checkpoints", "config.yaml", "metrics.jsonl", "run.log", "summary.json", ".lock")  # by a run that goes on


@dataclass
class Root:
    """The keys of a config; Hydra refuses any other, in an experiment file too, but for one that `+` adds."""

    model: Any = MISSING
    dataset: Any = MISSING
    latent: Any = MISSING
    posterior: Any = MISSING
    prior: Any = MISSING
    likelihood: Any = MISSING
    objective: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    trainer: Any = MISSING
    logger: Any = MISSING
    seed: int = MISSING
    resume: str | None = None
    trust: list[str] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)


class NoOtherKeys(Callback):
    """Refuses a key beside those of `Root` that `+` has added, to which OmegaConf opens even a typed config."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Asked before a run has made anything."""
        sources = [source for source in config.hydra.runtime.config_sources if source.schema == "file"]
        conf = next(Path(source.path) for source in sources if source.provider == "main")
        for given in OmegaConf.to_container(config.hydra.overrides.task):  # as written, not resolved
            key, _, value = given.lstrip("+").partition("=")
            root = re.split("[./@]", key)[0]
            is_group = any(Path(source.path, root).is_dir() for source in sources)
            if given.startswith("+") and root not in Root.__dataclass_fields__ and not is_group:
                raise PastHydraError(UserError(f"the config has no key {key!r}{did_you_mean(key, value, conf)}", 2))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Asked before the first job, whose config may not have the key: a swept one is added by job."""
        self.on_run_start(config)


@dataclass(frozen=True)
class CommandLine:
    """The arguments of `run.py` in their two kinds, which may be given in any order.

    Args:
        flags: of Hydra, such as `-m`, with their values.
        overrides: all else.
        multirun: whether `-m` is among the flags.
        config_name: that of `--config-name`, or None.
    """

    flags: list[str]
    overrides: list[str]
    multirun: bool
    config_name: str | None

    @property
    def arguments(self) -> list[str]:
        """In an order that Hydra's own parser takes: an override after `--info` it would take for a value of that."""
        return [*self.overrides, *self.flags]

    def without(self, key: str) -> tuple["CommandLine", str | None]:
        """The command line without `key=VALUE`, and the last VALUE, as it was written; None where there is none.

        A path is taken off before Hydra parses it, to which é, a space or a bracket would mean something.
        """
        pattern = re.compile(rf"\+{{0,2}}{key}=(.*)", re.DOTALL)
        values = [found[1] for override in self.overrides if (found := pattern.fullmatch(override))]
        kept = [override for override in self.overrides if not pattern.fullmatch(override)]
        return replace(self, overrides=kept), values[-1] if values else None


def command_line(arguments: list[str], conf: Path) -> CommandLine:
    """Tell the flags among the arguments from the overrides.

    Raises:
        UserError: for what Hydra's own parser would refuse without a word on how keys are written.
    """
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; python run.py --hydra-help lists the options", 2)

    parser.error = refuse  # type: ignore[method-assign]  # it would print the usage and exit
    found, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown:
        name, _, value = "=".join(unknown[:2]).lstrip("-").partition("=")
        hint = did_you_mean(name.replace("-", "_"), value, conf)
        raise UserError(f"run.py has no option {unknown[0]}, and a key has no dashes before it{hint}", 2)
    if found.experimental_rerun is not None:  # it would unpickle a file, which may run any code
        raise UserError("run.py has no option --experimental-rerun; go on with a run by resume=RUN_DIR", 2)
    flags = list(arguments)
    for override in found.overrides:
        flags.remove(override)
    return CommandLine(flags, found.overrides, found.multirun, found.config_name)


def with_sweep_dir(line: CommandLine) -> CommandLine:
    """The command line with `sweep=DIR`, which goes on with a sweep, in Hydra's words.

    Raises:
        UserError: if DIR is no sweep, or one that was begun with other overrides.
    """
    line, given = line.without("sweep")
    if given is not None:
        sweep_dir = _path("sweep", given)
        if not (sweep_dir / "multirun.yaml").is_file():
            raise UserError(f"sweep must name the directory of a sweep, with its multirun.yaml, got {sweep_dir}", 2)
        if not line.multirun:
            raise UserError(f"sweep={sweep_dir} goes on with a sweep, which needs -m and its overrides again", 2)
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
    """A job's number is its directory, so a sweep that was begun takes the same overrides only, in the same order."""
    try:
        begun = read_begun(sweep_dir)
    except UserError:  # cut off as it was written: each job is still held to its own
        return
    if begun is None:
        return
    before = begun.task
    if without_trust(before) != without_trust(given):
        raise UserError(f"{sweep_dir} was begun with {shlex.join(before)}; give the same overrides in that order", 2)


def with_resumed_config(line: CommandLine, conf: Path) -> tuple[CommandLine, str]:
    """The command line without `resume=`, and the config to compose: `conf/config.yaml`, or that of the run it names.

    Raises:
        UserError: if it names no run, its config may not be composed, or one run is not all that is asked for.
    """
    line, given = line.without("resume")
    if given in (None, "", "null"):
        return line, "config"
    if line.multirun:
        raise UserError(RESUME_ONE)
    if line.config_name is not None:
        raise UserError(f"resume goes on with the config of its run, got --config-name {line.config_name}; omit it", 2)
    name, saved = ranks.current().from_first(lambda: _saved_config(_path("resume", str(given))))
    run_dir = Path(name)
    checks.require_writable(run_dir, WRITTEN)  # before Hydra opens the log there, and raises in its own way
    _check_no_part_is_chosen(line, conf)
    defaults = [{"override hydra/job_logging": "vaelab"}, "_self_"]
    settings = {"run": {"dir": str(run_dir.absolute())}, "output_subdir": None, "job": {"name": "run"}}
    given_now = {"resume": str(run_dir.absolute()), "trust": []}
    node = {"defaults": defaults, **on_this_machine(saved), **given_now, "hydra": settings}
    ConfigStore.instance().store(name="resumed", node=OmegaConf.create(node))
    return line, "resumed"


def _check_no_part_is_chosen(line: CommandLine, conf: Path) -> None:
    groups = {path.name for path in conf.iterdir() if path.is_dir()} - {"hydra"}
    for group in (re.split("[=@]", override.lstrip("+~"))[0] for override in line.overrides):
        if group in groups:
            key = "logger.mode=disabled" if group == "logger" else f"{group}.KEY=VALUE"
            sentence = f"a resumed run keeps its parts, got another {group}; change single keys, {key}"
            raise UserError(sentence, 2)


def _saved_config(run_dir: Path) -> tuple[str, dict[str, Any]]:
    if not (run_dir / "config.yaml").is_file():
        raise UserError(f"resume must name the directory of a run, with its config.yaml, got {run_dir}")
    checks.check_plain(run_dir)
    return str(run_dir), read_config(run_dir)
