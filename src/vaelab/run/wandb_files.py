"""Files of W&B, and about it, in the directories of runs and sweeps."""

import json
import re
import secrets
import subprocess
from contextlib import suppress
from pathlib import Path

from vaelab.errors import UserError, in_shell
from vaelab.evaluation.pictures.animation import ANIMATION, SHOWN_AS
from vaelab.files import folder

RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
RUN_ID_FILE = "wandb/run_id"
PICTURES = "wandb/pictures"  # `<line>-<file>`: to be sent with the row of that line
UNREACHABLE = ".wandb_unreachable"  # in the directory of a sweep: W&B's server did not answer a job


def run_id_of(run_dir: Path) -> tuple[str, bool]:
    """The id of the W&B run of a directory, and whether it had one; one that W&B would not have given is none."""
    with suppress(OSError, ValueError, UserError):
        found = folder.read(run_dir, RUN_ID_FILE, 64).decode().strip()
        if RUN_ID.fullmatch(found):
            return found, True
    run_id = secrets.token_hex(4)
    folder.write(run_dir, RUN_ID_FILE, run_id.encode())
    return run_id, False


def pictures_of_row(run_dir: Path, number: int) -> dict[str, Path]:
    """The pictures that wait to go with the row of that line, by name."""
    paths = sorted(path for end in ("png", "gif", "html") for path in (run_dir / PICTURES).glob(f"{number}-*.{end}"))
    regular = (path for path in paths if folder.exists(run_dir, f"{PICTURES}/{path.name}"))
    named = ((path.name.partition("-")[2], path) for path in regular)
    return {SHOWN_AS if file == ANIMATION else Path(file).stem: path for file, path in named}


def sync_command(run_dir: Path) -> str:
    """What a person types to upload what W&B's files in a run directory hold."""
    return f"wandb sync --include-online {in_shell(str(run_dir / 'wandb'))}"


def first_line_to_bring(run_dir: Path) -> int:
    """The number of the first line that no W&B file of the run directory holds, as W&B's own program reads them."""
    from wandb.util import get_core_path

    steps = [-1]
    for file in (run_dir / "wandb").glob("*run-*/run-*.wandb"):
        if not folder.exists(run_dir, str(file.relative_to(run_dir))):
            continue
        command = [get_core_path(), "leet", "inspect", "-json", "-no-observability", "-run-file", str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as reader:
            assert reader.stdout is not None
            for line in reader.stdout:
                if b'"type":"history"' in line:
                    with suppress(ValueError, KeyError, TypeError):  # the last may be torn
                        steps.append(int(json.loads(line)["history"]["step"]["num"]))
    return max(steps) + 1


def remove_links(run_dir: Path) -> None:
    """Remove the links that W&B makes anew, which in an untrusted directory may lead anywhere."""
    for path in (run_dir / "wandb").iterdir():
        if path.is_symlink():
            path.unlink()
