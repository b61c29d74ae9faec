"""Finite scalar quantization."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vaelab.errors import ArgumentError
from vaelab.posterior.codes import Codes, UniformCodes

MOST_CODES = 2**16  # the largest codebook of the paper


class FSQPosterior(nn.Module):
    """Finite scalar quantization: each dimension of z rounded to one of L levels.

    Mentzer et al., 2023 (arXiv:2309.15505): z_d = 2 / (L - 1) round((L - 1) / 2 (tanh(a_d) + 1)) - 1 in [-1, 1], of a
    linear in h; backwards the rounding is the identity. For even L the paper's levels are moved by half a step, which
    the linear layers around z make up for. A list of d levels makes codes of d dimensions each, product of the levels
    many, so that z is D / d codes; one number is a list of one. There is no codebook to learn and no further loss.

    Args:
        in_features: F of the encoder.
        latent_dim: D.
        levels: L of each dimension of a code, at least 2, such as [8, 5, 5, 5]; or one number.

    Raises:
        ValueError: if a level is no integer of at least 2, D is no multiple of their number, or they make more than
            65,536 codes.

    Examples:
        >>> q = FSQPosterior(in_features=16, latent_dim=8, levels=[8, 5, 5, 5])(torch.zeros(4, 16))
        >>> q.codes, q.num_codes  # (4, 2), 1000
    """

    def __init__(self, in_features: int, latent_dim: int, levels: int | Sequence[int]) -> None:
        super().__init__()
        of_code = levels if isinstance(levels, list | tuple) else [levels]
        if not of_code or any(type(level) is not int or level < 2 for level in of_code):
            raise ArgumentError("levels", f"must be an integer of at least 2, or a list of such, got {levels!r}")
        if latent_dim % len(of_code):
            raise ArgumentError(
                "levels", f"must be as many as latent.dim, {latent_dim}, is a multiple of, got {len(of_code)}"
            )
        self.num_codes = math.prod(of_code)
        if self.num_codes > MOST_CODES:
            raise ArgumentError("levels", f"must make at most {MOST_CODES} codes, got {self.num_codes}; use fewer")
        self.head = nn.Linear(in_features, latent_dim)
        table = torch.cartesian_prod(*(torch.linspace(-1, 1, level) for level in of_code))
        steps = [math.prod(of_code[i + 1 :]) for i in range(len(of_code))]  # in the table, by level
        self.register_buffer("table", table.reshape(self.num_codes, len(of_code)), persistent=False)
        self.register_buffer("steps", torch.tensor(steps), persistent=False)
        self.register_buffer("half_span", (torch.tensor(of_code) - 1) / 2, persistent=False)

    def forward(self, h: Tensor) -> Codes:
        """The codes of features h (B, F)."""
        bounded = self.head(h).tanh().unflatten(-1, (-1, len(self.half_span)))  # (B, n, d)
        level = ((bounded + 1) * self.half_span).round()
        z = level / self.half_span - 1 + (bounded - bounded.detach())
        codes = (level.long() * self.steps).sum(-1)
        return Codes(z.flatten(1), codes, self.num_codes)

    def prior(self) -> UniformCodes:
        """Uniform over all codes."""
        return UniformCodes(self.table)
