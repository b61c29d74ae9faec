"""A source is prepared once, whole or not at all, and what could not be read is named."""

import logging

import numpy as np
import pytest
import torch

from vaelab.dataset.own import prepare
from vaelab.dataset.own.prepare import own_dataset
from vaelab.dataset.own.source import Example, Source, Unreadable
from vaelab.dataset.prepared import found_only
from vaelab.errors import UserError


def image(number, shape=(1, 4, 5)):
    return np.full(shape, number % 256, np.uint8)


class Numbers:
    """A source of images that are their own number, which counts how often it is read."""

    def __init__(self, train=40, val=4, test=6, bad=(), labels=True, shapes=None):
        self.sizes, self.bad, self.labels, self.shapes, self.uses = (train, val, test), bad, labels, shapes or {}, 0

    def __call__(self):
        self.uses += 1
        starts = np.cumsum([0, *self.sizes])
        items = [range(start, start + size) for start, size in zip(starts, self.sizes, strict=False)]
        return Source(dict(zip(("train", "val", "test"), items, strict=True)), self.read, "{}.png".format)

    def read(self, items):
        for number in items:
            if number in self.bad:
                yield Unreadable(f"{number}.png", "it is torn")
            else:
                label = int(number) % 3 if self.labels else None
                yield Example(image(number, self.shapes.get(number, (1, 4, 5))), label)


def dataset(root, source, identity="numbers", **options):
    return own_dataset(str(root), "numbers", identity, source, binarize="none", **options)


def test_it_is_prepared_once_and_mapped_from_then_on(tmp_path):
    source = Numbers(train=600)
    for _ in range(2):
        found = dataset(tmp_path, source)
        found.check()
        assert [len(split.images) for split in (found.train, found.val, found.test())] == [600, 4, 6]
        assert found.train.images[:, 0, 0, 0].tolist() == [number % 256 for number in range(600)]
        assert found.test().images[:, 0, 0, 0].tolist() == [number % 256 for number in range(604, 610)]
        assert found.val.labels.tolist() == [number % 3 for number in range(600, 604)]
        assert found.stored.names("val") == [f"{number}.png" for number in range(600, 604)]
        assert (found.num_classes, found.image_shape) == (3, (1, 4, 5))
    assert source.uses == 1
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".lock", ".safetensors"]


def test_another_identity_is_another_file(tmp_path):
    source = Numbers()
    dataset(tmp_path, source, ["numbers", 1])
    dataset(tmp_path, source, ["numbers", 2])
    assert source.uses == 2
    assert len(list(tmp_path.glob("numbers-*.safetensors"))) == 2


def test_a_name_that_no_file_can_have_is_made_one(tmp_path):
    found = own_dataset(str(tmp_path), "a/b c\n'\"", 1, Numbers(), binarize="none")
    assert found.name == "a/b c\n'\""
    assert next(tmp_path.glob("*.safetensors")).name.startswith("a-b-c--")


def test_a_name_longer_than_a_file_may_have_is_cut(tmp_path):
    own_dataset(str(tmp_path), "x" * 300, 1, Numbers(), binarize="none")
    assert len(next(tmp_path.glob("*.safetensors")).name) < 255


def test_images_without_labels_have_none(tmp_path):
    assert dataset(tmp_path, Numbers(labels=False)).train.labels is None


def test_few_that_cannot_be_read_are_counted_named_and_left_out(tmp_path, caplog):
    found = dataset(tmp_path, Numbers(train=100, bad=(3, 50)))
    assert len(found.train.images) == 98
    assert found.stored.names("train")[2:4] == ["2.png", "4.png"]
    (message,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "2 of the 110 images of numbers could not be read and are left out" in message
    assert "3.png (it is torn), 50.png (it is torn)" in message


def test_many_that_cannot_be_read_are_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(
        UserError, match=r"at most 5% of the 110 images .* got 0\.png \(it is torn\).* and 1 more; mend"
    ):
        dataset(tmp_path, Numbers(train=100, bad=range(60)))
    assert not list(tmp_path.glob("*.safetensors")) + list(tmp_path.glob("*.tmp"))


def test_images_of_two_shapes_are_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"\(1, 4, 5\) and \(1, 5, 4\) of 7\.png; make them alike, .* dataset\.size"):
        dataset(tmp_path, Numbers(shapes={7: (1, 5, 4)}))


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_split_that_would_be_empty_is_refused(tmp_path, part):
    with pytest.raises(UserError, match=f"must have images for its {part} split"):
        dataset(tmp_path, Numbers(**{part: 0}))


def test_no_images_for_validation_are_allowed(tmp_path):
    found = dataset(tmp_path, Numbers(val=0))
    found.check()
    assert found.val.images.shape == (0, 1, 4, 5)


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepare.os, "fsync", full)
    with pytest.raises(UserError, match=r"could not be prepared .*No space left.*free some space"):
        dataset(tmp_path, Numbers())
    assert not list(tmp_path.glob("numbers*s")) + list(tmp_path.glob("*.tmp"))


def test_a_preparation_that_is_stopped_leaves_nothing(tmp_path):
    class Stopped(Numbers):
        def read(self, items):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dataset(tmp_path, Stopped())
    assert not list(tmp_path.glob("*.safetensors")) + list(tmp_path.glob("*.tmp"))


def test_a_saved_config_prepares_nothing(tmp_path):
    source = Numbers()
    with found_only(), pytest.raises(UserError, match="is not there, which the run was trained on"):
        dataset(tmp_path, source)
    assert (source.uses, list(tmp_path.iterdir())) == (0, [])
    dataset(tmp_path, source)
    with found_only():
        assert len(dataset(tmp_path, source).train.images) == 40


def test_flipping_is_a_function_of_the_noise_and_spares_evaluation(tmp_path):
    pixels = torch.arange(20, dtype=torch.uint8).view(1, 1, 4, 5).repeat(2000, 1, 1, 1)
    found = dataset(tmp_path, Numbers(), flip=True)

    def seen(seed):
        return found.training_pixels(pixels, torch.Generator().manual_seed(seed))

    mirrored = (seen(0) != pixels / 255).flatten(1).any(1)
    assert 900 < mirrored.sum() < 1100
    assert torch.equal(seen(0)[mirrored], pixels[mirrored].flip(-1) / 255)
    assert torch.equal(seen(0), seen(0))
    assert not torch.equal(seen(0), seen(1))
    assert torch.equal(found.pixels(pixels, torch.Generator()), pixels / 255)


def test_flip_is_yes_or_no(tmp_path):
    with pytest.raises(ValueError, match="flip must be true or false, got 'left'"):
        dataset(tmp_path, Numbers(), flip="left")
