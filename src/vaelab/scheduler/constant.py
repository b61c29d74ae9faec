"""A constant learning rate."""


class Constant:
    """The factor 1 at every step."""

    def __call__(self, step: int, total_steps: int) -> float:
        """The factor of the learning rate at a step."""
        return 1.0
