"""Which stacks are made of the runs of a process."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from math import inf

from vaelab.errors import is_out_of_memory, one_line
from vaelab.training.compiled import MOST_OPERATIONS, PAYS_FROM_STEPS
from vaelab.training.loop import Trainer
from vaelab.training.program import Program
from vaelab.training.stack import Stack, fixed
from vaelab.training.stackable import (
    CannotStackError,
    Form,
    Number,
    differing_numbers,
    form_of,
    parts_of,
    require_small,
    why_alone,
)

log = logging.getLogger(__name__)

# Measured: 4 to 64 rows of 13,000 weights take the same time each. A program is made for one number of them, and kept.
ROWS_ON_CPU = 8


def stacks_of(trainers: Sequence[Trainer]) -> tuple[list[Stack], dict[Trainer, str]]:
    """Stacks of the trainers that can make their steps together, and why each of the others is better off alone."""
    alone: dict[Trainer, str] = {}
    forms: dict[Form, list[Trainer]] = defaultdict(list)
    for trainer in trainers:
        try:
            reason = why_alone(trainer)
            if reason is None:
                forms[form_of(trainer)].append(trainer)
        except Exception as error:  # a part of one's own may hold what cannot be written
            reason = one_line(error, 200)
        if reason is not None:
            alone[trainer] = reason
    stacks: list[Stack] = []
    for same in forms.values():
        try:
            stacks += _stacks_of_form(same)
        except Exception as error:  # what is not made for it fails in its own way
            if is_out_of_memory(error):
                raise
            alone.update(dict.fromkeys(same, one_line(error, 200)))
    return stacks, alone


def _stacks_of_form(trainers: Sequence[Trainer]) -> list[Stack]:
    if len(trainers) == 1:
        raise CannotStackError("no other run has its shapes and settings, and is where it is")
    numbers = differing_numbers([parts_of(trainer) for trainer in trainers])
    _choose_steps(trainers, numbers)
    require_small(trainers[0])
    rows = ROWS_ON_CPU if trainers[0].device.type == "cpu" else len(trainers)
    parts = [slice(first, first + rows) for first in range(0, len(trainers), rows)]
    stacks = [
        Stack(trainers[part], rows, [replace(number, holders=number.holders[part]) for number in numbers])
        for part in parts
    ]
    for stack in stacks:
        stack.require_alike()
    for stack in stacks:
        stack.take_over()
    program = _program(stacks[0], trainers)
    if program is not None:
        for stack in stacks:
            stack.make_step = program.holding(stack.held)
    return stacks


def _choose_steps(trainers: Sequence[Trainer], numbers: Sequence[Number]) -> None:
    """Have each that is trained by itself compile its step where that pays for all with which it has the program."""
    programs = {
        (
            trainer.config.grad_clip,
            *(getattr(number.holders[row], number.name) for number in numbers),
            *(tuple(tensor.flatten().tolist()) for tensor in fixed(trainer).values()),
        )
        for row, trainer in enumerate(trainers)
    }
    for trainer in trainers:
        trainer.choose_step(max(trainer.total_steps, _steps_left(trainers) // len(programs)))


def _steps_left(trainers: Sequence[Trainer]) -> int:
    return sum(trainer.total_steps - trainer.progress.step for trainer in trainers)


def _program(stack: Stack, trainers: Sequence[Trainer]) -> Program | None:
    """The compiled step of all stacks of a form; None where it is not wanted, does not pay or fails."""
    first = trainers[0]
    insists = first.config.compile is True
    pays = first.config.compile == "auto" and first.device.type == "cpu" and _steps_left(trainers) >= PAYS_FROM_STEPS
    has_full_batches = len(first.batches.images) >= first.config.batch_size
    if not (has_full_batches and (insists or pays)):
        return None
    program = Program(stack.whole_step, stack.held, inf if insists else MOST_OPERATIONS)
    try:
        program.prepare(*stack.next_arguments())
    except Exception as error:  # what a compiler raises has no class in common
        if insists or is_out_of_memory(error):
            raise
        log.warning("the step of %d runs as one could not be compiled (%s)", len(trainers), one_line(error, 200))
        return None
    return program
