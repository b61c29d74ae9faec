"""Pictures of a sweep: the figure of merit of its runs over the epochs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vaelab.evaluation.metrics import NATS, label, metric
from vaelab.evaluation.pictures.figures import save_figure, subplots

MAX_CURVES = 20

Line = tuple[str, Sequence[tuple[float, float]], bool]  # name, (epoch, value) pairs, whether axes are made for it


def save_comparison(
    path: Path, panels: Mapping[str, Sequence[Line]], title: str, quantity: str = "validation ELBO"
) -> None:
    """Draw the figure of merit of runs over epochs, a panel for those that compare, each with at most 20 lines.

    Args:
        path: of the picture.
        panels: by what the runs were measured on, the best first: (name, (epoch, value) pairs, whether axes are made
            for it).
        title: of the picture.
        quantity: that is drawn, in nats per image.
    """
    heights = [max(4.0, 1.2 + 0.24 * min(len(lines), MAX_CURVES)) for lines in panels.values()]
    figure, axes = subplots(1, (10, sum(heights)), rows=len(panels))
    styles = [(color, line) for line in ("-", "--") for color in range(10)]
    for axis, (measured_on, lines) in zip(axes, panels.items(), strict=True):
        for (name, points, _), (color, line) in zip(lines[:MAX_CURVES], styles, strict=False):
            epochs, values = zip(*points, strict=True)
            axis.plot(epochs, values, line, color=f"C{color}", marker="o", markersize=3, linewidth=1.2, label=name)
        _fit(axis, lines[:MAX_CURVES])
        heading = [measured_on] if len(panels) > 1 else []
        heading += [f"the best {MAX_CURVES} of {len(lines)}"] if len(lines) > MAX_CURVES else []
        axis.set(xlabel="epoch", ylabel=f"{quantity}, {NATS}", title="; ".join(heading))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize="small", frameon=False)
    save_figure(figure, path, title)


def _fit(axis: Any, lines: Sequence[Line]) -> None:
    """Make the axes for the lines that they are made for, where there are others that would stretch them."""
    usual = [point for _, points, is_usual in lines if is_usual for point in points]
    if usual and not all(is_usual for _, _, is_usual in lines):
        for set_limits, values in zip((axis.set_xlim, axis.set_ylim), zip(*usual, strict=True), strict=True):
            margin = 0.05 * (max(values) - min(values) or 1.0)
            set_limits(min(values) - margin, max(values) + margin)


def with_unit(name: str) -> str:
    """A metric of a split for an axis: `val ELBO, nats per image`."""
    return ", ".join(filter(None, (label(name), metric(name).unit)))
