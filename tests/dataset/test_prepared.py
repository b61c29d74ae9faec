"""Prepared files are made once, verified, and a wrong folder leaves nothing behind."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.fakes import FakeTorchvision, small_split
from vaelab.dataset.prepared import found_only, prepared
from vaelab.errors import UserError

SIZES = {"train": 6, "test": 4}
SHAPE = (1, 8, 8)


def prepare(root, torchvision_name="MNIST", shape=SHAPE):
    return prepared(root, "small", torchvision_name, shape, SIZES)


def grey(part):
    """As torchvision's MNIST: a tensor (N, H, W), labels in a tensor."""
    split = small_split(SIZES[part])
    return split.images[:, 0], split.labels.long()


def colour(part):
    """As torchvision's CIFAR10: an array (N, H, W, C), labels in a list."""
    images = np.random.default_rng(SIZES[part]).integers(256, size=(SIZES[part], 8, 10, 3), dtype=np.uint8)
    return images, list(range(SIZES[part]))


def fake(monkeypatch, name="MNIST", source=grey):
    import torchvision

    fake = FakeTorchvision({part: source(part) for part in SIZES})
    monkeypatch.setattr(torchvision.datasets, name, fake)
    return fake


def write_prepared(root, **changes):
    """A prepared file with some tensors replaced, or left out where None is given."""
    tensors = {}
    for part, size in SIZES.items():
        tensors |= {f"{part}_images": small_split(size).images, f"{part}_labels": small_split(size).labels}
    path = root / "small.safetensors"
    save_file({key: value for key, value in (tensors | changes).items() if value is not None}, path)
    return path


@pytest.mark.parametrize("part", SIZES)
def test_a_grey_dataset_is_prepared_equal_to_its_source(part, tmp_path, monkeypatch):
    fake(monkeypatch)
    split = prepare(tmp_path)(part)
    assert torch.equal(split.images, small_split(SIZES[part]).images)
    assert torch.equal(split.labels, small_split(SIZES[part]).labels)


@pytest.mark.parametrize("part", SIZES)
def test_a_colour_dataset_is_prepared_equal_to_its_source(part, tmp_path, monkeypatch):
    fake(monkeypatch, "CIFAR10", colour)
    split = prepare(tmp_path, "CIFAR10", (3, 8, 10))(part)
    images, labels = colour(part)
    assert np.array_equal(split.images.permute(0, 2, 3, 1).numpy(), images)
    assert split.labels.tolist() == labels


def test_the_prepared_file_is_kept_alone_and_the_second_call_does_not_download(tmp_path, monkeypatch):
    source = fake(monkeypatch)
    first = prepare(tmp_path / "data")("train")
    assert {path.name for path in (tmp_path / "data").iterdir()} <= {"small.safetensors", "small.lock"}
    stored = load_file(tmp_path / "data" / "small.safetensors")
    assert {key: tensor.dtype for key, tensor in stored.items()} == dict.fromkeys(
        ("train_images", "train_labels", "test_images", "test_labels"), torch.uint8
    )
    assert torch.equal(prepare(tmp_path / "data")("train").images, first.images)
    assert source.uses == ["train", "test"]


def test_jobs_that_ask_for_it_at_the_same_time_prepare_it_once(tmp_path, monkeypatch):
    source = fake(monkeypatch)
    monkeypatch.setattr(FakeTorchvision, "data", property(lambda self: self._data, slow_setter), raising=False)
    with ThreadPoolExecutor(3) as pool:
        sizes = list(pool.map(lambda _: len(prepare(tmp_path)("train").images), range(3)))
    assert sizes == [SIZES["train"]] * 3
    assert source.uses == ["train", "test"]


def slow_setter(self, value):
    time.sleep(0.05)
    self._data = value


def test_a_root_below_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_prepared(tmp_path)
    assert len(prepare("~")("test").images) == SIZES["test"]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-10])


def empty(path):
    path.write_bytes(b"")


def garble(path):
    path.write_bytes(b"no tensors" * 100)


def narrow(path):
    write_prepared(path.parent, train_images=torch.zeros(6, 1, 8, 7, dtype=torch.uint8))


def shorten(path):
    write_prepared(path.parent, test_labels=torch.zeros(3, dtype=torch.uint8))


def lose(path):
    write_prepared(path.parent, test_images=None)


def blur(path):
    write_prepared(path.parent, train_images=torch.zeros(6, 1, 8, 8))


@pytest.mark.parametrize("damage", [truncate, empty, garble, narrow, shorten, lose, blur])
def test_a_damaged_prepared_file_is_refused_in_one_sentence_and_left_in_place(damage, tmp_path, monkeypatch):
    source = fake(monkeypatch)
    path = write_prepared(tmp_path)
    damage(path)
    content = path.read_bytes()
    with pytest.raises(UserError) as raised:
        prepare(tmp_path)("train")
    assert str(path) in str(raised.value)
    assert "prepare it anew" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert path.read_bytes() == content
    assert source.uses == []


@pytest.mark.parametrize("error", [URLError("no network"), RuntimeError("Dataset not found"), OSError("timed out")])
def test_a_dataset_that_cannot_be_downloaded_is_refused_and_leaves_nothing(error, tmp_path, monkeypatch):
    import torchvision

    def unreachable(*args, **options):
        raise error

    monkeypatch.setattr(torchvision.datasets, "MNIST", unreachable)
    with pytest.raises(UserError, match=r"small\.safetensors.*dataset=digits") as raised:
        prepare(tmp_path)
    assert "\n" not in str(raised.value)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".lock"}


def unreachable(root, train, download):
    """As torchvision without a network: it makes a folder for what it would download."""
    (root / "MNIST" / "raw").mkdir(parents=True, exist_ok=True)
    raise URLError("no network")


@pytest.mark.parametrize("kept", [None, "kept.txt"])
def test_a_folder_that_was_made_for_a_download_that_failed_is_removed_unless_it_holds_something(
    kept, tmp_path, monkeypatch
):
    import torchvision

    def interrupted(root, train, download):
        if kept:
            (root / kept).write_text("somebody else's")
        unreachable(root, train, download)

    monkeypatch.setattr(torchvision.datasets, "MNIST", interrupted)
    with pytest.raises(UserError, match=r"\$VAELAB_DATA"):
        prepare(tmp_path / "data")
    assert [path.name for path in tmp_path.rglob("*")] == (["data", kept] if kept else [])


def test_a_folder_that_was_there_stays(tmp_path, monkeypatch):
    import torchvision

    monkeypatch.setattr(torchvision.datasets, "MNIST", unreachable)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError):
        prepare(tmp_path)
    assert (tmp_path / "empty").is_dir()


@pytest.mark.parametrize("root", ["", "new", "no/such"])
def test_a_folder_of_a_saved_run_without_the_dataset_is_refused_and_nothing_is_made(root, tmp_path, monkeypatch):
    source = fake(monkeypatch)
    with (
        found_only(),
        pytest.raises(UserError, match=r"small.* is not there.*\$VAELAB_DATA or dataset\.root") as raised,
    ):
        prepare(tmp_path / root)
    assert "\n" not in str(raised.value)
    assert source.uses == list(tmp_path.iterdir()) == []


def test_a_folder_of_a_saved_run_is_used_where_it_has_the_prepared_file(tmp_path, monkeypatch):
    source = fake(monkeypatch)
    prepare(tmp_path)
    uses = list(source.uses)
    with found_only():
        assert len(prepare(tmp_path)("train").images) == SIZES["train"]
    assert source.uses == uses


def test_a_fifo_in_the_place_of_the_prepared_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "small.safetensors")
    with pytest.raises(UserError, match="must be a file"):
        prepare(tmp_path)


@pytest.mark.parametrize("root", ["no/such", "/no-such-folder-at-the-root"])
def test_a_folder_in_none_is_refused_and_not_made(root, tmp_path, monkeypatch):
    source = fake(monkeypatch)
    with pytest.raises(
        UserError, match=r"small must lie in a folder that is there, got .*; name the folder with small"
    ):
        prepare(tmp_path / root)
    assert not (tmp_path / root).exists()
    assert source.uses == list(tmp_path.iterdir()) == []
