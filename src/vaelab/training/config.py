"""How long and how a run trains, checked."""

from dataclasses import dataclass

from vaelab.errors import ArgumentError, check_choice, check_integer, check_number

MOST_THREADS = 1024  # OpenMP ends the process where the system gives it fewer
LARGEST = 10**15  # of what counts steps or images
COUNTS = ("epochs", "batch_size", "eval_batch_size", "log_every", "evaluate_every")


@dataclass(frozen=True)
class TrainerConfig:
    """How long and how to train; `conf/trainer/default.yaml` says what each means.

    Raises:
        ValueError: if a value is out of range.
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
    evaluate_test: bool
    pictures_every: int
    picture_format: str
    checkpoint_every: int | str
    profile: bool

    def __post_init__(self) -> None:
        for name in COUNTS:
            check_integer(name, getattr(self, name), 1)
            if getattr(self, name) > LARGEST:
                raise ArgumentError(name, f"must be an integer of at most {LARGEST:.0e}, got one above it")
        check_integer("pictures_every", self.pictures_every, 0)
        check_choice("picture_format", self.picture_format, ("png", "pdf", "svg"))
        check_choice("images_on", self.images_on, ("auto", "device", "host", "disk"))
        check_choice("precision", self.precision, ("float32", "tf32", "bfloat16"))
        if self.threads != "auto" and (type(self.threads) is not int or not 1 <= self.threads <= MOST_THREADS):
            raise ArgumentError("threads", f"must be auto or a number from 1 to {MOST_THREADS:,}, got {self.threads!r}")
        every = self.checkpoint_every
        if every != "auto" and (type(every) is not int or not 1 <= every <= LARGEST):
            raise ArgumentError(
                "checkpoint_every", f"must be auto or a number of epochs from 1 to {LARGEST:.0e}, got {every!r}"
            )
        for name in ("evaluate_test", "profile"):
            if not isinstance(getattr(self, name), bool):
                raise ArgumentError(name, f"must be true or false, got {getattr(self, name)!r}")
        if self.compile != "auto" and not isinstance(self.compile, bool):
            raise ArgumentError("compile", f"must be auto, true or false, got {self.compile!r}")
        if self.compile is True and self.log_every == 1:
            raise ArgumentError(
                "compile", "must be auto or false, got True, for with trainer.log_every=1 no step can be compiled"
            )
        if self.max_steps is not None:
            check_integer("max_steps", self.max_steps, 1)
        if self.grad_clip is not None:
            check_number("grad_clip", self.grad_clip, 0, above=True)
        if self.ema is not None and not (isinstance(self.ema, float) and 0 < self.ema < 1):
            raise ArgumentError("ema", f"must be null or a decay between 0 and 1, such as 0.999, got {self.ema!r}")

    def total_steps(self, steps_per_epoch: int) -> int:
        """Steps of the whole run."""
        steps = self.epochs * steps_per_epoch
        return steps if self.max_steps is None else min(steps, self.max_steps)
