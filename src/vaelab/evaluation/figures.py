"""Pictures: grids of images, curves, and maps of a two-dimensional latent space."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
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
GAP = 2
TITLE_SIZE = 16


def grid(images: Tensor, columns: int) -> np.ndarray:
    """Tiles images (N, C, H, W) in [0, 1], row by row, into one RGB picture (height, width, 3) uint8."""
    from torchvision.utils import make_grid  # takes a second to import

    if images.shape[1] not in (1, 3):
        images = images.mean(1, keepdim=True)  # neither grey nor colour: its brightness
    factor = max(1, -(-MIN_TILE // min(images.shape[2:])))
    tiles = images.detach().cpu().clamp(0, 1).repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    picture = make_grid(tiles, nrow=columns, padding=GAP, pad_value=1.0)  # (3, height, width)
    return picture.mul(255).round().byte().permute(1, 2, 0).numpy()


def save_grid(path: Path, images: Tensor, columns: int, title: str = "") -> bytes:
    """Write images (N, C, H, W) in [0, 1] as one PNG, with a title above where one is given; returns what it holds."""
    picture = Image.fromarray(grid(images, columns))
    if title:
        font = ImageFont.load_default(TITLE_SIZE)
        margin = TITLE_SIZE // 2
        width = max(picture.width, int(font.getlength(title)) + 2 * margin)
        titled = Image.new("RGB", (width, picture.height + 2 * TITLE_SIZE), "white")
        ImageDraw.Draw(titled).text((margin, margin), title, "black", font)
        titled.paste(picture, (0, 2 * TITLE_SIZE))
        picture = titled
    content = io.BytesIO()
    picture.save(content, "PNG")
    folder.write(path.parent, path.name, content.getbuffer())
    return content.getvalue()


def side_by_side(originals: Tensor, reconstructions: Tensor, columns: int) -> Tensor:
    """Rows of originals, each with the row of their reconstructions below: 2 x (N, C, H, W) -> (2M, C, H, W).

    M is N rounded up to whole rows; white images fill the last ones.
    """
    blank = originals.new_ones(-len(originals) % columns, *originals.shape[1:])  # fills the last row of each
    originals, reconstructions = torch.cat([originals, blank]), torch.cat([reconstructions, blank])
    pairs = zip(originals.split(columns), reconstructions.split(columns), strict=True)
    return torch.cat([rows for pair in pairs for rows in pair])


def save_curves(path: Path, rows: Sequence[Mapping[str, Any]], title: str) -> None:
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
    save_figure(figure, path, title)


def save_posterior_means(path: Path, means: Tensor, labels: Tensor | None, title: str) -> None:
    """Draw posterior means (N, 2), coloured by label (N,) where there are labels."""
    figure, (axis,) = subplots(1, (6.6, 6))
    colors = {} if labels is None else {"c": labels.cpu().numpy(), "cmap": "tab10"}
    points = axis.scatter(*means.cpu().numpy().T, **colors, s=4, alpha=0.7)
    if labels is not None:
        handles, names = points.legend_elements(num=None)
        axis.legend(handles, names, title="label", loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    axis.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
    axis.grid(alpha=0.3)
    save_figure(figure, path, title)


def subplots(columns: int, size: tuple[float, float], rows: int = 1) -> tuple[Any, Sequence[Any]]:
    """A figure of so many inches (width, height) and its axes, row by row."""
    with elsewhere():  # where there is no matplotlibrc
        from matplotlib.figure import Figure  # takes half a second to import

    figure = Figure(figsize=size, layout="constrained", dpi=120)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def save_figure(figure: Any, path: Path, title: str) -> None:
    """Write a figure as PNG, with a title above."""
    figure.suptitle(title)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    folder.write(path.parent, path.name, content.getbuffer())
