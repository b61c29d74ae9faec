"""Splits are fixed, disjoint and what they claim to be; binarisation is repeatable."""

import numpy as np
import pytest
import torch

from helpers.fakes import small_dataset, small_split
from vaelab.dataset.images import Dataset, Split
from vaelab.errors import UserError
from vaelab.ops import generator


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_static_binarisation_is_the_same_in_two_loads_and_holds_only_black_and_white(part):
    first, second = (small_dataset(val_size=30, binarize="static") for _ in range(2))
    images = [(dataset.test() if part == "test" else getattr(dataset, part)).images for dataset in (first, second)]
    assert torch.equal(*images)
    assert images[0].dtype == torch.uint8
    assert images[0].unique().tolist() == [0, 255]


def test_static_binarisation_draws_white_with_the_grey_value_as_probability():
    levels = torch.tensor([0, 51, 204, 255], dtype=torch.uint8).repeat_interleave(5000).reshape(-1, 1, 10, 10)
    split = Dataset("levels", lambda part: Split(levels, levels[:, 0, 0, 0]), 0, "static").test()
    white = [split.images[split.labels == level].float().mean().item() / 255 for level in (0, 51, 204, 255)]
    assert white[0] == 0
    assert white[3] == 1
    assert white[1:3] == pytest.approx([0.2, 0.8], abs=0.03)


@pytest.mark.parametrize("binarize", ["none", "dynamic"])
def test_other_settings_leave_the_levels_as_they_are(binarize):
    assert torch.equal(small_dataset(binarize=binarize).train.images, small_split(200).images)


@pytest.mark.parametrize(("binarize", "kind"), [("none", "levels"), ("dynamic", "binary"), ("static", "binary")])
def test_a_dataset_says_what_its_pixels_are(binarize, kind):
    dataset = small_dataset(binarize=binarize)
    assert (dataset.pixel_kind, dataset.image_shape) == (kind, (1, 8, 8))
    pixels = dataset.pixels(dataset.train.images, generator(0, "test")).unique()
    assert (pixels.tolist() == [0.0, 1.0]) == (kind == "binary")
    assert torch.equal(pixels, torch.arange(256) / 255) == (kind == "levels")


def test_dynamic_pixels_are_drawn_anew_by_the_noise_with_the_grey_value_as_probability():
    dataset, levels = small_dataset(binarize="dynamic"), torch.full((1, 1, 300, 300), 51, dtype=torch.uint8)
    first, same, other = (dataset.pixels(levels, generator(0, "test", index)) for index in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert first.mean().item() == pytest.approx(0.2, abs=5 * 0.4 / 300)


def test_a_dataset_knows_its_facts():
    facts = small_dataset(val_size=30, kinds=10).facts
    assert (facts.image_shape, facts.num_classes, facts.train_size) == ((1, 8, 8), 10, 170)
    assert Dataset("bare", lambda part: Split(small_split(20).images), 0, "none").facts.num_classes is None


def test_a_class_that_only_a_validation_image_has_counts():
    labels = torch.zeros(200, dtype=torch.uint8)
    labels[small_dataset(val_size=30).val.labels[0].long()] = 6
    dataset = Dataset("rare", lambda part: Split(small_split(200).images, labels), 30, "none")
    assert dataset.train.labels.max() == 0
    assert dataset.num_classes == 7


def test_validation_and_train_are_disjoint_and_together_the_whole():
    dataset = small_dataset(val_size=30)
    train, val = dataset.train.labels.tolist(), dataset.val.labels.tolist()
    assert (len(train), len(val)) == (170, 30)
    assert sorted(train + val) == list(range(200))


def test_labels_stay_with_their_images():
    dataset, whole = small_dataset(val_size=30), small_split(200)
    for split in (dataset.train, dataset.val):
        assert torch.equal(split.images, whole.images[split.labels.long()])


def test_validation_split_is_fixed_and_no_mere_end_of_the_images():
    torch.manual_seed(1)
    first = small_dataset(val_size=30).val.labels.tolist()
    torch.manual_seed(2)
    assert small_dataset(val_size=30).val.labels.tolist() == first
    assert first not in (list(range(30)), list(range(170, 200)))


def test_without_validation_all_images_are_for_training():
    dataset = small_dataset(val_size=0)
    assert len(dataset.val.images) == len(dataset.val.labels) == 0
    assert torch.equal(dataset.train.images, small_split(200).images)


@pytest.mark.parametrize("val_size", [200, 201])
def test_a_validation_split_that_leaves_no_training_image_is_refused(val_size):
    with pytest.raises(ValueError, match=f"val_size must be less than the 200 training images, got {val_size}"):
        _ = small_dataset(val_size=val_size).train


@pytest.mark.parametrize("val_size", [-1, 1.5, True, "10", None])
def test_a_val_size_that_is_no_count_is_refused(val_size):
    with pytest.raises(ValueError, match="val_size must be an integer of at least 0"):
        small_dataset(val_size=val_size)


def test_an_unknown_binarisation_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'dynamic'"):
        small_dataset(binarize="dinamic")


def test_test_images_are_not_read_before_they_are_asked_for():
    read = []

    def reader(part):
        read.append(part)
        return small_split(20)

    dataset = Dataset("small", reader, 5, "none")
    _ = dataset.train, dataset.val, dataset.train
    assert read == ["train"]
    dataset.test()
    assert read == ["train", "test"]


# What is read


def own(images, labels=None, test=None, **settings):
    """A dataset of one's own with these training images."""
    train = Split(images, labels)
    return Dataset("photos", {"train": train, "test": test or train}.__getitem__, 0, "none", **settings)


def refusal(dataset):
    with pytest.raises(UserError, match="of photos must") as raised:
        dataset.check()
    assert "\n" not in str(raised.value)
    return str(raised.value)


LEVELS = torch.zeros(5, 1, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (LEVELS / 255, r"got torch.float32 (5, 1, 8, 8); for images in [0, 1] that is images.mul(255).round()"),
        (LEVELS.long(), "got torch.int64 (5, 1, 8, 8); images.to(torch.uint8)"),
        (LEVELS.numpy(), "got ndarray; torch.as_tensor"),
        (LEVELS[:, 0], "got (5, 8, 8); images.unsqueeze(1)"),
        (LEVELS[:0], "at least one image with at least one pixel, got the shape (0, 1, 8, 8)"),
        (LEVELS[..., :0], "at least one image with at least one pixel, got the shape (5, 1, 8, 0)"),
        (LEVELS.permute(0, 2, 3, 1), "1 to 4 channels C, got (5, 8, 8, 1); images.permute(0, 3, 1, 2)"),
        (LEVELS.expand(-1, 12, -1, -1), "1 to 4 channels C, got (5, 12, 8, 8); max_channels"),
    ],
)
def test_images_that_are_none_are_refused_with_what_to_do(images, said):
    sentence = refusal(own(images))
    assert sentence.startswith("the train split of photos must have ")
    assert said in sentence
    assert "the test split" in refusal(own(LEVELS, test=Split(images)))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (torch.zeros(5), "got torch.float32 (5,)"),
        (torch.zeros(4, dtype=torch.uint8), "got torch.uint8 (4,)"),
        (torch.zeros(5, 10, dtype=torch.int64), "got torch.int64 (5, 10)"),
        (np.zeros(5, int), "got ndarray"),
        ([0] * 5, "got list"),
    ],
)
def test_labels_are_integers_one_an_image(labels, said):
    sentence = refusal(own(LEVELS, labels))
    assert "labels that are integers, a tensor (5,), or None" in sentence
    assert said in sentence


@pytest.mark.parametrize("label", [-1, 100_000])
def test_labels_that_number_no_class_are_refused(label):
    labels = torch.tensor([0, 1, 2, 0, label])
    assert f"must be from 0 to 99,999, got {min(0, label)} to {max(2, label)}" in refusal(own(LEVELS, labels))


def test_what_is_no_split_is_refused():
    dataset = Dataset("photos", lambda part: (LEVELS, None), 0, "none")
    assert "must be a vaelab.dataset.images.Split(images, labels), got tuple" in refusal(dataset)


def test_train_and_test_images_have_one_shape():
    sentence = refusal(own(LEVELS, test=Split(LEVELS[..., :7])))
    assert "the test images of photos must have the shape of its training images, (1, 8, 8), got (1, 8, 7)" in sentence


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_one_to_four_channels_are_taken_and_more_where_that_is_said(channels):
    own(LEVELS.expand(-1, channels, -1, -1)).check()
    own(LEVELS.expand(-1, 4 + channels, -1, -1), max_channels=8).check()


@pytest.mark.parametrize("binarize", ["none", "dynamic", "static"])
def test_a_dataset_needs_no_labels(binarize):
    dataset = Dataset("photos", lambda part: Split(LEVELS), 2, binarize)
    dataset.check()
    for split in (dataset.train, dataset.val, dataset.test()):
        assert split.labels is None
    assert (len(dataset.train.images), len(dataset.val.images)) == (3, 2)


def test_what_is_read_is_checked_without_a_look_at_the_pixels():
    endless = torch.empty(10**9, 3, 512, 512, dtype=torch.uint8, device="meta")  # it has no pixels to look at
    assert own(endless)._read("train").images is endless
