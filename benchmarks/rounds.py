"""The interleaved rounds: A B C A B C ..., each a turn of a process that otherwise waits."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import Any

from benchmarks.job import PEAK_FLOPS, Column, Job, UnavailableError
from benchmarks.worker import Worker, take_turns


def set_up(stack: ExitStack, jobs: dict[str, tuple[Job, int | None]]) -> tuple[dict[str, Worker], dict[str, Any]]:
    """Start and warm up one worker after the other; returns them, and what is known of each row so far."""
    workers, results = {}, {}
    for name, (job, steps) in jobs.items():
        worker = stack.enter_context(Worker(take_turns, job, steps))
        try:
            results[name] = {"setup_seconds": worker.set_up(), "images_per_second": []}
            workers[name] = worker
        except UnavailableError as error:
            results[name] = {"unavailable": str(error)}
    return workers, results


def take_rounds(workers: dict[str, Worker], results: dict[str, Any], rounds: int) -> None:
    """Give every worker `rounds` turns, in turn, and note what they tell."""
    for _ in range(rounds):
        for name, worker in workers.items():
            told = worker.turn()
            results[name]["images_per_second"].append(told["images"] / told["seconds"])
            results[name]["peak_mb"] = told["peak_mb"]


def measure_column(
    column: Column, rows: Iterable[str], job: Job, rounds: int, flops_per_image: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """All rows of a column, with the machine's rate of matrix products in the same rounds."""
    jobs = {row: (replace(job, row=row, column=column), None) for row in (*rows, "peak")}
    with ExitStack() as stack:
        say(f"{column.name}: setting up")
        workers, results = set_up(stack, jobs)
        say(f"{column.name}: {rounds} rounds of {len(workers)} turns")
        take_rounds(workers, results, rounds)
    peak = results.pop("peak")
    products = median(peak["images_per_second"])
    for result in results.values():
        if "unavailable" not in result:
            result |= _derived(result["images_per_second"], results, flops_per_image / (products * PEAK_FLOPS))
    return {"flops_per_image": flops_per_image, "peak_flops_per_second": products * PEAK_FLOPS, "rows": results}


def _derived(speeds: list[float], results: dict[str, Any], peak_seconds_per_image: float) -> dict[str, float]:
    """Median, share of the peak, and the ratio to the tutorial's row, round by round."""
    tutorial = results.get("tutorial", {}).get("images_per_second", [])
    ratios = [ours / theirs for ours, theirs in zip(speeds, tutorial, strict=False)]
    return {
        "median": median(speeds),
        "ratio_to_tutorial": median(ratios) if ratios else None,
        "share_of_peak": median(speeds) * peak_seconds_per_image,
    }
