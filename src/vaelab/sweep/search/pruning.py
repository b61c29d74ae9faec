"""How a run that is a trial of a search learns that it is given up: through the study, which both can open."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vaelab.errors import UserError, one_line
from vaelab.training.signals import AfterValidation, Pruned

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.storages import RDBStorage

log = logging.getLogger(__name__)

BUSY_SECONDS = 60  # how long a process waits for another that is writing to the same SQLite file


def storage_url(storage: str | None, sweep_dir: Path) -> str:
    """The database of a search: the one that was named, or `study.db` in the sweep's directory.

    Raises:
        UserError: if that directory has a `?` in its path, after which a URL names another file's settings.
    """
    path = sweep_dir.resolve() / "study.db"
    if storage is None and "?" in str(path):
        raise UserError(f"a search must lie in a directory without ? in its path, got {path.parent}; rename it")
    return storage or f"sqlite:///{path}"


def open_storage(url: str) -> "RDBStorage":
    """The database of a search, which several processes may write to."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options = {"connect_args": {"timeout": BUSY_SECONDS}} if url.startswith("sqlite") else {}
    return optuna.storages.RDBStorage(url, engine_kwargs=options)


def validated_metric(metrics: str | Sequence[str]) -> str | None:
    """What of a validation a pruner compares, such as `elbo`; None where the metrics of a search do not tell."""
    metrics = [metrics] if isinstance(metrics, str) else metrics
    return metrics[0].removeprefix("val/") if len(metrics) == 1 and metrics[0].startswith("val/") else None


def judge(url: str, study_name: str, number: int, pruner: "BasePruner", metric: str) -> AfterValidation:
    """What a trial calls after each validation: it tells the study and asks whether to go on.

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
