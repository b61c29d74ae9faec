"""The first MNIST tutorial's own loop beside `experiment=mnist_tutorial`, epoch by epoch in turn.

    python benchmarks/tutorial.py [--epochs 10]

Both train the same 784-400-20 network on the same 60,000 images with the same loss, batch and optimizer settings, and
both score it the same way: the mean loss of the last epoch, and of the test images. The tutorial's loop is left as it
stands there, but for its `Normalize`, with which its own loss raises.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms

from vaelab.dataset import mnist

ROOT = Path(__file__).resolve().parent.parent


class TutorialVAE(nn.Module):
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


def summed_loss(output, x):
    reconstruction, mu, log_var = output
    cross_entropy = F.binary_cross_entropy(reconstruction, x.view(-1, 784), reduction="sum")
    return cross_entropy - 0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp())


class Images(torch.utils.data.Dataset):
    """Gives images as torchvision's MNIST does: a PIL image, through ToTensor, one at a time."""

    def __init__(self, split):
        self.split = split
        self.transform = transforms.ToTensor()

    def __len__(self):
        return len(self.split.images)

    def __getitem__(self, index):
        image = Image.fromarray(self.split.images[index, 0].numpy())
        return self.transform(image), int(self.split.labels[index])


def tutorial_epoch(model, optimizer, loader):
    total = 0.0
    for x, _ in loader:
        optimizer.zero_grad()
        loss = summed_loss(model(x), x)
        loss.backward()
        total += loss.item()
        optimizer.step()
    return total / len(loader.dataset)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--root", default="data", help="folder of mnist.safetensors (data)")
    options = parser.parse_args()
    data = mnist.load(options.root, val_size=0, binarize="none")
    train = DataLoader(Images(data.train), batch_size=32, shuffle=True)
    test = DataLoader(Images(data.test()), batch_size=32)
    model = TutorialVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    speeds, seconds_before = {"tutorial": [], "vaelab": []}, 0.0
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        start = [
            "experiment=mnist_tutorial",
            "logger=local",
            f"dataset.root={options.root}",
            f"hydra.run.dir={run_dir}",
        ]
        for epoch in range(1, options.epochs + 1):
            began = time.perf_counter()
            tutorial_loss = tutorial_epoch(model, optimizer, train)
            speeds["tutorial"].append(60_000 / (time.perf_counter() - began))
            arguments = [*start, "trainer.epochs=1"] if epoch == 1 else [f"resume={run_dir}", f"trainer.epochs={epoch}"]
            subprocess.run([sys.executable, ROOT / "run.py", *arguments], check=True, stdout=subprocess.DEVNULL)
            summary = json.loads((run_dir / "summary.json").read_text())
            seconds = summary["training_seconds"]
            speeds["vaelab"].append(60_000 / (seconds - seconds_before))
            seconds_before = seconds
            print(
                f"epoch {epoch:2}  tutorial: loss {tutorial_loss:.2f}, {speeds['tutorial'][-1]:,.0f} images/s   "
                f"vaelab: loss {summary['metrics']['train/loss']:.2f}, {speeds['vaelab'][-1]:,.0f} images/s",
                flush=True,
            )
    with torch.no_grad():
        tutorial_test = sum(summed_loss(model(x), x).item() for x, _ in test) / len(test.dataset)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratios = [b / a for a, b in zip(speeds["tutorial"], speeds["vaelab"], strict=True)]
    print(f"test loss   tutorial {tutorial_test:.2f}   vaelab {summary['metrics']['test/loss']:.2f}")
    print(f"median images/s   tutorial {medians['tutorial']:,.0f}   vaelab {medians['vaelab']:,.0f}")
    print(f"ratio, epoch by epoch   median {statistics.median(ratios):.2f}   {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
