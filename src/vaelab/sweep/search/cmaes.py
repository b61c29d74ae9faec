"""CMA-ES that is rebuilt from the trials at each draw.

Optuna keeps the optimizer of its `CmaEsSampler` as a pickle in the database, and unpickling what others have put there
would run it. All that the optimizer has learned came from trials that ended, so that it can be told them again.
"""

from typing import TYPE_CHECKING, Any

from vaelab.errors import UserError

if TYPE_CHECKING:
    import cmaes
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import CmaEsSampler
    from optuna.trial import FrozenTrial

# of Optuna's class, which would unpickle if it worked in another way
NEEDED = ("_restore_optimizer", "_split_optimizer_str", "_init_optimizer", "_get_solution_trials", "_with_margin")


def rebuilt_from_trials(sampler: "CmaEsSampler") -> "CmaEsSampler":
    """The sampler, which reads no pickle of the study and writes none.

    Raises:
        UserError: if this Optuna works in another way.
    """
    missing = [name for name in NEEDED if not hasattr(sampler, name)]
    if missing:
        raise UserError(
            f"hydra/sweeper/sampler=cmaes works with Optuna 4.9 to 5.0, got one without {missing[0]}; install one of "
            f"these, or choose tpe"
        )
    draw = sampler.sample_relative

    def sample_relative(study: "Study", trial: "FrozenTrial", space: dict[str, "BaseDistribution"]) -> dict[str, Any]:
        sampler._restore_optimizer = lambda completed: _rebuilt(sampler, study, space, completed)
        return draw(study, trial, space)

    sampler.sample_relative = sample_relative
    sampler._restore_optimizer = _refuse
    sampler._split_optimizer_str = lambda optimizer: {}
    return sampler


def _rebuilt(
    sampler: "CmaEsSampler", study: "Study", space: dict[str, "BaseDistribution"], completed: list["FrozenTrial"]
) -> "cmaes.CMA":
    """The optimizer after it was told, generation by generation, the trials that ended."""
    import numpy as np
    from optuna._transform import _SearchSpaceTransform
    from optuna.study import StudyDirection

    transform = _SearchSpaceTransform(space, transform_step=not sampler._with_margin, transform_0_1=True)
    optimizer = sampler._init_optimizer(transform, study.direction)
    sign = 1 if study.direction == StudyDirection.MINIMIZE else -1
    size = optimizer.population_size
    while len(told := sampler._get_solution_trials(completed, optimizer.generation)[:size]) == size:
        if sampler._with_margin:
            places = [np.array(trial.system_attrs["x_for_tell"]) for trial in told]
        else:
            places = [transform.transform(trial.params) for trial in told]
        optimizer.tell([(place, sign * trial.value) for place, trial in zip(places, told, strict=True)])
    return optimizer


def _refuse(completed: list["FrozenTrial"]) -> None:
    raise AssertionError("the sampler was asked for an optimizer before it was asked for a draw")
