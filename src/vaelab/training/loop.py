"""The training loop.

A step is a function of (parameters, batch, noise). The order of the images is a function of (seed, epoch) and the
noise of (seed, step), so a checkpoint needs no generator's state and a resumed run equals an uninterrupted one bit for
bit.
"""

import copy
import logging
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from vaelab.errors import UserError, resuming
from vaelab.evaluation.evaluator import evaluate, nothing
from vaelab.evaluation.pictures.draw import draw_pictures
from vaelab.machine.device import in_memory
from vaelab.machine.ranks import SINGLE, RankLostError, Ranks
from vaelab.machine.threads import GAIN, SpeedWatch
from vaelab.parts import Model, Noise
from vaelab.training.average import MovingAverage
from vaelab.training.batches import Batch, Batches, place
from vaelab.training.checkpoints import Checkpoints
from vaelab.training.choose_step import training_step
from vaelab.training.clock import Clock
from vaelab.training.compiled import CompiledStep
from vaelab.training.meter import Meter
from vaelab.training.profiling import StepProfiler
from vaelab.training.progress import ProgressBar
from vaelab.training.report import Recorder, log_interval, say_epoch
from vaelab.training.setup import Setup
from vaelab.training.shared import SharedStep
from vaelab.training.signals import AfterValidation, Interrupted, Pruned, StopRequest
from vaelab.training.state import Progress
from vaelab.training.step import ADVICE, EagerStep, has_networks
from vaelab.training.threads import use_threads

log = logging.getLogger(__name__)

VOTES_READ_EVERY = 20  # steps of ranks on GPUs, which make hundreds in the seconds that a scheduler gives them to stop
# of a trainer; yields after one step or several, where they are to be reported, the norm of the last one's gradient
Steps = Callable[["Trainer"], Iterator[Tensor | float | None]]
CHECKPOINT_EVERY_SECONDS = 1.0  # of training; packing and writing one takes a small network longer than an epoch
CURVES_EVERY_SECONDS = 30  # of training; drawing them takes as long as a short epoch


class Trainer:
    """Trains a setup and keeps all that changes while it does.

    Args:
        setup: what to train.
        recorder: where metrics and pictures go.
        run_dir: where checkpoints and pictures are kept.
        stop: asked between two steps.
        ranks: train together; the first alone writes.
        after_validation: called with the epoch's number and its validation metrics; after a death perhaps again.
        steps: makes those that are left of an epoch, as `own_steps` does where it is None.
    """

    def __init__(
        self,
        setup: Setup,
        recorder: Recorder,
        run_dir: Path,
        stop: StopRequest,
        ranks: Ranks = SINGLE,
        after_validation: AfterValidation | None = None,
        steps: Steps | None = None,
    ) -> None:
        self.model = model = setup.model
        self.dataset = dataset = setup.dataset
        self.objective = setup.objective
        self.optimizer = setup.optimizer
        self.schedule = setup.schedule
        self.config = config = setup.config
        self.recorder = recorder
        self.run_dir = run_dir
        self.stop = stop
        self.ranks = ranks
        self.after_validation = after_validation
        self._steps = steps or Trainer.own_steps
        # between batches or pictures, of which the ranks do not have the same, one of several would stop alone
        self.may_stop = stop.check if ranks.is_single else nothing
        self.device = next(model.parameters()).device
        ranks.broadcast_tensors(model.state_dict().values())  # a network of one's own may draw its weights otherwise
        self.average = None if config.ema is None else MovingAverage(model, config.ema)
        seconds = CHECKPOINT_EVERY_SECONDS if config.checkpoint_every == "auto" else 0.0
        self.checkpoints = Checkpoints(run_dir, model, self.optimizer, self.objective, self.average, seconds)
        stored, train = dataset.stored, dataset.train
        images, on_disk = place(train.images, config.images_on, self.device, stored is not None)
        labels = train.labels.long().to(images.device) if model.takes_labels else None
        release = stored.release if stored is not None and on_disk else None
        self.batches = Batches(images, labels, self.device, config.batch_size, setup.seed, release)
        self.total_steps = config.total_steps(self.batches.steps_per_epoch)
        self.base_lr = [group["lr"] for group in self.optimizer.param_groups]
        self.meter = Meter()
        self.progress = Progress()
        self.clock = Clock(self.device, lambda seconds: self.progress.count_seconds(seconds))
        self.speed_watch = SpeedWatch(run_dir)
        self._curves_drawn = 0.0  # seconds of training that they show
        self.choose_step(self.total_steps)

    @property
    def evaluated(self) -> Model:
        """What is evaluated, sampled and kept as best: the moving average where there is one."""
        return self.model if self.average is None else self.average.model

    def choose_step(self, steps: int) -> None:
        """Train with the step that pays for so many."""
        eager = EagerStep(self.model, self.objective, self.optimizer, self.config.grad_clip)
        self.train_step = training_step(eager, self.config, steps, self.ranks, self.stop, self.clock)

    def choose_threads(self) -> None:
        """Train with the number of threads that was asked for, or makes a step fastest now, with nothing beside."""
        if self.device.type == "cpu":
            steps_left = self.total_steps - self.progress.step
            # a compiled step, of which Python takes less, gains more from threads than the eager one that is measured
            gain = 1.0 if isinstance(self.train_step, CompiledStep) else GAIN
            use_threads(self.config.threads, self.progress, self.ranks, self._step_of_a_copy, steps_left, gain)

    def fit(self) -> None:
        """Train to the last step; on a signal write a checkpoint and raise Interrupted."""
        profiler = StepProfiler(self.run_dir, self.config.profile and self.ranks.is_main_process)
        with ProgressBar(self.total_steps, self.config.epochs, self.ranks.is_main_process) as bar, profiler:
            try:
                while self.progress.reported_step < self.total_steps:
                    self.model.train()
                    self.clock.start()
                    with in_memory(f"a training step of {self.config.batch_size} images", self._memory_advice):
                        self._train_epoch(bar, profiler)
                    self.clock.stop()
                    profiler.stop()
                    self._report_interval(None, bar)
                    self._end_epoch(bar)
            except (Interrupted, RankLostError) as error:
                self.clock.stop()
                self.save()
                if isinstance(error, RankLostError):
                    raise RankLostError(f"{error}; go on with: {resuming(self.run_dir)}") from error
                raise
            finally:
                self.checkpoints.finish()

    def _train_epoch(self, bar: ProgressBar, profiler: StepProfiler) -> None:
        """Make the steps that are left of an epoch, or of the run."""
        for grad_norm in self._steps(self):
            if self.is_due_to_log:
                self._report_interval(grad_norm, bar)
            profiler.step()
            self._check_stop_between_steps()

    def own_steps(self) -> Iterator[Tensor | None]:
        """Make the steps that are left of an epoch, or of the run; after each the norm of its gradient, where due."""
        for batch, labels in self.rest_of_epoch():
            yield self.step(batch, labels, grad_norm=(self.progress.step + 1) % self.config.log_every == 0)
            if not self.is_in_epoch:
                return

    def rest_of_epoch(self) -> Iterator[Batch]:
        """The batches that are left of the epoch, whether or not the run ends sooner."""
        return self.batches.epoch(self.progress.epoch, self.progress.position)

    @property
    def is_in_epoch(self) -> bool:
        """Whether a step is left of the epoch, and of the run."""
        return self.progress.position < len(self.batches.images) and self.progress.step < self.total_steps

    @property
    def is_due_to_log(self) -> bool:
        """Whether the step that was made last is one whose values are logged."""
        return self.progress.step % self.config.log_every == 0

    def step(self, batch: Tensor, labels: Tensor | None = None, grad_norm: bool = False) -> Tensor | None:
        """One step on a uint8 batch (B, C, H, W) and its labels (B,); returns the gradient's norm if that is wanted.

        Raises:
            UserError: if the loss was read, as on the CPU it is in every step, and is not finite.
        """
        progress = self.progress
        self.set_learning_rate()
        values = self.train_step(*self.seen(batch), progress.step, labels, grad_norm)
        norm = values.pop("grad_norm", None)
        if self.average is not None:
            self.average.update()
        self.meter.add(values, len(batch), progress.step)
        progress.count_step(len(batch))
        return norm

    def set_learning_rate(self) -> None:
        """Give the optimizer the learning rate of the next step."""
        for group, lr in zip(self.optimizer.param_groups, self.base_lr, strict=True):
            group["lr"] = lr * self.schedule(self.progress.step, self.total_steps)

    def seen(self, batch: Tensor) -> tuple[Tensor, Noise]:
        """The batch as the model sees it in the next step, (B, C, H, W), and the noise of that step."""
        generator = self.batches.noise(self.progress.step)
        x = self.dataset.training_pixels(batch, generator)
        return x, self.model.noise(self.objective.samples, len(batch), generator)

    def _end_epoch(self, bar: ProgressBar) -> None:
        """Evaluate, draw, log and keep a checkpoint at the end of an epoch, or of the run."""
        progress, config = self.progress, self.config
        last, number = progress.step >= self.total_steps, progress.epoch + 1

        def due(every: int | str) -> bool:
            return last or every == "auto" or number % every == 0

        self._require_finite_weights()
        self.evaluated.eval()
        val = self.evaluate("validation") if due(config.evaluate_every) and len(self.dataset.val.images) else {}
        wants_pictures = self.ranks.is_main_process and config.pictures_every and due(config.pictures_every)
        if wants_pictures:
            names = draw_pictures(
                self.evaluated, self.dataset, self.run_dir, number, self.may_stop, config.picture_format, last
            )
            self.recorder.log_pictures(names)

        # From here to the checkpoint no signal is answered: what is logged and what is saved belong together.
        progress.train = {name: total / progress.epoch_images for name, total in progress.epoch_sums.items()}
        if val:
            row = {"step": progress.step, "epoch": self.epochs_done}
            self.recorder.log({**row, **{f"val/{name}": value for name, value in val.items()}})
        speed = progress.epoch_images / progress.epoch_seconds
        say_epoch(bar, f"{number}/{config.epochs}", progress.train, val, speed)
        is_best = self._is_best(val)
        if is_best:
            progress.best, progress.best_epoch = val, number
        progress.end_epoch(len(self.batches.images))
        if is_best and self.ranks.is_main_process:
            self.checkpoints.save_best(self.evaluated, self.dataset.facts, number, progress.step, val)
        pruned = self._ask_search(number, val)
        if is_best or due(config.checkpoint_every):  # a best epoch that is not in last.pt could be of another future
            self.save()
        if self.ranks.is_main_process and (last or wants_pictures):
            self._draw_curves(at_once=last)
        if pruned is not None:
            raise pruned
        self._check_stop()

    def _is_best(self, val: dict[str, float]) -> bool:
        if not len(self.dataset.val.images):
            return True
        if has_networks(self.objective):  # under another discriminator a loss is another function
            return bool(val)
        return bool(val) and val["loss"] < self.progress.best.get("loss", math.inf)

    def _ask_search(self, epoch: int, val: dict[str, float]) -> Pruned | None:
        """Tell a search of the validation, before the checkpoint, so that after a death none is left out."""
        if val and self.after_validation is not None:
            self.checkpoints.finish()
            try:
                self.after_validation(epoch, val)
            except Pruned as reason:
                return reason
        return None

    def _draw_curves(self, at_once: bool) -> None:
        if at_once or self.progress.seconds - self._curves_drawn > CURVES_EVERY_SECONDS:
            self._curves_drawn = self.progress.seconds
            title = f"{self.dataset.name}: curves of training and validation"
            self.recorder.draw_curves(title, self.config.picture_format)

    def _report_interval(self, grad_norm: Tensor | float | None, bar: ProgressBar) -> None:
        """Log the means since the last report."""
        with self.clock.paused():
            extra = {"train/lr": self.base_lr[0] * self.schedule(self.progress.step - 1, self.total_steps)}
            if grad_norm is not None:
                extra["train/grad_norm"] = float(grad_norm)
            seconds = self.progress.interval_seconds
            row = log_interval(self.recorder, self.progress, self.meter, self.epochs_done, extra)
            if row is not None:
                bar.update(row)
                if self.device.type == "cpu":
                    self.speed_watch.add(row["images_per_second"] * seconds, seconds)

    def evaluate(self, split: str) -> dict[str, float]:
        """The metrics of the `validation` or the `test` split; UserError if the loss is not finite."""
        images = self.dataset.test() if split == "test" else self.dataset.val
        size = self.config.eval_batch_size
        with in_memory(f"an evaluation of {size} images at a time", "choose a smaller trainer.eval_batch_size"):
            metrics = evaluate(self.evaluated, self.objective, self.dataset, images, size, self.may_stop, self.ranks)
        if not math.isfinite(metrics["loss"]):
            raise UserError(f"the {split} loss is not finite after step {self.progress.step} ({metrics}); {ADVICE}")
        return metrics

    def save(self) -> None:
        """Keep the state for `last.pt`; UserError, and nothing kept, if a weight or the loss is not finite."""
        self._require_finite_weights()
        meter = self.meter.state()
        if self.ranks.is_main_process:
            self.checkpoints.save_last(meter, self.progress, self.recorder.position)

    def restore(self, other_loss: bool = False) -> None:
        """Go back to the last checkpoint, or to the start where there is none.

        Args:
            other_loss: the loss means something else from here on, so that no epoch of before is the best one.

        Raises:
            UserError: if the checkpoint is damaged, or does not fit the model or the optimizer, or `other_loss` finds
                the run at its end.
        """
        found = self.checkpoints.load(self.ranks, self.meter, len(self.batches.images))
        if found is None:
            self.recorder.rewind(None)
            return
        self.progress, position = found
        at_end = self.progress.reported_step >= self.total_steps
        if other_loss and at_end:
            raise UserError(
                "nothing is left to train, and the validation of this run was with another loss; ask for more epochs "
                "with trainer.epochs, or leave that override out"
            )
        if other_loss:
            self.progress.best = {}
        try:
            self.recorder.rewind(position)
        except ValueError as error:
            raise self.checkpoints.unusable(error) from error
        if at_end:
            log.info("nothing is left to train; ask for more with trainer.epochs or trainer.max_steps")
        else:
            log.info("going on from step %s of %s", f"{self.progress.step:,}", f"{self.total_steps:,}")

    def _step_of_a_copy(self) -> Callable[[], object]:
        """A step, always the same, on a copy of all that it changes, whose weights stay what they are."""
        model, objective, optimizer = copy.deepcopy((self.model, self.objective, self.optimizer))
        model.train()
        step = EagerStep(model, objective, optimizer, self.config.grad_clip)
        for group in (group for each in step.optimizers for group in each.param_groups):
            group["lr"] = 0.0  # the same step again and again could diverge
        batch, labels = next(self.batches.epoch(self.progress.epoch, 0))
        return partial(step, *self.seen(batch), self.progress.step, labels)

    def _check_stop_between_steps(self) -> None:
        """Raise Interrupted, on all ranks after the same step, if a signal had come to one of them before it."""
        if not isinstance(self.train_step, SharedStep):
            self.stop.check()
            return
        # to read the votes waits for a GPU; a rank that has been asked once votes so in every later step too
        due = self.device.type == "cpu" or self.progress.step % VOTES_READ_EVERY == 0
        if due and self.train_step.stop_votes.item():
            self._check_stop()

    def _check_stop(self) -> None:
        """Raise Interrupted, on all ranks, if a signal has come to one of them."""
        if self.ranks.is_single:
            self.stop.check()
        elif signum := self.ranks.all_reduce_max(self.stop.signum or 0):
            raise Interrupted(signum)

    def _require_finite_weights(self) -> None:
        # a gradient can overflow where the loss does not, and no checkpoint may keep what it did
        networks = [self.model, *([self.objective] if has_networks(self.objective) else [])]
        weights = [weight.detach() for network in networks for weight in network.parameters()]
        sums = torch.stack([weight.sum(dtype=torch.float32) for weight in weights])  # a GPU is waited for once
        if not sums.isfinite().all() and not all(weight.isfinite().all() for weight in weights):
            raise UserError(f"a weight is not finite at step {self.progress.step}, though the loss was; {ADVICE}")

    @property
    def _memory_advice(self) -> str:
        images = self.batches.images
        on_device = images.device.type != "cpu"
        freed = f", or trainer.images_on=host, which frees {images.nbytes / 1e9:.2g} GB" if on_device else ""
        return f"choose a smaller trainer.batch_size, objective.samples or model{freed}"

    @property
    def epochs_done(self) -> float:
        """Epochs trained, the fraction of an unfinished one counted."""
        return round(self.progress.epoch + self.progress.position / len(self.batches.images), 4)
