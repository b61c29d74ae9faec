"""Pruning: a run that is a trial of a search is given up through the study, which both can open."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from vaelab.errors import UserError, one_line
from vaelab.evaluation.metrics import MERIT
from vaelab.sweep.search.config import COMMAND_LINE
from vaelab.sweep.search.storage import open_storage
from vaelab.training.signals import AfterValidation, Pruned

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

log = logging.getLogger(__name__)


def validated_metric(metrics: str | Sequence[str]) -> str | None:
    """The metric of a validation that a pruner compares, such as `elbo`; None where those of a search do not tell."""
    metrics = [metrics] if isinstance(metrics, str) else metrics
    return metrics[0].removeprefix("val/") if len(metrics) == 1 and metrics[0].startswith("val/") else None


def check_prunable(objectives: Iterable[str]) -> None:
    """Raise UserError where a pruner, which sees one metric of the validations, has other objectives to compare."""
    names = list(objectives)
    if validated_metric(names) is None:
        raise UserError(
            f"a pruner must have one objective, and one of the validation such as {MERIT}, got {', '.join(names)}; "
            f"choose hydra/sweeper/pruner=none",
            COMMAND_LINE,
        )


def pruning_callback(url: str, study_name: str, number: int, pruner: "BasePruner", metric: str) -> AfterValidation:
    """A trial's callback after each validation, which tells the study and raises Pruned where the pruner says so.

    A run that was interrupted and goes on tells no epoch twice. A database that fails later stops no training.

    Args:
        url: of the database.
        study_name: in the database.
        number: of the trial.
        pruner: which decides, from the validations of all trials.
        metric: which it compares, such as `elbo`.
    """
    import optuna

    storage = open_storage(url)
    study = optuna.load_study(study_name=study_name, storage=storage, pruner=pruner)
    trial_id = storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name(study_name), number)

    def is_hopeless(epoch: int, value: float) -> bool:
        if epoch not in storage.get_trial(trial_id).intermediate_values:
            storage.set_trial_intermediate_value(trial_id, epoch, value)
        return pruner.prune(study, storage.get_trial(trial_id))

    def after_validation(epoch: int, metrics: Mapping[str, float]) -> None:
        try:
            hopeless = metric in metrics and is_hopeless(epoch, metrics[metric])
        except optuna.exceptions.OptunaError as error:
            log.warning("the search cannot be asked (%s); the run goes on", one_line(error, 200))
            return
        if hopeless:
            raise Pruned(f"given up by the search after epoch {epoch}, at val/{metric} {metrics[metric]:.2f}")

    return after_validation
