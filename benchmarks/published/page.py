"""docs/reproduction.md from what was measured."""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.published.rows import Row
from benchmarks.tables import markdown
from vaelab.evaluation.metrics import label, metric

HEADER = ("row", "what", "run", "published", "measured", "minutes")
Measured = Mapping[str, list[dict[str, Any]]]  # of each row its runs, seed by seed


def page(rows: Iterable[Row], measured: Measured) -> str:
    """The page of all rows that were measured, in Markdown."""
    done = [row for row in rows if row.name in measured]
    template = (Path(__file__).parent / "page.md").read_text()
    table = markdown(HEADER, (line for row in done for line in _lines(row, measured[row.name])))
    sections = "\n".join(_section(row, measured[row.name]) for row in done)
    return template.format(table=table, hours=_hours(done, measured), sections=sections)


def _hours(rows: Iterable[Row], measured: Measured) -> float:
    """Hours that all trainings took together."""
    return sum(run["minutes"] for row in rows for run in measured[row.name] if run["run"] in row.trained()) / 60


def _lines(row: Row, runs: list[dict[str, Any]]) -> Iterable[list[str]]:
    """A line of the table for each run, over its seeds."""
    published = "<br>".join(f"[{of['figure']}]({of['url']})" for of in row.published) or "none"
    for run in row.runs:
        of_run = [one for one in runs if one["run"] == run]
        minutes = ", ".join(f"{one['minutes']:.0f}" for one in of_run)
        what = f"{label(row.metric)}, {'higher' if metric(row.metric).better == 'up' else 'lower'} is better"
        yield [f"[`{row.name}`](#{row.name})", what, run, published, figure(of_run), minutes]


def figure(runs: list[dict[str, Any]]) -> str:
    """The mean over seeds with its standard deviation; of one seed the figure with its standard error over images."""
    figures = [run["figure"] for run in runs]
    if len(figures) > 1:
        return f"{mean(figures):.3f} ± {stdev(figures):.3f} over {len(figures)} seeds"
    error = runs[0]["standard_error"]
    return f"{figures[0]:.2f}" + ("" if error is None else f" ± {error:.2f}")


def _section(row: Row, runs: list[dict[str, Any]]) -> str:
    """How a row was measured, what the paper has, curves and samples."""
    lines = [f"## {row.name}", "", f"{row.title}: {row.setting}.", ""]
    lines += [f"- Published: {of['figure']} ({of['by']}, [paper]({of['url']}))." for of in row.published]
    lines += [_trained(row, run) for run in runs if run["run"] in row.trained()]
    lines += [_evaluated(row, next(run for run in runs if run["run"] == name)) for name in row.runs]
    lines.append(f"- Machine: {runs[0]['machine']}.")
    if row.full:
        longer = f"--runs outputs/full --override {shlex.join(row.full)}"
        lines.append(f'- In full, on a GPU: `make reproduce NAME={row.name} ARGS="{longer}"`.')
    lines += ["", row.notes] if row.notes else []
    for run in row.runs:
        pictures = f"reproduction/{row.name}-{run}"
        lines += ["", f"![Curves of {run}]({pictures}-curves.png)"] if run in row.trained() else [""]
        lines.append(f"![Samples of {run}]({pictures}-samples.png)")
    return "\n".join(lines) + "\n"


def _trained(row: Row, run: Mapping[str, Any]) -> str:
    command = f"vaelab train {shlex.join(run['overrides'])}"
    took = f"{run['epochs']:g} epochs in {run['minutes']:g} minutes, commit {run['commit']}"
    return f"- `{command}`: {run['figure']:.3f} {metric(row.metric).unit}, {took}."


def _evaluated(row: Row, first: Mapping[str, Any]) -> str:
    """How a run was evaluated, with what its first seed's figure depends on."""
    command = shlex.join(["vaelab", "evaluate", "RUN_DIR", *row.evaluation(first["run"])])
    setting = f", {first['depends_on']}" if first["depends_on"] else ""
    return f"- `{command}` ({first['run']}): {first['images']:,} test images{setting}."
