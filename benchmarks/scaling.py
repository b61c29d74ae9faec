"""What an image costs vaelab as the data grows: it should stay the same, and so should the memory beside the data."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import Any

from benchmarks.job import SYNTHETIC_IMAGES, Column, Job
from benchmarks.rounds import set_up, take_rounds

SIZES = (10_000, 20_000, 40_000, 60_000)
COLUMN = Column("mlp", 32, "float32")
BYTES_PER_IMAGE = 28 * 28


def measure_scaling(job: Job, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds per image and peak memory for each number of training images; a turn is a whole epoch."""
    sizes = [size * SYNTHETIC_IMAGES // SIZES[-1] for size in SIZES] if job.synthetic else SIZES
    jobs = {}
    for size in sizes:
        its = replace(job, row="vaelab", column=COLUMN, limit=size)
        jobs[str(size)] = (its, (size - its.spare) // COLUMN.batch)
    with ExitStack() as stack:
        say("scaling: setting up")
        workers, results = set_up(stack, jobs)
        say(f"scaling: {rounds} rounds of {len(workers)} epochs")
        take_rounds(workers, results, rounds)
    for size, result in results.items():
        result["seconds_per_image_epoch"] = 1 / median(result["images_per_second"])
        result["peak_mb_beside_data"] = result["peak_mb"] - int(size) * BYTES_PER_IMAGE / 1e6
    return results
