"""pythae's BaseTrainer with its own VAE, whose encoder and decoder are given the common layers."""

import torch
from pythae.data.datasets import BaseDataset, DatasetOutput
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback

from benchmarks.data import dataset
from benchmarks.job import LATENT_DIM, UnavailableError
from benchmarks.network import IMAGE_SHAPES, TwoHeads, noise_is


class Encoder(BaseEncoder):
    def __init__(self, network):
        super().__init__()
        self.layers, self.mean, self.log_var = network.encoder, network.mean, network.log_var

    def forward(self, x):
        h = self.layers(x)
        return ModelOutput(embedding=self.mean(h), log_covariance=self.log_var(h))


class Decoder(BaseDecoder):
    def __init__(self, network):
        super().__init__()
        self.layers = network.decoder

    def forward(self, z):
        return ModelOutput(reconstruction=torch.sigmoid(self.layers(z)))


class AfterStep(TrainingCallback):
    def __init__(self, after_step, batch):
        self.after_step = after_step
        self.batch = batch

    def on_train_step_end(self, training_config, **kwargs):
        self.after_step(self.batch)


class Row:
    def __init__(self, job):
        if job.column.precision != "float32":
            raise UnavailableError("pythae switches its mixed precision off for a cross-entropy")
        self.job = job
        network = TwoHeads(job.column.model)
        self.load = network.load
        config = VAEConfig(IMAGE_SHAPES[job.column.model], latent_dim=LATENT_DIM, reconstruction_loss="bce")
        self.model = VAE(config, Encoder(network), Decoder(network)).to(job.device)

    def train(self, after_step):
        job = self.job
        split = dataset(job).train
        config = BaseTrainerConfig(
            output_dir=job.folder,
            num_epochs=job.epochs,
            per_device_train_batch_size=job.column.batch,
            learning_rate=1e-3,
            no_cuda=job.device == "cpu",
        )
        images = BaseDataset(split.images / 255, split.labels)
        callbacks = [AfterStep(after_step, job.column.batch)]
        BaseTrainer(self.model, images, training_config=config, callbacks=callbacks).train()

    def loss(self, x, eps):
        with noise_is(eps):
            return self.model(DatasetOutput(data=x)).loss
