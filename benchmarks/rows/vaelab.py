"""vaelab on its public path: a composed config, the objects built from it, `Trainer.fit` with local logging."""

from dataclasses import replace
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from benchmarks.data import limited
from benchmarks.job import ROOT
from benchmarks.network import copy
from benchmarks.overrides import config_overrides
from vaelab.cli.launch import register
from vaelab.run.build import Builder
from vaelab.training.loop import Trainer


class AfterStep:
    """Stands in for vaelab's StopRequest, which is asked between two steps."""

    def __init__(self, after_step):
        self.after_step = after_step
        self.trainer = None
        self.seen = 0

    def check(self):
        # it is asked at the end of an epoch too, when no step was taken
        steps = self.trainer.progress.step - self.seen
        if steps:
            self.seen += steps
            self.after_step(steps * self.trainer.config.batch_size)


class Row:
    def __init__(self, job):
        self.job = job
        register()
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            config = OmegaConf.to_container(compose("config", config_overrides(job, logger="local")), resolve=True)
        self.builder = Builder(config, None)
        setup = self.builder.setup()
        self.setup = replace(setup, dataset=limited(setup.dataset, job))
        self.vae = self.setup.model

    def train(self, after_step):
        run_dir = Path(self.job.folder) / "run"
        run_dir.mkdir()
        stop = AfterStep(after_step)
        stop.trainer = Trainer(self.setup, self.builder.logger(run_dir), run_dir, stop)
        stop.trainer.choose_threads()
        stop.trainer.fit()

    def load(self, weights):
        copy(weights.encoder, self.vae.encoder.parameters())
        copy(weights.heads, self.vae.posterior.parameters())
        copy(weights.decoder, self.vae.decoder.parameters())

    def loss(self, x, eps):
        loss, _, _ = self.setup.objective(self.vae, x, eps[None])
        return loss
