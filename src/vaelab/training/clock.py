"""The time spent in training steps."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from vaelab.machine.device import synchronize


class Clock:
    """Counts seconds while it runs; what the device still has to do when it is stopped counts too.

    Args:
        device: that the steps are given to.
        count: told the seconds each time the clock stops.
    """

    def __init__(self, device: torch.device, count: Callable[[float], None]) -> None:
        self._device = device
        self._count = count
        self._started: float | None = None

    def start(self) -> None:
        """Begin to count."""
        self._started = time.perf_counter()

    def stop(self) -> None:
        """Stop, if it runs."""
        if self._started is not None:
            synchronize(self._device)
            self._count(time.perf_counter() - self._started)
        self._started = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what is done inside; a clock that did not run is not started by it."""
        running = self._started is not None
        self.stop()
        try:
            yield
        finally:
            if running:
                self.start()
