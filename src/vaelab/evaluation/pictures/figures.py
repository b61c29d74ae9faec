"""Charts, curves and maps, and the files of all pictures: PNG, and PDF or SVG where wanted."""

import io
from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from PIL import Image

from vaelab.evaluation.curves import CURVES, charts, training_curve, validation_curve
from vaelab.evaluation.metrics import metric
from vaelab.files import folder
from vaelab.files.current_folder import elsewhere

DPI, LETTERS_PER_INCH = 120, 11
LEFT, BELOW, EDGE, LINE, HEADING, LEGEND, DIGIT = 0.95, 0.55, 0.15, 0.22, 0.3, 0.85, 0.1  # inches
MOST_NAMES = 40  # below the bars of a chart
MOST_SHAPES = 1000  # of a vector graphic, which viewers draw one by one
UNDATED = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}


def save_curves(path: Path, rows: Sequence[Mapping[str, Any]], title: str, picture_format: str = "png") -> None:
    """Draw the ELBO and its terms, or the loss, of train and validation over epochs from the rows of `metrics.jsonl`.

    Training points are means over an epoch, as a validation point is one of an epoch.
    """
    names = charts([{name for row in rows for name in row}]) or CURVES[:3]
    figure, axes = row_of_axes(len(names), (4 * len(names), 3.6), title, above=HEADING)
    for axis, name in zip(axes, names, strict=True):
        train, validation = training_curve(rows, f"train/{name}"), validation_curve(rows, f"val/{name}")
        for split, points in (("train", train), ("validation", validation)):
            if points:
                axis.plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=1.2, label=split)
        axis.set(xlabel="epoch", ylabel=metric(name).unit, title=metric(name).label)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend()
    save(figure, path, picture_format)


def posterior_means(points: np.ndarray, labels: np.ndarray | None, names: Sequence[str], title: str) -> Any:
    """A map of posterior means (N, 2), coloured by label (N,) where there are labels.

    Args:
        points: to draw.
        labels: integers, or None.
        names: of the two axes.
        title: above.
    """
    found = [] if labels is None else [str(label) for label in np.unique(labels)]
    right = max(LEGEND, 0.55 + DIGIT * max(map(len, found))) if found else EDGE
    figure, (axis,) = row_of_axes(1, (6.6, 6), title, right=right)
    colors = {} if labels is None else {"c": labels, "cmap": "tab10"}
    scattered = axis.scatter(*points.T, **colors, s=4, alpha=0.7, rasterized=len(points) > MOST_SHAPES)
    if labels is not None:
        handles, _ = scattered.legend_elements(num=None)  # whose own words are formulas, which take longer than the map
        axis.legend(handles, found, title="label", loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    axis.set(xlabel=names[0], ylabel=names[1])
    axis.set_aspect("equal", adjustable="datalim")  # one scale, and longer axes instead of empty bands
    axis.grid(alpha=0.3)
    return figure


def bars(
    heights: Sequence[float],
    names: Sequence[str],
    kinds: Mapping[str, Sequence[bool]],
    axes: tuple[str, str],
    title: str,
) -> Any:
    """A bar chart.

    Args:
        heights: of the bars.
        names: below the bars.
        kinds: which bars are of each, by its words in the legend: those in colour, and if there are any those in grey.
        axes: what is drawn to the right, and upwards.
        title: above.
    """
    figure, (axis,) = row_of_axes(1, (min(max(6.0, 1.5 + 0.24 * len(heights)), 14.0), 3.8), title)
    for (kind, members), color in zip(kinds.items(), ("C0", "0.7"), strict=False):
        axis.bar([*compress(range(len(heights)), members)], [*compress(heights, members)], color=color, label=kind)
    if any(kinds):
        axis.margins(y=0.2)  # room for the legend above the bars
        axis.legend()
    every = -(-len(heights) // MOST_NAMES)
    axis.set_xticks(range(0, len(heights), every), names[::every], fontsize="small")
    axis.set(xlabel=axes[0], ylabel=axes[1], xlim=(-0.8, len(heights) - 0.2))
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    return figure


def row_of_axes(
    columns: int, size: tuple[float, float], title: str, right: float = EDGE, above: float = 0.0
) -> tuple[Any, Sequence[Any]]:
    """A figure with a title and axes beside each other, whose margins take numbers of seven digits.

    To fit margins to what is drawn, as `subplots` does, takes as long as to draw it, and a run draws three of these.

    Args:
        columns: the number of axes.
        size: of the figure, width and height in inches.
        title: above.
        right: of each axes, in inches.
        above: each axes, in inches, below the title.
    """
    figure = titled(_figure(size), title)
    lines = figure.get_suptitle().count("\n") + 1
    width = size[0] / columns - LEFT - right
    height = size[1] - BELOW - above - EDGE - LINE * lines
    lefts = [LEFT + column * size[0] / columns for column in range(columns)]
    return figure, [
        figure.add_axes((left / size[0], BELOW / size[1], width / size[0], height / size[1])) for left in lefts
    ]


def subplots(columns: int, size: tuple[float, float], rows: int = 1) -> tuple[Any, Sequence[Any]]:
    """A figure of so many inches (width, height) and its axes, row by row, with margins that fit what they hold."""
    figure = _figure(size, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _figure(size: tuple[float, float], **options: str) -> Any:
    with elsewhere():  # where there is no matplotlibrc
        from matplotlib.figure import Figure  # takes half a second to import

    return Figure(figsize=size, dpi=DPI, **options)


def titled(figure: Any, title: str) -> Any:
    """A figure with a title above, in lines that are no wider than it."""
    figure.suptitle(fill(title, int(LETTERS_PER_INCH * figure.get_figwidth())))
    return figure


def save_figure(figure: Any, path: Path, title: str, picture_format: str = "png") -> None:
    """Write a figure as PNG, and in another format where one is wanted, with a title above."""
    save(titled(figure, title), path, picture_format)


def save(picture: Any, path: Path, picture_format: str = "png") -> bytes:
    """Write an image or a figure as PNG, and where another format is wanted in that too; returns what the PNG holds."""
    if picture_format != "png":
        other = path.with_suffix(f".{picture_format}")
        folder.write(other.parent, other.name, _vector(picture, picture_format))
    content = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else drawn(picture)
    image.save(content, "PNG")
    folder.write(path.parent, path.name, content.getbuffer())
    return content.getvalue()


def drawn(figure: Any) -> Image.Image:
    """A figure as an image, RGB; `savefig` would draw it twice."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _vector(picture: Any, picture_format: str) -> bytes:
    """A figure as PDF or SVG, always the same for the same figure; an image fills one, pixel by pixel."""
    figure = picture
    if isinstance(picture, Image.Image):
        figure = _figure((picture.width / DPI, picture.height / DPI))
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set_axis_off()
        axis.imshow(picture, interpolation="none", aspect="auto")
    from matplotlib import rc_context

    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "vaelab"}):
        figure.savefig(content, format=picture_format, metadata=UNDATED[picture_format])
    return content.getvalue()
