"""Strict JSON that may be untrusted."""

import json
from typing import Any, NoReturn


def load_object(content: bytes) -> dict[str, Any] | None:
    """The object that a JSON text without NaN and Infinity holds; None for anything else."""
    try:
        found = json.loads(content.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)
