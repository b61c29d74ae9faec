"""The picture of a sweep shows its best runs, and those that do not compare apart."""

import pytest

from helpers.fakes import pixels
from helpers.figures import lines, saved_figures
from vaelab.sweep.figures import save_comparison


@pytest.fixture
def drawn(monkeypatch):
    return saved_figures(monkeypatch)


@pytest.mark.parametrize(("count", "shown"), [(1, 1), (20, 20), (25, 20)])
def test_a_comparison_shows_the_first_runs_each_in_a_style_of_its_own(count, shown, drawn, tmp_path):
    curves = {f"latent={number}": [(1.0, -300.0), (2.0, number - 200.0), (3.0, -250.0)] for number in range(count)}
    save_comparison(tmp_path / "comparison.png", {"": [(*curve, True) for curve in curves.items()]}, "a sweep")
    assert pixels(tmp_path / "comparison.png").std() > 0
    (figure,) = drawn
    (axis,) = figure.axes
    first = list(curves)[:shown]
    assert lines(axis) == {name: curves[name] for name in first}
    assert [text.get_text() for text in axis.get_legend().get_texts()] == first
    assert len({(line.get_color(), line.get_linestyle()) for line in axis.lines}) == shown
    assert axis.get_title() == ("the best 20 of 25" if count > shown else "")


def test_runs_that_do_not_compare_have_a_panel_each_and_one_that_diverged_stretches_no_axis(drawn, tmp_path):
    good, bad = [(1.0, -40.0), (2.0, -30.0)], [(1.0, -900.0), (9.0, -1e6)]
    panels = {"mnist": [("a", good, True), ("b", bad, False)], "digits": [("c", bad, True)]}
    save_comparison(tmp_path / "comparison.png", panels, "a sweep")
    first, second = drawn[0].axes
    assert (first.get_title(), second.get_title()) == ("mnist", "digits")
    assert lines(first) == {"a": good, "b": bad}
    assert -45 < first.get_ylim()[0] < -40
    assert first.get_xlim()[1] < 2.5
    assert second.get_ylim()[0] < -1e6
