"""The rows that are reproduced, and where their runs lie."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Row:
    """A published figure and what measures it here; the fields are explained in `rows.yaml`."""

    name: str
    title: str
    setting: str
    metric: str
    published: Sequence[Mapping[str, str]]
    runs: Mapping[str, Mapping[str, Sequence[str]]]
    evaluate: Sequence[str]
    full: Sequence[str] = ()
    seeds: Sequence[int] = (0,)
    notes: str = ""

    def jobs(self) -> Iterator[tuple[str, int, Path]]:
        """Each run with each seed, and its directory below that of all reproductions, which runs may share."""
        for run, of in self.runs.items():
            for seed in self.seeds:
                yield run, seed, Path(self.name) / f"{of.get('of', run)}-{seed}"

    def trained(self) -> list[str]:
        """The runs that are trained, not only evaluated otherwise."""
        return [run for run, of in self.runs.items() if "of" not in of]

    def training(self, run: str, seed: int) -> list[str]:
        """The overrides of a run."""
        return [f"experiment={self.name}", *self.runs[run].get("overrides", ()), f"seed={seed}"]

    def evaluation(self, run: str) -> list[str]:
        """The options by which a run is evaluated."""
        return [*self.evaluate, *self.runs[run].get("evaluate", ())]

    def sampler(self, run: str) -> list[str]:
        """Those of them that say what its z are drawn from, if that is not the prior."""
        options = self.evaluation(run)
        return options[options.index("--sampler") :][:2] if "--sampler" in options else []


def read_rows() -> dict[str, Row]:
    """All rows by name."""
    found = yaml.safe_load((Path(__file__).parent / "rows.yaml").read_text())
    return {name: Row(name, **fields) for name, fields in found.items()}
