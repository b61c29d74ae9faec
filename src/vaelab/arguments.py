"""What Hydra does not know of itself of the command line of `run.py`: its keys, `resume=RUN_DIR` and `sweep=DIR`."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import MISSING, DictConfig, OmegaConf

from vaelab import folder, ranks
from vaelab.continuation import on_this_machine, without_trust
from vaelab.errors import PastHydraError, UserError
from vaelab.suggestions import did_you_mean

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


def check_options(arguments: list[str], conf: Path) -> None:
    """Raise UserError for what Hydra's own parser would refuse without a word on how keys are written."""
    _, unknown = get_args_parser().parse_known_args(arguments)
    if not unknown:
        return
    if not unknown[0].startswith("-"):
        raise UserError(f"{unknown[0]} is cut off from the overrides before it; write options such as -m before all", 2)
    name, _, value = "=".join(unknown[:2]).lstrip("-").partition("=")
    hint = did_you_mean(name.replace("-", "_"), value, conf)
    raise UserError(f"run.py has no option {unknown[0]}, and a key has no dashes before it{hint}", 2)


def with_sweep_dir(arguments: list[str]) -> list[str]:
    """The arguments with `sweep=DIR`, which goes on with a sweep, in Hydra's words.

    Raises:
        UserError: if DIR is no sweep, or one that was begun with other overrides.
    """
    ours = [argument for argument in arguments if argument.startswith("sweep=")]
    if ours:
        sweep_dir = Path(ours[-1].removeprefix("sweep="))
        if not (sweep_dir / "multirun.yaml").is_file():
            raise UserError(f"sweep must name the directory of a sweep, with its multirun.yaml, got {sweep_dir}", 2)
        if not {"-m", "--multirun"} & set(arguments):
            raise UserError(f"sweep={sweep_dir} goes on with a sweep, which needs -m and its overrides again", 2)
        folder.require_writable(sweep_dir, ("multirun.yaml", "study.db", ".lock"))
        quoted = str(sweep_dir).replace("\\", "\\\\").replace("'", "\\'")
        arguments = [*(given for given in arguments if given not in ours), f"hydra.sweep.dir='{quoted}'"]
    for argument in arguments:
        if argument.startswith("hydra.sweep.dir="):
            sweep_dir = Path(str(OverridesParser.create().parse_override(argument).value()))
            given = [given for given in arguments if "=" in given or given.startswith("~")]
            _check_overrides(sweep_dir, [override for override in given if not override.startswith(("-", "hydra"))])
    return arguments


def _check_overrides(sweep_dir: Path, given: list[str]) -> None:
    """A job's number is its directory, so a sweep that was begun takes the same overrides only, in the same order."""
    if not (sweep_dir / "multirun.yaml").is_file():
        return
    try:
        before = yaml.safe_load((sweep_dir / "multirun.yaml").read_text())["hydra"]["overrides"]["task"]
    except (yaml.YAMLError, TypeError, KeyError):  # cut off as it was written: each job is still held to its own
        return
    if without_trust(before) != without_trust(given):
        raise UserError(f"{sweep_dir} was begun with {shlex.join(before)}; give the same overrides in that order", 2)


def config_name(arguments: list[str]) -> str:
    """The config to compose: `conf/config.yaml`, or that of the run named by `resume=`."""
    resumes = [argument.split("=", 1)[1] for argument in arguments if argument.lstrip("+").startswith("resume=")]
    if not resumes or resumes[-1] in ("", "null"):
        return "config"
    run_dir = Path(resumes[-1])
    saved = yaml.safe_load(ranks.current().from_first(lambda: _saved_config(run_dir)))
    folder.require_writable(run_dir, WRITTEN)  # before Hydra opens the log there, and raises in its own way
    if "${" in json.dumps(saved, default=str):  # the values, for YAML can write a $ in other ways
        raise UserError(f"{run_dir}/config.yaml must hold plain values, got an interpolation, ${{...}}; mend the file")
    known = Root.__dataclass_fields__.keys()
    unknown = sorted(map(str, saved.keys() - known)) if isinstance(saved, dict) else ["no mapping"]
    if unknown:
        # above all no `hydra`, whose callbacks would run code
        raise UserError(f"{run_dir}/config.yaml may hold {', '.join(known)}, got {', '.join(unknown)}; mend the file")
    defaults = [{"override hydra/job_logging": "vaelab"}, "_self_"]
    settings = {"run": {"dir": str(run_dir)}, "output_subdir": None, "job": {"name": "run"}}
    node = {"defaults": defaults, **on_this_machine(saved), "resume": None, "trust": [], "hydra": settings}
    ConfigStore.instance().store(name="resumed", node=OmegaConf.create(node))
    return "resumed"


def _saved_config(run_dir: Path) -> str:
    if not (run_dir / "config.yaml").is_file():
        raise UserError(f"resume must name the directory of a run, with its config.yaml, got {run_dir}")
    return (run_dir / "config.yaml").read_text()
