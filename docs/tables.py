"""The tables of README.md and docs/: `python docs/tables.py` rewrites each of them in place.

A table stands between `<!-- table NAME -->` and `<!-- end -->`. Parts come from `conf/` and the docstrings of what it
names, groups from `conf/`, measured figures from `docs/results.yaml` with labels and units of the metrics' table.
"""

import re
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path

import yaml
from hydra.utils import get_object

from vaelab.evaluation.metrics import METRICS, label, metric

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"
DESCRIBED = ("model", "posterior", "prior", "likelihood", "objective", "conditional", "dataset", "scheduler")
SPLITS = ("train", "val", "test")
BLOCK = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
END_OF_SENTENCE = re.compile(r"\.(?=\s+[A-Z]|\s*$)")


def pages() -> list[Path]:
    """The README and the pages of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def rewritten(text: str) -> str:
    """A page with each of its tables as it should be."""
    return BLOCK.sub(lambda found: found[1] + table(found[2]) + found[3], text)


def table(name: str) -> str:
    """The table of that name, in Markdown."""
    if name == "parts":
        return markdown(("group", "option", "what it is"), parts())
    if name == "choices":
        return markdown(("group", "what it is", "options"), choices())
    if name == "presets":
        return markdown(("experiment", "what it is"), presets())
    if name == "pythae":
        return markdown(("pythae", "vaelab", "and"), pythae())
    if name == "groups":
        return markdown(("group", "options", "default"), groups())
    if name == "metrics":
        return markdown(("metric", "name in tables and pictures", "unit", "better"), metrics())
    figures = yaml.safe_load((ROOT / "docs" / "results.yaml").read_text())[name]
    return markdown([heading(column) for column in figures["columns"]], figures["rows"])


def markdown(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown, a line a row."""
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def parts() -> Iterable[list[str]]:
    """Each option of the groups that are described, with the first sentence of what its `_target_` says of itself."""
    for group in DESCRIBED:
        usual, of_datasets = defaults()[group], chosen_by_datasets(group)
        for option in options(group):
            by = [dataset for dataset, chosen in of_datasets.items() if chosen == option]
            mark = f" (default of {', '.join(by)})" if by else " (default)" if option == usual else ""
            yield [group, f"`{option}`{mark}", first_sentence(node(group, option)["_target_"])]


def choices() -> Iterable[list[str]]:
    """Each group of parts, with what its package says it holds and its options."""
    for group in DESCRIBED:
        package = get_object(f"vaelab.{group}").__doc__.partition(", one ")[0]
        yield [group, package, " ".join(f"`{option}`" for option in options(group))]


def presets() -> Iterable[list[str]]:
    """Each preset with the sentence that its file begins with."""
    for name in options("experiment"):
        lines = (CONF / "experiment" / f"{name}.yaml").read_text().splitlines()
        comment = " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines[1:]))
        yield [f"`{name}`", END_OF_SENTENCE.split(comment)[0] + "."]


def pythae() -> Iterable[list[str]]:
    """Each model of pythae with the command that trains it here, or why there is none."""
    for model, row in yaml.safe_load((ROOT / "docs" / "pythae.yaml").read_text()).items():
        yield [model, f"`python run.py {row['overrides']}`" if "overrides" in row else "none", row["note"]]


def groups() -> Iterable[list[str]]:
    """Each group of `conf/` with its options and its default."""
    for group, default in defaults().items():
        of_datasets = chosen_by_datasets(group)
        shown = f"the dataset's, else `{default}`" if of_datasets else f"`{default}`" if default else "none"
        yield [f"`{group}`", " ".join(f"`{option}`" for option in options(group)), shown]


def metrics() -> Iterable[list[str]]:
    """Each metric of the one table of them."""
    for name, of in METRICS.items():
        yield [f"`{name}`", of.label, of.unit, {"up": "higher", "down": "lower"}.get(of.better, "")]


def defaults() -> dict[str, str | None]:
    """The option that is taken of each group."""
    entries = yaml.safe_load((CONF / "config.yaml").read_text())["defaults"]
    pairs = (next(iter(entry.items())) for entry in entries if isinstance(entry, dict))
    return {group: option for group, option in pairs if not group.startswith("override ")}


def chosen_by_datasets(group: str) -> dict[str, str]:
    """The option of a group that each dataset overrides it with, where it does."""
    key = f"override /{group}@_global_.{group}"
    return {
        dataset: entry[key]
        for dataset in options("dataset")
        for entry in node("dataset", dataset).get("defaults", [])
        if key in entry
    }


def options(group: str) -> list[str]:
    """Names of a group's options: by the number in them where there is one, such as d2 before d16."""
    names = [path.stem for path in (CONF / group).glob("*.yaml")]
    return sorted(names, key=lambda name: (re.sub(r"\d+", "", name), int("".join(re.findall(r"\d", name)) or 0)))


def node(group: str, option: str) -> dict:
    """What the file of an option holds."""
    return yaml.safe_load((CONF / group / f"{option}.yaml").read_text())


def first_sentence(target: str) -> str:
    """The first sentence of the docstring of an import path, on one line."""
    docstring = " ".join(get_object(target).__doc__.split("\n\n")[0].split())
    return END_OF_SENTENCE.split(docstring)[0] + "."


def heading(column: str) -> str:
    """A column's heading: of a metric its label and unit."""
    return f"{label(column)} ({metric(column).unit})" if column.split("/")[0] in SPLITS else column


def main() -> None:
    """Rewrite the tables of all pages."""
    for path in pages():
        text = path.read_text()
        if (new := rewritten(text)) != text:
            path.write_text(new)
            print(f"rewrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
