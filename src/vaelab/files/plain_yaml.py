"""YAML that may be untrusted, as plain values: bounded in size, depth and time."""

import re
from typing import Any

import yaml

from vaelab.errors import ABOVE_ALL_INTEGERS, one_line

LARGEST = 1_000_000  # bytes
DEEPEST = 50
LONG_NUMBER = re.compile(r"[-+0-9_:.,a-fxA-FX]{1000,}")  # 59:59:59 is one too, and takes a time that grows as a square
QUOTES = ("'", '"')
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # reads 200 configs in a second less


def load(content: bytes) -> Any:
    """The value of a YAML document: mappings with keys of text, lists, text, numbers, booleans and null.

    Aliases, by which a few hundred bytes make gigabytes or a value that holds itself, are refused: nothing that vaelab
    or Hydra writes has any.

    Raises:
        ValueError: what is wrong with it, in words that follow the name of a file.
    """
    if len(content) > LARGEST:
        raise ValueError(f"may hold {LARGEST:,} bytes at most, got {len(content):,}")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ValueError("must be UTF-8 text") from error
    try:
        refusal = _refusal(text)
        value = None if refusal else yaml.load(text, _LOADER)
    except (
        yaml.YAMLError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        # what is tagged as a number and is none raises whatever Python does
        raise ValueError(f"must be YAML that can be read ({one_line(error, 200)})") from error
    if refusal:
        raise ValueError(refusal)
    _check_plain(value)
    return value


def _refusal(text: str) -> str:
    """Why the text is not to be made into a value, or nothing."""
    depth = 0
    for event in yaml.parse(text, _LOADER):
        if isinstance(event, yaml.AliasEvent):
            return f"must hold no aliases, got *{one_line(event.anchor, 40)}"
        if isinstance(event, yaml.ScalarEvent) and _is_long_number(event):
            return f"must hold numbers of less than 1,000 digits, got one of {len(event.value):,}"
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            return f"must not be nested deeper than {DEEPEST} levels"
    return ""


def _is_long_number(event: yaml.ScalarEvent) -> bool:
    is_text = event.style in QUOTES and event.tag is None
    return not is_text and LONG_NUMBER.fullmatch(event.value) is not None


def _check_plain(value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f"must have keys of text, got {one_line(repr(key), 80)}")
            _check_plain(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_plain(inner)
    elif isinstance(value, int) and abs(value) > ABOVE_ALL_INTEGERS:
        raise ValueError(f"must hold integers below {ABOVE_ALL_INTEGERS:.0e}, got one of {value.bit_length():,} bits")
    elif value is not None and not isinstance(value, str | int | float):
        raise ValueError(f"must hold plain values, got a {type(value).__name__}")
