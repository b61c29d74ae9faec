"""A folder of pictures becomes a dataset; what is in it that is none is left out or refused."""

import os

import numpy as np
import pytest
from PIL import Image

from vaelab.dataset.folder import load
from vaelab.errors import UserError


def put(folder, count=60, *, colour="red", size=(20, 30), suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", size, colour).save(folder / f"{number}{suffix}")


def folder_dataset(path, root, **options):
    defaults = {"size": 8, "grey": False, "fit": "crop", "val": 0.1, "test": 0.1, "binarize": "none", "flip": False}
    return load(str(path), root=str(root), **{**defaults, **options})


@pytest.fixture
def root(tmp_path):
    return tmp_path / "prepared"


@pytest.fixture
def photos(tmp_path):
    return tmp_path / "photos"


def counts(dataset):
    return [len(split.images) for split in (dataset.train, dataset.val, dataset.test())]


def test_pictures_without_classes_are_parted_by_their_names(photos, root):
    put(photos)
    put(photos / "more", suffix=".JPG")
    dataset = folder_dataset(photos, root)
    dataset.check()
    assert sum(counts(dataset)) == 120
    assert min(counts(dataset)) > 3
    assert (dataset.name, dataset.image_shape, dataset.num_classes) == ("photos-8x8", (3, 8, 8), None)
    names = [name for part in ("train", "val", "test") for name in dataset.stored.names(part)]
    assert sorted(names) == sorted([f"{n}.png" for n in range(60)] + [f"more/{n}.JPG" for n in range(60)])


def test_class_folders_are_labels_in_the_order_of_their_names(photos, root):
    put(photos / "zebra", colour="white")
    put(photos / "ant" / "small", colour="black")
    dataset = folder_dataset(photos, root, grey=True)
    assert dataset.stored.classes == ["ant", "zebra"]
    for split in (dataset.train, dataset.val, dataset.test()):
        assert split.images[:, 0, 0, 0].div(255).tolist() == split.labels.tolist()
    assert dataset.name == "photos-8x8-grey"


def test_own_splits_stay_and_one_that_is_not_there_comes_from_train(photos, root):
    put(photos / "train" / "a")
    put(photos / "train" / "b")
    put(photos / "test" / "a", 7)
    put(photos / "test" / "b", 8)
    dataset = folder_dataset(photos, root, val=0.2)
    train, val, test = counts(dataset)
    assert (train + val, test) == (120, 15)
    assert val > 10
    assert dataset.stored.classes == ["a", "b"]
    assert dataset.test().labels.tolist() == [0] * 7 + [1] * 8


def test_a_changed_picture_or_setting_is_prepared_anew_and_the_same_is_not(photos, root):
    put(photos)
    first = folder_dataset(photos, root).stored.path
    assert folder_dataset(photos, root).stored.path == first
    assert folder_dataset(photos, root, val=0.2).stored.path != first
    Image.new("RGB", (9, 9), "blue").save(photos / "0.png")
    changed = folder_dataset(photos, root)
    assert changed.stored.path != first
    images = np.concatenate([split.images.numpy() for split in (changed.train, changed.val, changed.test())])
    assert (images[:, 2, 0, 0] == 255).sum() == 1


def test_what_is_no_picture_is_passed_by_and_what_cannot_be_read_is_left_out(photos, root, caplog):
    put(photos)
    (photos / "notes.txt").write_text("hello")
    (photos / ".hidden.png").write_text("hidden")
    (photos / "empty.jpg").touch()
    (photos / "gone.png").symlink_to(photos / "nowhere.png")
    assert sum(counts(folder_dataset(photos, root))) == 60
    assert "2 of the 62 images of photos-8x8 could not be read and are left out" in caplog.text
    assert "empty.jpg (no picture that Pillow knows" in caplog.text


def test_folders_that_are_linked_are_read_once(photos, root, tmp_path):
    put(tmp_path / "elsewhere" / "cats", 30)
    put(photos / "dogs", 30)
    (photos / "cats").symlink_to(tmp_path / "elsewhere" / "cats")
    (photos / "dogs" / "again").symlink_to(photos)
    dataset = folder_dataset(photos, root)
    assert sum(counts(dataset)) == 60
    assert dataset.stored.classes == ["cats", "dogs"]


def test_odd_names_are_kept(photos, root):
    put(photos)
    odd = ['it\'s "one".png', "two\nlines.png", "<script>.png"]
    for name in odd:
        Image.new("RGB", (9, 9)).save(photos / name)
    (photos / "0.png").rename(photos / os.fsdecode(b"\xff.png"))
    dataset = folder_dataset(photos, root)
    names = {name for part in ("train", "val", "test") for name in dataset.stored.names(part)}
    assert {*odd, "\udcff.png"} <= names


@pytest.mark.parametrize("name", ["test", "Val"])
def test_a_folder_to_test_on_without_one_to_train_on_is_refused(photos, root, name):
    put(photos, 30)
    put(photos / name, 5)
    with pytest.raises(UserError, match=f"has a folder {name.lower()} and none called train"):
        folder_dataset(photos, root)


def test_capitals_make_no_difference(photos, root):
    put(photos / "Train", 40)
    put(photos / "TEST", 6)
    assert len(folder_dataset(photos, root, val=0).test().images) == 6


def test_what_is_no_regular_file_or_no_picture_is_not_opened(photos, root, caplog):
    put(photos)
    os.mkfifo(photos / "pipe.png")
    (photos / "drawing.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0")
    (photos / "video.mpg").touch()
    assert sum(counts(folder_dataset(photos, root))) == 60
    assert "1 of the 61 images" in caplog.text
    assert "pipe.png (it is no file)" in caplog.text


def test_pictures_outside_of_the_splits_are_counted(photos, root, caplog):
    put(photos / "train", 40)
    put(photos / "validation", 5)
    put(photos / "test", 6)
    put(photos / "more", 3)
    dataset = folder_dataset(photos, root)
    assert counts(dataset) == [40, 5, 6]
    assert "3 pictures of" in caplog.text
    assert dataset.num_classes is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("photo", "which is not there; did you mean 'photos'"),
        ("photos.zip", "got the file .*photos.zip; unpack it"),
        ("one.png", "got the file .*one.png; name the folder it lies in"),
        ("nothing", "in which Pillow knows no file"),
    ],
)
def test_what_is_no_folder_of_pictures_is_refused(photos, root, name, said):
    put(photos, 1)
    (photos.parent / "photos.zip").touch()
    (photos.parent / "one.png").touch()
    (photos.parent / "nothing").mkdir()
    with pytest.raises(UserError, match=said):
        folder_dataset(photos.parent / name, root)
    assert not root.exists()
