"""The results for people, in the terminal and in Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vaelab.run.terminal import show, table


def show_column(name: str, column: Mapping[str, Any], device: str) -> None:
    """The rows of a column."""
    numbers = ("images/s", "min", "max", "x tutorial", "% of peak", "MB", "set-up s")
    made = table(name, numbers=numbers, last=("",))
    for row, result in column["rows"].items():
        if "unavailable" in result:
            made.add_row(row, *[""] * len(numbers), result["unavailable"])
            continue
        speeds, ratio = result["images_per_second"], result["ratio_to_tutorial"]
        made.add_row(
            row,
            *(f"{value:,.0f}" for value in (result["median"], min(speeds), max(speeds))),
            "" if ratio is None else f"{ratio:.2f}",
            f"{100 * result['share_of_peak']:.1f}",
            f"{result['peak_mb']:,.0f}",
            f"{result['setup_seconds']:.1f}",
        )
    memory = "largest memory of the GPU's tensors" if device == "cuda" else "largest resident memory"
    show(
        made,
        f"images/s: median of the rounds; x tutorial: median of the ratios, round by round; MB: {memory}",
        f"peak: products of 1024 x 1024 matrices in the same rounds, {column['peak_flops_per_second'] / 1e9:,.0f} "
        f"GFLOP/s; an image takes {column['flops_per_image'] / 1e6:,.2f} MFLOP",
    )


def show_whole(results: Mapping[str, Any], epochs: int) -> None:
    """Whole processes."""
    made = table("whole process", numbers=("seconds", "times faster", "test loss"), last=("",))
    for row, result in results.items():
        if "unavailable" in result:
            made.add_row(row, "", "", "", result["unavailable"])
            continue
        faster = result["times_faster_than_tutorial"]
        made.add_row(
            row,
            f"{result['seconds']:.1f}",
            "" if faster is None else f"{faster:.2f}",
            f"{result['test_loss']:.2f}",
        )
    show(made, f"from launch to exit, {epochs} epochs of mlp-32-float32; test loss in nats per image")


def show_scaling(results: Mapping[str, Any]) -> None:
    """Cost by number of images."""
    made = table("training images", numbers=("microseconds per image and epoch", "MB beside the data"))
    for size, result in results.items():
        made.add_row(
            f"{int(size):,}",
            f"{1e6 * result['seconds_per_image_epoch']:.1f}",
            f"{result['peak_mb_beside_data']:,.0f}",
        )
    show(made, "vaelab, mlp-32-float32: whole epochs of training; MB: largest memory less one copy of the images")


def show_starts(results: Mapping[str, float]) -> None:
    """What is waited for before anything trains."""
    made = table("wait", numbers=("seconds",))
    for name, seconds in results.items():
        made.add_row(name, f"{seconds:.2f}")
    show(made, "medians of the rounds, the sweep's of one; W&B offline, the sweep's jobs have 20 steps on digits")


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *lines))
