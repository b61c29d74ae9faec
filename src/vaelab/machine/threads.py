"""How many threads train a run on the CPU.

Operations on small tensors gain little from a second thread and lose all to it on a busy machine: each ends when the
last thread does, which may have to wait for its turn on a core that another program has, or that a waiting thread spins
on. Letting threads sleep while they wait (OMP_WAIT_POLICY=passive) would help there, but halves the speed of a machine
that is not busy, and shorter spinning (GOMP_SPINCOUNT) costs it a tenth; so their number is measured.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from vaelab.errors import in_shell

log = logging.getLogger(__name__)

ROUNDS = 4
TURN_SECONDS = 0.03  # of one number of threads in a round, or a step, where that takes longer
PAYS_FROM = 50  # times as many steps as are measured
GAIN = 1.15  # more threads have to bring that much, for another program may come and take their cores
WINDOW_SECONDS = 5.0  # over which images/s are compared
COLLAPSE = 3.0  # times slower than the best window


@contextmanager
def own_number_of_threads() -> Iterator[None]:
    """Undo at the end what is set inside, for one process can train several runs."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def faster_number_of_threads(prepare: Callable[[], Callable[[], object]], steps: int, gain: float = GAIN) -> int:
    """One thread, or all that torch would use, whichever makes a step faster now.

    All, without a word, where there is one only, where OMP_NUM_THREADS says how many, as launchers of several jobs do,
    or where the run is over too soon for the measurement to pay.

    Args:
        prepare: makes a training step that changes nothing of the run, if one is wanted.
        steps: that are left of the run.
        gain: how many times faster all have to be.
    """
    import torch

    most = torch.get_num_threads()
    if most == 1 or os.environ.get("OMP_NUM_THREADS"):
        return most
    step = prepare()
    with own_number_of_threads():
        torch.set_num_threads(1)
        step()  # the first takes memory
        seconds = _seconds(step, 1)
        repeats = max(1, round(TURN_SECONDS / seconds))
        if steps < PAYS_FROM * 2 * ROUNDS * repeats:
            return most
        taken: dict[int, list[float]] = {1: [], most: []}
        for _ in range(ROUNDS):
            for threads, found in taken.items():
                torch.set_num_threads(threads)
                found.append(_seconds(step, repeats))
    one, together = (1000 * median(found) / repeats for found in taken.values())
    chosen = most if one > gain * together else 1
    log.info("trainer.threads=%d: a step takes %.3g ms with one thread, %.3g ms with %d", chosen, one, together, most)
    return chosen


def _seconds(step: Callable[[], object], repeats: int) -> float:
    started = time.perf_counter()
    for _ in range(repeats):
        step()
    return time.perf_counter() - started


class SpeedWatch:
    """Says, once, when training has become much slower than it was, as it does when another program takes its cores.

    Args:
        run_dir: of the run.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._images = 0
        self._seconds = 0.0
        self._best = 0.0
        self._told = False

    def add(self, images: int, seconds: float) -> None:
        """Count images that were trained, and the time that it took."""
        self._images += images
        self._seconds += seconds
        if self._seconds < WINDOW_SECONDS:
            return
        speed = self._images / self._seconds
        self._images, self._seconds = 0, 0.0
        self._best = max(self._best, speed)
        if COLLAPSE * speed < self._best and not self._told:
            self._told = True
            self._tell(speed)

    def _tell(self, speed: float) -> None:
        import torch

        threads = torch.get_num_threads()
        advice = f"; one thread may be faster than {threads}: {in_shell(f'resume={self.run_dir}')} trainer.threads=1"
        log.warning(
            "training makes %s images/s and has made %s, perhaps because other programs use the cores%s",
            *(f"{speed:,.0f}", f"{self._best:,.0f}", advice if threads > 1 else ""),
        )
