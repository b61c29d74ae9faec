"""Draws from a categorical distribution."""

import torch
from torch import Tensor

from vaelab.ops import uniform_like


def choose(logits: Tensor, noise: torch.Generator, dim: int) -> Tensor:
    """An index along `dim` with probability softmax(logits), that dimension kept as 1."""
    cumulated = logits.softmax(dim).cumsum(dim)
    total = cumulated.narrow(dim, logits.shape[dim] - 1, 1)  # 1, up to float32
    uniform = total * uniform_like(total, noise)
    return (cumulated <= uniform).sum(dim, keepdim=True).clamp(max=logits.shape[dim] - 1)
