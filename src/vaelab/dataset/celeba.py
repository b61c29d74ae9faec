"""CelebA: 162,770 + 19,867 + 19,962 photographs of faces, cut and scaled (Liu et al., 2015, arXiv:1411.7766)."""

from pathlib import Path

from vaelab.dataset.images import Dataset
from vaelab.dataset.own.pictures import Fit, read_picture
from vaelab.dataset.own.prepare import own_dataset
from vaelab.dataset.own.source import Source, by_threads
from vaelab.dataset.prepared import KNOWN, downloading

SPLITS = {"train": "train", "val": "valid", "test": "test"}  # as CelebA calls them


def load(root: str, size: int, middle: int, binarize: str, flip: bool) -> Dataset:
    """The aligned faces in the three splits of CelebA, which has no classes; prepared once, downloaded where needed.

    Args:
        root: the folder of prepared datasets, in which torchvision's folder `celeba` is looked for.
        size: pixels of each side of an image.
        middle: pixels of each side of what is kept of a photograph, of 178 x 218.
        binarize: as `Dataset` takes it.
        flip: the same.

    Raises:
        UserError: if the photographs are not there and cannot be downloaded.
    """
    how, name = Fit(size, grey=False, fit="crop", middle=middle), f"celeba-{size}x{size}"
    folder = Path(root).expanduser()

    def source() -> Source:
        with downloading(folder / "celeba", f"put img_align_celeba and CelebA's lists into {folder / 'celeba'}"):
            from torchvision.datasets import CelebA  # takes seconds to import; needed once

            found = {part: CelebA(folder, split=split, download=True) for part, split in SPLITS.items()}
        photographs = folder / CelebA.base_folder / "img_align_celeba"
        parts = {part: list(each.filename) for part, each in found.items()}
        return Source(parts, by_threads(lambda file: read_picture(photographs / file, file, how)), str)

    return own_dataset(root, name, ["celeba", how.identity], source, binarize=binarize, flip=flip, kind=KNOWN)
