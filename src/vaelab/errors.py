"""Errors for people: one sentence with what was expected, what came, what to do."""

import math
import traceback
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from numbers import Integral, Real
from pathlib import Path


class UserError(Exception):
    """A mistake that the person at the keyboard can mend; shown as one sentence, without a stack.

    Args:
        sentence: what was expected, what came, what to do.
        exit_code: 1, or 2 for a wrong command line.
    """

    def __init__(self, sentence: str, exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class PastHydraError(BaseException):
    """Carries an error past Hydra, which would print lines of its own, or only warn of it and go on."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'mlp'?` for the names nearest to `name`, or nothing when none is near."""
    near = get_close_matches(name, list(known), n=2)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def one_line(text: object, limit: int | None = None) -> str:
    """What `text` says, such as an error, on one line, cut after `limit` characters."""
    line = " ".join(str(text).split())
    return line if limit is None or len(line) < limit else line[:limit] + " ..."


def check_output(path: Path, suffix: str) -> None:
    """Raise UserError, with the exit code of a wrong command line, unless `path` can be a file to write.

    Args:
        path: of the file.
        suffix: the only one that says what is written, such as `.png`.
    """
    if path.is_dir():
        raise UserError(f"the output must be a file, got the folder {path}; name a file, such as {path}/it{suffix}", 2)
    if path.suffix.lower() != suffix:
        raise UserError(f"the output must be a {suffix} file, got {path}; name it {path.stem}{suffix}", 2)
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
    """Raise ValueError unless `value` is an integer of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {value!r}")


def check_number(name: str, value: object, minimum: float, *, above: bool = False) -> None:
    """Raise ValueError unless `value` is a finite number, at least `minimum` (or, with `above`, above it)."""
    is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or value < minimum or (above and value == minimum):
        bound = f"above {minimum:g}" if above else f"of at least {minimum:g}"
        raise ValueError(f"{name} must be a finite number {bound}, got {value!r}")


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}{nearest(str(value), choices)}")
