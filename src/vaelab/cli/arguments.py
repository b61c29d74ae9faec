"""The arguments of a training or a sweep: Hydra's flags, and overrides."""

import re
from dataclasses import dataclass, replace
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from vaelab.cli.config_files import ConfigFiles
from vaelab.cli.suggestions import did_you_mean
from vaelab.errors import UserError, command


@dataclass(frozen=True)
class CommandLine:
    """The arguments in their two kinds, which may be given in any order.

    Args:
        flags: of Hydra, such as `-m`, with their values.
        overrides: all else.
        multirun: whether `-m` is among the flags.
        config_name: that of `--config-name`, or None.
        config_dir: that of `--config-dir`, or None.
    """

    flags: list[str]
    overrides: list[str]
    multirun: bool
    config_name: str | None = None
    config_dir: str | None = None

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


def command_line(arguments: list[str], files: ConfigFiles) -> CommandLine:
    """Tell the flags among the arguments from the overrides.

    Raises:
        UserError: for what Hydra's own parser would refuse without a word on how keys are written.
    """
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; {command('--hydra-help')} lists the options", 2)

    parser.error = refuse  # type: ignore[method-assign]  # it would print the usage and exit
    found, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown:
        name, _, value = "=".join(unknown[:2]).lstrip("-").partition("=")
        hint = did_you_mean(name.replace("-", "_"), value, files)
        raise UserError(f"{command()} has no option {unknown[0]}, and a key has no dashes before it{hint}", 2)
    if found.experimental_rerun is not None:  # it would unpickle a file, which may run any code
        raise UserError(f"{command()} has no option --experimental-rerun; go on with a run by resume=RUN_DIR", 2)
    flags = list(arguments)
    for override in found.overrides:
        flags.remove(override)
    return CommandLine(flags, found.overrides, found.multirun, found.config_name, found.config_dir)
