"""Work done in a thread while whoever gives it goes on."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Later:
    """Does what it is given in a thread, one after another.

    What one of them raises is raised by the next call of a method; what was given after it is done all the same.

    Args:
        most: so many are waited for at a time; whoever gives another waits for the first of them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._thread: ThreadPoolExecutor | None = None
        self._given: deque[Future[None]] = deque()

    def do(self, work: Callable[[], None]) -> None:
        """Do it, when what was given before is done."""
        while len(self._given) >= self._most:
            self._given.popleft().result()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1)
        self._given.append(self._thread.submit(work))

    def wait(self) -> None:
        """Return, or raise, when all is done."""
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
        given, self._given = self._given, deque()
        for each in given:
            each.result()
