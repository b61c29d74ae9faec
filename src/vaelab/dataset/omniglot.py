"""Omniglot: 19,280 + 13,180 drawings of characters of 50 alphabets (Lake et al., 2015)."""

from pathlib import Path

from PIL import ImageOps

from vaelab.dataset.images import Dataset
from vaelab.dataset.own.pictures import Fit
from vaelab.dataset.own.prepare import own_dataset
from vaelab.dataset.own.source import Example, Source, by_threads, parted
from vaelab.dataset.prepared import KNOWN, downloading


def load(root: str, size: int, val: float, binarize: str) -> Dataset:
    """Omniglot, white strokes on black, trained on its background set and tested on its evaluation set.

    These have other alphabets, so that there are no labels that both share. The split and the 28 x 28 images of Burda
    et al. (2016) are others.

    Args:
        root: the folder of prepared datasets, in which torchvision's folder `omniglot-py` is looked for.
        size: pixels of each side of an image.
        val: the fraction of the background set that is kept for validation.
        binarize: as `Dataset` takes it.

    Raises:
        UserError: if the drawings are not there and cannot be downloaded.
    """
    how, name, folder = Fit(size, grey=True, fit="crop"), f"omniglot-{size}x{size}", Path(root).expanduser()

    def source() -> Source:
        with downloading(folder / "omniglot", f"put the two archives of Omniglot into {folder / 'omniglot-py'}"):
            from torchvision.datasets import Omniglot  # takes seconds to import; needed once

            background, evaluation = (Omniglot(folder, background=kind, download=True) for kind in (True, False))
        own = {"train": [(background, row) for row in range(len(background))]}
        own["test"] = [(evaluation, row) for row in range(len(evaluation))]
        parts = parted(own, lambda item: str(item[1]), val, 0)
        return Source(parts, by_threads(lambda item: Example(how(ImageOps.invert(item[0][item[1]][0].convert("L"))))))

    return own_dataset(root, name, ["omniglot", how.identity, val], source, binarize=binarize, kind=KNOWN)
