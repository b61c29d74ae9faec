"""What went wrong, in one sentence, from whatever Hydra, OmegaConf, torch or the operating system raised."""

import errno
import re
import shlex
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from vaelab.cli.suggestions import did_you_mean, options_with
from vaelab.errors import OUT_OF_MEMORY, UserError, in_shell, is_out_of_memory, nearest, one_line

COMMAND_LINE = 2
EXTRAS = {"joblib": "parallel", "submitit_slurm": "slurm", "submitit_local": "slurm"}  # launchers of other packages


def sentence(error: BaseException, conf: Path) -> tuple[str | None, int]:
    """The sentence and the exit code; None instead of a sentence for what is no mistake of a person.

    Args:
        error: what was raised.
        conf: the config folder, in which names near a misspelt one are looked for.
    """
    for text, code in _known(error, conf):
        return one_line(text), code
    return None, 1


def _known(error: BaseException, conf: Path) -> Iterator[tuple[str, int]]:
    if isinstance(error, InstantiationException) and isinstance(error.__cause__, UserError):
        error = error.__cause__  # of a launcher or a sweeper
    if isinstance(error, UserError):
        yield f"{error}{_origin(error, conf)}", error.exit_code
    if isinstance(error, MissingConfigException):
        yield _missing_option(error, conf), COMMAND_LINE
    if isinstance(error, HydraException | OmegaConfBaseException):
        yield _composition(error, conf), COMMAND_LINE
    if "Config group override must be a string or a list" in str(error) or (
        re.fullmatch(r"argument of type '\w+' is not iterable", str(error)) and _is_of_composition(error)
    ):
        yield (
            (
                "a group takes the name of one of its options, and a number goes to a key, such as latent.dim=37; "
                "python run.py --help lists the options"
            ),
            COMMAND_LINE,
        )
    if 'detect "srun"' in str(error):
        yield "there is no SLURM on this machine; start the sweep on one that has sbatch, or use hydra/launcher=pool", 1
    if type(error).__name__ in ("BrokenProcessPool", "TerminatedWorkerError"):
        yield "a worker of the sweep was killed, and the jobs that had not ended with it; resume them one by one", 1
    if is_out_of_memory(error):  # elsewhere than where the run itself says what did not fit
        yield OUT_OF_MEMORY, 1
    if isinstance(error, OSError) and error.errno is not None:
        path = error.filename or "a file of the run"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            yield f"the disk is full ({path}); the last good checkpoint is kept; free some space and resume the run", 1
        else:
            advice = "choose another folder with hydra.run.dir or dataset.root"
            yield f"{path} could not be written or read: {error.strerror}; {advice}", 1
    if _is_of_composition(error):
        yield _not_composed(error), COMMAND_LINE


def _is_of_composition(error: BaseException) -> bool:
    """Whether Hydra, or what it calls, raised it before any job began."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    places = {(frame.f_globals.get("__name__"), frame.f_code.co_name) for frame in frames}
    job = {
        ("vaelab.cli.launch", "job"),
        ("hydra.core.utils", "return_value"),
    }  # where one began, in another process too
    modules = [str(frame.f_globals.get("__name__")).split(".")[0] for frame in frames]
    return "hydra" in modules and modules[-1] != "vaelab" and not places & job


def _not_composed(error: BaseException) -> str:
    overrides = [frame.f_locals.get("override") for frame, _ in traceback.walk_tb(error.__traceback__)]
    lines = [override.input_line for override in overrides if isinstance(override, Override)]
    given = lines[-1] if lines and lines[-1] else "this command line"
    if re.search(r"invalid literal for int|\(str\) is not an int|list indices must be", str(error)):
        return f"{given} asks for a key of a list, which has none; give the whole list, such as 'model.hidden=[400]'"
    cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
    detail = one_line(f"{error}{cause}", 300) or type(error).__name__
    return f"{given} cannot be made a config ({detail}); python run.py --cfg job lists all keys with their values"


def _missing_option(error: MissingConfigException, conf: Path) -> str:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    options = sorted(error.options or [])
    if not group:
        return str(error)
    if group == "hydra/launcher" and option in EXTRAS:
        return (
            f"hydra/launcher={option} needs a package that is not installed; run: pip install -e '.[{EXTRAS[option]}]'"
        )
    return f"{group} has no option {option!r}{nearest(option, options) or ';'} the options are {', '.join(options)}"


def _composition(error: BaseException, conf: Path) -> str:
    text = str(error)
    if text.startswith("Missing mandatory value"):
        key = getattr(error, "full_key", None) or text.split()[3]
        if (conf / key).is_dir():
            return f"{key} is missing; choose one of its options, such as python run.py {key}=OPTION"
        return f"{key} is missing; give it a value"
    if isinstance(error, InterpolationResolutionError):
        return f"{error.full_key}: {text.splitlines()[0]}; write the value itself, or a key that the config has"
    if match := re.search(r"Could not override '([^'@]+)(?:@[^']*)?'\.? ?\n?No match in the defaults list", text):
        groups = [path.name for path in conf.iterdir() if path.is_dir()]
        known = ", ".join(sorted(groups))
        if match[1] == "hydra":
            return "hydra is no group; change single keys, hydra.KEY=VALUE, or choose hydra/launcher, hydra/sweeper"
        if (conf / match[1]).is_dir():
            return f"{match[1]} is no part of this config; leave it out, or choose what it is a part of"
        return f"there is no group {match[1]!r}{nearest(match[1], groups) or ';'} the groups are {known}"
    for pattern, say in _OVERRIDES.items():
        if match := re.search(pattern, text, re.DOTALL):
            return say(match, conf)
    if match := re.search(r"In '([^']+)': (?:\w+) raised while composing config:\s*(.*)", text, re.DOTALL):
        file, detail = match[1], match[2].splitlines()[0]
        if key := re.match(r"Key '([^']+)' (?:not in 'Root'|is not in struct)", detail):
            return f"conf/{file}.yaml has a key {key[1]!r} that no config has{did_you_mean(key[1], None, conf)}"
        return f"conf/{file}.yaml: {detail}"
    if not text:
        return _not_composed(error.__cause__ or error.__context__ or error)
    detail = error.__cause__ if text.startswith("Error merging override") else None
    if isinstance(error, OverrideParseException):
        form = "must be of the form group=option or key=value, with brackets and quotes closed"
        return f"{error.override} {form}{_with_quotes(str(error.override))}"
    return f"{text}: {str(detail).splitlines()[0]}" if detail is not None else text


def _with_quotes(override: str) -> str:
    """How to write a value with characters that Hydra takes in quotes only, such as é."""
    key, _, value = override.partition("=")
    if not re.fullmatch(r"[\w./]+", key) or not value or re.search(r"""[][(){}'",]""", value):
        return ""
    quoted = f'{key}="{value}"'
    return f"; write {in_shell(quoted)}"


def _unknown(match: re.Match[str], conf: Path) -> str:
    key, value = match.groups()
    parent, _, leaf = key.rpartition(".")
    where = parent or "the config"
    if options := options_with(key, conf):
        return f"{where} has no key {leaf!r} in the option that was chosen; {' or '.join(options)} has it"
    return f"{where} has no key {leaf!r}{did_you_mean(key, value, conf)}"


def _not_there(match: re.Match[str], conf: Path) -> str:
    return f"there is no key {match[1]!r} to delete{did_you_mean(match[1], None, conf)}"


def _has_option(match: re.Match[str], conf: Path) -> str:
    return f"{match[1]} is among the defaults, so that no + is needed; choose its option with {match[1]}=OPTION"


def _has_value(match: re.Match[str], conf: Path) -> str:
    return f"the config has this key already; change it without the +: {shlex.quote(match[1])}"


def _has_commas(match: re.Match[str], conf: Path) -> str:
    key, value = match.groups()
    in_brackets = "" if (conf / key).is_dir() else f", for a list write '{key}=[{value}]'"
    return f"{key}={value} has commas; for a sweep begin with -m{in_brackets}"


def _is_sweep(match: re.Match[str], conf: Path) -> str:
    return f"{match[1]} is a sweep; begin with -m: python run.py -m {shlex.quote(match[1])}"


# What Hydra says of an override that it cannot apply, and how to say it.
_OVERRIDES: dict[str, Callable[[re.Match[str], Path], str]] = {
    r"To append to your config use \+([^=]+)=(.*)": _unknown,
    r"Could not delete from config\. '(.*)' does not exist": _not_there,
    r"Multiple values for ([^.]+)\.": _has_option,
    r"force-add of config groups is not supported: '\++([^=]+)=": _has_option,
    r"Either remove \+ prefix: '([^\n]*)'": _has_value,
    r"Ambiguous value for argument '([^=]*)=([^\n]*)'\n": _has_commas,
    r"Sweep parameters '(.*)' requires --multirun": _is_sweep,
}


def _origin(error: UserError, conf: Path) -> str:
    """The YAML files in which an unknown key stands."""
    node, key = getattr(error, "node", None), getattr(error, "key", None)
    if node is None or key is None:
        return ""
    files = []
    for file in sorted(conf.rglob("*.yaml")):
        content = yaml.safe_load(file.read_text())
        inside = content if file.parent.name == node else content.get(node) if isinstance(content, dict) else None
        if isinstance(inside, dict) and key in inside:
            files.append(str(file.relative_to(conf.parent)))
    return f" (in {', '.join(files)})" if files else ""
