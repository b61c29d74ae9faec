"""The history of a search shows what each trial reached."""

import pytest

from helpers.figures import saved_figures
from vaelab.sweep.search.figures import save_search_history


@pytest.fixture
def drawn(monkeypatch):
    return saved_figures(monkeypatch)


@pytest.fixture
def limits_of(drawn, tmp_path):
    """The vertical axis and the legend of a search's history."""

    def draw(values, pruned=(), direction="minimize"):
        save_search_history(tmp_path / "history.png", {"val/loss": values}, {"val/loss": direction}, pruned, "title")
        (axis,) = drawn[-1].axes
        return axis.get_ylim(), [text.get_text() for text in axis.get_legend().get_texts()]

    return draw


@pytest.mark.parametrize("sign", [1, -1])
def test_a_trial_that_hardly_trained_does_not_flatten_the_history_and_is_counted(sign, limits_of):
    values = [(number, sign * value) for number, value in enumerate((24.0, 23.0, 500.0, 25.0, 24.5))]
    (low, high), legend = limits_of(values, direction="minimize" if sign > 0 else "maximize")
    near, far = sorted((abs(low), abs(high)))
    assert 22 < near < 23
    assert 25 < far < 30
    assert legend == ["finished (1 beyond the axis)", "best so far"]


def test_the_history_of_one_trial_and_of_given_up_ones_is_drawn(limits_of):
    (low, high), legend = limits_of([(0, 3.0)])
    assert low < 3 < high
    assert legend == ["finished", "best so far"]
    (low, high), legend = limits_of([], [(0, 3.0), (1, 4.0)])
    assert low < 3 < 4 < high
    assert legend == ["pruned, last value"]
