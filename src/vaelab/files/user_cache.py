"""Where files of all runs of a user are kept."""

import os
from pathlib import Path


def user_cache() -> Path:
    """The folder of vaelab among the user's cached files, which may not be there yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vaelab"
