"""scikit-learn's digits need no folder and no download."""

import pytest
import torch

from vaelab.dataset.digits import load


@pytest.fixture(scope="module")
def digits():
    return load(val_size=200, binarize="none")


def test_there_are_1500_and_297_grey_images_with_the_labels_0_to_9(digits):
    assert digits.image_shape == (1, 8, 8)
    assert [len(split.images) for split in (digits.train, digits.val, digits.test())] == [1300, 200, 297]
    for split in (digits.train, digits.val, digits.test()):
        assert split.images.dtype == torch.uint8
        assert len(split.labels) == len(split.images)
        assert split.labels.unique().tolist() == list(range(10))


def test_the_levels_are_the_multiples_of_255_by_16(digits):
    assert digits.train.images.unique().tolist() == [round(level * 255 / 16) for level in range(17)]


def test_train_and_test_together_are_scikit_learns_images(digits):
    from sklearn.datasets import load_digits

    splits = (digits.train, digits.val, digits.test())
    ours = torch.cat([split.images for split in splits]).flatten(1).mul(16 / 255).round()
    labels = torch.cat([split.labels for split in splits])
    rows = sorted(map(tuple, torch.cat([ours.int(), labels.int()[:, None]], 1).tolist()))
    source = load_digits()
    assert rows == sorted(
        (*map(int, image), int(label)) for image, label in zip(source.data, source.target, strict=True)
    )


def test_the_choice_of_test_images_is_fixed(digits):
    torch.manual_seed(5)
    assert torch.equal(load(val_size=0, binarize="dynamic").test().images, digits.test().images)
