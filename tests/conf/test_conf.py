"""Every YAML composes and builds; every combination that makes sense trains, every other is refused."""

from itertools import product

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins

from conftest import ROOT
from vaelab.cli.launch import register
from vaelab.errors import UserError
from vaelab.evaluation.metrics import MERIT, UP, metric
from vaelab.run.build import Builder
from vaelab.training.loop import Training
from vaelab.training.signals import StopRequest

CONF = ROOT / "conf"
OPTIONS = sorted(path.relative_to(CONF).with_suffix("") for path in CONF.glob("[!h]*/*.yaml"))
TINY = {"mlp": ("model.hidden=[8]",), "conv": ("model.channels=[4,4]", "model.features=8")}


@pytest.fixture(scope="session")
def roots(data_root, tmp_path_factory):
    """A folder with all datasets; MNIST's images stand in for Fashion-MNIST's, which have the same form."""
    folder = tmp_path_factory.mktemp("all-data")
    for name, source in (("mnist", "mnist"), ("cifar10", "cifar10"), ("fashion_mnist", "mnist")):
        (folder / f"{name}.safetensors").symlink_to(data_root.resolve() / f"{source}.safetensors")
    return folder


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_option_composes_and_builds(option, compose, roots, monkeypatch, tmp_path):
    monkeypatch.setenv("VAELAB_DATA", str(roots))
    group, name = option.parts
    override = f"{group}={name}"
    suits = ("dataset.binarize=none",) if override in ("likelihood=logistic", "likelihood=gaussian") else ()
    builder = Builder(compose(override, *suits), trusted=None)
    builder.experiment()
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


DATASETS = ("mnist", "cifar10", "digits", "fashion_mnist")
LIKELIHOODS = ("bernoulli", "gaussian", "logistic")
COMBINATIONS = [
    *product(TINY, DATASETS, LIKELIHOODS, ("none", "dynamic")),
    *product(TINY, ("digits",), LIKELIHOODS, ("static",)),  # drawing a large dataset once takes seconds
]


@pytest.mark.parametrize(("model", "dataset", "likelihood", "binarize"), COMBINATIONS)
def test_every_combination_trains_two_steps_or_is_refused(
    model, dataset, likelihood, binarize, compose, roots, monkeypatch, tmp_path
):
    monkeypatch.setenv("VAELAB_DATA", str(roots))
    config = compose(
        f"model={model}",
        f"dataset={dataset}",
        f"likelihood={likelihood}",
        f"dataset.binarize={binarize}",
        "latent.dim=3",
        "logger=local",
        *TINY[model],
    )
    builder = Builder(config, trusted=None)
    if likelihood != "bernoulli" and binarize != "none":
        with pytest.raises(UserError, match=r"binary pixels.*dataset\.binarize=none"):
            builder.experiment()
        return
    experiment = builder.experiment()
    logger = builder.logger(tmp_path)
    training = Training(experiment, logger, tmp_path, StopRequest())
    before = [parameter.clone() for parameter in experiment.vae.parameters()]
    batches = training.loader.epoch(0, 0)
    training.step(next(batches))
    training.step(next(batches))
    assert training.progress.step == 2
    changed = [not torch.equal(a, b) for a, b in zip(before, experiment.vae.parameters(), strict=True)]
    assert all(changed)
    logger.finish("finished", {})
