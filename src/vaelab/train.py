"""The training loop.

A step is a function of (parameters, batch, noise). The order of the images is a function of (seed, epoch) and the
noise of (seed, step), so a checkpoint needs no generator's state and a resumed run equals an uninterrupted one bit for
bit.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vaelab import checkpoint
from vaelab.compiled import CompiledStep, is_adam, pays
from vaelab.errors import UserError, check_choice, check_integer, check_number, one_line
from vaelab.evaluate import evaluate
from vaelab.figures import save_curves
from vaelab.images import Dataset
from vaelab.loader import Loader
from vaelab.logger import Logger, read_metrics
from vaelab.objective.elbo import ELBO
from vaelab.pictures import draw_pictures
from vaelab.progress import ProgressBar
from vaelab.signals import Interrupted, StopRequest
from vaelab.state import Meter, Progress
from vaelab.vae import VAE

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trainer:
    """How long and how to train; `conf/trainer/default.yaml` says what each means.

    Raises:
        ValueError: if a setting is out of range.
    """

    epochs: int
    max_steps: int | None
    batch_size: int
    eval_batch_size: int
    device: str
    precision: str
    compile: bool | str
    grad_clip: float | None
    ema: float | None
    log_every: int
    evaluate_every: int
    pictures_every: int
    checkpoint_every: int

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "eval_batch_size", "log_every", "evaluate_every", "checkpoint_every"):
            check_integer(name, getattr(self, name), 1)
        check_integer("pictures_every", self.pictures_every, 0)
        check_choice("precision", self.precision, ("float32", "bfloat16"))
        if self.compile != "auto" and not isinstance(self.compile, bool):
            raise ValueError(f"compile must be auto, true or false, got {self.compile!r}")
        if self.max_steps is not None:
            check_integer("max_steps", self.max_steps, 1)
        if self.grad_clip is not None:
            check_number("grad_clip", self.grad_clip, 0, above=True)
        if self.ema is not None and not (isinstance(self.ema, float) and 0 < self.ema < 1):
            raise ValueError(f"ema must be null or a decay between 0 and 1, such as 0.999, got {self.ema!r}")

    def total_steps(self, steps_per_epoch: int) -> int:
        """Steps of the whole run."""
        steps = self.epochs * steps_per_epoch
        return steps if self.max_steps is None else min(steps, self.max_steps)


@dataclass(frozen=True)
class Experiment:
    """The objects of a run.

    Args:
        vae: on the device where it is to be trained.
        dataset: what to train and validate on.
        objective: what to minimise.
        optimizer: over the parameters of `vae`.
        schedule: from (step, total steps) to a factor of the optimizer's learning rate.
        trainer: how long and how.
        seed: of the weights, the order of the images and the noise.
    """

    vae: VAE
    dataset: Dataset
    objective: ELBO
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int, int], float]
    trainer: Trainer
    seed: int


class Training:
    """An experiment and all that changes while it trains.

    Args:
        experiment: what to train.
        logger: where metrics and pictures go.
        run_dir: where checkpoints and pictures are kept.
        stop: asked between two steps.
    """

    def __init__(self, experiment: Experiment, logger: Logger, run_dir: Path, stop: StopRequest) -> None:
        self.vae = vae = experiment.vae
        self.dataset = dataset = experiment.dataset
        self.objective = experiment.objective
        self.optimizer = optimizer = experiment.optimizer
        self.schedule = experiment.schedule
        self.trainer = trainer = experiment.trainer
        self.logger = logger
        self.run_dir = run_dir
        self.stop = stop
        self.device = next(vae.parameters()).device
        self.average = None
        if trainer.ema is not None:
            self.average = AveragedModel(vae, multi_avg_fn=get_ema_multi_avg_fn(trainer.ema), use_buffers=True)
        self.loader = Loader(dataset.train.images.to(self.device), trainer.batch_size, experiment.seed, dataset.dynamic)
        self.total_steps = trainer.total_steps(self.loader.steps_per_epoch)
        self.base_lr = [group["lr"] for group in optimizer.param_groups]
        self.meter = Meter()
        self.progress = Progress()
        self._clock: float | None = None
        self._compile = self._wants_compiling()
        self._compiled: CompiledStep | None = None

    @property
    def model(self) -> VAE:
        """What is evaluated, sampled and kept as best: the moving average where there is one."""
        return self.vae if self.average is None else self.average.module

    def run(self) -> None:
        """Train to the last step; on a signal write a checkpoint and raise Interrupted."""
        progress = self.progress
        with ProgressBar(self.total_steps, self.trainer.epochs) as bar:
            try:
                while progress.reported_step < self.total_steps:
                    self.vae.train()
                    self._start_clock()
                    for batch in self.loader.epoch(progress.epoch, progress.position):
                        if progress.step >= self.total_steps:
                            break
                        due = (progress.step + 1) % self.trainer.log_every == 0
                        grad_norm = self.step(batch, want_grad_norm=due)
                        if due:
                            self._report_interval(grad_norm, bar)
                        self.stop.check()
                    self._stop_clock()
                    self._report_interval(None, bar)
                    self._report_epoch(bar)
            except Interrupted:
                self._stop_clock()
                self.save()
                raise

    def step(self, batch: Tensor, want_grad_norm: bool = False) -> Tensor | None:
        """One step on a uint8 batch (B, C, H, W); returns the norm of the gradient where it was computed.

        Raises:
            UserError: if the loss is not finite; the parameters are then those of the step before.
        """
        progress = self.progress
        for group, lr in zip(self.optimizer.param_groups, self.base_lr, strict=True):
            group["lr"] = lr * self.schedule(progress.step, self.total_steps)
        noise = self.loader.noise(progress.step)
        uniform = self.loader.uniform(batch, noise)
        eps = torch.randn(self.objective.samples, len(batch), self.vae.latent_dim, generator=noise, device=self.device)
        # The first step makes Adam's moments; a smaller last batch, and the norm, would each need a graph of their own.
        grad_norm = None
        if self._compile and progress.step > 0 and len(batch) == self.trainer.batch_size and not want_grad_norm:
            values = self._compiled_step(batch, uniform, eps)
        else:
            values, grad_norm = self._eager_step(batch, uniform, eps, want_grad_norm)
        if self.average is not None:
            self.average.update_parameters(self.vae)
        self.meter.add(values, len(batch))
        progress.step += 1
        progress.position += len(batch)
        return grad_norm

    def save(self) -> None:
        """Write `checkpoints/last.pt`; UserError, and nothing written, if a weight is not finite."""
        self._require_finite_weights()
        checkpoint.save(
            self.run_dir / "checkpoints" / "last.pt",
            {
                "vae": self.vae.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "meter": self.meter.state(),
                "progress": asdict(self.progress),
                "metrics_position": self.logger.position,
            },
        )

    def restore(self) -> None:
        """Go back to the last checkpoint, or to the start where there is none.

        Raises:
            UserError: if the checkpoint does not fit the model or the optimizer.
        """
        state = checkpoint.load(self.run_dir / "checkpoints" / "last.pt")
        if state is None:
            self.logger.rewind(0)
            return
        settings = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        try:
            self.vae.load_state_dict(state["vae"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average is not None:
                # a moving average that is switched on later starts from the weights
                self.average.load_state_dict(state["average"] or AveragedModel(self.vae, use_buffers=True).state_dict())
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(
                f"the checkpoint in {self.run_dir} does not fit the model or the optimizer ({one_line(error, 200)}); "
                f"resume with the model, latent size and optimizer of that run"
            ) from error
        for group, setting in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(setting)  # what the command line asks for, such as a new learning rate
        self.meter.restore(state["meter"])
        for name, value in state["progress"].items():
            setattr(self.progress, name, value)
        self.logger.rewind(state["metrics_position"])
        if self.progress.reported_step >= self.total_steps:
            log.info("nothing is left to train; ask for more with trainer.epochs or trainer.max_steps")
        else:
            log.info("going on from step %s of %s", f"{self.progress.step:,}", f"{self.total_steps:,}")

    def _eager_step(
        self, batch: Tensor, uniform: Tensor | None, eps: Tensor, want_grad_norm: bool
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Forward, backward and update; what a compiled step is held to."""
        x = self.loader.pixels(batch, uniform)
        step = torch.tensor(float(self.progress.step), device=self.device)
        loss, terms = self.objective(self.vae(x, eps), step)
        self.optimizer.zero_grad()
        loss.backward()
        grad_norm = None
        if want_grad_norm or self.trainer.grad_clip is not None:
            grad_norm = torch.nn.utils.clip_grad_norm_(self.vae.parameters(), self.trainer.grad_clip or math.inf)
        values = {"loss": loss, **terms}
        self._require_finite(values)  # on a GPU this waits for the forward pass
        self.optimizer.step()
        return values, grad_norm

    def _compiled_step(self, batch: Tensor, uniform: Tensor | None, eps: Tensor) -> dict[str, Tensor]:
        """The same as one graph, compiled at its first use; eager where that fails and was not asked for."""
        step = self.progress.step
        if self._compiled is not None:
            values = self._compiled(batch, uniform, eps, step)
        else:
            self._stop_clock()
            started = time.perf_counter()
            compiled = CompiledStep(
                self.vae, self.objective, self.optimizer, self.loader.pixels, self.trainer.grad_clip
            )
            try:
                values = compiled(batch, uniform, eps, step)
            except Exception as error:  # what a compiler raises has no common class
                if self.trainer.compile is True:
                    raise UserError(
                        f"the step could not be compiled ({one_line(error, 200)}); use trainer.compile=false"
                    ) from error
                log.warning("the step could not be compiled, and runs without (%s)", one_line(error, 200))
                self._compile = False
                return self._eager_step(batch, uniform, eps, want_grad_norm=False)[0]
            self._compiled = compiled
            log.info("compiled the training step in %.1f s", time.perf_counter() - started)
            self._start_clock()
        if self.device.type == "cpu":  # elsewhere the next report reads it, for a graph that went wrong changed nothing
            self._require_finite(values)
        return values

    def _wants_compiling(self) -> bool:
        if self.trainer.compile == "auto":
            return pays(self.vae, self.optimizer, self.total_steps, self.device)
        if self.trainer.compile and not is_adam(self.optimizer):
            raise UserError(
                f"trainer.compile=true needs the optimizer adam or adamw, without amsgrad and maximize, got "
                f"{type(self.optimizer).__name__}; choose one of them, or trainer.compile=auto"
            )
        return bool(self.trainer.compile)

    def _require_finite(self, values: Mapping[str, Tensor]) -> None:
        if not math.isfinite(values["loss"].item()):
            terms = ", ".join(f"{name} = {value.item():g}" for name, value in values.items())
            raise UserError(
                f"the loss is not finite at step {self.progress.step + 1} ({terms}); the last good checkpoint, "
                f"if there is one, is kept; try a smaller optimizer.lr, or set trainer.grad_clip"
            )

    def _require_finite_weights(self) -> None:
        # a gradient can overflow where the loss does not, and no checkpoint may keep what it did
        if not all(parameter.isfinite().all() for parameter in self.vae.parameters()):
            raise UserError(
                f"a weight is not finite at step {self.progress.step}, though the loss was; the last good checkpoint, "
                f"if there is one, is kept; try a smaller optimizer.lr, or set trainer.grad_clip"
            )

    def _start_clock(self) -> None:
        self._clock = time.perf_counter()

    def _stop_clock(self) -> None:
        """Count the time since the clock was started as time in training steps."""
        if self._clock is not None:
            elapsed = time.perf_counter() - self._clock
            self.progress.seconds += elapsed
            self.progress.epoch_seconds += elapsed
            self.progress.interval_seconds += elapsed
        self._clock = None

    def _report_interval(self, grad_norm: Tensor | None, bar: ProgressBar) -> None:
        """Log the means since the last report."""
        progress = self.progress
        sums, images = self.meter.read()
        if images == 0:
            return
        running = self._clock is not None
        self._stop_clock()
        for name, total in sums.items():
            progress.epoch_sums[name] = progress.epoch_sums.get(name, 0.0) + total
        progress.epoch_images += images
        progress.images += images
        row = {"step": progress.step, "epoch": self.epochs_done}
        row |= {f"train/{name}": total / images for name, total in sums.items()}
        row["train/lr"] = self.base_lr[0] * self.schedule(progress.step - 1, self.total_steps)
        if grad_norm is not None:
            row["train/grad_norm"] = grad_norm.item()
        row["images_per_second"] = images / progress.interval_seconds
        progress.interval_seconds = 0.0
        self.logger.log(row)
        bar.update(progress.step, row["epoch"], row["train/elbo"], row["images_per_second"])
        if running:
            self._start_clock()

    def _report_epoch(self, bar: ProgressBar) -> None:
        """Evaluate, draw, log and keep a checkpoint at the end of an epoch, or of the run."""
        progress, trainer = self.progress, self.trainer
        last = progress.step >= self.total_steps
        number = progress.epoch + 1

        def due(every: int) -> bool:
            return last or number % every == 0

        self._require_finite_weights()
        self.model.eval()
        val: dict[str, float] = {}
        if due(trainer.evaluate_every) and len(self.dataset.val.images):
            val = self._evaluate(self.dataset.val.images)
        if trainer.pictures_every and due(trainer.pictures_every):
            pictures = draw_pictures(self.model, self.dataset, self.run_dir, number, self.stop.check)
            self.logger.log_pictures(pictures, progress.step, self.epochs_done)

        # From here to the checkpoint no signal is answered: what is logged and what is saved belong together.
        progress.train = {name: total / progress.epoch_images for name, total in progress.epoch_sums.items()}
        if val:
            self.logger.log(
                {"step": progress.step, "epoch": self.epochs_done, **{f"val/{k}": v for k, v in val.items()}}
            )
        speed = f"{progress.epoch_images / progress.epoch_seconds:,.0f} images/s"
        log.log(logging.DEBUG if bar.visible else logging.INFO, self._epoch_line(number, val, speed))
        is_best = (val and val["loss"] < progress.best.get("loss", math.inf)) or not len(self.dataset.val.images)
        if is_best:
            progress.best, progress.best_epoch = val, number
        progress.reported_step = progress.step
        if progress.position >= len(self.loader.images):
            progress.epoch, progress.position = number, 0
            progress.epoch_sums, progress.epoch_images, progress.epoch_seconds = {}, 0, 0.0
        if is_best:
            self._save_best(number)
        if is_best or due(trainer.checkpoint_every):  # a best epoch that is not in last.pt could be of another future
            self.save()
        if last or (trainer.pictures_every and due(trainer.pictures_every)):
            save_curves(
                self.run_dir / "curves.png", read_metrics(self.run_dir), f"{self.dataset.name}: the ELBO and its terms"
            )
        self.stop.check()

    def _evaluate(self, images: Tensor) -> dict[str, float]:
        metrics = evaluate(
            self.model,
            self.objective,
            self.dataset,
            images.to(self.device),
            self.trainer.eval_batch_size,
            self.stop.check,
        )
        if not math.isfinite(metrics["loss"]):
            raise UserError(
                f"the validation loss is not finite after step {self.progress.step} ({metrics}); the last good "
                f"checkpoint, if there is one, is kept; try a smaller optimizer.lr, or set trainer.grad_clip"
            )
        return metrics

    def _save_best(self, number: int) -> None:
        weights = self.model.state_dict()
        state: dict[str, Any] = {
            "vae": weights,
            "image_shape": list(self.dataset.image_shape),
            "epoch": number,
            "step": self.progress.step,
            "val": self.progress.best,
        }
        checkpoint.save(self.run_dir / "checkpoints" / "best.pt", state)
        checkpoint.export_weights(self.run_dir / "model.safetensors", weights)

    @property
    def epochs_done(self) -> float:
        """Epochs trained, the fraction of an unfinished one counted."""
        return round(self.progress.epoch + self.progress.position / len(self.loader.images), 4)

    def _epoch_line(self, number: int, val: Mapping[str, float], speed: str) -> str:
        train = self.progress.train
        parts = [f"epoch {number}/{self.trainer.epochs}", f"train ELBO {train['elbo']:.2f}"]
        if val:
            parts.append(f"val ELBO {val['elbo']:.2f} (reconstruction {val['reconstruction']:.2f}, KL {val['kl']:.2f})")
        parts.append(speed)
        return "  ".join(parts)
