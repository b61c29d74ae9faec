"""The samples of a run's epochs as an animation."""

import io
import re
from pathlib import Path

from PIL import Image

from vaelab.files import folder

ANIMATION, SHOWN_AS = "samples.gif", "samples_by_epoch"  # the file, and what W&B and the comparison page call it
SAMPLES = re.compile(r"samples-([0-9]{4,9})\.png")  # as `draw_pictures` writes them to `images/`
FRAMES = 40  # at most, of epochs at even distances with the first and the last
WIDTH = HEIGHT = 900  # pixels at most
MAX_BYTES, MAX_PIXELS = 20_000_000, 16_000_000  # of the picture of an epoch, which has half a million pixels
MILLISECONDS, LAST_MILLISECONDS = 200, 2000


def save_animation(run_dir: Path, epoch: int) -> list[str]:
    """Write `samples.gif` from the samples of the epochs up to `epoch`, unless those of fewer than two can be read.

    Returns:
        The names of the files written, one or none.
    """
    found = (SAMPLES.fullmatch(path.name) for path in (run_dir / "images").iterdir())
    epochs = sorted((int(match[1]), match[0]) for match in found if match and int(match[1]) <= epoch)
    frames = [frame for _, name in _spread(epochs) if (frame := _frame(run_dir, f"images/{name}")) is not None]
    if len(frames) < 2:
        return []
    size = max(frame.width for frame in frames), max(frame.height for frame in frames)
    first, *others = (_on_white(frame, size) for frame in frames)
    content = io.BytesIO()
    durations = [MILLISECONDS] * len(others) + [LAST_MILLISECONDS]
    first.save(content, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
    folder.write(run_dir, ANIMATION, content.getbuffer())
    return [ANIMATION]


def _spread(epochs: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """At most FRAMES of them at even distances, the first and the last among them."""
    if len(epochs) <= FRAMES:
        return epochs
    return [epochs[round(index * (len(epochs) - 1) / (FRAMES - 1))] for index in range(FRAMES)]


def _frame(run_dir: Path, name: str) -> Image.Image | None:
    """A picture, made smaller if it is large; None for one that cannot be read, which is worth no run."""
    try:
        content = io.BytesIO(folder.read(run_dir, name, MAX_BYTES))
        with Image.open(content, formats=["PNG"]) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                return None
            frame = picture.convert("RGB")
    except Exception:  # a damaged picture raises whatever its decoder does
        return None
    frame.thumbnail((WIDTH, HEIGHT))
    return frame


def _on_white(frame: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The frame at the lower left of a picture of that size, with 256 colours."""
    picture = Image.new("RGB", size, "white")
    picture.paste(frame, (0, size[1] - frame.height))
    return picture.quantize(256, dither=Image.Dither.NONE)
