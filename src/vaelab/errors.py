"""Errors for people: one sentence with what was expected, what came, what to do."""

import os
import shlex
import sys
import traceback
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from numbers import Integral, Real
from pathlib import Path
from string import ascii_letters, digits

ABOVE_ALL_INTEGERS = 10**18
LARGEST_NUMBER = 1e300
SCRIPT = "VAELAB_RUN_PY"  # in the environment, which jobs in other processes inherit
SAFE_IN_SHELL = f"{ascii_letters}{digits}_-./=+,:@%".encode()

# C0, DEL and C1, which a terminal obeys; line separators; bidirectional overrides, which show text in another order;
# halves of characters, as in a file's name that is no UTF-8, which cannot be printed at all
_UNSEEN = (
    *range(0x00, 0x20),
    *range(0x7F, 0xA0),
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
    *range(0xD800, 0xE000),
)
_ESCAPES = {code: ascii(chr(code))[1:-1] for code in _UNSEEN}
_ESCAPES_IN_LINES = {code: escape for code, escape in _ESCAPES.items() if chr(code) not in "\n\t"}
OUT_OF_MEMORY = "out of memory; close what else uses it, or choose a smaller model or dataset"


class UserError(Exception):
    """A mistake that the person at the keyboard can mend; shown as one sentence, without a stack.

    Args:
        sentence: what was expected, what came, what to do.
        exit_code: 1, or 2 for a wrong command line.
    """

    def __init__(self, sentence: str, exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class ArgumentError(ValueError):
    """A constructor's argument that cannot be what came.

    Args:
        key: the argument's name, which is its key in the config.
        problem: what was expected and what came, as it follows the name: `must be ..., got ...`.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key} {problem}")
        self.key = key


class PastHydraError(BaseException):
    """Carries an error past Hydra, which would print lines of its own, or only warn of it and go on."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'mlp'?` for the names nearest to `name`, or nothing when none is near."""
    near = get_close_matches(name, list(known), n=2)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def visible(text: object, lines: bool = False) -> str:
    """The text with what a terminal would obey written out, `\\x1b` for an escape; with `lines` it keeps its lines."""
    return str(text).translate(_ESCAPES_IN_LINES if lines else _ESCAPES)


def one_line(text: object, limit: int | None = None) -> str:
    """What `text` says, such as an error, on one line, cut after `limit` characters, with nothing that acts unseen."""
    line = " ".join(str(text).split())
    if not line and isinstance(text, BaseException):
        line = _without_words(text)
    return visible(line if limit is None or len(line) < limit else line[:limit] + " ...")


def _without_words(error: BaseException) -> str:
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    name = type(error).__name__
    return f"{name}, which says no more; HYDRA_FULL_ERROR=1 shows where" if isinstance(error, Exception) else name


def say(sentence: object) -> None:
    """Print a sentence for a person to standard error."""
    print(f"vaelab: {visible(sentence)}", file=sys.stderr)


def in_shell(text: str) -> str:
    """The text as one word of a shell's command line, with nothing in it that a terminal or `one_line` would change."""
    if text.isprintable() and text.split() == text.split(" "):
        return shlex.quote(text)
    escaped = (chr(byte) if byte in SAFE_IN_SHELL else f"\\{byte:03o}" for byte in os.fsencode(text))
    return f"$'{''.join(escaped)}'"


def command(*arguments: str, sweep: bool = False) -> str:
    """The command line of a training, or a sweep: by the `run.py` that was started, else by the `vaelab` command."""
    script, multirun = os.environ.get(SCRIPT), ["-m"] if sweep else []
    words = ["python", script, *multirun] if script else ["vaelab", "sweep" if sweep else "train"]
    return " ".join(map(in_shell, [*words, *arguments]))


def resuming(run_dir: Path) -> str:
    """The command that goes on with a run."""
    return command(f"resume={run_dir}")


def check_output(path: Path, *suffixes: str) -> None:
    """Raise UserError, with the exit code of a wrong command line, unless `path` can be a file to write.

    Args:
        path: of the file.
        suffixes: those that say what is written, such as `.png`.
    """
    suffix = suffixes[0]
    if path.is_dir():
        raise UserError(f"the output must be a file, got the folder {path}; name a file, such as {path}/it{suffix}", 2)
    if path.suffix.lower() not in suffixes:
        either, names = " or ".join(suffixes), " or ".join(f"{path.stem}{suffix}" for suffix in suffixes)
        raise UserError(f"the output must be a {either} file, got {path}; name it {names}", 2)
    if not path.parent.is_dir():  # a misspelt path must not make folders
        raise UserError(f"the output must lie in a folder that is there, got {path}; make {path.parent} first", 2)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, torch or a device raised it for want of memory."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or "OutOfMemory" in type(error).__name__
        or (isinstance(error, ImportError) and "failed to map segment" in text)  # a library that did not fit
        or (isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text))
    )


def forget_frames(error: BaseException) -> None:
    """Clear the local variables, such as a model, that the tracebacks of an error and of its causes keep alive.

    The tracebacks still print.
    """
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop()
        if found is not None and found not in seen:
            seen.append(found)
            traceback.clear_frames(found.__traceback__)
            waiting += [found.__cause__, found.__context__]


def check_integer(name: str, value: object, minimum: int) -> None:
    """Raise ArgumentError unless `value` is an integer of at least `minimum`, which torch and YAML can also hold."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise ArgumentError(name, f"must be an integer of at least {minimum}, got {value!r}")
    if value >= ABOVE_ALL_INTEGERS:
        raise ArgumentError(name, f"must be an integer below {ABOVE_ALL_INTEGERS:.0e}, got {one_line(value, 80)}")


def check_number(name: str, value: object, minimum: float, *, above: bool = False) -> None:
    """Raise ArgumentError unless `value` is a finite number, at least `minimum` (or, with `above`, above it)."""
    if not is_number(value) or value < minimum or (above and value == minimum):
        bound = f"above {minimum:g}" if above else f"of at least {minimum:g}"
        raise ArgumentError(name, f"must be a finite number {bound}, got {one_line(repr(value), 80)}")


def is_number(value: object) -> bool:
    """Whether it is a finite real number, and no truth value; a float can hold it, and a difference of two such."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return abs(float(value)) < LARGEST_NUMBER
    except OverflowError:  # an integer of more than 308 digits
        return False


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raise ArgumentError unless `value` is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ArgumentError(name, f"must be one of {', '.join(choices)}, got {value!r}{nearest(str(value), choices)}")
