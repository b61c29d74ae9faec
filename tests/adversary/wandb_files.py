"""The rows in W&B's files of an offline run, which `wandb sync` would upload; a part that was cut off, up to there."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

BLOCK, HEADER = 32_768, 7  # bytes; records are kept as LevelDB does
WHOLE, FIRST, LAST = 1, 2, 4  # kinds of pieces of a record


def offline_rows(run_dir: Path) -> list[tuple[int, dict[str, float]]]:
    """W&B's own step and the metrics of every row that is not of pictures alone, over all parts in their order."""
    from wandb.proto import wandb_internal_pb2

    found = []
    for part in sorted((run_dir / "wandb").glob("offline-run-*/run-*.wandb")):
        for content in _records(part.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(content)
            if record.WhichOneof("record_type") != "history":
                continue
            items = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            row = {name: value for name, value in items.items() if not name.startswith(("_", "pictures"))}
            if row.keys() - {"step", "epoch"}:
                found.append((items["_step"], row))
    return found


def _records(content: bytes) -> Iterator[bytes]:
    at, record = HEADER, b""  # W&B's own seven bytes come first
    while at + HEADER <= len(content):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, size, kind = struct.unpack_from("<IHB", content, at)
        piece = content[at + HEADER : at + HEADER + size]
        if kind == 0 or len(piece) < size:
            return
        at += HEADER + size
        record = piece if kind in (WHOLE, FIRST) else record + piece
        if kind in (WHOLE, LAST):
            yield record
