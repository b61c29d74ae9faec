"""A finished run as an object, without its dataset, and safe when it is a stranger's."""

import hashlib
import os
import pickle

import pytest
import torch
import yaml

import vaelab
from vaelab.errors import UserError

QUICK = ("dataset=digits", "logger=local", "trainer.epochs=2", "trainer.pictures_every=0", "latent.dim=3")


@pytest.fixture
def run_dir(inline, tmp_path):
    code, _, err = inline(*QUICK, "hydra.run.dir=run")
    assert code == 0, err
    return tmp_path / "run"


@pytest.fixture
def run(run_dir, monkeypatch):
    """A run whose dataset cannot be read any more."""

    def absent(*_, **__):
        raise AssertionError("the dataset was read")

    monkeypatch.setattr("vaelab.dataset.digits.load", absent)
    return vaelab.load_run(run_dir)


def test_a_run_encodes_decodes_reconstructs_and_samples(run):
    x = torch.rand(5, 1, 8, 8)
    z = run.encode(x)
    assert z.shape == (5, 3)
    assert torch.equal(run.decode(z), run.reconstruct(x))
    samples = run.sample(10)
    assert samples.shape == (10, 1, 8, 8)
    assert 0 <= samples.min() <= samples.max() <= 1
    assert torch.equal(samples, run.sample(10))
    assert not torch.equal(samples, run.sample(10, seed=1))
    assert set(run.sample(10, pixel_noise=True).unique().tolist()) == {0.0, 1.0}


def test_uint8_images_are_scaled(run):
    images = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    assert torch.allclose(run.encode(images), run.encode(images / 255))


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 3, 8, 8), (2, 1, 28, 28)])
def test_images_of_another_shape_are_refused(run, shape):
    with pytest.raises(ValueError, match=r"x must have the shape \(B, 1, 8, 8\)"):
        run.encode(torch.zeros(shape))


def test_a_run_knows_its_config_and_metrics(run):
    assert run.config["latent"]["dim"] == 3
    assert [row["epoch"] for row in run.metrics if "val/elbo" in row] == [1.0, 2.0]
    assert run.summary["status"] == "finished"


def test_evaluating_again_gives_the_metrics_of_the_summary(run_dir):
    run = vaelab.load_run(run_dir)
    again = run.evaluate("test", importance_samples=20)
    for name in ("elbo", "kl", "bits_per_dim"):
        assert again[name] == pytest.approx(run.summary["metrics"][f"test/{name}"], rel=1e-6)
    assert again["log_likelihood"] > again["elbo"]


def test_a_pickle_that_would_run_code_is_refused(run_dir, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/owned",)

    best = run_dir / "checkpoints/best.pt"
    best.write_bytes(pickle.dumps(Evil(), protocol=2))
    (run_dir / "checkpoints/best.pt.sha256").write_text(hashlib.sha256(best.read_bytes()).hexdigest())
    with pytest.raises(UserError, match="could run code"):
        vaelab.load_run(run_dir)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("part", ["model", "posterior", "prior", "likelihood"])
@pytest.mark.parametrize("target", ["os.system", "subprocess.getoutput", "vaelab.vae.torch.hub.load", "torch.load"])
def test_a_config_that_names_foreign_code_is_refused(run_dir, part, target):
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    config[part]["_target_"] = target
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=f"must lie in vaelab.{part}"):
        vaelab.load_run(run_dir)


def test_a_directory_that_is_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing must be the directory of a run"):
        vaelab.load_run(tmp_path / "nothing")
