"""Every YAML in `conf/` composes and builds."""

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins

from conftest import ROOT
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
    suits = SUITS.get(override, ("dataset.binarize=none",) if group == "likelihood" and name != "bernoulli" else ())
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
