"""A number that rises from 0 to 1 over the first steps of a training."""

from torch import Tensor


def rise(step: Tensor | None, steps: int, cycles: int = 1) -> float | Tensor:
    """min(step / steps, 1), and 1 after any warm-up, for None.

    With several cycles it starts again from 0 after each rise and as many steps at 1, but for the last (Fu et al.,
    2019, arXiv:1903.10145, where half of each cycle rises, too).

    Args:
        step: of the training, ().
        steps: of one rise; 0 for 1 from the first step on.
        cycles: rises.
    """
    if step is None or not steps:
        return 1.0
    started = (step / (2 * steps)).floor().clamp(max=cycles - 1) * (2 * steps)
    return ((step - started) / steps).clamp(max=1)
