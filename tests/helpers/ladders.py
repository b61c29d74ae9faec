"""A small ladder of two groups of latents."""

from vaelab.likelihood.bernoulli import BernoulliLikelihood
from vaelab.model.ladder import Ladder

STRUCTURE = {"patch": 1, "channels": [8, 8], "blocks": [1, 1], "groups": [0, 2], "channels_z": 1}


def small_ladder(kind=Ladder):
    """For grey images of 8 x 8 pixels: two groups of 16 latents."""
    return kind((1, 8, 8), 1, BernoulliLikelihood((1, 8, 8), centred=False), bfloat16=False, classes=0, **STRUCTURE)
