"""EMNIST: grey images of handwritten digits and letters, 28 x 28 (Cohen et al., 2017, arXiv:1702.05373)."""

from dataclasses import replace

from vaelab.dataset.images import Dataset, Split
from vaelab.dataset.prepared import prepared
from vaelab.errors import check_choice

SIZES = {
    "balanced": (112_800, 18_800),
    "byclass": (697_932, 116_323),
    "bymerge": (697_932, 116_323),
    "digits": (240_000, 40_000),
    "letters": (124_800, 20_800),
    "mnist": (60_000, 10_000),
}


def load(root: str, split: str, val_size: int, binarize: str) -> Dataset:
    """One of EMNIST's splits from `<root>/emnist_<split>.safetensors`, downloaded and prepared when that is missing.

    Args:
        root: the folder of prepared datasets.
        split: `balanced` (47 classes), `byclass` (62), `bymerge` (47), `digits`, `letters` (1 to 26) or `mnist`.
        val_size: as `Dataset` takes it.
        binarize: the same.

    Raises:
        ValueError: if there is no such split.
    """
    check_choice("split", split, SIZES)
    name, sizes = f"emnist_{split}", dict(zip(("train", "test"), SIZES[split], strict=True))
    found = prepared(
        *(root, name, "EMNIST", (1, 28, 28), sizes), lambda part: {"split": split, "train": part == "train"}
    )

    def read(part: str) -> Split:
        stored = found(part)
        return replace(stored, images=stored.images.mT.contiguous())  # they are published lying on their side

    return Dataset(name, read, val_size, binarize)
