"""The comparison page: data, pictures, plotly and the page's own files in one HTML file that asks for nothing else."""

import base64
import hashlib
import io
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.resources import files
from itertools import islice
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from vaelab.compare.page_data import page_data
from vaelab.errors import UserError, check_output
from vaelab.evaluation.pictures import animation
from vaelab.evaluation.pictures.draw import PICTURES
from vaelab.files import folder
from vaelab.run import EXPLORER

SCRIPTS = ("state.js", "charts.js", "lists.js", "main.js")
SHOWN_FIRST = ("samples", "reconstructions")
LATER = tuple(name for name in PICTURES if name not in SHOWN_FIRST)  # when one of them is chosen
MAX_PICTURES = 8_000_000  # characters of all of them: what keeps a page of 200 runs below 20 MB
FEW_RUNS, WIDE, NARROW = 24, 480, 280  # pixels: up to 24 runs have wide pictures, more have narrow ones
BEST, LEGIBLE = 12, 640  # runs that have the other pictures too; pixels, for there is text in them
ANIMATED = 4  # runs that have their animation too, of half a million characters each
MAX_PIXELS = 16_000_000  # of a picture; those of a run have half a million
MAX_BYTES = 4 * MAX_PIXELS  # of its file
FORMATS = {"PNG": (1, MAX_PIXELS), "GIF": (animation.FRAMES, animation.WIDTH * animation.HEIGHT)}  # frames, pixels
QUALITY = 60  # of WebP; a narrow grid of 64 images takes about 12 kB


def write_page(paths: Iterable[Path], output: Path, sort: str | None = None, most_pictures: int = MAX_PICTURES) -> int:
    """Compare the runs of run and sweep directories in a page, whole or not at all; returns how many runs it shows.

    Args:
        paths: of run and sweep directories.
        output: the page.
        sort: the metric by which runs that were measured on the same are sorted, best first; None for their merit.
        most_pictures: characters of all pictures.

    Raises:
        UserError: for a path without runs, a metric that they do not have, or an output that cannot be written.
        OSError: if the page cannot be written.
    """
    check_output(output, ".html")
    data = page_data(paths, sort)
    data["pictures"] = _add_pictures(data["runs"], most_pictures)
    _add_explorers(data["runs"], output.parent)
    folder.write(output.parent, output.name, page(data).encode())
    return len(data["runs"])


def page(data: dict[str, Any]) -> str:
    """The HTML of what `page_data` returns, with plotly inlined.

    The policy lets only the two scripts by their hashes run, and lets nothing be fetched, whatever the data holds.
    """
    from plotly.offline import get_plotlyjs

    own = files("vaelab.compare") / "comparison_page"
    plotly, script = get_plotlyjs(), "".join((own / name).read_text() for name in SCRIPTS)
    policy = (
        # plotly's parallel coordinates compile their drawing at run time, which is an eval
        f"default-src 'none'; script-src {_hash(plotly)} {_hash(script)} 'unsafe-eval'; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return Template((own / "page.html").read_text()).substitute(
        policy=policy,
        style=(own / "style.css").read_text(),
        # a `<` could end the element that holds the data
        data=json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        plotly=plotly,
        script=script,
    )


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _add_pictures(runs: Sequence[dict[str, Any]], most: int) -> str:
    """Give the runs, best first, `pictures`, {name: data URI}, and return the sentence about them.

    Samples and reconstructions of all runs come first; the other pictures take the room that is left.
    """
    width = WIDE if len(runs) <= FEW_RUNS else NARROW
    wanted = [(run, name, width) for run in runs for name in SHOWN_FIRST]
    wanted += [(run, name, LEGIBLE) for run in runs[:BEST] for name in LATER]
    wanted += [(run, animation.SHOWN_AS, NARROW) for run in runs[:ANIMATED]]
    left, last = most, ""
    with ThreadPoolExecutor() as pool:  # pillow leaves the interpreter to others while it works
        thumbnails = pool.map(_thumbnail_of_run, wanted)
        for (run, name, _), source in zip(wanted, thumbnails, strict=True):
            left, last = left - len(source or ""), name
            if left < 0:
                pool.shutdown(cancel_futures=True)
                break
            if source is not None:
                run.setdefault("pictures", {})[name] = source
    shown, later = (_having(runs, names) for names in (PICTURES, LATER))
    if not shown:
        return "These runs have no pictures."
    hint = f"The latest of {shown} runs, in the order of the table, at most {width} pixels wide."
    if left < 0 and last in SHOWN_FIRST:
        hint += f" To keep the page small, only the first {shown} runs with pictures have them here."
    elif 0 < later < shown:
        hint += f" To keep the page small, only the best {later} have more than samples and reconstructions here."
    if 0 < (animated := _having(runs, [animation.SHOWN_AS])) < shown:
        hint += f" Samples by epoch are those of {animated} of the best {ANIMATED}."
    return hint


def _add_explorers(runs: Sequence[dict[str, Any]], beside: Path) -> None:
    """Give the runs that have a page of `vaelab explore` the way to it from a folder, as `explorer`."""
    for run in runs:
        with suppress(UserError):  # a link that has that name leads nowhere
            if folder.size(Path(run["directory"]), EXPLORER):
                run["explorer"] = quote(os.path.relpath(Path(run["directory"]) / EXPLORER, beside))


def _having(runs: Sequence[dict[str, Any]], names: Sequence[str]) -> int:
    """How many runs have a picture of these names."""
    return sum(not run.get("pictures", {}).keys().isdisjoint(names) for run in runs)


def _thumbnail_of_run(wanted: tuple[dict[str, Any], str, int]) -> str | None:
    run, name, width = wanted
    file = animation.ANIMATION if name == animation.SHOWN_AS else f"{name}.png"
    return thumbnail(Path(run["directory"]) / file, width)


def thumbnail(path: Path, width: int) -> str | None:
    """A picture as the data URI of a WebP at most `width` pixels wide; None where there is none that can be read.

    A GIF stays an animation, of as many frames as a run may have drawn.
    """
    from PIL import Image, ImageSequence

    try:
        content = io.BytesIO(folder.read(path.parent, path.name, MAX_BYTES))
        with Image.open(content, formats=[*FORMATS]) as picture:
            most_frames, most_pixels = FORMATS[picture.format]
            if picture.width * picture.height > most_pixels:
                return None
            frames, durations = [], []
            for frame in islice(ImageSequence.Iterator(picture), most_frames):
                durations.append(frame.info.get("duration", 0))
                frames.append(frame.convert("RGB"))
                frames[-1].thumbnail((width, MAX_PIXELS), Image.Resampling.LANCZOS)
        content, moving = io.BytesIO(), {"save_all": True, "append_images": frames[1:], "duration": durations}
        frames[0].save(content, "WEBP", quality=QUALITY, method=2, **(moving if len(frames) > 1 else {}))
    except Exception:  # a damaged picture raises whatever its decoder does, and is worth no page
        return None
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"
