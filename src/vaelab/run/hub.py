"""Runs on the Hugging Face hub, by names such as `hf://user/name` or `hf://user/name@revision`."""

import re
from pathlib import Path

from vaelab.errors import UserError, one_line
from vaelab.files.user_cache import user_cache

OF_A_RUN = ("config.yaml", "config.yaml.sha256", "summary.json", "metrics.jsonl", "samples.png", "reconstructions.png")
WEIGHTS = ("model.safetensors", "checkpoints/best.pt", "checkpoints/best.pt.sha256")
NAME = re.compile(r"hf:/{1,2}(\w[\w.-]*/\w[\w.-]*?)(?:@(\w[\w./-]*))?/?")  # a Path makes one slash of two


def fetched(path: Path) -> Path:
    """The directory of a run: one of this machine's as it is, one of the hub's fetched into the user's cache.

    Raises:
        UserError: if it is no such name, or cannot be fetched.
    """
    text = str(path)
    if not text.startswith("hf:/"):
        return path
    found = NAME.fullmatch(text)
    if found is None:
        raise UserError(f"a run on the hub must be named hf://USER/NAME or hf://USER/NAME@REVISION, got {text}")
    try:
        from huggingface_hub import HfApi, snapshot_download
    except ImportError as error:
        raise UserError("runs on the hub need huggingface_hub; pip install 'vaelab[hf]'") from error
    try:  # a folder a commit; the hub's own cache is made of links, which are not followed in a run directory
        commit = HfApi().model_info(found[1], revision=found[2]).sha
        place = user_cache() / f"{found[1].replace('/', '--')}@{commit}"
        return Path(snapshot_download(found[1], revision=commit, local_dir=place, allow_patterns=[*OF_A_RUN, *WEIGHTS]))
    except Exception as error:  # of the network, of the hub, of rights
        raise UserError(f"{text} could not be fetched from the hub ({one_line(error, 200)})") from error
