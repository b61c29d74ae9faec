"""Images as files: a picture of all, an animation, an array."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from vaelab.evaluation.pictures.figures import save
from vaelab.evaluation.pictures.grids import grid, labelled_grid
from vaelab.files import folder

MILLISECONDS = 200  # of each image of an animation


def save_images(path: Path, images: Tensor, columns: int) -> None:
    """Write images (N, C, H, W) in [0, 1] by the file's suffix.

    Args:
        path: `.png`, one picture; `.gif`, the images one after the other; `.npz`, an array `images` (N, C, H, W) uint8.
        images: to be written.
        columns: of the picture.
    """
    suffix = path.suffix.lower()
    if suffix == ".png":
        save(labelled_grid(images, columns), path)
        return
    content = io.BytesIO()
    if suffix == ".npz":
        np.savez_compressed(content, images=images.cpu().clamp(0, 1).mul(255).round().byte().numpy())
    else:
        first, *others = (Image.fromarray(grid(image[None], 1)) for image in images)
        first.save(content, "GIF", save_all=True, append_images=others, duration=MILLISECONDS, loop=0)
    folder.write(path.parent, path.name, content.getbuffer())
