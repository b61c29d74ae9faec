"""The columns as bars, for people."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

TITLES = {"mlp": "MLP 784-400-20 on MNIST", "conv": "Convolutional VAE on CIFAR-10"}
COLORS = {"tutorial": "#9aa5b1", "plain": "#5b8db8", "lightning": "#b08fc7", "pythae": "#d9a441", "vaelab": "#c8453b"}
NAMES = {"tutorial": "tutorial's loop", "plain": "plain PyTorch", "lightning": "Lightning"}


def draw(path: Path, columns: Mapping[str, Any], where: str) -> None:
    """A PNG, 1,000 pixels wide: a group of bars a column, a bar a row, its line from the least to the most."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    models = {model: [name for name in columns if name.startswith(model)] for model in TITLES}
    models = {model: names for model, names in models.items() if names}
    rows = list(next(iter(columns.values()))["rows"])
    figure, panels = pyplot.subplots(
        1,
        len(models),
        figsize=(10, 4.6),
        dpi=100,
        squeeze=False,
        gridspec_kw={"width_ratios": [len(names) + 0.8 for names in models.values()]},
        layout="constrained",
    )
    for panel, (model, names) in zip(panels[0], models.items(), strict=True):
        for place, name in enumerate(names):
            _draw_group(panel, place, rows, columns[name]["rows"])
        panel.set_title(TITLES[model], fontsize=11)
        labels = [name.removeprefix(f"{model}-").split("-") for name in names]
        panel.set_xticks(range(len(names)), [f"batch {batch}\n{precision}" for batch, precision in labels], fontsize=9)
        panel.set_ylabel("images/s, median")
        panel.yaxis.set_major_formatter("{x:,.0f}")
        panel.set_ylim(bottom=0)
        panel.margins(y=0.12)
        panel.spines[["top", "right"]].set_visible(False)
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=COLORS[row]) for row in rows]
    figure.legend(handles, [NAMES.get(row, row) for row in rows], loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(f"Training speed, same network and loss; numbers: times the tutorial's loop\n{where}", fontsize=10)
    figure.savefig(path)
    pyplot.close(figure)


def _draw_group(panel: Any, place: int, rows: list[str], results: Mapping[str, Any]) -> None:
    width = 0.84 / len(rows)
    for number, row in enumerate(rows):
        if "unavailable" in results[row]:
            continue
        speeds, ratio = results[row]["images_per_second"], results[row]["ratio_to_tutorial"]
        x, height = place - 0.42 + (number + 0.5) * width, median(speeds)
        spread = [[height - min(speeds)], [max(speeds) - height]]
        panel.bar(x, height, 0.92 * width, color=COLORS[row], yerr=spread, error_kw={"lw": 0.8, "ecolor": "#333333"})
        if ratio is not None and row != "tutorial":
            panel.annotate(
                f"{ratio:.1f}", (x, max(speeds)), (0, 2), textcoords="offset points", ha="center", fontsize=7
            )
