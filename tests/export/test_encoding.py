"""Embeddings as tables: what the model gives for each image, beside its name and label."""

import numpy as np
import pytest
import torch
from PIL import Image

from vaelab.cli.commands import main
from vaelab.errors import UserError
from vaelab.export.encoding import encode_images
from vaelab.run.load import load_run


def levels(count=30):
    return np.random.default_rng(0).integers(256, size=(count, 8, 8), dtype=np.uint8)


def read(path):
    if path.suffix == ".npz":
        with np.load(path) as found:
            return dict(found)
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra hf")
    return {name: np.array(values) for name, values in parquet.read_table(path).to_pydict().items()}


@pytest.mark.parametrize("output", ["z.parquet", "z.npz"])
def test_a_split_is_encoded_with_its_labels(trained, tmp_path, output):
    run = trained("latent.dim=5")
    main(["encode", str(run.path), "test", "-o", output])
    found, test = read(tmp_path / output), run.dataset.test()
    q = run.posterior(test.images)
    np.testing.assert_allclose(found["mean"], q.mean, atol=1e-6)
    np.testing.assert_allclose(found["std"], (0.5 * q.log_var).exp(), rtol=1e-5)
    assert found["label"].tolist() == test.labels.tolist()
    assert found["name"].tolist() == [str(row) for row in range(297)]


def test_a_folder_of_pictures_is_encoded_by_name_and_what_is_none_left_out(trained, tmp_path, capfd):
    run = trained()
    for number, image in enumerate(levels()):
        folder = tmp_path / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    (tmp_path / "photos/a/torn.png").write_bytes(b"x")
    main(["encode", str(run.path), "photos", "-o", "z.npz"])
    out, err = capfd.readouterr()
    found = read(tmp_path / "z.npz")
    assert "30 images in z.npz: name, label, class, mean, std" in out
    assert "1 of the pictures could not be read and is left out: a/torn.png (no picture that Pillow knows)" in err
    for name, label, mean in zip(found["name"], found["label"], found["mean"], strict=True):
        assert label == "ab".index(name[0])
        assert found["class"][list(found["name"]).index(name)] == name[0]
        image = levels()[int(name[2:].removesuffix(".png"))]
        np.testing.assert_allclose(mean, run.encode(image[None, None])[0], atol=1e-5)


def test_an_array_is_encoded_row_by_row(trained, tmp_path):
    run = trained()
    np.save(tmp_path / "x.npy", levels(300))
    found = encode_images(run, str(tmp_path / "x.npy"), lambda count: None)
    torch.testing.assert_close(torch.from_numpy(found.arrays()["mean"]), run.encode(levels(300)[:, None]))
    assert found.names == [str(row) for row in range(300)]
    assert "label" not in found.arrays()


def test_a_model_with_labels_is_given_those_of_the_images(trained, tmp_path):
    run = trained("conditional=labels")
    np.savez(tmp_path / "x.npz", images=levels(), labels=np.arange(30) % 10)
    found = encode_images(run, str(tmp_path / "x.npz"), lambda count: None)
    expected = run.encode(levels()[:, None], torch.arange(30) % 10)
    torch.testing.assert_close(torch.from_numpy(found.arrays()["mean"]), expected)
    np.save(tmp_path / "y.npy", levels())
    with pytest.raises(UserError, match="the model takes labels from 0 to 9, which"):
        encode_images(run, str(tmp_path / "y.npy"), lambda count: None)


@pytest.fixture
def trained_on_photos(inline, tmp_path):
    """A run on three class folders of pictures, and a function that puts pictures into others."""

    def put(folder, names):
        for name in names:
            (tmp_path / folder / name).mkdir(parents=True)
            for number, image in enumerate(levels()):
                Image.fromarray(image).save(tmp_path / folder / name / f"{number}.png")

    def trained(*options):
        put("photos", ["cat", "dog", "zebra"])
        own = ("dataset=folder", "dataset.path=photos", "dataset.size=8", "dataset.grey=true", *options)
        short = ("logger=local", "trainer.max_steps=2", "trainer.pictures_every=0", "trainer.threads=1")
        code, _, err = inline(*own, *short, "dataset.root=data", "hydra.run.dir=run")
        assert code == 0, err
        return load_run(tmp_path / "run"), put

    return trained


@pytest.mark.parametrize("options", [[], ["conditional=labels"]])
def test_the_classes_of_a_folder_are_known_by_their_names(trained_on_photos, options):
    run, put = trained_on_photos(*options)
    put("more", ["zebra"])
    assert set(encode_images(run, "more", lambda count: None).labels) == {2}
    put("others", ["horse"])
    if not options:
        assert set(encode_images(run, "others", lambda count: None).labels) == {0}
        return
    with pytest.raises(UserError, match=r"must have the names of its own \(cat, dog, zebra\)"):
        encode_images(run, "others", lambda count: None)


def test_a_picture_by_itself_is_encoded(trained, tmp_path):
    run = trained()
    Image.fromarray(levels()[0]).save(tmp_path / "one.png")
    found = encode_images(run, str(tmp_path / "one.png"), lambda count: None)
    assert found.names == ["one.png"]
    np.testing.assert_allclose(found.arrays()["mean"], run.encode(levels()[:1, None]), atol=1e-6)


def test_a_large_picture_is_left_out_without_a_warning(trained, tmp_path, monkeypatch, recwarn):
    run = trained()
    (tmp_path / "photos").mkdir()
    for number, side in enumerate((8, 12)):
        Image.fromarray(np.zeros((side, side), np.uint8)).save(tmp_path / f"photos/{number}.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    found = encode_images(run, str(tmp_path / "photos"), lambda count: None)
    assert [each.name for each in found.unreadable] == ["1.png"]
    assert not recwarn.list


PARQUET = ("dataset=parquet", "dataset.path=x.parquet", "dataset.size=null", "dataset.grey=true", "dataset.root=data")
SHORT = ("logger=local", "trainer.max_steps=2", "trainer.pictures_every=0", "trainer.threads=1")


def parquet_of(path, labels, images=None, label="label"):
    datasets = pytest.importorskip("datasets", reason="needs the extra hf")
    pictures = [Image.fromarray(image) for image in (levels(len(labels)) if images is None else images)]
    features = datasets.Features({"image": datasets.Image(), label: datasets.ClassLabel(names=["up", "down"])})
    datasets.Dataset.from_dict({"image": pictures, label: labels}, features).to_parquet(path)


def test_a_parquet_file_is_encoded_with_the_names_of_its_classes(trained, tmp_path):
    parquet_of(tmp_path / "x.parquet", [0, 1] * 15)
    run = trained()
    found = encode_images(run, str(tmp_path / "x.parquet"), lambda count: None).arrays()
    np.testing.assert_allclose(found["mean"], run.encode(levels()[:, None]), atol=1e-6)
    assert found["class"].tolist() == ["up", "down"] * 15


def test_labels_that_a_hub_withholds_are_none(trained, tmp_path):
    parquet_of(tmp_path / "x.parquet", [-1] * 4)
    assert encode_images(trained(), str(tmp_path / "x.parquet"), lambda count: None).labels == [None] * 4


def test_the_column_of_the_labels_may_be_called_otherwise_than_the_runs(inline, tmp_path):
    parquet_of(tmp_path / "x.parquet", [0, 1] * 15, label="digit")
    code, _, err = inline(*PARQUET, *SHORT, "dataset.label=digit", "hydra.run.dir=run")
    assert code == 0, err
    parquet_of(tmp_path / "y.parquet", [0, 1])
    assert encode_images(load_run(tmp_path / "run"), str(tmp_path / "y.parquet"), lambda count: None).labels == [0, 1]


def test_pictures_that_are_no_squares_are_encoded_where_the_run_is_of_such(inline, tmp_path):
    oblong = levels(30)[:, :6]
    parquet_of(tmp_path / "x.parquet", [0, 1] * 15, oblong)
    code, _, err = inline(*PARQUET, *SHORT, "hydra.run.dir=run")
    assert code == 0, err
    run = load_run(tmp_path / "run")
    found = encode_images(run, str(tmp_path / "x.parquet"), lambda count: None).arrays()
    np.testing.assert_allclose(found["mean"], run.encode(oblong[:, None]), atol=1e-6)


def test_a_picture_that_cannot_be_read_is_refused_with_the_reason(trained, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"no image of .*bad\.png could be read: bad\.png \(no picture that"):
        encode_images(trained(), str(tmp_path / "bad.png"), lambda count: None)


@pytest.mark.slow
def test_rows_of_several_splits_are_told_apart(trained, tmp_path):
    np.savez(tmp_path / "x.npz", train_images=levels(2), test_images=levels(1))
    found = encode_images(trained(), str(tmp_path / "x.npz"), lambda count: None)
    assert found.names == ["train/0", "train/1", "test/0"]


def test_pictures_without_classes_are_refused_by_a_model_that_takes_them(trained_on_photos):
    run, _ = trained_on_photos("conditional=labels")
    with pytest.raises(UserError, match=r"the model takes labels from 0 to 2, which .* has not; pictures have"):
        encode_images(run, "photos/cat", lambda count: None)


def test_all_pictures_of_a_folder_are_encoded_in_whichever_split_they_lie(trained_on_photos):
    run, put = trained_on_photos()
    put("later", ["test/dog", "zebra"])
    found = encode_images(run, "later", lambda count: None)
    assert sorted(found.labels) == [1] * 30 + [2] * 30


def test_a_table_that_is_there_is_not_overwritten_unasked(trained, tmp_path, capfd):
    run = trained()
    (tmp_path / "z.parquet").write_text("mine")
    with pytest.raises(SystemExit):
        main(["encode", str(run.path), "test"])
    assert "z.parquet is there already" in capfd.readouterr().err
    assert (tmp_path / "z.parquet").read_text() == "mine"


def test_a_posterior_without_a_standard_deviation_gives_z(trained, tmp_path):
    run = trained("posterior=flow")
    np.save(tmp_path / "x.npy", levels())
    found = encode_images(run, str(tmp_path / "x.npy"), lambda count: None).arrays()
    assert list(found) == ["name", "z"]
    assert found["z"].shape == (30, run.model.latent_dim)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("tset", "must be train, val or test, a picture, a folder of pictures, or a file .parquet .npy"),
        ("empty", "in which Pillow knows no file"),
        ("large.npy", r"must have the shape \(1, 8, 8\) of the training, got \(1, 9, 9\)"),
    ],
)
def test_others_are_refused(trained, tmp_path, data, said):
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "large.npy", np.zeros((3, 9, 9), np.uint8))
    run = trained()
    with pytest.raises(UserError, match=said):
        encode_images(run, data, lambda count: None)
