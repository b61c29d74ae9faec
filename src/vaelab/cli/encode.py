"""`vaelab encode`: images as a table of embeddings."""

import argparse
from pathlib import Path

from vaelab.cli.progress import progress
from vaelab.dataset.own.source import told
from vaelab.errors import say, visible
from vaelab.export.encoding import as_bytes, check_parquet, encode_images
from vaelab.files import folder
from vaelab.run.load import load_run


def encode(options: argparse.Namespace, output: Path) -> None:
    """Write the table and say what is in it."""
    suffix = output.suffix.lower()
    if suffix == ".parquet":
        check_parquet()  # before all is encoded
    run = load_run(options.run, options.trust, options.device)
    with progress("encoding") as (advance, _):
        found = encode_images(run, options.data, advance)
    content = as_bytes(found, suffix)
    folder.write(output.parent, output.name, content)
    if found.unreadable:
        say(f"{len(found.unreadable):,} of the pictures could not be read and are left out: {told(found.unreadable)}")
    columns = ", ".join(found.arrays())
    print(visible(f"{len(found.names):,} images in {output}: {columns}"))
