"""The training loop.

A step is a function of (parameters, batch, noise). The order of the images is a function of (seed, epoch) and the
noise of (seed, step), so a checkpoint needs no generator's state and a resumed run equals an uninterrupted one bit for
bit.
"""

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaelab.dataset.images import Dataset
from vaelab.errors import UserError, check_choice, check_integer, check_number, one_line, resuming
from vaelab.evaluation.evaluator import evaluate, nothing
from vaelab.evaluation.figures import save_curves
from vaelab.evaluation.pictures import draw_pictures
from vaelab.machine.device import in_memory, synchronize
from vaelab.machine.ranks import ALONE, RankLostError, Ranks
from vaelab.machine.threads import SpeedWatch, faster_number_of_threads
from vaelab.objective.elbo import ELBO
from vaelab.run import row_writer
from vaelab.run.logger import Logger, NoLogger
from vaelab.run.rows import read_rows
from vaelab.training import checkpoint, restored
from vaelab.training.average import MovingAverage
from vaelab.training.batches import Loader, place
from vaelab.training.loss import ADVICE, Loss
from vaelab.training.profiling import StepProfiler
from vaelab.training.progress import ProgressBar
from vaelab.training.signals import AfterValidation, Interrupted, Pruned, StopRequest
from vaelab.training.state import Meter, Progress
from vaelab.training.update import Update
from vaelab.vae import VAE

log = logging.getLogger(__name__)

MOST_THREADS = 1024  # OpenMP ends the process where the system gives it fewer
VOTES_READ_EVERY = 20  # steps of ranks on GPUs, which make hundreds in the seconds that a scheduler gives them to stop
LARGEST = 10**15  # of what counts steps or images
CURVES_EVERY_SECONDS = 30  # drawing them takes as long as a short epoch


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
    images_on: str
    threads: int | str
    precision: str
    compile: bool | str
    grad_clip: float | None
    ema: float | None
    log_every: int
    evaluate_every: int
    pictures_every: int
    checkpoint_every: int
    profile: bool

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "eval_batch_size", "log_every", "evaluate_every", "checkpoint_every"):
            check_integer(name, getattr(self, name), 1)
            if getattr(self, name) > LARGEST:
                raise ValueError(f"{name} must be an integer of at most {LARGEST:.0e}, got one above it")
        check_integer("pictures_every", self.pictures_every, 0)
        check_choice("images_on", self.images_on, ("auto", "device", "host"))
        check_choice("precision", self.precision, ("float32", "tf32", "bfloat16"))
        if self.threads != "auto" and (type(self.threads) is not int or not 1 <= self.threads <= MOST_THREADS):
            raise ValueError(f"threads must be auto or a number from 1 to {MOST_THREADS:,}, got {self.threads!r}")
        if not isinstance(self.profile, bool):
            raise ValueError(f"profile must be true or false, got {self.profile!r}")
        if self.compile is True and self.log_every == 1:
            raise ValueError(
                "compile must be auto or false, got True, for with trainer.log_every=1 no step can be compiled"
            )
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
        ranks: train together; the first alone writes.
        after_validation: called with the epoch's number and its validation metrics; after a death perhaps again.
    """

    def __init__(
        self,
        experiment: Experiment,
        logger: Logger | NoLogger,
        run_dir: Path,
        stop: StopRequest,
        ranks: Ranks = ALONE,
        after_validation: AfterValidation | None = None,
    ) -> None:
        self.vae = vae = experiment.vae
        self.dataset = dataset = experiment.dataset
        self.objective = experiment.objective
        self.optimizer = optimizer = experiment.optimizer
        self.schedule = experiment.schedule
        self.trainer = trainer = experiment.trainer
        self.logger = logger
        self.run_dir = run_dir
        self.stop = stop
        self.ranks = ranks
        self.after_validation = after_validation
        # between batches or pictures, of which the ranks do not have the same, one of several would stop alone
        self.may_stop = stop.check if ranks.alone else nothing
        self.device = next(vae.parameters()).device
        ranks.copy_from_first(vae.state_dict().values())  # a network of one's own may draw its weights otherwise
        self.average = None if trainer.ema is None else MovingAverage(vae, trainer.ema)
        images = place(dataset.train.images, trainer.images_on, self.device)
        self.loader = Loader(images, self.device, trainer.batch_size, experiment.seed, dataset.dynamic)
        self.total_steps = trainer.total_steps(self.loader.steps_per_epoch)
        self.base_lr = [group["lr"] for group in optimizer.param_groups]
        self.meter = Meter()
        self.progress = Progress()
        self._clock: float | None = None
        self._curves_drawn = -math.inf
        self._speed_watch = SpeedWatch(run_dir)
        self.update = self._update(Loss(vae, experiment.objective), optimizer, trainer.compile, ranks)

    def _update(self, loss: Loss, optimizer: torch.optim.Optimizer, compile: bool | str, ranks: Ranks) -> Update:
        settings = self.trainer.grad_clip, compile, self.trainer.batch_size, self.total_steps
        return Update(loss, optimizer, self.loader.pixels, *settings, ranks, lambda: self.stop.signum is not None)

    @property
    def model(self) -> VAE:
        """What is evaluated, sampled and kept as best: the moving average where there is one."""
        return self.vae if self.average is None else self.average.model

    def run(self) -> None:
        """Train to the last step; on a signal write a checkpoint and raise Interrupted."""
        progress = self.progress
        if self.device.type == "cpu":
            self._set_threads()
        profiler = StepProfiler(self.run_dir, self.trainer.profile and self.ranks.first)
        with ProgressBar(self.total_steps, self.trainer.epochs, self.ranks.first) as bar, profiler:
            try:
                while progress.reported_step < self.total_steps:
                    self.vae.train()
                    self._start_clock()
                    with in_memory(f"a training step of {self.trainer.batch_size} images", self._memory_advice):
                        self._train_epoch(bar, profiler)
                    self._stop_clock()
                    profiler.stop()
                    self._report_interval(None, bar)
                    self._report_epoch(bar)
            except (Interrupted, RankLostError) as error:
                self._stop_clock()
                self.save()
                if isinstance(error, RankLostError):
                    raise RankLostError(f"{error}; go on with: {resuming(self.run_dir)}") from error
                raise

    def _set_threads(self) -> None:
        """Use the threads that were asked for, or those of the run's beginning, or now, at its beginning, choose."""
        threads, most = self.trainer.threads, torch.get_num_threads()
        if threads == "auto":
            threads = self.progress.threads or self.ranks.from_first(self._faster_number_of_threads)
            if threads > most:  # ranks and jobs that share the cores have fewer each
                log.info("the run goes on with %d threads, of the %d of its beginning", most, threads)
                threads = most
        self.progress.threads = threads
        torch.set_num_threads(threads)

    def _faster_number_of_threads(self) -> int:
        try:
            return faster_number_of_threads(self._step_of_a_copy, self.total_steps - self.progress.step)
        except Exception as error:  # a network of one's own may hold what cannot be copied
            most = torch.get_num_threads()
            log.info("trainer.threads=%d, for no step could be measured (%s)", most, one_line(error, 200))
            return most

    def _step_of_a_copy(self) -> Callable[[], object]:
        """A step, always the same, on a copy of the model and of the optimizer, whose weights stay what they are."""
        loss, optimizer = copy.deepcopy((self.update.loss, self.optimizer))
        loss.train()
        for group in optimizer.param_groups:
            group["lr"] = 0.0  # the same step again and again could diverge
        update = self._update(loss, optimizer, compile=False, ranks=ALONE)
        batch = next(self.loader.epoch(self.progress.epoch, 0))
        return partial(update, batch, *self._noise(batch), self.progress.step, want_grad_norm=False)

    def _noise(self, batch: Tensor) -> tuple[Tensor | None, Tensor]:
        """What is random in the next step: uniform numbers for the pixels, or None, and the model's normal ones."""
        noise = self.loader.noise(self.progress.step)
        uniform = self.loader.uniform(batch, noise)
        shape = self.objective.samples, len(batch), self.vae.latent_dim
        return uniform, torch.randn(shape, generator=noise, device=self.device)

    def _train_epoch(self, bar: ProgressBar, profiler: StepProfiler) -> None:
        """Make the steps that are left of an epoch, or of the run."""
        progress = self.progress
        for batch in self.loader.epoch(progress.epoch, progress.position):
            if progress.step >= self.total_steps:
                break
            due = (progress.step + 1) % self.trainer.log_every == 0
            grad_norm = self.step(batch, want_grad_norm=due)
            if due:
                self._report_interval(grad_norm, bar)
            profiler.step()
            # to read the votes waits for a GPU; a rank that has been asked once votes so in every later step too
            if self.ranks.alone or self.device.type == "cpu" or progress.step % VOTES_READ_EVERY == 0:
                self._check_votes()

    def step(self, batch: Tensor, want_grad_norm: bool = False) -> Tensor | None:
        """One step on a uint8 batch (B, C, H, W); returns the norm of the gradient where it was computed.

        Raises:
            UserError: if the loss was read, as on the CPU it is in every step, and is not finite.
        """
        progress = self.progress
        for group, lr in zip(self.optimizer.param_groups, self.base_lr, strict=True):
            group["lr"] = lr * self.schedule(progress.step, self.total_steps)
        values, grad_norm = self.update(batch, *self._noise(batch), progress.step, want_grad_norm)
        if self.average is not None:
            self.average.update()
        self.meter.add(values, len(batch), progress.step)
        progress.step += 1
        progress.position += len(batch)
        return grad_norm

    def save(self) -> None:
        """Write `checkpoints/last.pt`; UserError, and nothing written, if a weight or the loss is not finite."""
        self._require_finite_weights()
        meter = self.meter.state()
        if not self.ranks.first:
            return
        checkpoint.save(
            self.run_dir / "checkpoints" / "last.pt",
            {
                "vae": self.vae.state_dict(),
                "average": None if self.average is None else self.average.state(),
                "optimizer": self.optimizer.state_dict(),
                "meter": meter,
                "progress": asdict(self.progress),
                "metrics_position": self.logger.position,
            },
        )

    def restore(self, other_loss: bool = False) -> None:
        """Go back to the last checkpoint, or to the start where there is none.

        Args:
            other_loss: the loss means something else from here on, so that no epoch of before is the best one.

        Raises:
            UserError: if the checkpoint is damaged, or does not fit the model or the optimizer, or `other_loss` finds
                the run at its end.
        """
        path = self.run_dir / "checkpoints" / "last.pt"
        # a file that holds None is no beginning, but a damaged one
        state, is_there = self.ranks.from_first(lambda: (checkpoint.load(path), path.exists()))
        if state is None and not is_there:
            self.logger.rewind(None)
            return
        position = self._restore_plain(state)
        self._restore_tensors(state)
        at_end = self.progress.reported_step >= self.total_steps
        if other_loss and at_end:
            raise UserError(
                "nothing is left to train, and the validation of this run was with another loss; ask for more epochs "
                "with trainer.epochs, or leave that override out"
            )
        if other_loss:
            self.progress.best = {}
        self.logger.rewind(position)
        if at_end:
            log.info("nothing is left to train; ask for more with trainer.epochs or trainer.max_steps")
        else:
            log.info("going on from step %s of %s", f"{self.progress.step:,}", f"{self.total_steps:,}")

    def _restore_plain(self, state: object) -> Mapping[str, Any] | None:
        """Check what a checkpoint keeps beside tensors and take it over; returns the place in `metrics.jsonl`."""
        keys = ("vae", "average", "optimizer", "meter", "progress", "metrics_position")
        try:
            found = restored.entries("last.pt", state, keys)
            self.meter.restore(found["meter"])
            restored.sums("meter.sums", self.meter.state()["sums"], self.meter.images)
            self.progress = Progress.restored(found["progress"])
            self.progress.require_images(len(self.loader.images), self.meter.images)
            return row_writer.checked(found["metrics_position"])
        except ValueError as error:
            raise UserError(
                f"the checkpoint in {self.run_dir} cannot be gone on with ({one_line(error, 200)}); restore "
                f"checkpoints from a copy, or start the run again in another directory"
            ) from error

    def _restore_tensors(self, state: Mapping[str, Any]) -> None:
        """Load weights, average and optimizer, once all are found to fit; the optimizer keeps its own settings."""
        try:
            weights = restored.weights("weights", state["vae"], self.vae)
            optimizer = restored.optimizer_state(state["optimizer"], self.optimizer)
            average = state["average"]
            if self.average is not None and average is not None:  # one that is switched on later begins with weights
                average = restored.weights("average", average, self.average.model)
            self.vae.load_state_dict(weights)
            self.optimizer.load_state_dict(optimizer)
            if self.average is not None:
                self.average.restore(average)
        except (RuntimeError, TypeError, ValueError) as error:
            raise UserError(
                f"the checkpoint in {self.run_dir} does not fit the model or the optimizer ({one_line(error, 200)}); "
                f"resume with the model, latent size and optimizer of that run"
            ) from error

    def _check_votes(self) -> None:
        """Raise Interrupted, on all ranks after the same step, if a signal had come to one of them before it."""
        if self.ranks.alone or self.update.stop_votes.item():
            self._check_stop()

    def _check_stop(self) -> None:
        """Raise Interrupted, on all ranks, if a signal has come to one of them."""
        if self.ranks.alone:
            self.stop.check()
        elif signum := self.ranks.largest(self.stop.signum or 0):
            raise Interrupted(signum)

    def _require_finite_weights(self) -> None:
        # a gradient can overflow where the loss does not, and no checkpoint may keep what it did
        if not all(parameter.isfinite().all() for parameter in self.vae.parameters()):
            raise UserError(f"a weight is not finite at step {self.progress.step}, though the loss was; {ADVICE}")

    def _start_clock(self) -> None:
        self._clock = time.perf_counter()

    def _stop_clock(self) -> None:
        """Count the time since the clock was started as time in training steps, but for the compiling of one."""
        if self._clock is not None:
            synchronize(self.device)  # the steps were only given to it
            elapsed = time.perf_counter() - self._clock - self.update.compile_seconds
            self.update.compile_seconds = 0.0
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
        if self.device.type == "cpu":
            self._speed_watch.add(images, progress.interval_seconds)
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
            val = self.evaluate("validation", self.dataset.val.images)
        wants_pictures = self.ranks.first and trainer.pictures_every and due(trainer.pictures_every)
        if wants_pictures:
            pictures = draw_pictures(self.model, self.dataset, self.run_dir, number, self.may_stop)
            self.logger.log_pictures(path.name for path in pictures.values())

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
        if is_best and self.ranks.first:
            self._save_best(number)
        given_up = None
        if val and self.after_validation is not None:
            try:
                self.after_validation(number, val)  # before the checkpoint, so that after a death none is left out
            except Pruned as reason:
                given_up = reason
        if is_best or due(trainer.checkpoint_every):  # a best epoch that is not in last.pt could be of another future
            self.save()
        curves_due = wants_pictures and time.perf_counter() - self._curves_drawn > CURVES_EVERY_SECONDS
        if self.ranks.first and (last or curves_due):
            self._curves_drawn = time.perf_counter()
            save_curves(
                self.run_dir / "curves.png", read_rows(self.run_dir), f"{self.dataset.name}: the ELBO and its terms"
            )
        if given_up is not None:
            raise given_up
        self._check_stop()

    def evaluate(self, split: str, images: Tensor) -> dict[str, float]:
        """The metrics of the split of that name with those uint8 images; UserError if the loss is not finite."""
        size = self.trainer.eval_batch_size
        with in_memory(f"an evaluation of {size} images at a time", "choose a smaller trainer.eval_batch_size"):
            metrics = evaluate(self.model, self.objective, self.dataset, images, size, self.may_stop, self.ranks)
        if not math.isfinite(metrics["loss"]):
            raise UserError(f"the {split} loss is not finite after step {self.progress.step} ({metrics}); {ADVICE}")
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
    def _memory_advice(self) -> str:
        images = self.loader.images
        on_device = images.device.type != "cpu"
        freed = f", or trainer.images_on=host, which frees {images.nbytes / 1e9:.2g} GB" if on_device else ""
        return f"choose a smaller trainer.batch_size, objective.samples or model{freed}"

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
