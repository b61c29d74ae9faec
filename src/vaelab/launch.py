"""The command line of `run.py`: Hydra composes, a job runs, a mistake becomes one sentence and an exit code."""

import json
import logging
import os
import secrets
import shlex
import signal
import sys
import traceback
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing import current_process
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import MISSING, DictConfig, OmegaConf

from vaelab import ranks
from vaelab.continuation import begun, result
from vaelab.errors import UserError
from vaelab.pruning import AfterValidation, judge, storage_url, validated_metric
from vaelab.records import only_writer, read_summary, write_summary
from vaelab.signals import SCHEDULER, Interrupted
from vaelab.sweep import SweepReport, varied

log = logging.getLogger(__name__)


@dataclass
class Root:
    """The keys of a config; Hydra refuses any other, in an experiment file too."""

    model: Any = MISSING
    dataset: Any = MISSING
    latent: Any = MISSING
    posterior: Any = MISSING
    prior: Any = MISSING
    likelihood: Any = MISSING
    objective: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    trainer: Any = MISSING
    logger: Any = MISSING
    seed: int = MISSING
    resume: str | None = None
    trust: list[str] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)


class SingleRunError(BaseException):
    """Carries the error of a run past Hydra, which would print lines of its own; a sweep's jobs raise theirs."""


def main(conf: Path) -> None:
    """Run the command line over the config folder `conf` and leave with its exit code."""
    stack_wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises what went wrong instead of printing it in its own way
    register()
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        _join_ranks()
        sys.argv[1:] = _with_sweep_dir(sys.argv[1:])
        config_name = _config_name(sys.argv[1:])
        hydra.main(version_base="1.3", config_path=str(conf), config_name=config_name)(job)()
        ranks.leave()
        code = 0
    except BaseException as error:
        if stack_wanted and not isinstance(error, SystemExit):
            raise
        code = _explain(error, conf)
    finally:
        signal.signal(signal.SIGTERM, before)
    sweep_dir = SweepReport.finish()
    if sweep_dir is not None and code != 0:
        again = [argument for argument in sys.argv[1:] if not argument.startswith("hydra.sweep.dir=")]
        command = shlex.join(["python", *sys.argv[:1], *again, f"sweep={sweep_dir}"])
        print(f"vaelab: go on with the jobs that have not finished: {command}", file=sys.stderr)
    sys.exit(code)


def register() -> None:
    """Make known to Hydra what `conf/config.yaml` asks for: the typed root and the resolver of run directories."""
    OmegaConf.register_new_resolver("run_dir", _shared_run_dir, use_cache=True, replace=True)
    ConfigStore.instance().store(name="root", node=Root)


def job(config: DictConfig) -> float:
    """One run, alone or in a sweep; returns the validation loss, which is finite, or raises."""
    from vaelab.experiment import run_experiment  # imports torch, which `--help` must not wait for

    hydra_config = HydraConfig.get()
    run_dir = Path(hydra_config.runtime.output_dir)
    sweep_dir = Path(hydra_config.sweep.dir) if hydra_config.mode == RunMode.MULTIRUN else None
    overrides = list(hydra_config.overrides.task)
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        assert isinstance(plain, dict)
        resumed = plain["resume"] is not None
        if resumed and (sweep_dir is not None or Path(plain["resume"]).resolve() != run_dir.resolve()):
            raise UserError("resume goes on with one run in its own directory; give it as resume=RUN_DIR, without -m")
        trusted = plain.pop("trust") if resumed else None
        if not resumed:
            plain["choices"] = _choices(hydra_config)
        name = run_dir.name if sweep_dir is None else ",".join(varied(sweep_dir, overrides)) or f"job {run_dir.name}"
        group = None if sweep_dir is None else sweep_dir.name
        with only_writer(run_dir) if ranks.current().first else nullcontext():
            if sweep_dir is not None and (run_dir / "config.yaml").exists():
                plain, trusted = begun(run_dir, plain, overrides)
                overrides, resumed = [], True
                ended = result(read_summary(run_dir))
                if ended is not None:
                    return ended
            judged = None if sweep_dir is None else _judge(hydra_config, sweep_dir)
            return run_experiment(plain, run_dir, overrides, name, group, trusted, resumed, judged)
    except Interrupted as error:
        log.info("%s; go on with: python run.py resume=%s", error, run_dir)
        if error.signum in SCHEDULER:
            signal.raise_signal(error.signum)  # the checkpoint is written: now whoever handles it may requeue the job
        if current_process().name != "MainProcess":  # the worker was asked to stop, not the sweep
            raise UserError(f"{error}; go on with: python run.py resume={run_dir}") from error
        raise
    except (Exception, SystemExit) as error:
        log.debug("%s", "".join(traceback.format_exception(error)))
        if isinstance(error, SystemExit):  # code of a part that exits must not end the other jobs of a sweep
            error = UserError(f"the run called sys.exit({error.code!r}); its run.log says where")
        if ranks.current().first and not (run_dir / "summary.json").exists():
            write_summary(run_dir, {"status": "failed", "overrides": overrides, "error": str(error)})
        if sweep_dir is None:
            raise SingleRunError(error) from error
        log.error("job %s failed: %s", run_dir.name, error)
        raise error


def _judge(hydra_config: Any, sweep_dir: Path) -> AfterValidation | None:
    """What a trial of a search with a pruner asks after each validation; None for any other job."""
    pruner = OmegaConf.select(hydra_config, "sweeper.pruner")
    if not pruner:
        return None
    sweeper = hydra_config.sweeper
    metric = validated_metric(sweeper.metrics)
    assert metric is not None  # the sweeper has checked it
    url = storage_url(sweeper.storage, sweep_dir)
    return judge(url, sweeper.study_name, int(hydra_config.job.num), instantiate(pruner), metric)


def _terminate(signum: int, frame: FrameType | None) -> None:
    """Outside a run, which answers signals itself, SIGTERM ends the process as an error does: with its report."""
    reporting = sys.exc_info()[0] is not None
    if reporting and not ranks.current().alone:
        return  # torchrun asks it of every rank once one has ended, and this one is about to say why
    raise Interrupted(signum)


def unique_run_dir(parent: str) -> str:
    """`<parent>/<date>_<time>-<id>`, which no other launch uses, in the same second either."""
    return f"{parent}/{datetime.now():%Y%m%d_%H%M%S}-{secrets.token_hex(4)}"


def _shared_run_dir(parent: str) -> str:
    return ranks.current().from_first(lambda: unique_run_dir(parent))


def _join_ranks() -> None:
    """Connect with the processes that torchrun started beside this one; all but the first are silent."""
    found = ranks.join()
    if not found.alone and {"-m", "--multirun", "hydra.mode=MULTIRUN"} & set(sys.argv):
        raise UserError(
            "the ranks of torchrun train one run, got a sweep (-m); start python run.py -m without torchrun"
        )
    if not found.first:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        logging.disable()


def _with_sweep_dir(arguments: list[str]) -> list[str]:
    """The arguments with `sweep=DIR`, which goes on with a sweep, as Hydra knows it."""
    keys = ("sweep=", "hydra.sweep.dir=")
    given = [argument for argument in arguments if argument.startswith(keys)]
    if not given:
        return arguments
    by_hydra = given[-1].startswith("hydra.")
    sweep_dir = Path(_value(given[-1]) if by_hydra else given[-1].removeprefix("sweep="))
    is_sweep = (sweep_dir / "multirun.yaml").is_file()
    others = [argument for argument in arguments if argument not in given]
    if not by_hydra:
        if not is_sweep:
            raise UserError(f"sweep must name the directory of a sweep, with its multirun.yaml, got {sweep_dir}", 2)
        if not {"-m", "--multirun"} & set(others):
            raise UserError(f"sweep={sweep_dir} goes on with a sweep, which needs -m and its overrides again", 2)
        quoted = str(sweep_dir).replace("\\", "\\\\").replace("'", "\\'")
        arguments = [*others, f"hydra.sweep.dir='{quoted}'"]
    if is_sweep:
        before = yaml.safe_load((sweep_dir / "multirun.yaml").read_text())["hydra"]["overrides"]["task"]
        if before != [argument for argument in others if "=" in argument and not argument.startswith("hydra")]:
            raise UserError(
                f"{sweep_dir} was begun with {shlex.join(before)}; give the same overrides in that order", 2
            )
    return arguments


def _value(override: str) -> str:
    return str(OverridesParser.create().parse_override(override).value())


def _config_name(arguments: list[str]) -> str:
    """The config to compose: `conf/config.yaml`, or that of the run named by `resume=`."""
    resumes = [argument.split("=", 1)[1] for argument in arguments if argument.lstrip("+").startswith("resume=")]
    if not resumes or resumes[-1] in ("", "null"):
        return "config"
    run_dir = Path(resumes[-1])
    saved = yaml.safe_load(ranks.current().from_first(lambda: _saved_config(run_dir)))
    if "${" in json.dumps(saved, default=str):  # the values, for YAML can write a $ in other ways
        raise UserError(f"{run_dir}/config.yaml must hold plain values, got an interpolation, ${{...}}; mend the file")
    known = Root.__dataclass_fields__.keys()
    unknown = sorted(map(str, saved.keys() - known)) if isinstance(saved, dict) else ["no mapping"]
    if unknown:
        # above all no `hydra`, whose callbacks would run code
        raise UserError(f"{run_dir}/config.yaml may hold {', '.join(known)}, got {', '.join(unknown)}; mend the file")
    defaults = [{"override hydra/job_logging": "vaelab"}, "_self_"]
    settings = {"run": {"dir": str(run_dir)}, "output_subdir": None, "job": {"name": "run"}}
    node = {"defaults": defaults, **saved, "resume": None, "trust": [], "hydra": settings}
    ConfigStore.instance().store(name="resumed", node=OmegaConf.create(node))
    return "resumed"


def _saved_config(run_dir: Path) -> str:
    if not (run_dir / "config.yaml").is_file():
        raise UserError(f"resume must name the directory of a run, with its config.yaml, got {run_dir}")
    return (run_dir / "config.yaml").read_text()


def _choices(hydra_config: Any) -> dict[str, str]:
    chosen = hydra_config.runtime.choices
    return {group: option for group, option in chosen.items() if "/" not in group and option is not None}


def _explain(error: BaseException, conf: Path) -> int:
    """Say on standard error what went wrong; return the exit code."""
    from vaelab.sentences import sentence  # only a failed command needs it

    if isinstance(error, SingleRunError):
        error = error.args[0]
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, Interrupted):
        return 128 + error.signum
    text, code = sentence(error, conf)
    if not ranks.current().may_say(text or repr(error), error):
        return code
    if text is None:
        traceback.print_exception(error)
    else:
        print(f"vaelab: {text}", file=sys.stderr)
    return code
