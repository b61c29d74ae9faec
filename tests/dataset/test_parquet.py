"""Pictures in Parquet files, as Hugging Face's datasets have them."""

import io

import numpy as np
import pytest
from PIL import Image

from vaelab.dataset.parquet import load
from vaelab.errors import UserError

datasets = pytest.importorskip("datasets", reason="needs the extra hf")
LEVELS = np.arange(100, dtype=np.uint8)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def parquet_dataset(path, root, **options):
    defaults = {"size": 8, "grey": True, "fit": "crop", "image": None, "label": None, "val": 0.1, "test": 0.1}
    return load(str(path), root=str(root), binarize="none", flip=False, **{**defaults, **options})


def table(levels=LEVELS, **more):
    """Pictures of one level each, with that level as their number."""
    features = datasets.Features(
        {"photo": datasets.Image(), "number": datasets.Value("int64"), "kind": datasets.ClassLabel(names=["a", "b"])}
    )
    columns = {
        "photo": [Image.new("L", (9, 12), int(level)) for level in levels],
        "number": [int(level) for level in levels],
        "kind": [int(level) % 2 for level in levels],
    }
    return datasets.Dataset.from_dict({**columns, **more}, features)


def whole(dataset):
    splits = (dataset.train, dataset.val, dataset.test())
    return {
        int(image[0, 0, 0]): None if split.labels is None else int(label)
        for split in splits
        for image, label in zip(split.images, split.images if split.labels is None else split.labels, strict=True)
    }


def test_a_file_gives_its_pictures_and_the_column_that_has_classes(tmp_path):
    table().to_parquet(tmp_path / "x.parquet")
    dataset = parquet_dataset(tmp_path / "x.parquet", tmp_path)
    dataset.check()
    assert whole(dataset) == {level: level % 2 for level in range(100)}
    assert dataset.stored.classes == ["a", "b"]
    assert (dataset.name, dataset.image_shape) == ("x-8x8", (1, 8, 8))


def test_files_of_a_folder_are_splits_by_their_names(tmp_path):
    folder = tmp_path / "digits"
    folder.mkdir()
    table(LEVELS[:60]).to_parquet(folder / "train-00000-of-00002.parquet")
    table(LEVELS[60:80]).to_parquet(folder / "train-00001-of-00002.parquet")
    table(LEVELS[80:]).to_parquet(folder / "test-00000-of-00001.parquet")
    dataset = parquet_dataset(folder, tmp_path, label="number")
    assert dataset.test().labels.tolist() == list(range(80, 100))
    assert sorted([*dataset.train.labels.tolist(), *dataset.val.labels.tolist()]) == list(range(80))


def test_folders_are_splits_by_their_names(tmp_path):
    for part, levels in (("train", LEVELS[:80]), ("test", LEVELS[80:])):
        (tmp_path / "it" / part).mkdir(parents=True)
        table(levels).to_parquet(tmp_path / f"it/{part}/0000.parquet")
    assert parquet_dataset(tmp_path / "it", tmp_path, label="number").test().labels.tolist() == list(range(80, 100))


def test_rows_without_a_picture_are_left_out_and_labels_are_integers(tmp_path, caplog):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    pictures = [*(Image.new("L", (9, 9), int(level)) for level in LEVELS[:59]), None]
    datasets.Dataset.from_dict({"image": pictures, "label": ["cat"] * 60}, features).to_parquet(tmp_path / "x.parquet")
    assert whole(parquet_dataset(tmp_path / "x.parquet", tmp_path)) == dict.fromkeys(range(59))
    assert "row 59 of train (it holds no picture)" in caplog.text
    with pytest.raises(UserError, match=r"dataset\.label must name a column of integers or classes"):
        parquet_dataset(tmp_path / "x.parquet", tmp_path, label="label")


def test_bytes_are_pictures_too(tmp_path):
    def content(level):
        file = io.BytesIO()
        Image.new("L", (9, 9), int(level)).save(file, "PNG")
        return file.getvalue()

    datasets.Dataset.from_dict({"it": list(map(content, LEVELS))}).to_parquet(tmp_path / "x.parquet")
    assert whole(parquet_dataset(tmp_path / "x.parquet", tmp_path)) == dict.fromkeys(range(100))


def test_columns_that_are_not_clear_are_asked_for(tmp_path):
    table().rename_column("photo", "front").add_column("back", table()["number"]).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"dataset\.image must name the column .* front \(Image\)"):
        parquet_dataset(tmp_path / "x.parquet", tmp_path, image="photo")
    with pytest.raises(UserError, match=r"dataset\.label must name a column"):
        parquet_dataset(tmp_path / "x.parquet", tmp_path, label="clas")


def test_what_cannot_be_read_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and nothing")
    (tmp_path / "nothing").mkdir()
    for name in ("x.parquet", "nothing", "absent.parquet"):
        with pytest.raises(UserError, match="must be a Parquet file, a folder of such, or a name on the hub") as raised:
            parquet_dataset(tmp_path / name, tmp_path)
        assert "\n" not in str(raised.value)
