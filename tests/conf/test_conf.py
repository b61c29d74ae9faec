"""Every YAML in `conf/` composes and builds."""

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from PIL import Image

from conftest import ROOT
from helpers import raw_files
from vaelab.cli.launch import register
from vaelab.evaluation.metrics import MERIT, UP, metric
from vaelab.run.build import Builder

CONF = ROOT / "conf"
SUITS = {  # what an option goes with, where that is not the usual choice
    "posterior=von_mises_fisher": ("prior=uniform_sphere",),
    "prior=uniform_sphere": ("posterior=von_mises_fisher",),
    **{f"posterior={name}": ("objective=rae",) for name in ("delta", "vq", "fsq")},
}
OPTIONS = sorted(path.relative_to(CONF).with_suffix("") for path in CONF.glob("[!h]*/*.yaml"))


@pytest.fixture(scope="session")
def roots(data_root, tmp_path_factory):
    """A folder with all datasets; what is not on every machine is of other images, or of black ones, in its form."""
    folder = tmp_path_factory.mktemp("all-data")
    same_form = {"mnist": ("mnist", "fashion_mnist", "kmnist"), "cifar10": ("cifar10", "cifar100")}
    for source, names in same_form.items():
        for name in names:
            (folder / f"{name}.safetensors").symlink_to(data_root.resolve() / f"{source}.safetensors")
    raw_files.put_black(folder / "svhn.safetensors", (3, 32, 32), {"train": 73_257, "test": 26_032})
    raw_files.put_black(folder / "emnist_balanced.safetensors", (1, 28, 28), {"train": 112_800, "test": 18_800})
    return folder


@pytest.fixture
def own_images(tmp_path, monkeypatch):
    """What each dataset of one's own is told, with a few small images of each."""
    pictures = [Image.new("RGB", (178, 218), (level, level, level)) for level in range(100)]
    levels = np.random.default_rng(0).integers(256, size=(100, 1, 8, 8), dtype=np.uint8)

    def folder():
        (tmp_path / "photos").mkdir()
        for number, picture in enumerate(pictures):
            picture.save(tmp_path / f"photos/{number}.png")
        return (f"dataset.path={tmp_path}/photos", "dataset.size=16")

    def array():
        np.save(tmp_path / "x.npy", levels)
        return (f"dataset.path={tmp_path}/x.npy",)

    def parquet():
        datasets = pytest.importorskip("datasets", reason="needs the extra hf")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        columns = {"image": pictures, "label": list(range(100))}
        datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image()).to_parquet(tmp_path / "x.parquet")
        return (f"dataset.path={tmp_path}/x.parquet", "dataset.size=16")

    def torch():
        return ("dataset.source._target_=helpers.fakes.LevelsDataset",)

    def celeba():
        raw_files.put_celeba(tmp_path, {"train": pictures, "valid": pictures[:2], "test": pictures[:2]}, monkeypatch)
        return (f"dataset.root={tmp_path}", "dataset.size=16")

    def omniglot():
        drawings = {name: [raw_files.one_bit(1)] * 50 for name in ("images_background", "images_evaluation")}
        raw_files.put_omniglot(tmp_path, drawings, monkeypatch)
        return (f"dataset.root={tmp_path}",)

    return {of.__name__: of for of in (folder, array, parquet, torch, celeba, omniglot)}


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_option_composes_and_builds(option, compose, roots, own_images, monkeypatch, tmp_path):
    monkeypatch.setenv("VAELAB_DATA", str(roots))
    group, name = option.parts
    override = f"{group}={name}"
    suits = SUITS.get(override, ("dataset.binarize=none",) if group == "likelihood" and name != "bernoulli" else ())
    if group == "dataset" and name in own_images:
        suits = (f"dataset.root={tmp_path}", *own_images[name]())
    # reading a large dataset takes a while, and only the datasets and the presets are of one
    small = () if group in ("dataset", "experiment") else ("dataset=digits", "likelihood=bernoulli")
    builder = Builder(compose(*small, override, *suits), trusted=None)
    builder.setup()
    builder.logger(tmp_path).finish("finished", {})


@pytest.mark.parametrize("launcher", sorted(path.stem for path in (CONF / "hydra/launcher").glob("*.yaml")))
def test_every_launcher_composes_and_builds(launcher):
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [f"hydra/launcher={launcher}"], return_hydra_config=True)
    assert Plugins.instance()._instantiate(config.hydra.launcher)


def test_the_sweep_for_wandb_agents_names_keys_that_exist(compose):
    sweep = yaml.safe_load((CONF / "wandb_sweep.yaml").read_text())
    config = compose()
    for key in sweep["parameters"]:
        node = config
        for part in key.split("."):
            node = node[part]
    assert metric(MERIT).better == UP
    assert sweep["metric"] == {"name": MERIT, "goal": "maximize"}


def test_a_dataset_chooses_its_likelihood_and_the_command_line_wins(compose):
    assert "logistic" in compose("dataset=cifar10")["likelihood"]["_target_"]
    assert "bernoulli" in compose("dataset=mnist")["likelihood"]["_target_"]
    assert "gaussian" in compose("dataset=cifar10", "likelihood=gaussian")["likelihood"]["_target_"]
    assert "bernoulli" in compose("experiment=cifar10_tutorial")["likelihood"]["_target_"]
