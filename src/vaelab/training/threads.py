"""The number of threads that a run on the CPU is trained with."""

import logging
from collections.abc import Callable

import torch

from vaelab.errors import one_line
from vaelab.machine.ranks import Ranks
from vaelab.machine.threads import GAIN, faster_number_of_threads
from vaelab.training.state import Progress

log = logging.getLogger(__name__)

MakeStep = Callable[[], Callable[[], object]]


def use_threads(
    wanted: int | str, progress: Progress, ranks: Ranks, make_step: MakeStep, steps: int, gain: float = GAIN
) -> None:
    """Use the threads that were asked for, or those of the run's beginning, or now, at its beginning, choose.

    Args:
        wanted: their number, or `auto`.
        progress: keeps the number, for a resumed run would sum in another order with another.
        ranks: all use the number of the first.
        make_step: makes a training step that changes nothing of the run.
        steps: that are left of the run.
        gain: how many times faster all have to be than one.
    """
    threads, most = wanted, torch.get_num_threads()
    if threads == "auto":
        threads = progress.threads or ranks.broadcast(lambda: _measured(make_step, steps, gain))
        if threads > most:  # ranks and jobs that share the cores have fewer each
            log.info("the run goes on with %d threads, of the %d of its beginning", most, threads)
            threads = most
    progress.threads = threads
    torch.set_num_threads(threads)


def _measured(make_step: MakeStep, steps: int, gain: float) -> int:
    try:
        return faster_number_of_threads(make_step, steps, gain)
    except Exception as error:  # a network of one's own may hold what cannot be copied
        most = torch.get_num_threads()
        log.info("trainer.threads=%d, for no step could be measured (%s)", most, one_line(error, 200))
        return most
