"""Pictures: grids of images, curves, maps and bar charts, as PNG, PDF and SVG."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vaelab.evaluation.curves import CURVES, charts, training_curve, validation_curve
from vaelab.evaluation.metrics import metric
from vaelab.files import folder
from vaelab.files.current_folder import elsewhere

MIN_TILE = 56  # pixels: smaller images are enlarged by a whole factor
GAP, MARGIN = 2, 8
TEXT_SIZE, LINE = 16, 20
MIN_TITLE = 300  # pixels: a title above a narrower picture may make it so wide
DPI, LETTERS_PER_INCH = 120, 11
MOST_NAMES = 40  # below the bars of a chart
MOST_SHAPES = 1000  # of a vector graphic, which viewers draw one by one
UNDATED = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}


def grid(images: Tensor, columns: int) -> np.ndarray:
    """Tiles images (N, C, H, W) in [0, 1], row by row, into one RGB picture (height, width, 3) uint8."""
    from torchvision.utils import make_grid  # takes a second to import

    if images.shape[1] not in (1, 3):
        images = images.mean(1, keepdim=True)  # neither grey nor colour: its brightness
    factor = max(1, -(-MIN_TILE // min(images.shape[2:])))
    tiles = images.detach().cpu().clamp(0, 1).repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    picture = make_grid(tiles, nrow=columns, padding=GAP, pad_value=1.0)  # (3, height, width)
    return picture.mul(255).round().byte().permute(1, 2, 0).numpy()


def labelled_grid(
    images: Tensor, columns: int, title: str = "", rows: Sequence[str] = (), heads: Sequence[str] = ()
) -> Image.Image:
    """The picture of `grid` with a title above, a label left of each row and a head above each column, where given."""
    font = ImageFont.load_default(TEXT_SIZE)
    tiles = Image.fromarray(grid(images, columns))
    left = 2 * MARGIN + max(int(_size(row, font)[0]) for row in rows) if rows else 0
    lines = _wrapped(title, font, max(left + tiles.width, MIN_TITLE) - 2 * MARGIN) if title else []
    top = (2 * MARGIN + LINE * len(lines) if title else 0) + (LINE if heads else 0)
    width = max(left + tiles.width, *(int(font.getlength(line)) + 2 * MARGIN for line in lines), 0)
    picture = Image.new("RGB", (width, top + tiles.height), "white")
    picture.paste(tiles, (left, top))
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + LINE * number), line, "black", font)
    across, down = (tiles.width - GAP) / columns, (tiles.height - GAP) / -(-len(images) // columns)
    for number, head in enumerate(heads):
        draw.text((left + GAP / 2 + across * (number + 0.5), top - LINE / 2), head, "black", font, anchor="mm")
    for number, row in enumerate(rows):
        at = (left - MARGIN, top + GAP / 2 + down * (number + 0.5))
        draw.multiline_text(at, row, "black", font, anchor="rm", align="right")
    return picture


def _size(text: str, font: Any) -> tuple[float, float]:
    _, _, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font)
    return right, bottom


def _wrapped(text: str, font: Any, width: float) -> list[str]:
    """The lines of a text that is at most so many pixels wide; a longer word stands alone."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def save_grid(path: Path, images: Tensor, columns: int, title: str = "") -> bytes:
    """Write images (N, C, H, W) in [0, 1] as one PNG, with a title above where one is given; returns what it holds."""
    return save(labelled_grid(images, columns, title), path)


def side_by_side(originals: Tensor, reconstructions: Tensor, columns: int) -> Tensor:
    """Rows of originals, each with the row of their reconstructions below: 2 x (N, C, H, W) -> (2M, C, H, W).

    M is N rounded up to whole rows; white images fill the last ones.
    """
    blank = originals.new_ones(-len(originals) % columns, *originals.shape[1:])  # fills the last row of each
    originals, reconstructions = torch.cat([originals, blank]), torch.cat([reconstructions, blank])
    pairs = zip(originals.split(columns), reconstructions.split(columns), strict=True)
    return torch.cat([rows for pair in pairs for rows in pair])


def save_curves(path: Path, rows: Sequence[Mapping[str, Any]], title: str, picture_format: str = "png") -> None:
    """Draw the ELBO and its terms, or the loss, of train and validation over epochs from the rows of `metrics.jsonl`.

    Training points are means over an epoch, as a validation point is one of an epoch.
    """
    names = charts([{name for row in rows for name in row}]) or CURVES[:3]
    figure, axes = subplots(len(names), (4 * len(names), 3.6))
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
    save_figure(figure, path, title, picture_format)


def posterior_means(points: Tensor, labels: Tensor | None, names: Sequence[str], title: str) -> Any:
    """A map of posterior means (N, 2), coloured by label (N,) where there are labels.

    Args:
        points: to draw.
        labels: integers, or None.
        names: of the two axes.
        title: above.
    """
    figure, (axis,) = subplots(1, (6.6, 6))
    colors = {} if labels is None else {"c": labels.cpu().numpy(), "cmap": "tab10"}
    scattered = axis.scatter(*points.cpu().numpy().T, **colors, s=4, alpha=0.7, rasterized=len(points) > MOST_SHAPES)
    if labels is not None:
        handles, found = scattered.legend_elements(num=None)
        axis.legend(handles, found, title="label", loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    axis.set(xlabel=names[0], ylabel=names[1], aspect="equal")
    axis.grid(alpha=0.3)
    return titled(figure, title)


def bars(
    heights: Sequence[float], names: Sequence[str], marked: Sequence[bool], axes: tuple[str, str], title: str
) -> Any:
    """A bar chart.

    Args:
        heights: of the bars.
        names: below the bars.
        marked: those in colour; the others are grey.
        axes: what is drawn to the right, and upwards.
        title: above.
    """
    figure, (axis,) = subplots(1, (min(max(5.0, 1.5 + 0.24 * len(heights)), 14.0), 3.8))
    places = range(len(heights))
    axis.bar(places, heights, color=["C0" if mark else "0.7" for mark in marked])
    every = -(-len(heights) // MOST_NAMES)
    axis.set_xticks(places[::every], names[::every], fontsize="small")
    axis.set(xlabel=axes[0], ylabel=axes[1], xlim=(-0.8, len(heights) - 0.2))
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    return titled(figure, title)


def subplots(columns: int, size: tuple[float, float], rows: int = 1) -> tuple[Any, Sequence[Any]]:
    """A figure of so many inches (width, height) and its axes, row by row."""
    with elsewhere():  # where there is no matplotlibrc
        from matplotlib.figure import Figure  # takes half a second to import

    figure = Figure(figsize=size, layout="constrained", dpi=DPI)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


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
    if isinstance(picture, Image.Image):
        picture.save(content, "PNG")
    else:
        picture.savefig(content, format="png")
    folder.write(path.parent, path.name, content.getbuffer())
    return content.getvalue()


def _vector(picture: Any, picture_format: str) -> bytes:
    """A figure as PDF or SVG, always the same for the same figure; an image fills one, pixel by pixel."""
    figure = picture
    if isinstance(picture, Image.Image):
        figure, (axis,) = subplots(1, (picture.width / DPI, picture.height / DPI))
        figure.set_layout_engine("none")
        axis.set_axis_off()
        axis.set_position((0, 0, 1, 1))
        axis.imshow(picture, interpolation="none", aspect="auto")
    from matplotlib import rc_context

    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "vaelab"}):
        figure.savefig(content, format=picture_format, metadata=UNDATED[picture_format])
    return content.getvalue()
