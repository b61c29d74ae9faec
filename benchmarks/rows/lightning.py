"""Lightning's Trainer with a module as its users write one, over a TensorDataset of float images."""

import lightning
import torch
import torch.nn.functional as F  # noqa: N812
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.data import dataset
from benchmarks.job import ENDLESS
from benchmarks.network import TwoHeads, noise_is


class LightningVAE(lightning.LightningModule):
    def __init__(self, model):
        super().__init__()
        self.network = TwoHeads(model)

    def mean_loss(self, x):
        mean, log_var = self.network.encode(x)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_var)
        cross_entropy = F.binary_cross_entropy_with_logits(self.network.decoder(z), x, reduction="sum")
        return (cross_entropy - 0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp())) / len(x)

    def training_step(self, batch, batch_idx):
        (x,) = batch
        loss = self.mean_loss(x)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class AfterStep(lightning.Callback):
    def __init__(self, after_step):
        self.after_step = after_step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.after_step(len(batch[0]))


class Row:
    def __init__(self, job):
        self.job = job
        self.model = LightningVAE(job.column.model).to(job.device)
        self.load = self.model.network.load

    def train(self, after_step):
        job = self.job
        images = dataset(job).train.images.float() / 255
        trainer = lightning.Trainer(
            accelerator={"cpu": "cpu", "cuda": "gpu"}[job.device],
            devices=1,
            precision={"float32": "32-true", "bfloat16": "bf16-mixed"}[job.column.precision],
            max_epochs=-1 if job.epochs == ENDLESS else job.epochs,
            callbacks=[AfterStep(after_step)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        loader = DataLoader(TensorDataset(images), batch_size=job.column.batch, shuffle=True, num_workers=0)
        trainer.fit(self.model, loader)
        self.model.to(job.device)  # fit leaves the weights on the CPU

    def loss(self, x, eps):
        with noise_is(eps):
            return self.model.mean_loss(x)
