"""A small dataset in colour."""

from vaelab.dataset.digits import load as load_digits
from vaelab.dataset.images import Dataset, Split


def load(val_size, binarize):
    """The digits as RGB images, of which each channel has another brightness."""
    digits = load_digits(0, "none")

    def coloured(part):
        split = digits.train if part == "train" else digits.test()
        grey = split.images.float()
        return Split((grey * grey.new_tensor([1.0, 0.75, 0.5])[:, None, None]).byte(), split.labels)

    return Dataset("colour", coloured, val_size, binarize)
