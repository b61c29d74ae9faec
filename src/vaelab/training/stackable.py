"""Which runs can make their steps together: those that are alike in all but numbers that a tensor can hold."""

import hashlib
import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from torch import Tensor, nn

from vaelab.parts import Model, Objective
from vaelab.training.adam import is_adam
from vaelab.training.compiled import CompiledStep, can_compile
from vaelab.training.loop import Trainer

# Measured on a core of an AMD EPYC (Zen 4), 8 x 8 images at batch 32, in ms: stacked and compiled, a step of 14,000
# weights takes 0.07 (by itself eager 0.83, compiled 0.11), of 41,000 0.21 (1.0, 0.19), of 118,000 0.66 (1.3, 0.39) and
# of 370,000 2.2 (2.1, 1.1), for then it waits for memory.
MOST_WEIGHTS, MOST_WEIGHTS_IF_COMPILED = 120_000, 40_000

Parts = tuple[Model, Objective]  # what computes the loss
NO_PARTS = (type, FunctionType, ModuleType)


class CannotStackError(Exception):
    """Runs cannot be trained as one; the text says why."""


@dataclass(frozen=True)
class Form:
    """What runs have in common that are trained as one.

    Attributes:
        settings: of the training, and where it stands.
        parts: all that the model and the objective hold but weights, buffers and numbers.
        numbers: of these, real ones that no attribute of a part holds, and so cannot be replaced.
    """

    settings: tuple[Any, ...]
    parts: str
    numbers: tuple[float, ...]


@dataclass(frozen=True)
class Number:
    """A real number that differs between runs of one form.

    Args:
        name: of the attribute that it is.
        holders: of each run the object that has it.
    """

    name: str
    holders: Sequence[Any]


def why_alone(trainer: Trainer) -> str | None:
    """Why a run cannot be trained with others as one; None of one that can."""
    model, objective, optimizer = trainer.model, trainer.objective, trainer.optimizer
    if not can_compile(model, objective):
        return f"{type(objective).__name__} with this model cannot be recorded as one graph"
    if not is_adam(optimizer) or len(optimizer.param_groups) > 1:
        return f"the update of {type(optimizer).__name__} is not vaelab's own, as those of adam and adamw are"
    if trainer.config.profile:
        return "trainer.profile=true traces the steps of one run"
    return None


def require_small(trainer: Trainer) -> None:
    """Raise CannotStackError for a run whose steps are sooner made by itself."""
    weights = sum(weight.numel() for weight in trainer.model.parameters())
    most = MOST_WEIGHTS_IF_COMPILED if isinstance(trainer.train_step, CompiledStep) else MOST_WEIGHTS
    if trainer.device.type == "cpu" and weights > most:
        raise CannotStackError(f"{weights:,} weights are more than the {most:,} up to which that is faster on a CPU")


def parts_of(trainer: Trainer) -> Parts:
    """What of a trainer computes the loss."""
    return trainer.model, trainer.objective


def form_of(trainer: Trainer) -> Form:
    """The form of a run; an exception of any kind where a part holds what cannot be written."""
    config, progress = trainer.config, trainer.progress
    (group,) = trainer.optimizer.param_groups
    settings = (
        type(trainer.optimizer).__name__,
        tuple(sorted((key, str(value)) for key, value in group.items() if key not in ("params", "lr", "initial_lr"))),
        *(config.batch_size, config.log_every, config.compile, config.precision),
        *(config.grad_clip is None, config.ema is None, str(trainer.device), trainer.model.takes_labels),
        *(len(trainer.batches.images), trainer.total_steps, progress.step, progress.epoch, progress.position),
    )
    written = _Written(parts_of(trainer))
    others = list(written.numbers)
    for holder in written.holders:
        for value in _numbers(holder).values():
            others.remove(value)
    return Form(settings, hashlib.sha256(written.text).hexdigest(), tuple(others))


def differing_numbers(runs: Sequence[Parts]) -> list[Number]:
    """The attributes whose numbers differ between runs of one form."""
    same = zip(*(_Written(parts).holders for parts in runs), strict=True)  # in one order, as the form is one
    return [
        Number(name, holders)
        for holders in same
        for name in _numbers(holders[0])
        if len({getattr(holder, name) for holder in holders}) > 1
    ]


class _Written(pickle.Pickler):
    """Parts as text, in which weights and buffers have their form only, and real numbers none."""

    def __init__(self, parts: Parts) -> None:
        self._file = io.BytesIO()
        super().__init__(self._file)
        self.fast = True  # or what is there twice would be written otherwise than what is equal to it
        self._stacked = {id(each) for part in parts if isinstance(part, nn.Module) for each in _tensors(part)}
        self.holders: list[Any] = []
        self.numbers: list[float] = []
        self.dump(parts)

    @property
    def text(self) -> bytes:
        return self._file.getvalue()

    def persistent_id(self, found: Any) -> Any:
        if type(found) is float:
            self.numbers.append(found)
            return "number"
        if isinstance(found, Tensor):
            content = "" if id(found) in self._stacked else str(found.tolist())
            return f"{found.dtype} {tuple(found.shape)} {found.requires_grad} {content}"
        if hasattr(found, "__dict__") and not isinstance(found, NO_PARTS):
            self.holders.append(found)
        return None


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _numbers(holder: Any) -> dict[str, float]:
    return {name: value for name, value in vars(holder).items() if type(value) is float}
