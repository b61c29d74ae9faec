"""Any dataset of torch's, whatever its items are."""

import os

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from vaelab.dataset.torch import load
from vaelab.errors import UserError

COUNT = 300
LEVELS = np.random.default_rng(0).integers(256, size=(COUNT, 6, 7), dtype=np.uint8)
LEVELS[:, 0, 0] = np.arange(COUNT) % 256


class Own(torch.utils.data.Dataset):
    """Items of a form, each with its number as its label."""

    def __init__(self, item, count=COUNT):
        self.item, self.count = item, count

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        return self.item(number)


FORMS = {
    "pair": lambda n: (torch.tensor(LEVELS[n])[None] / 255, n),
    "tensor label": lambda n: (torch.tensor(LEVELS[n]), torch.tensor(n)),
    "picture": lambda n: (Image.fromarray(LEVELS[n]), n),
    "dictionary": lambda n: {"image": LEVELS[n], "label": n},
    "image alone": lambda n: LEVELS[n],
}


def torch_dataset(source, root, **options):
    defaults = {"size": None, "grey": True, "fit": "crop", "float_range": [0, 1], "val": 0.1, "test": 0.1}
    return load(source, root=str(root), binarize="none", flip=False, **{**defaults, **options})


@pytest.mark.parametrize("form", FORMS)
def test_items_of_every_form_are_the_same_images(tmp_path, form):
    dataset = torch_dataset(Own(FORMS[form]), tmp_path)
    dataset.check()
    splits = [dataset.train, dataset.val, dataset.test()]
    images = torch.cat([split.images for split in splits])[:, 0].numpy()
    assert sorted(map(bytes, images)) == sorted(map(bytes, LEVELS))
    if form == "image alone":
        assert dataset.train.labels is None
    else:
        assert all(
            np.array_equal(image, LEVELS[label])
            for split in splits
            for image, label in zip(split.images[:, 0].numpy(), split.labels, strict=True)
        )


def test_a_dataset_of_tensors_needs_nothing_of_its_own(tmp_path):
    source = TensorDataset(torch.tensor(LEVELS), torch.arange(COUNT) % 4)
    dataset = torch_dataset(source, tmp_path)
    assert (dataset.name, dataset.num_classes) == ("TensorDataset", 4)


def test_it_is_known_again_by_its_items(tmp_path):
    first = torch_dataset(Own(FORMS["pair"]), tmp_path).stored.path
    assert torch_dataset(Own(FORMS["pair"]), tmp_path).stored.path == first
    assert torch_dataset(Own(FORMS["pair"], COUNT - 1), tmp_path).stored.path != first
    assert torch_dataset(Own(lambda n: (255 - LEVELS[n], n)), tmp_path).stored.path != first


def test_other_labels_are_another_dataset(tmp_path):
    first, second = (torch_dataset(Own(lambda n, k=k: (LEVELS[n], n % k)), tmp_path) for k in (3, 4))
    assert first.stored.path != second.stored.path
    assert second.num_classes == 4


def test_what_it_was_made_with_tells_it_from_another_of_rare_labels(tmp_path):
    class Attribute(Own):
        def __init__(self, name):
            super().__init__(lambda number: (LEVELS[number], int(number % 97 == len(name))))
            self.name = name

    found = [whole_labels(torch_dataset(Attribute(name), tmp_path)) for name in ("bald", "hat")]
    assert found[0] != found[1]


def whole_labels(dataset):
    return [split.labels.tolist() for split in (dataset.train, dataset.val, dataset.test())]


def test_items_that_differ_at_each_reading_are_refused(tmp_path):
    source = Own(lambda n: np.random.default_rng().integers(256, size=(8, 8), dtype=np.uint8))
    with pytest.raises(UserError, match=r"the items of Own must be the same at every reading, and item 0 is not"):
        torch_dataset(source, tmp_path)


def test_an_item_that_raises_is_left_out(tmp_path, caplog):
    def item(number):
        if number == 17:
            raise KeyError("gone")
        return LEVELS[number]

    dataset = torch_dataset(Own(item), tmp_path)
    assert sum(len(split.images) for split in (dataset.train, dataset.val, dataset.test())) == COUNT - 1
    assert "item 17 (KeyError: 'gone')" in caplog.text


def test_a_process_that_dies_is_one_sentence(tmp_path):
    def item(number):
        if torch.utils.data.get_worker_info() is not None:
            os._exit(1)
        return LEVELS[number % COUNT]

    with pytest.raises(UserError, match="the items of Own must be readable in processes, and one has died") as raised:
        torch_dataset(Own(item, 2 * COUNT), tmp_path)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (iter([]), "with a length and items by number, got a list_iterator"),
        (Own(lambda n: "a.png"), "an item of Own must be an image, or begin with one, got str"),
        (Own(lambda n: LEVELS[n].astype(int)), "uint8, bool or floats, got int64"),
    ],
)
def test_others_are_refused_in_one_sentence(tmp_path, source, said):
    with pytest.raises(UserError, match=said) as raised:
        torch_dataset(source, tmp_path)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.glob("*.safetensors"))
