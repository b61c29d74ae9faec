"""A prepared file is safetensors, is read back as it was written, and gives its memory back."""

import json
import os

import numpy as np
import psutil
import pytest
import torch
from safetensors.numpy import load_file

from vaelab.dataset.own.stored import HEADER_BYTES, Stored, StoredWriter, joined
from vaelab.errors import UserError

NAMES = ["a.png", 'it\'s "quoted".jpg', "two\nlines.png", "no utf-8 \udcff.gif"]


def images(count, seed=0):
    return np.random.default_rng(seed).integers(256, size=(count, 3, 5, 7), dtype=np.uint8)


def write(path, sizes=(4, 0, 3), **more):
    """A file with that many images in train, val and test, written in chunks of two."""
    with path.open("wb") as file:
        writer = StoredWriter(file)
        for part, size in zip(("train", "val", "test"), sizes, strict=True):
            whole = images(size, size)
            chunks = [whole[start : start + 2] for start in range(0, size, 2)] or [whole]
            assert writer.add(f"{part}_images", chunks, "uint8") == size
        for name, (array, dtype) in more.items():
            writer.add(name, [array], dtype)
        writer.finish()
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "small.safetensors"


def test_what_is_written_is_read_back_by_us_and_by_others(path):
    labels = np.array([2, 0, 1, 2])
    write(path, train_labels=(labels, "int64"), train_names=(joined(NAMES), "uint8"))
    stored, others = Stored(path), load_file(path)
    for part, size in (("train", 4), ("val", 0), ("test", 3)):
        assert np.array_equal(stored.read(part).images.numpy(), images(size, size))
        assert np.array_equal(others[f"{part}_images"], images(size, size))
    assert stored.read("train").labels.tolist() == labels.tolist() == others["train_labels"].tolist()
    assert stored.read("test").labels is None
    assert (stored.names("train"), stored.names("test"), stored.classes) == (NAMES, None, None)


def test_classes_are_kept_in_their_order(path):
    assert Stored(write(path, classes=(joined(["b", "", "a"]), "uint8"))).classes == ["b", "", "a"]


def test_released_memory_is_read_again_as_it_was(path):
    stored = Stored(write(path))
    train = stored.read("train").images
    before = train.clone()
    stored.release()
    assert torch.equal(train, before)


def test_what_was_read_takes_no_memory_once_it_is_released(path):
    with path.open("wb") as file:
        writer = StoredWriter(file)
        for part, count in (("train", 2000), ("val", 0), ("test", 1)):
            chunk = np.ones((min(count, 100), 3, 100, 100), np.uint8)
            writer.add(f"{part}_images", [chunk] * max(1, count // 100), "uint8")
        writer.finish()
    stored, process = Stored(path), psutil.Process()
    before = process.memory_info().rss
    assert stored.read("train").images.sum() == 60_000_000
    assert process.memory_info().rss - before > 50e6
    stored.release()
    assert process.memory_info().rss - before < 20e6


def test_a_file_may_be_larger_than_memory(path):
    count = 2 * psutil.virtual_memory().total // (3 * 1000 * 1000)
    shapes = {
        "train_images": (count, 3, 1000, 1000),
        "val_images": (0, 3, 1000, 1000),
        "test_images": (1, 3, 1000, 1000),
    }
    entries, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + int(np.prod(shape))
        entries[name] = {"dtype": "U8", "shape": shape, "data_offsets": [start, end]}
    header = json.dumps(entries).encode().ljust(HEADER_BYTES)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + HEADER_BYTES + end)  # of zeros, which take no room on the disk
    train = Stored(path).read("train").images
    assert train.shape == shapes["train_images"]
    assert train[-1].sum() == 0


@pytest.mark.parametrize("damage", ["cut", "empty", "no header", "other tensors", "labels of others"])
def test_a_damaged_file_is_refused_in_one_sentence(path, damage):
    whole = write(path).read_bytes()
    if damage == "other tensors":
        with path.open("wb") as file:
            writer = StoredWriter(file)
            writer.add("weights", [np.zeros((2, 3))], "int64")
            writer.finish()
    elif damage == "labels of others":
        write(path, train_labels=(np.zeros(3), "int64"))
    else:
        path.write_bytes({"cut": whole[:-1], "empty": b"", "no header": b"x" * len(whole)}[damage])
    with pytest.raises(UserError, match=r"is damaged or cut short|must hold uint8 images") as raised:
        Stored(path)
    assert "\n" not in str(raised.value)
