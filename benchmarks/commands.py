"""vaelab's command line as the benchmarks of whole runs use it."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def vaelab(*arguments: str) -> None:
    """Run a command of vaelab's from the repository's root.

    Raises:
        SystemExit: with its exit code, if the command fails.
    """
    print(f"$ vaelab {shlex.join(arguments)}", flush=True)
    done = subprocess.run([str(Path(sys.executable).parent / "vaelab"), *arguments], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def train(directory: Path, overrides: list[str]) -> None:
    """Train a run in its directory, or what is lacking of it: one that was interrupted goes on."""
    if not is_finished(directory):
        begun = (directory / "config.yaml").exists()
        vaelab("train", *([f"resume={directory}"] if begun else [*overrides, f"hydra.run.dir={directory}"]))


def is_finished(directory: Path) -> bool:
    """Whether a run ended with final metrics."""
    summary = directory / "summary.json"
    return summary.exists() and json.loads(summary.read_text())["status"] == "finished"
