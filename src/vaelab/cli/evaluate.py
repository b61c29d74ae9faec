"""`vaelab evaluate`: what a run is worth, as a table with units and settings, and as JSON."""

import argparse
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vaelab.cli.progress import progress
from vaelab.errors import UserError, check_output, one_line, visible
from vaelab.evaluation.metrics import metric
from vaelab.files import folder
from vaelab.run.summary import SUMMARY
from vaelab.run.terminal import show, table

if TYPE_CHECKING:
    from vaelab.evaluation.report import Plan, Report
    from vaelab.run.load import Run

FLAGS = ("similarity", "aggregate", "probe", "factors", "fcd")
DIGITS = 4


def evaluate(options: argparse.Namespace) -> None:
    """Measure what was asked for, print it, and write it where that was asked for."""
    if options.output is not None:
        check_output(options.output, ".json")  # before torch is imported and the model loaded
    if options.fid_weights is not None and not options.fid_weights.is_file():
        raise UserError(f"--fid-weights must name a file that is there, got {options.fid_weights}", 2)
    from vaelab.run.load import load_run

    plan = _plan(options)
    run = load_run(options.run, options.trust, options.device)
    with progress("elbo") as (advance, begin):
        found = run.report(options.split, plan, advance, begin)
    _show(found)
    for name, reason in found.left_out.items():
        print(visible(f"left out: {name}, which {one_line(reason)}"))
    print(visible(_beside_record(run, options.split, found)))
    if options.output is not None:
        folder.write(options.output.parent, options.output.name, found.json().encode())
        print(visible(f"all figures with their settings in {options.output}"))


def _plan(options: argparse.Namespace) -> "Plan":
    from vaelab.evaluation.report import QUICK, Plan

    asked = [name for name in FLAGS if options.all or getattr(options, name)]
    if options.fid_weights is not None:
        asked.append("fid")
    return Plan(
        measures=(*QUICK, *asked),
        importance_samples=options.importance_samples,
        seed=options.seed,
        limit=options.limit,
        fid_weights=options.fid_weights,
        sampler=options.sampler,
    )


def _show(found: "Report") -> None:
    split, settings = found.settings["split"], found.settings
    shown = table("metric", numbers=("value", "± standard error"), last=("unit", "depends on"))
    for name, value in found.metrics.items():
        of = metric(name)
        digits = 0 if of.digits == 0 else max(of.digits, DIGITS)
        error = found.standard_errors.get(name, math.nan)
        cells = f"{value:.{digits}f}", f"{error:.{digits}f}" if math.isfinite(error) else ""
        shown.add_row(f"{split}/{name}", *cells, of.unit, found.depends_on.get(name, ""))
    some = "all" if settings["images"] == settings["images_of_split"] else f"{settings['images']:,} of the"
    show(
        shown,
        f"{some} {settings['images_of_split']:,} {split} images of {settings['dataset']} "
        f"(binarize={settings['binarize']}), seed {settings['seed']}, {settings['device']}, torch {settings['torch']}",
    )


def _beside_record(run: "Run", split: str, report: "Report") -> str:
    """How figures compare with those that the run has recorded, in one line."""
    found: Mapping[str, float] = report.metrics
    recorded = run.recorded(split)
    if SUMMARY in run.record.damaged:
        return "summary.json is damaged, and its figures are not compared with"
    if not recorded:
        return f"summary.json holds no figures of {split} to compare with"
    if report.settings["images"] != report.settings["images_of_split"]:
        return "summary.json holds figures of all images, which those of some are not compared with"
    missing = [f"{split}/{name}" for name in recorded if name not in found]
    if missing:
        return f"summary.json holds {', '.join(missing)}, which this evaluation has not found"
    apart = {name: abs(found[name] - value) for name, value in recorded.items() if found[name] != value}
    if not apart:
        return "equal to summary.json to the last digit"
    versions, worst = run.summary.get("versions", {}), max(apart, key=apart.__getitem__)
    where = one_line(f"{versions.get('device', 'another device')} with torch {versions.get('torch', 'unknown')}", 200)
    return f"summary.json, recorded on {where}, differs by up to {apart[worst]:.1e} ({split}/{worst})"
