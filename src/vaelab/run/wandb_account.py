"""Whose W&B account is used: its key, and where W&B may look for settings."""

import sys
from pathlib import Path


def has_key() -> bool:
    """Whether W&B has a key to log in with; raises what W&B does where its server does not take it, or answer."""
    import wandb

    return bool(wandb.login(prompt=False))


def folder_of_settings() -> Path:
    """Where W&B may look for `wandb/settings`: beside the program, and not where a person happens to be.

    That may be an untrusted folder, whose settings would send the key to another server.
    """
    program = Path(sys.argv[0]).resolve()
    return program.parent if program.is_file() else Path(program.anchor)
