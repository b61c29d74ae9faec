"""Jobs of one process whose runs are trained as one, where that can be.

Each is done as by itself, in a thread of its own, but one at a time has the turn: until its training waits for steps,
or it ends. These are made for all that wait at once.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from vaelab.errors import UserError
from vaelab.sweep.jobs import Job
from vaelab.sweep.worker import print_to
from vaelab.training.loop import Trainer
from vaelab.training.signals import Interrupted, StopRequest
from vaelab.training.stack import Answer, Stack
from vaelab.training.stacking import stacks_of

log = logging.getLogger(__name__)


def do_together(jobs: Sequence[Job]) -> float:
    """Do the jobs, each of which says in its directory how it ended; returns how many ended well.

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
    return float(sum(member.ended_well for member in members))


def _train(members: Sequence["Member"], stop: StopRequest) -> None:
    """Train all that wait for it, to their ends."""
    stacks, alone = stacks_of([member.trainer for member in members if member.trainer is not None])
    while waiting := {member.trainer: member for member in members if member.trainer is not None}:
        for stack in stacks:
            _train_stack(stack, waiting, stop)
        for trainer in alone.keys() & waiting.keys():
            waiting[trainer].go_on_alone(alone[trainer])


def _train_stack(stack: Stack, waiting: dict[Trainer, "Member"], stop: StopRequest) -> None:
    trainers = [trainer for trainer in stack.trainers if trainer in waiting]
    if trainers:
        for trainer, answer in stack.train(trainers, stop).items():
            waiting[trainer].go_on(answer)


class Member:
    """A job in a thread that works only while it has the turn.

    Args:
        job: to be done.
        stop: asks all of the process to stop.

    Attributes:
        trainer: whose steps are waited for, or None.
        ended_well: whether the job has returned.
    """

    def __init__(self, job: Job, stop: StopRequest) -> None:
        self.stop = stop
        self.trainer: Trainer | None = None
        self.ended_well = False
        self._job = job
        self._answer: Answer = None
        self._alone_for: str | None = None
        self._turn, self._rest = threading.Semaphore(0), threading.Semaphore(0)
        root = logging.getLogger()
        self._handlers, self._level = list(root.handlers), root.level
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
            if isinstance(self._answer, UserError):
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
            self.ended_well = True
        except BaseException:  # its directory says so
            log.debug("job %d has ended", self._job.number, exc_info=True)
        self._rest.release()

    @contextmanager
    def _at_home(self) -> Iterator[None]:
        """While entered, what is printed and logged goes where it goes from this job by itself."""
        root = logging.getLogger()
        before = root.handlers, root.level
        root.handlers, root.level = self._handlers, self._level
        print_to(self._job.directory)
        try:
            yield
        finally:
            self._handlers, self._level = list(root.handlers), root.level
            root.handlers, root.level = before
