"""Images that stay on disk: a training on them beside one that has them in memory, in turns.

    python -m benchmarks.mapped                  200,000 images of 64 x 64 x 3, 2.5 GB, made once below --data
    python -m benchmarks.mapped --images 2000    a few, to try it

Each round is two whole processes; said are images/s of their training steps and the most memory that was theirs in each
half of their time.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.commands import ROOT
from benchmarks.tables import markdown

SIDE = 64
CHUNK = 1000
PLACES = ("host", "disk")
SETTINGS = (
    *("model=conv", "latent=d64", "dataset.val=0.01", "dataset.test=0.01", "logger=local"),
    *("trainer.batch_size=128", "trainer.threads=2", "trainer.pictures_every=0", "trainer.evaluate_test=false"),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mapped", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=ROOT / "outputs" / "mapped", help="where the images are made")
    options = parser.parse_args()
    options.data.mkdir(parents=True, exist_ok=True)
    array = options.data / f"images-{options.images}.npy"
    if not array.exists():
        make(array, options.images)
    found: dict[str, list[tuple[float, float, float]]] = {place: [] for place in PLACES}
    train(array, "disk", 1)  # which prepares them
    for number in range(options.rounds):
        for place in PLACES if number % 2 else reversed(PLACES):
            found[place].append(train(array, place, options.steps))
    rows = [
        [
            f"`trainer.images_on={place}`",
            *(f"{statistics.median(column):,.0f}" for column in zip(*found[place], strict=True)),
        ]
        for place in PLACES
    ]
    print(markdown(["images", "images/s", "MB in the first half", "in the second"], rows), end="")
    ratios = [disk[0] / host[0] for host, disk in zip(found["host"], found["disk"], strict=True)]
    print(f"disk / host, by round: {', '.join(f'{ratio:.3f}' for ratio in ratios)}")


def make(path: Path, count: int) -> None:
    """Smooth images in colour, (N, 64, 64, 3) uint8, written a thousand at a time."""
    rng = np.random.default_rng(0)
    part = path.with_suffix(".part")
    images = np.lib.format.open_memmap(part, "w+", np.uint8, (count, SIDE, SIDE, 3))
    for start in range(0, count, CHUNK):
        coarse = rng.integers(256, size=(min(CHUNK, count - start), 8, 8, 3), dtype=np.uint8)
        images[start : start + CHUNK] = coarse.repeat(SIDE // 8, 1).repeat(SIDE // 8, 2)
    images.flush()
    part.replace(path)


def train(array: Path, place: str, steps: int) -> tuple[float, float, float]:
    """Images/s of a training of its own process, and the most memory in MB that it had in each half of its time."""
    with tempfile.TemporaryDirectory() as run_dir:
        data = ("dataset=array", f"dataset.path={array}", f"dataset.root={array.parent}")
        run = (f"trainer.images_on={place}", f"trainer.max_steps={steps}", f"hydra.run.dir={run_dir}")
        command = [sys.executable, ROOT / "run.py", *data, *SETTINGS, *run]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        memory = []
        while process.poll() is None:
            try:
                memory.append(psutil.Process(process.pid).memory_info().rss / 1e6)
            except psutil.Error:
                break
            time.sleep(0.05)
        if process.wait():
            sys.exit(process.returncode)
        speed = json.loads((Path(run_dir) / "summary.json").read_text())["images_per_second"]
        return speed, max(memory[: len(memory) // 2]), max(memory[len(memory) // 2 :])


if __name__ == "__main__":
    main()
