"""The training steps of several small runs as one program: weights, noise and numbers stacked, a row a run.

A step of a small network is mostly Python and the beginnings of small matrix products, and stacked these are there once
for all. What runs may differ in is what a tensor can hold: seeds, and so weights, order and noise; rates and factors.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from vaelab.errors import UserError
from vaelab.machine.device import set_precision
from vaelab.training.adam import Adam
from vaelab.training.batches import Batch
from vaelab.training.compiled import Loss, gradient, trained
from vaelab.training.loop import Trainer
from vaelab.training.signals import StopRequest
from vaelab.training.stackable import CannotStackError, Number, parts_of
from vaelab.training.step import Values, scalar

ALIKE = 1e-3  # largest distance of a run's stacked gradient from its own, relative to that
IDLE = [0.0, 1.0, 1.0, 0.0, inf]  # the numbers of a row without a run
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of torch.optim's Adam

Answer = float | Exception | None  # the norm of the gradient where it is due, or why a run ends
Given = tuple[Any, ...]  # images, noise and perhaps labels


@dataclass
class _Run:
    """A row of a stack: what of a run is no tensor there."""

    trainer: Trainer
    adam: Adam
    updates: int  # that its optimizer has made
    batches: Iterator[Batch] | None = None

    def given(self) -> Given:
        """The next batch as the model sees it."""
        if self.batches is None or self.trainer.progress.position == 0:
            self.batches = self.trainer.rest_of_epoch()
        return _given(self.trainer, *next(self.batches))

    def numbers(self) -> list[float]:
        """Of the next update: learning rate, Adam's two corrections, weights' share of their average, largest norm."""
        self.trainer.set_learning_rate()
        average, clip = self.trainer.average, self.trainer.config.grad_clip
        return [*self.adam.numbers(self.updates + 1), 0.0 if average is None else average.share, clip or inf]

    def count(self, images: int) -> None:
        """Count a step."""
        self.updates += 1
        self.trainer.progress.count_step(images)
        if self.trainer.average is not None:
            self.trainer.average.begun = True


class Stack:
    """Trainers of one form, which make their steps together, each with its own results but for rounding.

    Args:
        trainers: of one form, and so at one step.
        rows: at least as many; those too many are idle.
        numbers: of their parts, those that differ between runs of the form.

    Attributes:
        make_step: `whole_step`, perhaps compiled, of what is `held`.
    """

    def __init__(self, trainers: Sequence[Trainer], rows: int, numbers: Sequence[Number]) -> None:
        first = trainers[0]
        self.rows = rows
        self.make_step: Callable[..., Values] = self._eagerly
        self._device = first.device
        self._clips = first.config.grad_clip is not None
        self._adam = Adam(first.optimizer)
        self._loss = Loss(*parts_of(first))
        self._runs = [_Run(trainer, Adam(trainer.optimizer), _updates(trainer)) for trainer in trainers]
        self._attributes = [(number.holders[0], number.name) for number in numbers]
        self._values = [
            self._padded([torch.tensor(getattr(holder, number.name)) for holder in number.holders])
            for number in numbers
        ]
        constants = [fixed(trainer) for trainer in trainers]
        self._fixed = {name: self._padded([of_run[name] for of_run in constants]) for name in constants[0]}
        self._state: Mapping[str, Any] = {}
        self._given: dict[int, Given] = {}  # of the next step, by row
        self._numbers: dict[int, list[float]] = {}

    @property
    def trainers(self) -> list[Trainer]:
        """Those of its rows."""
        return [run.trainer for run in self._runs]

    def require_alike(self) -> None:
        """Raise CannotStackError unless each run has the loss and the gradient here that it has by itself."""
        losses = [Loss(*parts_of(run.trainer)) for run in self._runs]
        weights = [trained(loss) for loss in losses]
        joined = {name: self._padded([of_run[name] for of_run in weights]) for name in weights[0]}
        given, _ = self.next_arguments()
        gradients, values = self._gradients(joined, self._fixed, self._values, given)
        for row, loss in enumerate(losses):
            x, noise, *labels = self._given[row]
            own, own_values = gradient(loss, weights[row], (x, noise, given[2], *labels))
            apart, length = (
                torch.stack([each.square().sum() for each in found]).sum().sqrt()
                for found in ([gradients[name][row] - own[name] for name in own], own.values())
            )
            if not (apart <= ALIKE * length and torch.allclose(values["loss"][row], own_values["loss"], ALIKE)):
                raise CannotStackError("beside others it would not be the same run")

    def take_over(self) -> None:
        """Make the weights, moments and averages of each run rows of the stack's, in which it finds them changed."""
        states = [_state(run.trainer) for run in self._runs]
        joined = []
        for of_runs in zip(*map(tree_leaves, states), strict=True):
            joined.append(self._padded([tensor.detach() for tensor in of_runs]))
            for row, tensor in enumerate(of_runs):
                tensor.data = joined[-1][row]
        self._state = tree_unflatten(joined, tree_flatten(states[0])[1])

    def train(self, trainers: Sequence[Trainer], stop: StopRequest) -> dict[Trainer, Answer]:
        """Make the steps of those of its trainers that go on, to where one is logged or their epoch ends.

        Returns:
            An answer for each. After an exception, of a schedule of one's own for example, the others go on.
        """
        started = time.perf_counter()
        self._loss.train()
        first = trainers[0]
        set_precision(first.config.precision)
        runs = {row: run for row, run in enumerate(self._runs) if run.trainer in trainers}
        made: list[tuple[int, int, Values]] = []  # of each step the images, its number and values
        while not (ended := self._prepare(runs)):
            images = len(self._given[min(runs)][0])
            is_full = images == first.config.batch_size  # a program is made for that
            values = (self.make_step if is_full else self._eagerly)(*self._arguments())
            made.append((images, first.progress.step, values))
            for run in runs.values():
                run.count(images)
            if first.is_due_to_log or not first.is_in_epoch or stop.signum is not None:
                break
            # elsewhere than on a CPU this would wait
            if self._device.type == "cpu" and not all(math.isfinite(values["loss"][row].item()) for row in runs):
                break
        for run in runs.values():
            run.trainer.progress.count_seconds((time.perf_counter() - started) / len(runs))
        return {**self._answers(runs, made), **ended}

    def _prepare(self, runs: Mapping[int, _Run]) -> dict[Trainer, Answer]:
        """Take what each run gives to the next step; the exceptions of those that cannot, after which none is made."""
        self._given, self._numbers, failed = {}, {}, {}
        for row, run in runs.items():
            try:
                self._given[row], self._numbers[row] = run.given(), run.numbers()
            except Exception as error:  # which no other run ends with
                failed[run.trainer] = error
        if failed:
            for run in runs.values():
                run.batches = None  # to be asked for this batch again
        return failed

    @property
    def held(self) -> tuple[Any, ...]:
        """The first arguments of `whole_step`, the same memory in every step."""
        return self._state, self._fixed, self._values

    def next_arguments(self) -> tuple[Any, ...]:
        """The others, for the first step of all."""
        self._given = {row: _first_given(run.trainer) for row, run in enumerate(self._runs)}
        self._numbers = {row: run.numbers() for row, run in enumerate(self._runs)}
        return self._arguments()

    def whole_step(
        self, state: Mapping[str, Any], fixed: Values, values: Sequence[Tensor], given: Given, numbers: Tensor
    ) -> Values:
        """A step of all runs, which changes their state in place; all are (R, ...).

        Returns:
            The loss, its terms, and `grad_norm` before any clipping, each (R,).
        """
        gradients, found = self._gradients(state["weights"], fixed, values, given)
        norm = torch.stack([each.reshape(self.rows, -1).square().sum(1) for each in gradients.values()]).sum(0).sqrt()
        vmap(self._update)(state, gradients, norm, found["loss"].isfinite(), numbers)
        return {**found, "grad_norm": norm}

    def _gradients(
        self, weights: Values, fixed: Values, values: Sequence[Tensor], given: Given
    ) -> tuple[Values, Values]:
        """The gradients by name, and the loss with its terms; the runs know nothing of each other."""
        weights = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        fixed = {name: tensor.clone() for name, tensor in fixed.items()}
        of_given = (0, 0, None, 0)[: len(given)]  # the step is one for all
        loss, terms = vmap(self._loss_of_one, in_dims=(0, 0, 0, of_given))(weights, fixed, list(values), given)
        gradients = torch.autograd.grad(loss.sum(), [*weights.values()], materialize_grads=True)
        found = {name: value.detach() for name, value in {"loss": loss, **terms}.items()}
        return dict(zip(weights, gradients, strict=True)), found

    def _loss_of_one(
        self, weights: Values, fixed: Values, values: Sequence[Tensor], given: Given
    ) -> tuple[Tensor, Values]:
        with self._holding(values):
            return functional_call(self._loss, {**fixed, **weights}, given)

    @contextmanager
    def _holding(self, values: Sequence[Tensor]) -> Iterator[None]:
        """While entered, the parts of the first run hold these in the place of their numbers."""
        before = [getattr(holder, name) for holder, name in self._attributes]
        self._hold(values)
        try:
            yield
        finally:
            self._hold(before)

    def _hold(self, values: Sequence[Any]) -> None:
        for (holder, name), value in zip(self._attributes, values, strict=True):
            object.__setattr__(holder, name, value)  # a part may be frozen

    def _update(
        self, state: Mapping[str, Any], gradients: Values, norm: Tensor, finite: Tensor, numbers: Tensor
    ) -> Tensor:
        """Change the state of one run in place, unless its loss is not finite."""
        lr, *corrections, share, largest = numbers.unbind()
        scale = (largest / (norm + 1e-6)).clamp(max=1) if self._clips else 1.0
        for name, weight in state["weights"].items():
            gradient = gradients[name] * scale if self._clips else gradients[name]
            self._adam.update(weight, gradient, state["moments"][name], lr, corrections, finite)
            if name in state["averages"]:
                average = state["averages"][name]
                average.copy_(torch.where(finite, torch.lerp(average, weight, share), average))
        return finite

    def _arguments(self) -> tuple[Any, ...]:
        numbers = [self._numbers.get(row, IDLE) for row in range(self.rows)]
        return self._joined_given(), torch.tensor(numbers, device=self._device)

    def _eagerly(self, *arguments: Any) -> Values:
        return self.whole_step(*self.held, *arguments)

    def _joined_given(self) -> Given:
        """Images, noise and labels of all rows, those without a run as another's; the step third."""
        some = min(self._given)
        of_rows = [self._given.get(row, self._given[some]) for row in range(self.rows)]
        x, noise, *labels = (tree_map(_joined, *column) for column in zip(*of_rows, strict=True))
        return x, noise, scalar(self._runs[some].trainer.progress.step, self._device), *labels

    def _answers(self, runs: Mapping[int, _Run], made: Sequence[tuple[int, int, Values]]) -> dict[Trainer, Answer]:
        """Give each run its values; the answers by trainer."""
        answers: dict[Trainer, Answer] = dict.fromkeys(run.trainer for run in runs.values())
        if not made:
            return answers
        names = [*made[0][2]]
        table = torch.stack([torch.stack([*values.values()]) for _, _, values in made]).tolist()
        for row, run in runs.items():
            norm: float | None = None
            try:
                for (images, step, _), of_step in zip(made, table, strict=True):
                    means = {name: of_runs[row] for name, of_runs in zip(names, of_step, strict=True)}
                    norm = means.pop("grad_norm")
                    run.trainer.meter.add_read(means, images, step)
            except UserError as error:  # the loss of this run is not finite
                answers[run.trainer] = error
                continue
            if run.trainer.is_due_to_log:
                answers[run.trainer] = norm
        return answers

    def _padded(self, of_runs: Sequence[Tensor]) -> Tensor:
        """Tensors of the runs as one (R, ...); the first again in rows without a run."""
        return torch.stack([*of_runs, *[of_runs[0]] * (self.rows - len(of_runs))]).to(self._device)


def _joined(*rows: Tensor) -> Tensor:
    return torch.stack(rows)


def _first_given(trainer: Trainer) -> Given:
    """The first batch of an epoch, which is full if any is."""
    return _given(trainer, *next(trainer.batches.epoch(trainer.progress.epoch, 0)))


def _given(trainer: Trainer, batch: Tensor, labels: Tensor | None) -> Given:
    return (*trainer.seen(batch), *([] if labels is None else [labels]))


def fixed(trainer: Trainer) -> Values:
    """What of a run's parts is not trained: buffers, and weights that are frozen."""
    loss = Loss(*parts_of(trainer))
    frozen = {name: weight.detach() for name, weight in loss.named_parameters() if not weight.requires_grad}
    return {**dict(loss.named_buffers()), **frozen}


def _state(trainer: Trainer) -> dict[str, Any]:
    """The tensors of a run that its steps change; its own, not copies."""
    weights = {name: weight for name, weight in Loss(*parts_of(trainer)).named_parameters() if weight.requires_grad}
    moments = {name: _moments(trainer.optimizer, weight) for name, weight in weights.items()}
    average = trainer.average
    averages = {} if average is None else dict(Loss(average.model, trainer.objective).named_parameters())
    return {"weights": weights, "moments": moments, "averages": {name: averages[name] for name in weights if averages}}


def _moments(optimizer: torch.optim.Optimizer, weight: Tensor) -> Values:
    """Adam's of a weight, those that its first step would make among them."""
    state = optimizer.state[weight]
    if not state:
        state.update({"step": scalar(0, weight.device), **{name: torch.zeros_like(weight) for name in MOMENTS[1:]}})
    return {name: state[name] for name in MOMENTS}


def _updates(trainer: Trainer) -> int:
    states = trainer.optimizer.state.values()
    return int(next(iter(states))["step"]) if states else 0
