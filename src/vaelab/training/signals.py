"""What ends a training before its last step: a signal, answered between two steps, or a search that gives it up."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, TracebackType

REQUESTS = (signal.SIGTERM, signal.SIGINT)
SCHEDULER = (signal.SIGUSR1, signal.SIGUSR2)  # how a scheduler says that the time is up, where something handles them

AfterValidation = Callable[[int, Mapping[str, float]], None]  # of the epoch's number and its metrics; may raise Pruned


class Pruned(Exception):  # noqa: N818 - no error
    """The run is given up, which is a good end of a run."""


class Interrupted(BaseException):
    """The run was asked to stop; like KeyboardInterrupt no Exception, so that a sweep stops with it.

    Args:
        signum: the signal that asked.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum

    def __reduce__(self) -> tuple[type["Interrupted"], tuple[int]]:
        return Interrupted, (self.signum,)


class StopRequest:
    """While entered, holds a signal back until `check` is called, but for `at_once`; a second SIGINT ends all.

    These are SIGTERM and SIGINT. Where code outside handles the signals of a scheduler, to requeue the job, they are
    those and SIGINT: what SIGTERM then means is for that code to say.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._process = os.getpid()
        self._holds_back = True
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            handled = [number for number in SCHEDULER if callable(signal.getsignal(number))]
            numbers = (*handled, signal.SIGINT) if handled else REQUESTS
            self._before = {number: signal.signal(number, self._receive) for number in numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if error is None:
            self.check()

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if self.signum is not None:
            raise Interrupted(self.signum)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """While entered, where nothing has to be saved, a signal raises Interrupted as soon as it comes."""
        # a signal reaches the main thread alone, where it would interrupt what waits for the others
        self._holds_back = threading.current_thread() is not threading.main_thread()
        try:
            self.check()
            yield
        finally:
            self._holds_back = True

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if not self._holds_back and os.getpid() == self._process:  # which ends the workers that it has forked
            self._holds_back = True  # what cleans up is not interrupted
            raise Interrupted(signum)
