"""Grids of images, with a title and with names of their rows and columns."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import pad

MIN_TILE = 56  # pixels: smaller images are enlarged by a whole factor
GAP, MARGIN = 2, 8
TEXT_SIZE, LINE = 16, 20
MIN_TITLE = 300  # pixels: a title above a narrower picture may make it so wide


def grid(images: Tensor, columns: int) -> np.ndarray:
    """Tiles images (N, C, H, W) in [0, 1], row by row, into one RGB picture (height, width, 3) uint8."""
    if images.shape[1] not in (1, 3):
        images = images.mean(1, keepdim=True)  # neither grey nor colour: its brightness
    factor = max(1, -(-MIN_TILE // min(images.shape[2:])))
    tiles = images.detach().cpu().clamp(0, 1).repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    # torchvision's make_grid draws the same, and takes more than a second to import
    tiles = pad(tiles.expand(-1, 3, -1, -1), (GAP, 0, GAP, 0, 0, 0, 0, rows * columns - len(tiles)), value=1.0)
    table = tiles.unflatten(0, (rows, columns)).permute(0, 3, 1, 4, 2)  # (rows, height, columns, width, 3)
    picture = pad(table.flatten(2, 3).flatten(0, 1), (0, 0, 0, GAP, 0, GAP), value=1.0)
    return picture.mul(255).round().byte().numpy()


def labelled_grid(
    images: Tensor, columns: int, title: str = "", rows: Sequence[str] = (), heads: Sequence[str] = ()
) -> Image.Image:
    """The picture of `grid` with a title above, a label left of each row and a head above each column, where given."""
    font = ImageFont.load_default(TEXT_SIZE)
    tiles = Image.fromarray(grid(images, columns))
    left = 2 * MARGIN + max(int(font.getlength(line)) for row in rows for line in row.splitlines()) if rows else 0
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


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """The lines of a text that is at most so many pixels wide; a longer word stands alone."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def side_by_side(originals: Tensor, reconstructions: Tensor, columns: int) -> Tensor:
    """Rows of originals, each with the row of their reconstructions below: 2 x (N, C, H, W) -> (2M, C, H, W).

    M is N rounded up to whole rows; white images fill the last ones.
    """
    blank = originals.new_ones(-len(originals) % columns, *originals.shape[1:])  # fills the last row of each
    originals, reconstructions = torch.cat([originals, blank]), torch.cat([reconstructions, blank])
    pairs = zip(originals.split(columns), reconstructions.split(columns), strict=True)
    return torch.cat([rows for pair in pairs for rows in pair])
