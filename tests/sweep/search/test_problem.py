"""The problem of a search: its objectives have directions, and what does not compare is warned about."""

import pytest

from vaelab.errors import UserError
from vaelab.sweep.search.problem import Problem, objectives_of


@pytest.mark.parametrize(
    ("searched", "metrics", "warned"),
    [
        (["objective.beta", "optimizer.lr"], ["val/elbo"], None),
        (["optimizer.lr", "model"], ["val/loss"], None),
        (["objective.warmup_steps"], ["val/loss"], "val/loss means something else under each value of objective"),
        (["likelihood"], ["val/elbo"], "val/elbo means something else under each value of likelihood"),
        (
            ["dataset.binarize", "seed"],
            ["val/elbo", "val/kl"],
            "val/elbo, val/kl means something else under each value of",
        ),
    ],
)
def test_what_does_not_compare_is_warned_about(searched, metrics, warned):
    said = Problem(dict.fromkeys(searched), [], dict.fromkeys(metrics)).warning()
    assert (said is None) == (warned is None)
    assert said is None or said.startswith(warned)


def test_each_metric_goes_its_better_way_unless_another_is_given():
    assert objectives_of(["val/elbo", "test/loss"], None) == {"val/elbo": "maximize", "test/loss": "minimize"}
    assert objectives_of("val/kl", "minimize") == {"val/kl": "minimize"}


@pytest.mark.parametrize(
    ("metrics", "direction", "sentence"),
    [
        ("val/elbo", "down", "direction must be one of minimize, maximize"),
        (["val/kl", "val/elbo"], "minimize", "direction must have one entry for each of"),
        ("val/kl", None, "direction must be given for val/kl"),
        (["val/elbo", "test/mine"], None, "direction must be given for test/mine"),
        (None, None, "metrics must name metrics, such as val/elbo"),
    ],
)
def test_objectives_that_do_not_fit_their_directions_are_refused(metrics, direction, sentence):
    with pytest.raises(UserError, match=rf"^hydra\.sweeper\.{sentence}") as raised:
        objectives_of(metrics, direction)
    assert raised.value.exit_code == 2
