"""Train and measure published figures again.

    python -m benchmarks.published                     what there is to reproduce
    python -m benchmarks.published burda_vae           train what is lacking of that row, then evaluate it
    python -m benchmarks.published --collect           the finished runs into docs/reproduction.md

A run that was interrupted goes on from its last checkpoint; what is finished is not done again.
"""

import argparse
from pathlib import Path

from benchmarks.commands import ROOT, train, vaelab
from benchmarks.published.collect import collect, evaluation, samples
from benchmarks.published.rows import Row, read_rows

RUNS = ROOT / "outputs" / "reproduction"
GRID = ("--grid", "--num-samples", "64")


def main() -> None:
    rows = read_rows()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.published", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(rows))
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the runs (outputs/reproduction)")
    parser.add_argument("--override", nargs="+", default=[], metavar="KEY=VALUE", help="of the config of new runs")
    parser.add_argument("--collect", action="store_true", help="write docs/reproduction.json and its page")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in rows]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(rows)}")
    if options.override and options.runs == RUNS:
        parser.error("--override makes other runs than those of the page; name a folder for them with --runs")
    for name in options.names:
        reproduce(rows[name], options.runs, options.override)
    if options.collect:
        collect(rows.values(), options.runs, ROOT / "docs")
    elif not options.names:
        print("\n".join(f"{row.name:16} {row.setting}" for row in rows.values()))


def reproduce(row: Row, runs: Path, overrides: list[str]) -> None:
    """Train and evaluate what is not there yet of each run and seed of the row."""
    for run, seed, place in row.jobs():
        directory = runs / place
        train(directory, [*row.training(run, seed), *overrides])
        if not (found := evaluation(directory, run)).exists():
            vaelab("evaluate", str(directory), *row.evaluation(run), "--output", str(found))
        if not (drawn := samples(directory, row, run)).exists():
            vaelab("generate", str(directory), *GRID, *row.sampler(run), "--output", str(drawn))


if __name__ == "__main__":
    main()
