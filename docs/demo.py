"""The explorer of the digits demo as a part of the site; a hook of mkdocs."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def on_files(files: Any, config: Any) -> Any:
    """Train the demo and put its page among the site's files, as digits.html."""
    from mkdocs.structure.files import File

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        options = ("experiment=demo", "logger=local", "trainer.pictures_every=0", f"hydra.run.dir={place}")
        for command in (["train", *options], ["explore", str(place)]):
            whole = [sys.executable, "-m", "vaelab.cli.commands", *command]
            subprocess.run(whole, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        files.append(File.generated(config, "digits.html", content=(place / "explore.html").read_bytes()))
    return files
