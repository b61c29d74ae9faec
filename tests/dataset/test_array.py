"""Arrays of every kind of file and layout are the same dataset."""

import os
import signal

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from vaelab.dataset.array import load
from vaelab.dataset.own.stored import StoredWriter
from vaelab.errors import UserError

COUNT = 200
IMAGES = np.random.default_rng(0).integers(256, size=(COUNT, 3, 6, 7), dtype=np.uint8)
IMAGES[:, 0, 0, 0] = np.arange(COUNT)
LABELS = np.arange(COUNT) % 5


def array_dataset(path, **options):
    defaults = {"labels": None, "float_range": [0, 1], "val": 0.1, "test": 0.1, "binarize": "none", "flip": False}
    return load(str(path), **{"root": str(path.parent / "prepared"), **defaults, **options})


def whole(dataset):
    """All images in the order of their numbers, and their labels."""
    splits = [dataset.train, dataset.val, dataset.test()]
    images = torch.cat([split.images for split in splits])
    order = images[:, 0, 0, 0].argsort()
    labels = None if splits[0].labels is None else torch.cat([split.labels for split in splits])[order].tolist()
    return images[order].numpy(), labels


def save(path, images=IMAGES, labels=LABELS):
    match path.suffix:
        case ".npy":
            np.save(path, images)
        case ".npz":
            np.savez(path, images=images, labels=labels)
        case ".safetensors":
            save_file({"images": np.ascontiguousarray(images), "labels": labels}, path)
        case ".pt":
            torch.save({"images": torch.tensor(images), "labels": torch.tensor(labels)}, path)
        case ".pth":
            torch.save((torch.tensor(images), torch.tensor(labels)), path)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".pt", ".pth"])
def test_every_kind_of_file_gives_the_same_images_and_labels(tmp_path, suffix):
    dataset = array_dataset(save(tmp_path / f"x{suffix}"))
    dataset.check()
    images, labels = whole(dataset)
    assert np.array_equal(images, IMAGES)
    assert labels == (None if suffix == ".npy" else LABELS.tolist())
    assert min(len(split.images) for split in (dataset.val, dataset.test())) > 8


def test_channels_last_and_floats_are_the_same_images(tmp_path):
    path = save(tmp_path / "x.npy", IMAGES.transpose(0, 2, 3, 1) / 127.5 - 1)
    assert np.array_equal(whole(array_dataset(path, float_range=[-1, 1]))[0], IMAGES)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_floats_that_numpy_does_not_know_are_taken_too(tmp_path, suffix):
    images = torch.tensor(IMAGES).div(255).bfloat16()
    path = tmp_path / f"x{suffix}"
    torch.save(images, path) if suffix == ".pt" else save_tensors({"images": images}, path)
    dataset = array_dataset(path)
    found = torch.cat([split.images for split in (dataset.train, dataset.val, dataset.test())])
    assert sorted(map(bytes, found.numpy())) == sorted(map(bytes, images.float().mul(255).round().byte().numpy()))


def test_more_than_images_and_labels_without_names_are_refused(tmp_path):
    torch.save((torch.tensor(IMAGES),) * 3, tmp_path / "x.pt")
    with pytest.raises(UserError, match="images, or images and labels, are expected, and there are 3 things"):
        array_dataset(tmp_path / "x.pt")


def test_labels_may_lie_in_a_file_beside(tmp_path):
    path, beside = save(tmp_path / "x.npy"), save(tmp_path / "y.npy", LABELS)
    assert whole(array_dataset(path, labels=str(beside)))[1] == LABELS.tolist()


@pytest.mark.parametrize("names", [("train_images", "train_labels"), ("x_train", "y_train")])
def test_splits_of_the_file_stay_as_they_are(tmp_path, names):
    test_names = [name.replace("train", "test") for name in names]
    arrays = dict(
        zip([*names, *test_names], [IMAGES[:150], LABELS[:150, None], IMAGES[150:], LABELS[150:, None]], strict=True)
    )
    np.savez(tmp_path / "x.npz", **arrays)
    dataset = array_dataset(tmp_path / "x.npz")
    assert np.array_equal(dataset.test().images.numpy(), IMAGES[150:])
    assert dataset.test().labels.tolist() == LABELS[150:].tolist()
    assert len(dataset.train.images) + len(dataset.val.images) == 150
    assert len(dataset.val.images) > 5


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"pictures": IMAGES}, "by one of the names images, x, data.*got pictures"),
        (
            {"images": IMAGES, "labels": LABELS[:9]},
            r"labels .* must be integers \(200,\), one an image, got int64 \(9,\)",
        ),
        ({"images": IMAGES, "labels": LABELS / 2}, "got float64"),
        ({"images": IMAGES.astype(int)}, "must be uint8, bool or floats, got int64"),
        ({"images": IMAGES / 3.0}, "from 0 to 1, got"),
        ({"images": IMAGES[..., 0, 0, 0]}, r"images of .* must be \(N, H, W\).* got \(200,\)"),
        ({"images": np.uint8(3)}, r"images of .* must be \(N, H, W\).* got \(\)"),
        ({"images": IMAGES[:, :, :0]}, r"images of .* must be \(N, H, W\).* got \(200, 3, 0, 7\)"),
        ({"train_images": IMAGES, "test_images": IMAGES[:, :, 1:]}, "make them alike, of pictures by dataset.size"),
        ({"images": np.array([{}] * 9)}, "without running code"),
    ],
)
def test_other_arrays_are_refused_in_one_sentence_and_nothing_is_left(tmp_path, arrays, said):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError, match=said) as raised:
        array_dataset(tmp_path / "x.npz")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "prepared").exists()


def test_validation_has_several_names(tmp_path):
    np.savez(tmp_path / "x.npz", x_train=IMAGES, y_train=LABELS, x_valid=IMAGES[:7], y_valid=LABELS[:7])
    dataset = array_dataset(tmp_path / "x.npz")
    assert np.array_equal(dataset.val.images, IMAGES[:7]) and dataset.val.labels.tolist() == LABELS[:7].tolist()


def test_a_split_without_an_image_is_as_one_that_is_not_there(tmp_path):
    splits = {"train_images": IMAGES, "train_labels": LABELS, "val_images": np.array([]), "val_labels": np.array([])}
    np.savez(tmp_path / "x.npz", **splits)
    assert len(array_dataset(tmp_path / "x.npz").val.images) > 5


@pytest.mark.parametrize("name", ["labels", "test_labels"])
def test_labels_without_their_images_are_refused(tmp_path, name):
    np.savez(tmp_path / "x.npz", train_images=IMAGES, **{name: LABELS})
    with pytest.raises(UserError, match=r"has labels of .*, and no such images"):
        array_dataset(tmp_path / "x.npz")


def test_files_of_one_name_in_two_folders_are_two_datasets(tmp_path):
    found = []
    for number, folder in enumerate((tmp_path / "a", tmp_path / "b")):
        folder.mkdir()
        np.save(folder / "x.npy", np.full((20, 4, 4), number, np.uint8))
        os.utime(folder / "x.npy", (10**9, 10**9))
        found.append(array_dataset(folder / "x.npy", root=str(tmp_path)).train.images)
    assert (found[0] == 0).all() and (found[1] == 1).all()


@pytest.mark.parametrize("name", ["gone.npy", "x.csv"])
def test_what_is_no_such_file_is_refused(tmp_path, name):
    (tmp_path / "x.csv").touch()
    with pytest.raises(UserError, match=r"dataset\.path must be a file of the kinds \.npy"):
        array_dataset(tmp_path / name)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    torch.save({"images": Evil()}, tmp_path / "x.pt")
    with pytest.raises(UserError, match="without running code"):
        array_dataset(tmp_path / "x.pt")


def test_a_signal_ends_a_preparation_and_leaves_nothing(inline, tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", np.zeros((40, 8, 8), np.uint8))
    monkeypatch.setattr(StoredWriter, "add", lambda *of_a_part: signal.raise_signal(signal.SIGTERM))
    options = ("dataset=array", f"dataset.path={tmp_path / 'x.npy'}", f"dataset.root={tmp_path / 'root'}")
    code, out, _ = inline(*options, f"hydra.run.dir={tmp_path / 'run'}")
    assert code == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in out
    assert "resume=" not in out
    assert not (tmp_path / "root").exists()
    assert not (tmp_path / "run" / "config.yaml").exists()
