"""Half a cosine after a linear warm-up (Loshchilov & Hutter, 2017)."""

import math

from vaelab.errors import ArgumentError, check_integer, check_number


class Cosine:
    """Rises linearly over the warm-up, then falls along half a cosine, to be at `final` when the run is over.

    Args:
        warmup_steps: steps until the full learning rate.
        final: factor of the full learning rate that would follow the last step.

    Raises:
        ValueError: if a setting is out of range.
    """

    def __init__(self, warmup_steps: int, final: float) -> None:
        check_integer("warmup_steps", warmup_steps, 0)
        check_number("final", final, 0)
        if final > 1:
            raise ArgumentError("final", f"must be a factor of at most 1, got {final!r}")
        self.warmup_steps = warmup_steps
        self.final = final

    def __call__(self, step: int, total_steps: int) -> float:
        """The factor of the learning rate at a step."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, total_steps - self.warmup_steps)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
