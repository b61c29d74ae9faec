"""The keys of a config, and what becomes of any other."""

import re
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import MISSING, DictConfig, OmegaConf

from vaelab.cli.config_files import ConfigFiles
from vaelab.cli.suggestions import did_you_mean
from vaelab.errors import PastHydraError, UserError, command
from vaelab.run.saved import KEYS

_TYPED = {
    "seed": (int, MISSING),
    "resume": (str | None, None),
    "trust": (list[str], field(default_factory=list)),
    "choices": (dict[str, str], field(default_factory=dict)),
}
# Hydra refuses any other key, in an experiment file too, but for one that `+` adds
Root = make_dataclass("Root", [(key, *_TYPED.get(key, (Any, MISSING))) for key in KEYS])
Root.__module__ = __name__  # by which the jobs of a pool find it; an argument from Python 3.12 on


class NoOtherKeys(Callback):
    """Refuses a key beside those of `Root` that `+` has added, to which OmegaConf opens even a typed config."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra before a run has written anything."""
        _require_within(OmegaConf.select(config, "hydra.output_subdir", throw_on_resolution_failure=False))
        files = files_of(config.hydra)
        for given in OmegaConf.to_container(config.hydra.overrides.task):  # as written, not resolved
            key, _, value = given.lstrip("+").partition("=")
            root = re.split("[./@]", key)[0]
            if given.startswith("+") and root not in Root.__dataclass_fields__ and not files.has_group(root):
                raise PastHydraError(UserError(f"the config has no key {key!r}{did_you_mean(key, value, files)}", 2))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra before the first job, whose config may not have the key: a swept one is added by job."""
        self.on_run_start(config)


def files_of(hydra_config: DictConfig) -> ConfigFiles:
    """The files of which Hydra has composed a config."""
    return ConfigFiles(
        *(Path(source.path) for source in hydra_config.runtime.config_sources if source.schema == "file")
    )


def _require_within(output_subdir: str | None) -> None:
    """Refuse that Hydra writes its files elsewhere than below the directory of the run."""
    if output_subdir is not None and (Path(output_subdir).is_absolute() or ".." in Path(output_subdir).parts):
        sentence = f"hydra.output_subdir must lie in the run's directory, got {output_subdir}; leave it out"
        raise PastHydraError(UserError(sentence, 2))


def plain(config: DictConfig) -> dict[str, Any]:
    """The config of a run, without `hydra`, as resolved dictionaries and lists; all keys may have been deleted.

    Raises:
        UserError: for a key that `Root` has not, which `+` adds to a resumed run's config, or an odd value of its own.
    """
    found = {key: _resolved(config, key) for key in config if key != "hydra"}
    for key in found.keys() - Root.__dataclass_fields__.keys():
        raise UserError(f"the config has no key {key!r}; {command('--cfg', 'job')} lists all keys", 2)
    resume = found.setdefault("resume", None)
    trust, choices = found.setdefault("trust", []), found.setdefault("choices", {})
    if not isinstance(resume, str | None):
        raise UserError(f"resume must be a directory, got {resume!r}; give it as resume=RUN_DIR", 2)
    if not isinstance(trust, list) or not all(isinstance(package, str) for package in trust):
        raise UserError(f"trust must be a list of packages, such as trust=[mypackage], got {trust!r}", 2)
    if not isinstance(choices, dict):
        raise UserError(f"choices must map groups to options, as the run's config.yaml does, got {choices!r}", 2)
    return found


def _resolved(config: DictConfig, key: str) -> Any:
    value = config[key]
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=True) if OmegaConf.is_config(value) else value
