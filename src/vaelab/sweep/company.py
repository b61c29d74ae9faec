"""Jobs of one process whose runs are trained as one, where that can be.

Each is done as by itself, in a thread of its own, but one at a time has the turn: until its training waits for steps,
or it ends. These are made for all that wait at once.
"""

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from torch import Tensor

from vaelab.errors import UserError, one_line
from vaelab.machine.device import set_precision
from vaelab.sweep.jobs import Job
from vaelab.sweep.worker import print_to
from vaelab.training.loop import Trainer
from vaelab.training.signals import Interrupted, StopRequest
from vaelab.training.stack import Answer, Stack
from vaelab.training.stacking import stacks_of

log = logging.getLogger(__name__)

LONGEST_ERROR = 500  # letters; those of all jobs go through one pipe


def do_together(jobs: Sequence[Job]) -> dict[int, str]:
    """Do the jobs; returns what ended those that did not end well, by their numbers.

    Raises:
        UserError: if all were asked to stop, and have.
    """
    try:
        with StopRequest() as stop:
            members = [Member(job, stop) for job in jobs]
            for member in members:
                member.go_on()
            _train(members, stop)
    except Interrupted as error:
        raise UserError(str(error)) from error
    return {member.number: member.error for member in members if member.error is not None}


def _train(members: Sequence["Member"], stop: StopRequest) -> None:
    """Train all that wait for it, to their ends; first those that are trained as one."""
    waiting = _waiting(members)
    stacks, alone = stacks_of([*waiting])
    while stacked := [(stack, going_on) for stack in stacks if (going_on := _of(stack, waiting))]:
        for stack, trainers in stacked:
            try:
                answers = stack.train(trainers, stop)
            except Exception as error:  # memory, for example, which each of them says in its own words
                answers = dict.fromkeys(trainers, error)
            for trainer, answer in answers.items():
                waiting[trainer].go_on(answer)
        waiting = _waiting(members)
    for trainer, member in waiting.items():
        member.go_on_alone(alone[trainer])


def _waiting(members: Sequence["Member"]) -> dict[Trainer, "Member"]:
    return {member.trainer: member for member in members if member.trainer is not None}


def _of(stack: Stack, waiting: Mapping[Trainer, "Member"]) -> list[Trainer]:
    return [trainer for trainer in stack.trainers if trainer in waiting]


class Member:
    """A job in a thread that works only while it has the turn.

    Args:
        job: to be done.
        stop: asks all of the process to stop.

    Attributes:
        trainer: whose steps are waited for, or None.
        error: what ended the job, in words, where it did not end well.
    """

    def __init__(self, job: Job, stop: StopRequest) -> None:
        self.stop = stop
        self.trainer: Trainer | None = None
        self.number = job.number
        self.error: str | None = None
        self._job = job
        self._answer: Answer = None
        self._alone_for: str | None = None
        self._turn, self._rest = threading.Semaphore(0), threading.Semaphore(0)
        root = logging.getLogger()
        self._handlers, self._level = list(root.handlers), root.level
        self._folder = Path.cwd()
        threading.Thread(target=self._work, daemon=True).start()

    def go_on(self, answer: Answer = None) -> None:
        """Give it the turn, until it waits for further steps or has ended.

        Args:
            answer: to those it waited for: the norm of the gradient of the last one, or why the run has ended.
        """
        self._answer, self.trainer = answer, None
        with self._at_home():
            self._turn.release()
            self._rest.acquire()

    def go_on_alone(self, reason: str) -> None:
        """Have it make its steps by itself, to its end."""
        self._alone_for = reason
        self.go_on()

    def steps(self, trainer: Trainer) -> Iterator[Tensor | float | None]:
        """As `Trainer.own_steps`, made with the others'."""
        while trainer.is_in_epoch and self._alone_for is None:
            with trainer.clock.paused():
                self.trainer = trainer
                self._rest.release()
                self._turn.acquire()
            set_precision(trainer.config.precision)
            if isinstance(self._answer, Exception):
                raise self._answer
            if self._alone_for is None:
                yield self._answer
            else:
                log.info("the run is trained by itself: %s", self._alone_for)
        if trainer.is_in_epoch:
            yield from trainer.own_steps()

    def _work(self) -> None:
        self._turn.acquire()
        try:
            self._job.call(company=self)
        except BaseException as error:
            self.error = one_line(f"{error}", LONGEST_ERROR)
        self._rest.release()

    @contextmanager
    def _at_home(self) -> Iterator[None]:
        """While entered, the folder, and where is printed and logged, are those of this job by itself."""
        root = logging.getLogger()
        before, folder = (root.handlers, root.level), Path.cwd()
        root.handlers, root.level = self._handlers, self._level
        os.chdir(self._folder)
        with suppress(OSError, UserError):  # of a directory that is gone the job itself complains
            print_to(self._job.directory)
        try:
            yield
        finally:
            self._handlers, self._level, self._folder = root.handlers, root.level, Path.cwd()
            root.handlers, root.level = before
            os.chdir(folder)
