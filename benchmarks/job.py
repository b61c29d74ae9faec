"""What one process has to do, in plain values that can be sent to it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEAK_SIDE = 1024
PEAK_FLOPS = 2 * PEAK_SIDE**3  # of one product of the row `peak`
ROWS = ("tutorial", "plain", "lightning", "pythae", "vaelab")
IMAGES = {"mlp": 60_000, "conv": 50_000}  # training images of MNIST and of CIFAR-10
SYNTHETIC_IMAGES = 2_048
LATENT_DIM = 20
ENDLESS = 10**9  # epochs


class MistakeError(Exception):
    """What a person has to change, in one sentence."""


class UnavailableError(Exception):
    """Why a row cannot run here, in a few words for the table."""


@dataclass(frozen=True)
class Column:
    """What all rows of a table share: the network with its data, images in a batch, precision of the network."""

    model: str
    batch: int
    precision: str

    @property
    def name(self) -> str:
        return f"{self.model}-{self.batch}-{self.precision}"


def default_columns(device: str) -> list[Column]:
    """The columns that are measured when nobody chooses."""
    sizes = {"cpu": [("mlp", 32), ("mlp", 128), ("mlp", 512), ("conv", 128)]}
    sizes["cuda"] = [("mlp", 32), ("mlp", 128), ("mlp", 1024), ("conv", 512)]
    return [Column(*size, precision) for size in sizes[device] for precision in ("float32", "bfloat16")]


def column_named(name: str) -> Column:
    """The column of a name such as mlp-32-float32."""
    model, _, rest = name.partition("-")
    batch, _, precision = rest.partition("-")
    if model not in IMAGES or not batch.isdigit() or int(batch) < 1 or precision not in ("float32", "bfloat16"):
        raise MistakeError(f"a column must be named like mlp-32-float32 or conv-128-bfloat16, got {name!r}")
    return Column(model, int(batch), precision)


@dataclass(frozen=True)
class Job:
    """One row of one column in one process.

    Args:
        row: one of ROWS, or `peak`.
        column: the network, batch size and precision.
        device: cpu or cuda.
        root: folder of mnist.safetensors and cifar10.safetensors.
        synthetic: random images instead of those.
        folder: for files that a row writes.
        seconds: how long a turn should take.
        overrides: of vaelab's config, on top of ours.
        epochs: to train.
        limit: train on so many of the training images, or None for all.
    """

    row: str
    column: Column
    device: str
    root: str
    synthetic: bool
    folder: str
    seconds: float
    overrides: tuple[str, ...] = ()
    epochs: int = ENDLESS
    limit: int | None = None

    @property
    def spare(self) -> int:
        """Training images left out in an endless run, so that every batch of every row is full.

        At least one batch is left out: vaelab keeps it for validation, and with its intervals set high it then neither
        evaluates nor writes checkpoints, which no other row does.
        """
        if self.epochs != ENDLESS:
            return 0
        total = self.limit or (SYNTHETIC_IMAGES if self.synthetic else IMAGES[self.column.model])
        if total < 2 * self.column.batch:
            raise MistakeError(f"{self.column.name} needs {2 * self.column.batch:,} images, but there are {total:,}")
        return self.column.batch + total % self.column.batch

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def job_from_json(text: str) -> Job:
    fields = json.loads(text)
    return Job(**{**fields, "column": Column(**fields["column"]), "overrides": tuple(fields["overrides"])})
