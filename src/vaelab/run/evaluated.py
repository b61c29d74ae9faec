"""`evaluation.json` of a run directory: what `vaelab evaluate RUN_DIR --output RUN_DIR/evaluation.json` measured."""

from dataclasses import dataclass, field
from pathlib import Path

from vaelab.errors import UserError, is_number
from vaelab.files import folder, plain_json

EVALUATION = "evaluation.json"
LARGEST = 4_000_000  # bytes; one with lists of 1,000 latents has 200,000
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Evaluation:
    """What was measured of a run after it.

    Args:
        metrics: by names such as `test/log_likelihood`.
        depends_on: for people, what a metric depends on, such as its number of samples.
        best_epoch: whose weights were measured.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    depends_on: dict[str, str] = field(default_factory=dict)
    best_epoch: int | None = None


def read_evaluation(run_dir: Path) -> Evaluation:
    """The evaluation in a run directory, empty where there is none.

    Raises:
        UserError: if the file is damaged.
        OSError: if it cannot be read.
    """
    try:
        content = folder.read(run_dir, EVALUATION, LARGEST)
    except FileNotFoundError:
        return Evaluation()
    try:
        found = plain_json.load_object(content) or {}
        settings = found["settings"]
        split, few = settings["split"], settings["images"] < settings["images_of_split"]
        some = f", of {settings['images']:,} of the images" if few else ""
        metrics = {name: value for name, value in found["metrics"].items() if value is not None}
        if split in SPLITS and all(map(is_number, metrics.values())):
            return Evaluation(
                {f"{split}/{name}": value for name, value in metrics.items()},
                {f"{split}/{name}": f"{words}{some}" for name, words in found["depends_on"].items()},
                settings["best_epoch"],
            )
    except (KeyError, TypeError, AttributeError, ValueError):
        pass
    raise UserError(f"{run_dir / EVALUATION} must hold what vaelab evaluate --output writes; evaluate the run again")
