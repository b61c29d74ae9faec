"""A strong loop in plain PyTorch: uint8 images on the device, one product for both heads, logits, fused Adam."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from benchmarks.data import dataset
from benchmarks.job import LATENT_DIM
from benchmarks.network import copy, encoder_and_decoder, noise_is


class PlainVAE(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.encoder, self.decoder = encoder_and_decoder(model)
        self.heads = nn.Linear(self.encoder.out_features, 2 * LATENT_DIM)

    def forward(self, x):
        mean, log_var = self.heads(self.encoder(x)).chunk(2, dim=-1)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_var)
        return self.decoder(z), mean, log_var

    def load(self, weights):
        copy(weights.encoder, self.encoder.parameters())
        copy(weights.heads, self.heads.parameters())
        copy(weights.decoder, self.decoder.parameters())


def mean_loss(output, x):
    logits, mean, log_var = (value.float() for value in output)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    return (cross_entropy + 0.5 * torch.sum(mean.square() + log_var.exp() - 1 - log_var)) / len(x)


class Row:
    def __init__(self, job):
        self.job = job
        self.model = PlainVAE(job.column.model).to(job.device)
        self.load = self.model.load

    def train(self, after_step):
        job = self.job
        images = dataset(job).train.images.to(job.device)
        optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)
        for _ in range(job.epochs):
            for index in torch.randperm(len(images), device=job.device).split(job.column.batch):
                x = images[index].float() / 255
                optimizer.zero_grad()
                self.mean_loss(x).backward()
                optimizer.step()
                after_step(len(x))

    def mean_loss(self, x):
        with torch.autocast(self.job.device, torch.bfloat16, enabled=self.job.column.precision == "bfloat16"):
            output = self.model(x)
        return mean_loss(output, x)

    def loss(self, x, eps):
        with noise_is(eps):
            return self.mean_loss(x)
