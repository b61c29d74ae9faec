"""The run directories that are damaged, the commands that then use them, and what these must give."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .harness import Outcome, Place, run_py, vaelab

TINY = (
    *("dataset=digits", "logger=local", "model.hidden=[8]", "latent.dim=2"),
    *("trainer.batch_size=256", "trainer.compile=false", "trainer.pictures_every=0", "trainer.log_every=2"),
)
SWEEP = ("-m", *TINY, "trainer.epochs=1", "seed=0,1")
SAID = re.compile(
    r"damaged|checksum|lost|missing|cannot be read|must (be|hold|name)|may hold|not begun|does not fit|differs? "
    r"|no weights|holds no|killed|unfinished|is not what|lines without"
)


@dataclass(frozen=True)
class Verb:
    """A command on a directory, `../run` from where it is given.

    Args:
        template: the folder that it is tried on.
        arguments: of the command line.
        result: what must not depend on a damage of which nothing is said.
    """

    template: str
    arguments: tuple[str, ...]
    result: Callable[[Place, Outcome], Any]

    def __call__(self, place: Place) -> Outcome:
        """Give it."""
        program, *arguments = self.arguments
        return (run_py if program == "run.py" else vaelab)(place, *arguments)

    def warnings(self, place: Place, outcome: Outcome) -> Counter[str]:
        """The words of what it showed that tell of a loss."""
        page = place.out / "it.html"
        data = page.read_text().split('id="data">')[-1].split("</script>")[0] if page.exists() else ""
        return Counter(found[0] for found in SAID.finditer(outcome.out + outcome.err + data))


def rows(run_dir: Path) -> list[dict]:
    """The rows of `metrics.jsonl`, but for the times in them."""
    found = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "images_per_second"} for row in found]


def trained(run_dir: Path) -> tuple:
    """All that must be equal between a run that was never interrupted and one that was."""
    summary = json.loads((run_dir / "summary.json").read_text())
    state = torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)
    return rows(run_dir), summary["status"], summary["metrics"], _plain([state["model"], state["optimizer"]["state"]])


def _plain(value: Any) -> Any:
    """Tensors as what `==` compares to the last bit."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


VERBS = {
    "resume": Verb("run", ("run.py", "resume=../run", "trainer.epochs=3"), lambda place, _: trained(place.run)),
    "evaluate": Verb("run", ("vaelab", "evaluate", "../run"), lambda _, outcome: outcome.out),
    "generate": Verb(
        *("run", ("vaelab", "generate", "../run", "--output", "../out/it.png")),
        lambda place, _: (place.out / "it.png").read_bytes(),
    ),
    "runs": Verb("sweep", ("vaelab", "runs", "../run"), lambda _, outcome: outcome.out),
    "compare": Verb(
        *("sweep", ("vaelab", "compare", "../run", "-o", "../out/it.html")),
        lambda place, _: (place.out / "it.html").read_bytes(),
    ),
    "sweep": Verb(
        *("sweep", ("run.py", *SWEEP, "sweep=../run")),
        lambda place, _: ((place.run / "results.csv").read_text(), trained(place.run / "1")),
    ),
}


def make(root: Path) -> dict[str, tuple[Any, Counter[str]]]:
    """Train the templates below `root`; of each verb on an undamaged one, the result and its warnings."""
    place = Place(root / "made")
    run, sweep = place.folder / "run", place.folder / "sweep"
    _must(run_py(place, *TINY, "trainer.epochs=2", "hydra.run.dir=../run"))
    _must(run_py(place, *SWEEP, "hydra.sweep.dir=../sweep"))
    for run_dir in (run, sweep / "0", sweep / "1"):
        _add_pictures(run_dir)
    _as_if_killed(sweep / "1")
    (root / "run").parent.mkdir(exist_ok=True)
    run.rename(root / "run")
    sweep.rename(root / "sweep")
    expected = {}
    for name, verb in VERBS.items():
        place = Place(root / "expected", root / verb.template)
        outcome = _must(verb(place))
        expected[name] = verb.result(place, outcome), verb.warnings(place, outcome)
    return expected


def _must(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, f"an undamaged run must end well, got\n{outcome.out}{outcome.err}"
    return outcome


def _add_pictures(run_dir: Path) -> None:
    """What a run with pictures would have; drawing them would take a second a case."""
    from PIL import Image

    (run_dir / "images").mkdir()
    for name in ("samples.png", "reconstructions.png", "images/samples_0001.png"):
        Image.new("L", (80, 80), 128).save(run_dir / name)


def _as_if_killed(run_dir: Path) -> None:
    """As it is when a process dies between the last checkpoint and the summary."""
    summary = json.loads((run_dir / "summary.json").read_text())
    kept = {key: summary[key] for key in ("overrides", "git_commit", "name", "group", "choices")}
    (run_dir / "summary.json").write_text(json.dumps({"status": "running", **kept}))
