"""Figures of matplotlib as they were drawn."""

from matplotlib.figure import Figure


def saved_figures(monkeypatch):
    """A list to which every figure is added that is drawn from now on."""
    figures, draw = [], Figure.draw

    def remember(figure, renderer):
        if figure not in figures:
            figures.append(figure)
        draw(figure, renderer)

    monkeypatch.setattr(Figure, "draw", remember)
    return figures


def lines(axis):
    """The points of each line by its label."""
    return {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in axis.lines}
