"""What the machine can do: one product of two 1024 x 1024 matrices after another, each counted as an image."""

import torch

from benchmarks.job import PEAK_SIDE


class Row:
    def __init__(self, job):
        dtype = getattr(torch, job.column.precision)
        self.factors = [torch.randn(PEAK_SIDE, PEAK_SIDE, device=job.device).to(dtype) for _ in range(2)]
        self.product = torch.empty_like(self.factors[0])

    def train(self, after_step):
        while True:
            torch.mm(*self.factors, out=self.product)
            after_step(1)
