"""`vaelab encode`: images as a table of embeddings."""

from pathlib import Path

from vaelab.cli.progress import progress
from vaelab.dataset.own.source import told
from vaelab.errors import say, visible
from vaelab.export.encoding import as_bytes, check_parquet, encode_images
from vaelab.files import folder
from vaelab.run.load import Run


def encode(run: Run, data: str, output: Path) -> None:
    """Write the table and say what is in it."""
    suffix = output.suffix.lower()
    if suffix == ".parquet":
        check_parquet()  # before all is encoded
    with progress("encoding") as (advance, _):
        found = encode_images(run, data, advance)
    content = as_bytes(found, suffix)
    folder.write(output.parent, output.name, content)
    if found.unreadable:
        count = len(found.unreadable)
        left_out = f"could not be read and {'is' if count == 1 else 'are'} left out"
        say(f"{count:,} of the pictures {left_out}: {told(found.unreadable)}")
    columns = ", ".join(found.arrays())
    print(visible(f"{len(found.names):,} images in {output}: {columns}"))
