"""What Hydra and OmegaConf raise while they compose a config, in one sentence.

They tell most mistakes apart in their messages only: what is searched for in a text here is theirs.
"""

import re
import shlex
import traceback
from collections.abc import Callable
from types import FrameType

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from vaelab.cli.config_files import ConfigFiles
from vaelab.cli.suggestions import did_you_mean, key_of_number, options_with
from vaelab.errors import command, in_shell, nearest, one_line

EXTRAS = {"joblib": "parallel", "submitit_slurm": "slurm", "submitit_local": "slurm"}  # launchers of other packages
OF_JOBS = {("vaelab.cli.job", "job"), ("hydra.core.utils", "return_value")}  # where one began, in another process too


def explained(error: BaseException, files: ConfigFiles) -> str | None:
    """The sentence; None for an error that is none of composition.

    Args:
        error: what was raised.
        files: in which names near a misspelt one are looked for.
    """
    if isinstance(error, MissingConfigException):
        return _missing_option(error, files)
    if isinstance(error, OverrideParseException):
        form = "must be of the form group=option or key=value, with brackets and quotes closed"
        return f"{error.override} {form}{_with_quotes(str(error.override))}"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _refused(error, files)
    if not _is_of_composition(error):
        return None
    is_no_name = re.fullmatch(r"argument of type '\w+' is not iterable", str(error))
    if is_no_name or "Config group override must be a string or a list" in str(error):
        names = "a group takes the name of one of its options, and a number goes to a key, such as latent.dim=37"
        return f"{names}; {command('--help')} lists the options"
    return _not_composed(error)


def _is_of_composition(error: BaseException) -> bool:
    """Whether Hydra, or what it calls, raised it before any job began."""
    frames = _frames(error)
    places = {(frame.f_globals.get("__name__"), frame.f_code.co_name) for frame in frames}
    packages = [str(frame.f_globals.get("__name__")).split(".")[0] for frame in frames]
    return "hydra" in packages and packages[-1] != "vaelab" and not places & OF_JOBS


def _frames(error: BaseException) -> list[FrameType]:
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


def _not_composed(error: BaseException) -> str:
    overrides = [frame.f_locals.get("override") for frame in _frames(error)]
    lines = [override.input_line for override in overrides if isinstance(override, Override)]
    given = lines[-1] if lines and lines[-1] else "this command line"
    if re.search(r"invalid literal for int|\(str\) is not an int|list indices must be", str(error)):
        return f"{given} asks for a key of a list, which has none; give the whole list, such as 'model.hidden=[400]'"
    cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
    detail = one_line(f"{error}{cause}", 300) or type(error).__name__
    return f"{given} cannot be made a config ({detail}); {command('--cfg', 'job')} lists all keys with their values"


def _missing_option(error: MissingConfigException, files: ConfigFiles) -> str:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    options = sorted(error.options or [])
    if not group:
        return str(error)
    if group == "hydra/launcher" and option in EXTRAS:
        install = f"pip install 'vaelab[{EXTRAS[option]}]'"
        return f"hydra/launcher={option} needs a package that is not installed; run: {install}"
    hint = key_of_number(group, option, files) or nearest(option, options) or ";"
    return f"{group} has no option {option!r}{hint} the options are {', '.join(options)}"


def _refused(error: HydraException | OmegaConfBaseException, files: ConfigFiles) -> str:
    text = str(error)
    if not text:
        return _not_composed(error.__cause__ or error.__context__ or error)
    if text.startswith("Missing mandatory value"):
        return _missing_value(getattr(error, "full_key", None) or text.split()[3], files)
    if isinstance(error, InterpolationResolutionError):
        return f"{error.full_key}: {text.splitlines()[0]}; write the value itself, or a key that the config has"
    for pattern, say in _REFUSALS.items():
        if match := re.search(pattern, text, re.DOTALL):
            return say(match, files)
    if text.startswith("Error merging override") and error.__cause__ is not None:
        return f"{text}: {str(error.__cause__).splitlines()[0]}"
    return text


def _missing_value(key: str, files: ConfigFiles) -> str:
    if files.has_group(key):
        return f"{key} is missing; choose one of its options, such as {command(f'{key}=OPTION')}"
    return f"{key} is missing; give it a value"


def _with_quotes(override: str) -> str:
    """How to write a value with characters that Hydra takes in quotes only, such as é."""
    key, _, value = override.partition("=")
    if not re.fullmatch(r"[\w./]+", key) or not value or re.search(r"""[][(){}'",]""", value):
        return ""
    quoted = f'{key}="{value}"'
    return f"; write {in_shell(quoted)}"


def _no_group(match: re.Match[str], files: ConfigFiles) -> str:
    group, groups = match[1], sorted(files.groups | {"hydra"})
    if group == "hydra":
        return "hydra is no group; change single keys, hydra.KEY=VALUE, or choose hydra/launcher, hydra/sweeper"
    if files.has_group(group):
        return f"{group} is no part of this config; leave it out, or choose what it is a part of"
    return f"there is no group {group!r}{nearest(group, groups) or ';'} the groups are {', '.join(groups)}"


def _unknown(match: re.Match[str], files: ConfigFiles) -> str:
    key, value = match.groups()
    parent, _, leaf = key.rpartition(".")
    where = parent or "the config"
    if options := options_with(key, files):
        return f"{where} has no key {leaf!r} in the option that was chosen; {' or '.join(options)} has it"
    return f"{where} has no key {leaf!r}{did_you_mean(key, value, files)}"


def _not_there(match: re.Match[str], files: ConfigFiles) -> str:
    return f"there is no key {match[1]!r} to delete{did_you_mean(match[1], None, files)}"


def _has_option(match: re.Match[str], files: ConfigFiles) -> str:
    return f"{match[1]} is among the defaults, so that no + is needed; choose its option with {match[1]}=OPTION"


def _has_value(match: re.Match[str], files: ConfigFiles) -> str:
    return f"the config has this key already; change it without the +: {shlex.quote(match[1])}"


def _has_commas(match: re.Match[str], files: ConfigFiles) -> str:
    key, value = match.groups()
    in_brackets = "" if files.has_group(key) else f", for a list write '{key}=[{value}]'"
    return f"{key}={value} has commas; for a sweep begin with {command(sweep=True)}{in_brackets}"


def _is_sweep(match: re.Match[str], files: ConfigFiles) -> str:
    return f"{match[1]} is a sweep; begin with {command(match[1], sweep=True)}"


def _in_file(match: re.Match[str], files: ConfigFiles) -> str:
    name, detail = match[1], match[2].splitlines()[0]
    file = next((file for file in files if str(file.group / file.path.stem) == name), f"{name}.yaml")
    if key := re.match(r"Key '([^']+)' (?:not in 'Root'|is not in struct)", detail):
        return f"{file} has a key {key[1]!r} that no config has{did_you_mean(key[1], None, files)}"
    return f"{file}: {detail}"


# What Hydra says of an override or a file that it cannot apply, and how to say it.
_REFUSALS: dict[str, Callable[[re.Match[str], ConfigFiles], str]] = {
    r"Could not override '([^'@]+)(?:@[^']*)?'\.? ?\n?No match in the defaults list": _no_group,
    r"To append to your config use \+([^=]+)=(.*)": _unknown,
    r"Could not delete from config\. '(.*)' does not exist": _not_there,
    r"Multiple values for ([^.]+)\.": _has_option,
    r"force-add of config groups is not supported: '\++([^=]+)=": _has_option,
    r"Either remove \+ prefix: '([^\n]*)'": _has_value,
    r"Ambiguous value for argument '([^=]*)=([^\n]*)'\n": _has_commas,
    r"Sweep parameters '(.*)' requires --multirun": _is_sweep,
    r"In '([^']+)': (?:\w+) raised while composing config:\s*(.*)": _in_file,
}
