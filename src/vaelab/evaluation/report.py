"""Which figures are measured, and what comes of it: values, standard errors, and the settings they depend on."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from vaelab.errors import UserError, check_choice, check_integer
from vaelab.evaluation.aggregate import aggregate
from vaelab.evaluation.disentanglement import disentanglement
from vaelab.evaluation.ex_post import SAMPLERS
from vaelab.evaluation.frechet import frechet_classifier_distance, frechet_inception_distance
from vaelab.evaluation.latents import latents
from vaelab.evaluation.probe import probe
from vaelab.evaluation.similarity import similarity
from vaelab.evaluation.subject import Found, LeftOutError, Subject, nothing

# What is measured besides the ELBO, by name; those in QUICK take no longer than the ELBO.
MEASURES: Mapping[str, Callable[[Subject], Found]] = {
    "latents": latents,
    "similarity": similarity,
    "aggregate": aggregate,
    "probe": probe,
    "factors": disentanglement,
    "fcd": frechet_classifier_distance,
    "fid": partial(frechet_inception_distance, weights=None),
}
QUICK = ("latents",)


@dataclass(frozen=True)
class Plan:
    """What to measure of a model.

    Args:
        measures: names in `MEASURES`, besides the ELBO and its terms.
        importance_samples: K > 0 adds `log_likelihood`, the bound with K samples (Burda et al., 2016).
        seed: of all that is drawn, but for the ELBO, whose noise is always that of a training.
        limit: measure so many images of the split, spread evenly over it; None for all.
        fid_weights: the file of FID's Inception network, as torch-fidelity has it.
        sampler: of the samples whose Fréchet distance is measured: `prior`, `gmm` or `flow`.

    Raises:
        ValueError: if a measure is not there, or a number is out of range.
    """

    measures: tuple[str, ...] = ()
    importance_samples: int = 0
    seed: int = 0
    limit: int | None = None
    fid_weights: Path | None = None
    sampler: str = "prior"

    def __post_init__(self) -> None:
        for name in self.measures:
            check_choice("measures", name, tuple(MEASURES))
        check_choice("sampler", self.sampler, SAMPLERS)
        check_integer("importance_samples", self.importance_samples, 0)
        check_integer("seed", self.seed, 0)
        if self.limit is not None:
            check_integer("limit", self.limit, 1)

    def measure(self, name: str) -> Callable[[Subject], Found]:
        """The function of a measure."""
        return partial(frechet_inception_distance, weights=self.fid_weights) if name == "fid" else MEASURES[name]


@dataclass
class Report:
    """What was measured.

    Attributes:
        settings: what all figures depend on, such as the split and the seed.
        metrics: values by the names of the one table of metrics.
        standard_errors: of some of them, over the images or draws; NaN where one image tells none.
        depends_on: of metrics what they depend on besides the settings, for people.
        lists: figures by dimension, group or factor.
        left_out: reasons, by measure or metric.
    """

    settings: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    standard_errors: dict[str, float] = field(default_factory=dict)
    depends_on: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[float]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, found: Found) -> None:
        """Take in what a measure gives."""
        self.metrics |= found.metrics
        self.standard_errors |= found.errors
        self.lists |= found.lists
        settings = dict.fromkeys(found.metrics, found.setting) | found.settings
        self.depends_on |= {name: setting for name, setting in settings.items() if setting}
        self.left_out |= found.left_out

    def measure(self, plan: Plan, subject: Subject, begin: Callable[[str], None] = nothing) -> None:
        """Measure what the plan names, each after `begin(name)`; what cannot be is left out with the reason."""
        for name in plan.measures:
            begin(name)
            try:
                self.add(plan.measure(name)(subject))
            except (LeftOutError, UserError) as error:
                self.left_out[name] = str(error)

    def json(self) -> str:
        """All of it as strict JSON, where a figure that is not finite is null."""
        return json.dumps(_finite(asdict(self)), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
