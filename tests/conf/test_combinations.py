"""Every two options of `conf/` that go together train, resume, sample and evaluate; what does not says why."""

from collections.abc import Callable
from copy import deepcopy
from itertools import combinations, product
from typing import NamedTuple

import pytest
import torch
import yaml

from conftest import ROOT
from helpers.covering import covering
from helpers.small_training import assert_resumes_bit_for_bit
from vaelab.errors import UserError
from vaelab.evaluation.evaluator import evaluate
from vaelab.ops import generator
from vaelab.run.build import Builder

GROUPS = ("model", "posterior", "prior", "likelihood", "objective", "conditional")
OPTIONS = {group: sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml")) for group in GROUPS}
OPTIONS |= {"binarize": ["dynamic", "none", "static"], "images": ["digits", "colour"]}
USUAL = {group: options[0] for group, options in OPTIONS.items()} | {
    **{"model": "mlp", "posterior": "gaussian", "prior": "normal", "likelihood": "bernoulli", "objective": "elbo"},
    "conditional": "none",
}
SMALL = {
    "mlp": {"hidden": [16]},
    "gated_mlp": {"hidden": [16]},
    "conv": {"channels": [8, 8], "features": 16},
    "resnet": {"channels": [8, 8], "features": 16},
    "ladder": {"channels": [8, 8], "blocks": [1, 1], "groups": [0, 2], "channels_z": 2},
}
CODES, WITHOUT_DENSITY = ("vq", "fsq"), ("vq", "fsq", "delta")
NEEDS_DENSITY = ("elbo", "capacity", "iwae", "miwae", "piwae", "ciwae", "factor", "ms_ssim")
ONE_GROUP = ("adversarial", "dip", "factor", "mmd", "piwae", "rae", "tc")
OWN_IN_LADDERS = ("posterior", "prior")


class Rule(NamedTuple):
    """What does not go together: whether a choice, perhaps of some groups only, has it, and what is then said."""

    broken: Callable[[dict[str, str]], bool]
    said: str


def is_one(choice, group, *options):
    return choice.get(group) in options


def is_no(choice, group, *options):
    return group in choice and choice[group] not in options


def learns_its_prior(choice):
    labels = is_one(choice, "conditional", "labels") and is_no(choice, "posterior", *CODES)
    return labels or is_one(choice, "prior", "mixture", "flow", "vamp")


RULES = [
    Rule(lambda c: is_no(c, "likelihood", "bernoulli") and is_no(c, "binarize", "none"), "scores pixels of the kind"),
    *(
        Rule(
            lambda c, group=group: is_one(c, "model", "ladder") and is_no(c, group, USUAL[group]),
            f"whole model, which has its own {group}; leave",
        )
        for group in OWN_IN_LADDERS
    ),
    Rule(lambda c: is_one(c, "model", "ladder") and is_one(c, "objective", *ONE_GROUP), "with one group of latents"),
    Rule(lambda c: is_one(c, "model", "ladder") and is_one(c, "objective", "ms_ssim"), "an encoder and a decoder"),
    Rule(
        lambda c: is_one(c, "prior", "uniform_sphere") and is_no(c, "posterior", "von_mises_fisher", *CODES),
        "must be over the same latents",
    ),
    Rule(
        lambda c: is_one(c, "posterior", "von_mises_fisher") and is_no(c, "prior", "uniform_sphere"),
        "must be over the same latents",
    ),
    Rule(lambda c: is_one(c, "posterior", *CODES) and is_no(c, "prior", "normal"), "brings a prior over its codes"),
    Rule(lambda c: is_one(c, "prior", "vamp") and is_one(c, "posterior", "flow", "delta"), "posterior"),
    Rule(
        lambda c: is_one(c, "posterior", *WITHOUT_DENSITY) and is_one(c, "objective", *NEEDS_DENSITY),
        "has no density, which",
    ),
    Rule(lambda c: is_one(c, "objective", "tc") and is_no(c, "posterior", "gaussian"), "a posterior that factorises"),
    Rule(lambda c: is_one(c, "objective", "dip") and is_no(c, "posterior", "gaussian"), "a diagonal normal posterior"),
    *(
        Rule(lambda c, objective=objective: is_one(c, "objective", objective) and learns_its_prior(c), said)
        for objective, said in (("rae", "does not train the prior"), ("adversarial", "a prior without parameters"))
    ),
    Rule(lambda c: is_one(c, "objective", "mmd") and is_one(c, "prior", "mixture"), "does not train the prior"),
    Rule(
        lambda c: is_one(c, "conditional", "labels") and is_one(c, "prior", "vamp", "uniform_sphere"),
        "takes no labels; choose",
    ),
]


def is_allowed(choice):
    return not any(rule.broken(choice) for rule in RULES)


def least(rule):
    """The combination that breaks this rule and no other, with as few options that are not the usual ones as can be."""
    for count in range(len(OPTIONS)):
        for groups in combinations(OPTIONS, count):
            for options in product(*(OPTIONS[group] for group in groups)):
                choice = {**USUAL, **dict(zip(groups, options, strict=True))}
                if [each for each in RULES if each.broken(choice)] == [rule]:
                    return choice
    raise AssertionError(f"nothing breaks only the rule {rule.said!r}")


COMBINATIONS = covering(OPTIONS, is_allowed)


@pytest.fixture(scope="module")
def config_of():
    """From a choice of options to a config, as Hydra composes it, with small networks."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from vaelab.cli.launch import register

    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        usual = OmegaConf.to_container(
            compose("config", ["dataset=digits", "latent.dim=4", "logger=local"]), resolve=True
        )

    def make(choice):
        config = deepcopy(usual)
        for group in GROUPS:
            config[group] = yaml.safe_load((ROOT / "conf" / group / f"{choice[group]}.yaml").read_text())
        config["model"] |= SMALL[choice["model"]]
        config["objective"] |= {key: 2 for key in ("bounds", "samples_per_bound") if key in config["objective"]}
        config["trainer"]["batch_size"] = 16
        config["dataset"]["binarize"] = choice["binarize"]
        if choice["images"] == "colour":
            config["dataset"]["_target_"] = "helpers.colour.load"
        return config

    return make


def test_every_network_is_made_small_and_every_option_is_tried():
    assert SMALL.keys() == set(OPTIONS["model"])
    for group, options in OPTIONS.items():
        assert {row[group] for row in COMBINATIONS} == set(options)


@pytest.mark.slow
@pytest.mark.parametrize("choice", COMBINATIONS, ids=lambda choice: "-".join(choice.values()))
def test_two_options_that_go_together_train_resume_sample_and_evaluate(choice, config_of, tmp_path):
    config = config_of(choice)
    whole = assert_resumes_bit_for_bit(lambda: Builder(config, None).setup(), 1, tmp_path)
    model, dataset = whole.model.eval(), whole.dataset
    metrics = evaluate(model, whole.objective, dataset, dataset.val, 100)
    assert all(map(torch.isfinite, map(torch.tensor, metrics.values())))
    assert ("elbo" in metrics) == (choice["posterior"] not in WITHOUT_DENSITY)
    labels = torch.arange(3) if model.takes_labels else None
    images = model.sample(3, generator(0, "samples"), labels)
    assert torch.equal(images, model.sample(3, generator(0, "samples"), labels))
    assert images.shape == (3, *dataset.image_shape)
    assert images.min() >= 0
    assert images.max() <= 1


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.said)
def test_what_does_not_go_together_says_why_and_what_to_do(rule, config_of):
    with pytest.raises(UserError, match=rule.said) as refused:
        Builder(config_of(least(rule)), None).setup()
    assert len(str(refused.value).splitlines()) == 1
    assert "choose" in str(refused.value) or "leave" in str(refused.value)
