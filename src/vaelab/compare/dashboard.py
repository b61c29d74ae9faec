"""A workspace in W&B for a project of vaelab's: curves, rate and distortion, pictures, and what settings do."""

import json
import logging
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from vaelab.compare.differing import differing
from vaelab.errors import UserError, check_output, one_line
from vaelab.evaluation.curves import CURVES
from vaelab.evaluation.metrics import MERIT, label, metric
from vaelab.evaluation.pictures.animation import SHOWN_AS
from vaelab.evaluation.pictures.draw import PICTURES
from vaelab.files import folder
from vaelab.run.find import find_runs
from vaelab.run.record import RunRecord
from vaelab.run.settings import names_target
from vaelab.run.wandb_account import folder_of_settings, has_key

log = logging.getLogger(__name__)

NAME = "vaelab"
SCORES = (MERIT, "val/reconstruction", "val/kl")
USUAL_KEYS = ("latent.dim", "objective.beta", "optimizer.lr")
MAX_RUNS = 50  # lines in a panel, the newest runs; W&B's own default of 10 hides most of a sweep


def project_workspace(entity: str, project: str, sweep_keys: Sequence[str] = ()) -> Any:
    """The workspace of a project, a `wandb_workspaces.workspaces.Workspace` that has not been sent.

    Args:
        entity: W&B user or team.
        project: W&B project.
        sweep_keys: keys of the config, such as `optimizer.lr`, beside the final metrics; a few usual ones where empty.

    Raises:
        UserError: without the package wandb-workspaces.
    """
    try:
        from wandb_workspaces import workspaces
    except ImportError as error:
        raise UserError(
            "a dashboard needs the package wandb-workspaces; install it with: pip install 'vaelab[dashboard]'"
        ) from error
    sections = {
        "Curves": _curves(),
        "Rate and distortion": _rate_and_distortion(),
        "Pictures": _pictures(),
        "Sweep": _sweep(sweep_keys or USUAL_KEYS),
    }
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[workspaces.Section(name=name, panels=panels, is_open=True) for name, panels in sections.items()],
        settings=workspaces.WorkspaceSettings(x_axis="epoch", max_runs=MAX_RUNS),
    )


def keys_of_sweep(directory: Path) -> list[str]:
    """The keys of W&B's config that differ among the runs of a sweep's directory, without the seed.

    Raises:
        UserError: if there are no runs, or nothing differs.
    """
    runs = [*map(RunRecord, find_runs([directory]))]
    targets = {key for run in runs for key in run.settings if names_target(run.overrides, key)}
    named = [_logged_as(key, targets) for key in differing(runs) if key != "seed"]
    if not named:
        raise UserError(f"the runs in {directory} differ in no setting; name the keys with --sweep-keys")
    return named


def _logged_as(key: str, targets: Collection[str]) -> str:
    """A setting's key in W&B's config, where a choice of a group, such as `model`, is among the choices."""
    if "." in key:
        return key
    return f"{key}._target_" if key in targets else f"choices.{key}"


def specification(workspace: Any) -> dict[str, Any]:
    """What would be sent to W&B, as JSON can hold it."""
    # the package sends this and has no public way to look at it first
    view = workspace._to_model()
    spec = view.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"entity": view.entity, "project": view.project, "displayName": view.display_name, "spec": spec}


def write(workspace: Any, output: Path) -> None:
    """Write what would be sent to W&B as JSON; UserError if the output is no such file."""
    check_output(output, ".json")
    folder.write(output.parent, output.name, (json.dumps(specification(workspace), indent=2) + "\n").encode())


def can_send() -> bool:
    """Whether W&B has a key, can be reached and was not set offline."""
    import wandb

    before = Path.cwd()
    os.chdir(folder_of_settings())
    try:
        wandb.setup(wandb.Settings(silent=True))
    finally:
        os.chdir(before)
    try:
        return wandb.setup().settings.mode == "online" and has_key()
    except Exception as error:  # which class it is depends on W&B's version
        log.warning("W&B cannot be reached, or takes no such key (%s)", one_line(error, 300))
        return False


def send(workspace: Any) -> str:
    """Create the workspace in W&B, a new one at each call, and return its address.

    Raises:
        UserError: if W&B cannot be reached or does not let this key do it.
    """
    try:
        return workspace.save().url
    except Exception as error:  # which of a dozen classes it is depends on the versions of two packages
        reason = one_line(f"{type(error).__name__}: {error}", 200)
        raise UserError(
            f"W&B did not take the workspace of {workspace.entity}/{workspace.project} ({reason}); check both names, "
            "your rights and the network, or write it with --output FILE"
        ) from error


def _curves() -> list[Any]:
    from wandb_workspaces.reports.v2 import LinePlot

    return [
        LinePlot(
            title=f"{metric(name).label}, train and validation",
            x="epoch",
            y=[f"train/{name}", f"val/{name}"],
            title_x="epoch",
            title_y=metric(name).unit,
        )
        for name in CURVES
    ]


def _rate_and_distortion() -> list[Any]:
    from wandb_workspaces.reports.v2 import ScatterPlot, SummaryMetric

    x, y = SummaryMetric("val/kl"), SummaryMetric("val/reconstruction")
    return [ScatterPlot(title="validation: reconstruction against KL, nats per image", x=x, y=y)]


def _pictures() -> list[Any]:
    from wandb_workspaces.reports.v2 import MediaBrowser

    names = (*PICTURES, SHOWN_AS)
    return [MediaBrowser(title=name.replace("_", " "), media_keys=[f"pictures/{name}"]) for name in names]


def _sweep(keys: Sequence[str]) -> list[Any]:
    from wandb_workspaces.reports.v2 import (
        Config,
        ParallelCoordinatesPlot,
        ParallelCoordinatesPlotColumn,
        ParameterImportancePlot,
        SummaryMetric,
    )

    settings = [ParallelCoordinatesPlotColumn(metric=Config(key), display_name=key) for key in keys]
    scores = [ParallelCoordinatesPlotColumn(metric=SummaryMetric(name), display_name=label(name)) for name in SCORES]
    return [
        ParallelCoordinatesPlot(title="settings and final metrics", columns=[*settings, *scores]),
        ParameterImportancePlot(with_respect_to=MERIT),
    ]
