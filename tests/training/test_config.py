"""How long and how a run trains: what is refused, and how many steps it has."""

from dataclasses import replace

import pytest
from yaml import safe_load as load_yaml

from conftest import ROOT
from vaelab.errors import ArgumentError
from vaelab.training.config import COUNTS, TrainerConfig


@pytest.fixture(scope="module")
def config():
    node = load_yaml((ROOT / "conf/trainer/default.yaml").read_text())
    return TrainerConfig(**{key: value for key, value in node.items() if key != "_target_"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((name, value) for name in (*COUNTS, "checkpoint_every") for value in (0, -1, 1.5, "3", True, None, 10**16)),
        *(("pictures_every", value) for value in (-1, 0.5, None)),
        *(("picture_format", value) for value in ("jpeg", "PDF", None)),
        *(("max_steps", value) for value in (0, 1.5, "many")),
        *(("images_on", value) for value in ("gpu", None)),
        *(("precision", value) for value in ("float16", "bf16", 32)),
        *(("threads", value) for value in (0, -1, 1.5, True, "all", None, 100_000)),
        *((name, value) for name in ("profile", "evaluate_test") for value in (1, "yes", None)),
        *(("compile", value) for value in (1, "always", None)),
        *(("grad_clip", value) for value in (0, -1, float("nan"), float("inf"), "5")),
        *(("ema", value) for value in (0, 1, 1.0, 0.0, -0.5, "0.9", float("nan"))),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_name(config, key, value):
    with pytest.raises(ArgumentError, match=f"^{key} must be") as raised:
        replace(config, **{key: value})
    assert raised.value.key == key


def test_what_is_logged_in_every_step_cannot_be_compiled(config):
    assert replace(config, compile=True).compile
    assert replace(config, compile="auto", log_every=1).log_every == 1
    with pytest.raises(ArgumentError, match=r"compile must be auto or false, got True, .* trainer.log_every=1"):
        replace(config, compile=True, log_every=1)


@pytest.mark.parametrize(("max_steps", "expected"), [(None, 12), (100, 12), (5, 5)])
def test_a_run_ends_after_its_epochs_or_its_most_steps(config, max_steps, expected):
    assert replace(config, epochs=3, max_steps=max_steps).total_steps(4) == expected
