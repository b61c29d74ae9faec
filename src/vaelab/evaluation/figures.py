"""Pictures: grids of images, curves, and maps of a two-dimensional latent space."""

import io
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vaelab.evaluation.curves import CURVES, charts, training_curve, validation_curve
from vaelab.evaluation.metrics import label, metric
from vaelab.files import folder

MIN_TILE = 56  # pixels: smaller images are enlarged by a whole factor
GAP = 2
TITLE_SIZE = 16
MAX_CURVES = 20

Line = tuple[str, Sequence[tuple[float, float]], bool]  # name, (epoch, value) pairs, whether axes are made for it


def grid(images: Tensor, columns: int) -> np.ndarray:
    """Tile images (N, C, H, W) in [0, 1], row by row, into one RGB picture (height, width, 3) uint8."""
    count, channels, height, width = images.shape
    if channels not in (1, 3):
        images = images.mean(1, keepdim=True)  # neither grey nor colour: its brightness
    factor = -(-MIN_TILE // min(height, width)) if min(height, width) < MIN_TILE else 1
    tiles = images.detach().clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()  # (N, H, W, C)
    tiles = tiles.repeat(factor, axis=1).repeat(factor, axis=2)
    rows = -(-count // columns)
    step_y, step_x = height * factor + GAP, width * factor + GAP
    canvas = np.full((rows * step_y + GAP, columns * step_x + GAP, 3), 255, np.uint8)
    for index, tile in enumerate(tiles):
        y, x = GAP + index // columns * step_y, GAP + index % columns * step_x
        canvas[y : y + step_y - GAP, x : x + step_x - GAP] = tile
    return canvas


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
    figure, axes = _subplots(len(names), (4 * len(names), 3.6))
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
    _save_figure(figure, path, title)


def save_comparison(path: Path, panels: Mapping[str, Sequence[Line]], title: str) -> None:
    """Draw the validation ELBO of runs over epochs, a panel for those that compare, each with at most 20 lines.

    Args:
        path: of the picture.
        panels: by what the runs were measured on, the best first: (name, (epoch, value) pairs, whether axes are made
            for it).
        title: of the picture.
    """
    heights = [max(4.0, 1.2 + 0.24 * min(len(lines), MAX_CURVES)) for lines in panels.values()]
    figure, axes = _subplots(1, (10, sum(heights)), rows=len(panels))
    styles = [(color, line) for line in ("-", "--") for color in range(10)]
    for axis, (measured_on, lines) in zip(axes, panels.items(), strict=True):
        for (name, points, _), (color, line) in zip(lines[:MAX_CURVES], styles, strict=False):
            epochs, values = zip(*points, strict=True)
            axis.plot(epochs, values, line, color=f"C{color}", marker="o", markersize=3, linewidth=1.2, label=name)
        _fit(axis, lines[:MAX_CURVES])
        heading = [measured_on] if len(panels) > 1 else []
        heading += [f"the best {MAX_CURVES} of {len(lines)}"] if len(lines) > MAX_CURVES else []
        axis.set(xlabel="epoch", ylabel=f"validation {_with_unit('elbo')}", title="; ".join(heading))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize="small", frameon=False)
    _save_figure(figure, path, title)


def _fit(axis: Any, lines: Sequence[Line]) -> None:
    """Make the axes for the lines that they are made for, where there are others that would stretch them."""
    usual = [point for _, points, is_usual in lines if is_usual for point in points]
    if usual and not all(is_usual for _, _, is_usual in lines):
        for set_limits, values in zip((axis.set_xlim, axis.set_ylim), zip(*usual, strict=True), strict=True):
            margin = 0.05 * (max(values) - min(values) or 1.0)
            set_limits(min(values) - margin, max(values) + margin)


def save_search_history(
    path: Path,
    values: Mapping[str, Sequence[tuple[int, float]]],
    directions: Mapping[str, str],
    pruned: Sequence[tuple[int, float]],
    title: str,
) -> None:
    """Draw what each trial of a search reached, a panel an objective, and the best so far.

    Args:
        path: of the picture.
        values: by objective, (trial, value) of the finished trials in their order.
        directions: by objective, `minimize` or `maximize`.
        pruned: (trial, last value) of those that were given up.
        title: of the picture.
    """
    figure, axes = _subplots(len(values), (max(8, 4.5 * len(values)), 4))
    for axis, (name, points) in zip(axes, values.items(), strict=True):
        better = min if directions[name] == "minimize" else max
        low, high = _limits([value for _, value in [*points, *pruned]], better)
        for trials, marker, color, meaning in (
            (points, "o", "C0", "finished"),
            (pruned, "x", "0.5", "pruned, last value"),
        ):
            if trials:
                outside = sum(not low <= value <= high for _, value in trials)
                meaning += f" ({outside} beyond the axis)" if outside else ""
                axis.plot(*zip(*trials, strict=True), marker, color=color, markersize=5, label=meaning)
        if points:
            numbers, reached = zip(*points, strict=True)
            best = list(accumulate(reached, better))
            end = max(number for number, _ in [*points, *pruned])
            axis.step([*numbers, end], [*best, best[-1]], "C1", where="post", linewidth=1.2, label="best so far")
        axis.set(xlabel="trial", ylabel=_with_unit(name), ylim=(low, high))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend()
    _save_figure(figure, path, title)


def save_importances(path: Path, importances: Mapping[str, Mapping[str, float]], title: str) -> None:
    """Draw the share of each variable of a search in the variance of its objectives, a panel each."""
    most = max(map(len, importances.values()))
    figure, axes = _subplots(len(importances), (max(8, 5 * len(importances)), 1.5 + 0.4 * most))
    for axis, (name, shares) in zip(axes, importances.items(), strict=True):
        smallest_first = sorted(shares.items(), key=lambda item: item[1])
        bars = axis.barh(*zip(*smallest_first, strict=True))
        axis.bar_label(bars, fmt="%.2f", padding=3)
        axis.set(xlabel=f"share of the variance of {label(name)}", xlim=(0, 1.1))
        axis.grid(alpha=0.3, axis="x")
    _save_figure(figure, path, title)


def save_posterior_means(path: Path, means: Tensor, labels: Tensor | None, title: str) -> None:
    """Draw posterior means (N, 2), coloured by label (N,) where there are labels."""
    figure, (axis,) = _subplots(1, (6.6, 6))
    colors = {} if labels is None else {"c": labels.cpu().numpy(), "cmap": "tab10"}
    points = axis.scatter(*means.cpu().numpy().T, **colors, s=4, alpha=0.7)
    if labels is not None:
        handles, names = points.legend_elements(num=None)
        axis.legend(handles, names, title="label", loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    axis.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
    axis.grid(alpha=0.3)
    _save_figure(figure, path, title)


def _limits(values: Sequence[float], better: Callable[..., float]) -> tuple[float, float]:
    """An axis from the best value to the worst, but at most to twice as far from the best as the median is.

    Without that bound a setting that hardly trains would flatten the differences between the others.
    """
    best = better(values)
    distance = max(abs(value - best) for value in values)
    distance = min(distance, 2 * abs(float(np.median(values)) - best)) or distance or 1.0
    end = best + distance if better is min else best - distance
    margin = 0.05 * distance
    return min(best, end) - margin, max(best, end) + margin


def _with_unit(name: str) -> str:
    return f"{label(name)}, {metric(name).unit}"


def _subplots(columns: int, size: tuple[float, float], rows: int = 1) -> tuple[Any, Sequence[Any]]:
    with folder.elsewhere():  # where there is no matplotlibrc of a stranger's
        from matplotlib.figure import Figure  # takes half a second to import

    figure = Figure(figsize=size, layout="constrained", dpi=120)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _save_figure(figure: Any, path: Path, title: str) -> None:
    figure.suptitle(title)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    folder.write(path.parent, path.name, content.getbuffer())
