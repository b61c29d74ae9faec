"""One training step on one batch: eager, which is the reference, as one compiled graph, or shared among ranks."""

import logging
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from vaelab.errors import UserError, is_out_of_memory, one_line
from vaelab.machine.ranks import ALONE, Ranks
from vaelab.training.compiled import CompiledStep, has_moments, is_adam, pays
from vaelab.training.loss import Loss, require_finite

log = logging.getLogger(__name__)


class Update:
    """Forward, backward and optimizer step, as a function of (parameters, batch, noise).

    A step whose loss is not finite changes no weight and no moment. On the CPU, where it costs nothing, the loss is
    read in every step, which raises. A GPU would wait for that: there a compiled step and torch's fused Adam, AdamW and
    SGD on CUDA leave everything as it is by themselves, and who reads the values later finds out. Other optimizers,
    and those of MPS, cannot, so that with them a GPU does wait in every step.

    Args:
        loss: what to minimise; the parameters of its model are changed in place.
        optimizer: over these parameters.
        pixels: from a uint8 batch, and the uniform numbers that binarise it, to what the model sees.
        grad_clip: largest norm of the gradient, or None.
        compile: true, false, or `auto`, which compiles where it pays.
        batch_size: of all batches but the last of an epoch.
        total_steps: of the run.
        ranks: share each batch; a shared step is eager.
        wants_to_stop: whether this rank has been asked to stop, which a shared step tells the others.

    Raises:
        UserError: if compiling is asked for and the optimizer is none that can be, or there are several ranks.
    """

    def __init__(
        self,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        pixels: Callable[[Tensor, Tensor | None], Tensor],
        grad_clip: float | None,
        compile: bool | str,
        batch_size: int,
        total_steps: int,
        ranks: Ranks = ALONE,
        wants_to_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.loss = loss
        self.optimizer = optimizer
        self.pixels = pixels
        self.grad_clip = grad_clip
        self.batch_size = batch_size
        self.ranks = ranks
        self.wants_to_stop = wants_to_stop
        self.stop_votes = torch.zeros(())  # ranks that were asked to stop before the last shared step
        self.device = next(loss.parameters()).device
        self.compile_seconds = 0.0
        self._skips_by_itself = self.device.type == "cuda" and getattr(optimizer, "_step_supports_amp_scaling", False)
        self._has_stepped = False
        self._must_compile = compile is True
        if compile == "auto":
            compile = ranks.alone and pays(loss.vae, optimizer, total_steps, self.device)
        self._compile = compile
        self._compiled: CompiledStep | None = None
        if self._must_compile and not is_adam(optimizer):
            raise UserError(
                f"trainer.compile=true needs the optimizer adam or adamw, without amsgrad and maximize, got "
                f"{type(optimizer).__name__}; choose one of them, or trainer.compile=auto"
            )
        if self._must_compile and not ranks.alone:
            raise UserError(
                f"trainer.compile=true is for a single process, got {ranks.size} ranks; use trainer.compile=auto"
            )

    def __call__(
        self, batch: Tensor, uniform: Tensor | None, eps: Tensor, step: int, want_grad_norm: bool
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Change the parameters; return the loss with its terms, and the gradient's norm where it was computed.

        Args:
            batch: uint8 (B, C, H, W).
            uniform: numbers in [0, 1) in the shape of the batch, or None.
            eps: standard normal noise (K, B, D).
            step: steps made before this one.
            want_grad_norm: whether the norm before any clipping is wanted.

        Raises:
            UserError: if the loss was read and is not finite.
        """
        # A smaller last batch, and the norm, would each need a graph of their own; the first step makes Adam's moments.
        if not self._compile or want_grad_norm or len(batch) != self.batch_size:
            return self._eager(batch, uniform, eps, step, want_grad_norm)
        if self._compiled is None:
            if not has_moments(self.optimizer):
                return self._eager(batch, uniform, eps, step, want_grad_norm)
            return self._first_compiled(batch, uniform, eps, step), None
        values = self._compiled(batch, uniform, eps, step)
        if self.device.type == "cpu":  # elsewhere this would wait; the graph itself left the parameters alone
            require_finite(values, step)
        return values, None

    def _eager(
        self, batch: Tensor, uniform: Tensor | None, eps: Tensor, step: int, want_grad_norm: bool
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        backward = self._backward if self.ranks.alone else self._shared_backward
        values = backward(batch, uniform, eps, step)
        grad_norm = None
        if want_grad_norm or self.grad_clip is not None:
            grad_norm = torch.nn.utils.clip_grad_norm_(self.loss.parameters(), self.grad_clip or math.inf)
        self._step_where_finite(values, step)
        return values, grad_norm

    def _step_where_finite(self, values: dict[str, Tensor], step: int) -> None:
        # the first step makes the moments, and torch's SGD leaves them uninitialised where that step is skipped
        if self._skips_by_itself and self._has_stepped:
            self.optimizer.found_inf = (~values["loss"].detach().isfinite()).float()
            self.optimizer.grad_scale = None
        else:
            require_finite(values, step)
        self.optimizer.step()
        self._has_stepped = True

    def _backward(self, batch: Tensor, uniform: Tensor | None, eps: Tensor, step: int) -> dict[str, Tensor]:
        """Leave the gradient of the loss in the parameters; return the loss with its terms."""
        loss, terms = self.loss(self.pixels(batch, uniform), eps, torch.full((), float(step), device=self.device))
        self.optimizer.zero_grad()
        loss.backward()
        return {"loss": loss, **terms}

    def _shared_backward(self, batch: Tensor, uniform: Tensor | None, eps: Tensor, step: int) -> dict[str, Tensor]:
        """The same, each rank with its share of the batch: a mean over images is the weighted sum of the shares'."""
        rows = self.ranks.share(len(batch))
        weight = (rows.stop - rows.start) / len(batch)
        if weight == 0:
            rows = slice(1)  # without an image there would be no mean to weight
        values = self._backward(batch[rows], None if uniform is None else uniform[rows], eps[:, rows], step)
        trained = [parameter for parameter in self.loss.parameters() if parameter.grad is not None]
        gradients = [parameter.grad for parameter in trained]
        summed, self.stop_votes = self.ranks.weighted_sum([*values.values(), *gradients], weight, self.wants_to_stop())
        for parameter, gradient in zip(trained, summed[len(values) :], strict=True):
            parameter.grad = gradient
        # copied, for they are kept until they are reported, and they are views of all that was summed
        return {name: value.clone() for name, value in zip(values, summed, strict=False)}

    def _first_compiled(self, batch: Tensor, uniform: Tensor | None, eps: Tensor, step: int) -> dict[str, Tensor]:
        """Compile and make the step; eager, from here on, where that fails and was not insisted on."""
        started = time.perf_counter()
        cuda_log = logging.getLogger("torch.utils.cpp_extension")  # looks for CUDA and warns of its absence
        level = cuda_log.level
        cuda_log.setLevel(logging.ERROR)
        try:
            compiled = CompiledStep(self.loss, self.optimizer, self.pixels, self.grad_clip, step)
            values = compiled(batch, uniform, eps, step)
        except Exception as error:  # what a compiler raises has no class in common
            if is_out_of_memory(error):
                raise
            if self._must_compile:
                message = f"the training step could not be compiled ({one_line(error, 200)}); use trainer.compile=false"
                raise UserError(message) from error
            log.warning("the training step could not be compiled and runs as it is (%s)", one_line(error, 200))
            self._compile = False
            self.compile_seconds = time.perf_counter() - started
            return self._eager(batch, uniform, eps, step, want_grad_norm=False)[0]
        finally:
            cuda_log.setLevel(level)
        self._compiled = compiled
        self.compile_seconds = time.perf_counter() - started
        log.info("compiled the training step in %.1f s", self.compile_seconds)
        require_finite(values, step)
        return values
