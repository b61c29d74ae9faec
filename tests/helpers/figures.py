"""Figures of matplotlib as they were drawn."""

from matplotlib.figure import Figure


def saved_figures(monkeypatch):
    """A list to which every figure is added that is saved from now on."""
    figures, savefig = [], Figure.savefig

    def remember(figure, *args, **options):
        figures.append(figure)
        savefig(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", remember)
    return figures


def lines(axis):
    """The points of each line by its label."""
    return {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in axis.lines}
