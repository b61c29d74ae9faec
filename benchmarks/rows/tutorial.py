"""The loop of the first tutorials: PIL images one at a time, sigmoid and cross-entropy, Adam, `.item()` each step."""

import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms

from benchmarks.data import dataset
from benchmarks.network import TwoHeads, copy, noise_is


class TutorialMLP(nn.Module):
    """784-400-20 as the MNIST tutorial writes it."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 400)
        self.fc21 = nn.Linear(400, 20)
        self.fc22 = nn.Linear(400, 20)
        self.fc3 = nn.Linear(20, 400)
        self.fc4 = nn.Linear(400, 784)

    def forward(self, x):
        h = F.relu(self.fc1(x.view(-1, 784)))
        mu, log_var = self.fc21(h), self.fc22(h)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * log_var)
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, log_var

    def load(self, weights):
        copy(weights.encoder, self.fc1.parameters())
        copy(weights.two_heads, [*self.fc21.parameters(), *self.fc22.parameters()])
        copy(weights.decoder, [*self.fc3.parameters(), *self.fc4.parameters()])


class TutorialConv(TwoHeads):
    """The convolutional network in the same style."""

    def forward(self, x):
        mu, log_var = self.encode(x)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * log_var)
        return torch.sigmoid(self.decoder(z)), mu, log_var


def summed_loss(output, x):
    reconstruction, mu, log_var = (value.float() for value in output)
    cross_entropy = F.binary_cross_entropy(reconstruction, x.view_as(reconstruction), reduction="sum")
    return cross_entropy - 0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp())


class Images(torch.utils.data.Dataset):
    """Gives images as torchvision's datasets do: a PIL image, through ToTensor, one at a time."""

    def __init__(self, split):
        self.split = split
        self.transform = transforms.ToTensor()

    def __len__(self):
        return len(self.split.images)

    def __getitem__(self, index):
        pixels = self.split.images[index]  # (C, H, W), and PIL wants (H, W) or (H, W, 3)
        image = Image.fromarray((pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)).numpy())
        return self.transform(image), int(self.split.labels[index])


class Row:
    def __init__(self, job):
        self.job = job
        self.model = {"mlp": TutorialMLP, "conv": lambda: TutorialConv("conv")}[job.column.model]().to(job.device)
        self.load = self.model.load

    def train(self, after_step):
        job = self.job
        loader = DataLoader(Images(dataset(job).train), batch_size=job.column.batch, shuffle=True)
        optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        total = 0.0
        for _ in range(job.epochs):
            for x, _ in loader:
                x = x.to(job.device)
                optimizer.zero_grad()
                loss = self.summed_loss(x)
                loss.backward()
                total += loss.item()
                optimizer.step()
                after_step(len(x))

    def summed_loss(self, x):
        with torch.autocast(self.job.device, torch.bfloat16, enabled=self.job.column.precision == "bfloat16"):
            output = self.model(x)
        return summed_loss(output, x)

    def loss(self, x, eps):
        with noise_is(eps):
            return self.summed_loss(x) / len(x)
