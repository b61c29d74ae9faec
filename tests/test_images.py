"""Splits are fixed and disjoint, binarisation is repeatable, prepared files are made once and verified."""

import time
from concurrent.futures import ThreadPoolExecutor
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fakes import FakeTorchvision, small_dataset, small_split
from vaelab.errors import UserError
from vaelab.images import Dataset, prepared

SIZES = {"train": 6, "test": 4}
SHAPE = (1, 8, 8)


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_static_binarisation_is_the_same_in_two_loads_and_holds_only_black_and_white(part):
    first, second = (small_dataset(val_size=30, binarize="static") for _ in range(2))
    images = [(dataset.test() if part == "test" else getattr(dataset, part)).images for dataset in (first, second)]
    assert torch.equal(*images)
    assert images[0].dtype == torch.uint8
    assert images[0].unique().tolist() == [0, 255]


def test_static_binarisation_draws_white_with_the_grey_value_as_probability():
    levels = torch.tensor([0, 51, 204, 255], dtype=torch.uint8).repeat_interleave(5000).reshape(-1, 1, 10, 10)
    split = Dataset("levels", lambda part: type(small_split(1))(levels, levels[:, 0, 0, 0]), 0, "static").test()
    white = [split.images[split.labels == level].float().mean().item() / 255 for level in (0, 51, 204, 255)]
    assert white[0] == 0
    assert white[3] == 1
    assert white[1:3] == pytest.approx([0.2, 0.8], abs=0.03)


@pytest.mark.parametrize("binarize", ["none", "dynamic"])
def test_other_settings_leave_the_levels_as_they_are(binarize):
    assert torch.equal(small_dataset(binarize=binarize).train.images, small_split(200).images)


@pytest.mark.parametrize(
    ("binarize", "support", "dynamic"),
    [("none", "levels", False), ("dynamic", "binary", True), ("static", "binary", False)],
)
def test_a_dataset_says_what_its_pixels_are(binarize, support, dynamic):
    dataset = small_dataset(binarize=binarize)
    assert (dataset.support, dataset.dynamic, dataset.image_shape) == (support, dynamic, SHAPE)


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


# Prepared files


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
