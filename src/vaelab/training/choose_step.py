"""Which training step a run makes: chosen before its first."""

from vaelab.errors import UserError
from vaelab.machine.ranks import Ranks
from vaelab.training.clock import Clock
from vaelab.training.compiled import CompiledStep, can_compile, pays
from vaelab.training.config import TrainerConfig
from vaelab.training.shared import SharedStep
from vaelab.training.signals import StopRequest
from vaelab.training.step import EagerStep, TrainStep, has_networks


def training_step(
    eager: EagerStep, config: TrainerConfig, steps: int, ranks: Ranks, stop: StopRequest, clock: Clock
) -> TrainStep:
    """The eager step, shared where there are ranks, compiled where that is asked for or pays for so many steps.

    Raises:
        UserError: if compiling is asked for and the objective or the model cannot be, or there are several ranks;
            if ranks would change what the objective is.
    """
    insists = config.compile is True
    if insists:
        _require_compilable(eager, ranks)
    if not ranks.is_single:
        if has_networks(eager.objective):
            raise UserError(
                f"{type(eager.objective).__name__} has networks of its own, which {ranks.size} ranks would train "
                f"apart; train it in one process"
            )
        for part in (eager.objective, *eager.model.modules()):
            if not getattr(part, "is_mean_over_images", True):
                raise UserError(
                    f"{type(part).__name__} compares the images of a batch, of which each of {ranks.size} ranks would "
                    f"see a part; train it in one process"
                )
        return SharedStep(eager, ranks, lambda: stop.signum is not None)
    if insists or (config.compile == "auto" and pays(eager, steps)):
        return CompiledStep(eager, config.batch_size, insists, clock)
    return eager


def _require_compilable(eager: EagerStep, ranks: Ranks) -> None:
    if not ranks.is_single:
        raise UserError(
            f"trainer.compile=true is for a single process, got {ranks.size} ranks; use trainer.compile=auto"
        )
    if not can_compile(eager.model, eager.objective):
        raise UserError(
            f"trainer.compile=true needs an objective and a model that can be traced, got "
            f"{type(eager.objective).__name__}; use trainer.compile=auto"
        )
