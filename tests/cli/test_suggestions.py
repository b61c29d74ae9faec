"""A key that no config has leads to the override that was meant."""

import pytest

from conftest import ROOT
from vaelab.cli.config_files import ConfigFiles
from vaelab.cli.suggestions import did_you_mean, meant, options_with, paths

FILES = ConfigFiles(ROOT / "conf")


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("epochs", ["trainer.epochs"]),
        ("batch_size", ["trainer.batch_size"]),
        ("lr", ["optimizer.lr"]),
        ("beta", ["objective.beta"]),
        ("optimiser.lr", ["optimizer.lr"]),
        ("trainer.lr", ["optimizer.lr"]),
        ("model.latent.dim", ["latent.dim"]),
        ("optimizer.learning_rate", ["optimizer.lr"]),
        ("bs", ["trainer.batch_size"]),
        ("latent_dim", ["latent.dim"]),
        ("z_dim", ["latent.dim", "posterior.code_dim"]),
        ("n_epochs", ["trainer.epochs"]),
        ("trainer.epohcs", ["trainer.epochs"]),
        ("kl_weight", ["objective.beta"]),
        ("data_dir", ["dataset.root"]),
        ("modle", ["model"]),
        ("n_trials", ["hydra.sweeper.n_trials"]),
        ("hydra.launcher.n_job", ["hydra.launcher.n_jobs"]),
        ("warmup_steps", ["objective.warmup_steps", "scheduler.warmup_steps"]),
        ("objectiv.warmup_steps", ["objective.warmup_steps"]),
        ("workers", []),
        ("foo", []),
    ],
)
def test_what_was_meant(key, found):
    assert meant(key, paths(FILES)) == found


def test_every_key_of_every_option_is_known(compose):
    known = set(paths(FILES))

    def keys(node, *above):
        for name, value in node.items():
            if not name.startswith("_"):
                yield ".".join((*above, name))
            if isinstance(value, dict):
                yield from keys(value, *above, name)

    composed = compose("model=conv", "optimizer=sgd", "scheduler=cosine", "dataset=cifar10", "likelihood=gaussian")
    assert {key for key in keys(composed) if key != "choices"} <= known


def test_every_key_leads_to_itself():
    known = paths(FILES)
    for path in known:
        assert path in meant(path, known) or len([one for one in known if one.endswith(path.rpartition(".")[2])]) > 2


def test_a_value_comes_with_the_suggestion_and_can_be_pasted():
    assert did_you_mean("epochs", "5", FILES) == "; did you mean trainer.epochs=5?"
    assert (
        did_you_mean("hidden", "[512, 256]", FILES)
        == "; did you mean 'model.hidden=[512, 256]' or 'posterior.hidden=[512, 256]'?"
    )
    assert did_you_mean("epochs", None, FILES) == "; did you mean trainer.epochs?"
    assert did_you_mean("foo", "1", FILES) == "; vaelab train --cfg job lists all keys"
    assert did_you_mean("hydra.foo", "1", FILES) == "; vaelab train --cfg hydra lists all keys"


def test_options_that_have_a_key_are_named():
    assert options_with("optimizer.momentum", FILES) == ["optimizer=muon", "optimizer=rmsprop", "optimizer=sgd"]
    assert options_with("hydra.launcher.n_jobs", FILES) == ["hydra/launcher=pool", "hydra/launcher=stacked"]
    assert options_with("trainer.foo", FILES) == []
