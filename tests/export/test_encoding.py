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
    assert "30 images in z.npz: name, label, mean, std" in out
    assert "1 of the pictures could not be read and are left out: a/torn.png (cannot identify" in err
    for name, label, mean in zip(found["name"], found["label"], found["mean"], strict=True):
        assert label == "ab".index(name[0])
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
    with pytest.raises(UserError, match=r"must have the names of its classes \(cat, dog, zebra\)"):
        encode_images(run, "others", lambda count: None)


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
        ("tset", "must be train, val or test, a folder of pictures, or a file .npy"),
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
