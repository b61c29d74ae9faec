"""The command line of `run.py`: Hydra composes, a job runs, a mistake becomes one sentence and an exit code."""

import logging
import os
import secrets
import signal
import sys
import traceback
from contextlib import nullcontext
from datetime import datetime
from multiprocessing import current_process
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from vaelab.cli.arguments import RESUME_ONE, CommandLine, Root, command_line, with_resumed_config, with_sweep_dir
from vaelab.cli.leftovers import Leftovers
from vaelab.errors import PastHydraError, UserError, forget_frames, in_shell, one_line, resuming, say, visible
from vaelab.machine import ranks
from vaelab.run.continuation import resumed_config
from vaelab.run.lock import only_writer
from vaelab.run.record import RunRecord
from vaelab.run.summary import RUNNING, record_failure, write_summary
from vaelab.sweep.asked import name_of_job
from vaelab.sweep.report import SweepReport
from vaelab.sweep.search.pruning import judge, storage_url, validated_metric
from vaelab.training.signals import SCHEDULER, AfterValidation, Interrupted

log = logging.getLogger(__name__)


def main(conf: Path) -> None:
    """Run the command line over the config folder `conf` and leave with its exit code."""
    stack_wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
    _keep_logging_quiet()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises what went wrong instead of printing it in its own way
    os.environ["PYTHONSAFEPATH"] = "1"  # processes that are started import nothing from the folder that one is in
    register()
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        _join_ranks()
        line = command_line(sys.argv[1:], conf)
        _refuse_sweep_of_ranks(line)
        line, config_name = with_resumed_config(with_sweep_dir(line), conf)
        sys.argv[1:] = line.arguments
        hydra.main(version_base="1.3", config_path=str(conf), config_name=config_name)(job)()
        ranks.leave()
        code = 0
    except BaseException as error:
        if stack_wanted and not isinstance(error, SystemExit):
            raise
        code = _explain(error, conf)
    finally:
        signal.signal(signal.SIGTERM, before)
        Leftovers.remove()
    sweep_dir = SweepReport.finish()
    if sweep_dir is not None and code != 0:
        again = [given for given in sys.argv[1:] if not given.lstrip("+").startswith("hydra.sweep.dir=")]
        command = " ".join(map(in_shell, ["python", *sys.argv[:1], *again, f"sweep={sweep_dir}"]))
        say(f"go on with the jobs that have not finished, or not begun: {command}")
    sys.exit(code)


def register() -> None:
    """Make known to Hydra what `conf/config.yaml` asks for: the typed root and the resolver of run directories."""
    OmegaConf.register_new_resolver("run_dir", _shared_run_dir, use_cache=True, replace=True)
    ConfigStore.instance().store(name="root", node=Root)


def job(config: DictConfig) -> float:
    """One run, alone or in a sweep; returns its figure of merit, which a sweeper maximises, or raises."""
    from vaelab.run.execute import RunSpec, execute  # imports torch, which `--help` must not wait for

    _keep_logging_quiet()  # here too, for a job may have a process of its own
    hydra_config = HydraConfig.get()
    run_dir = Path(hydra_config.runtime.output_dir)
    sweep_dir = Path(hydra_config.sweep.dir) if hydra_config.mode == RunMode.MULTIRUN else None
    overrides = OmegaConf.to_container(hydra_config.overrides.task)  # as written, not resolved
    assert isinstance(overrides, list)
    name = run_dir.name if sweep_dir is None else name_of_job(sweep_dir, run_dir.name, overrides)
    group = None if sweep_dir is None else sweep_dir.name
    told = {"name": name, "group": group, "overrides": overrides}
    try:
        ranks.current().gather(None)  # after an error the first removes the directory, which no other may then make
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        assert isinstance(plain, dict)
        for key in plain.keys() - Root.__dataclass_fields__.keys():  # `+` adds one to a resumed run's config too
            raise UserError(f"the config has no key {key!r}; python run.py --cfg job lists all keys", 2)
        _check_own_keys(plain)
        resumed = plain["resume"] is not None
        if resumed and (sweep_dir is not None or Path(plain["resume"]).resolve() != run_dir.resolve()):
            raise UserError(RESUME_ONE)
        trusted = plain.pop("trust") if resumed else None
        if not resumed:
            plain["choices"] = _choices(hydra_config)
        with only_writer(run_dir) if ranks.current().first else nullcontext():
            if sweep_dir is not None and (run_dir / "config.yaml").exists():
                plain, trusted = resumed_config(run_dir, plain, overrides)
                record = RunRecord(run_dir)
                if record.merit is not None:
                    return record.merit
                if "overrides" not in record.summary:  # it is gone or damaged, and the report needs what it said
                    write_summary(run_dir, {"status": RUNNING, **told})
                overrides, resumed = [], True
            judged = None if sweep_dir is None else _judge(hydra_config, sweep_dir)
            return execute(RunSpec(plain, run_dir, overrides, name, group, trusted, resumed), judged)
    except Interrupted as error:
        hint = f"; go on with: {resuming(run_dir)}" if (run_dir / "config.yaml").exists() else ""
        log.info("%s%s", error, hint)
        if error.signum in SCHEDULER:
            signal.raise_signal(error.signum)  # the checkpoint is written: now whoever handles it may requeue the job
        if current_process().name != "MainProcess":  # the worker was asked to stop, not the sweep
            raise UserError(f"{error}{hint}") from error
        raise
    except (Exception, SystemExit) as error:
        log.debug("%s", "".join(traceback.format_exception(error)))
        error = _without_exit(error)
        if sweep_dir is None:
            raise PastHydraError(error) from error
        if not (run_dir / "config.yaml").exists():  # the job never began, and the report needs it all the same
            record_failure(run_dir, told, error)
        log.error("job %s failed: %s", run_dir.name, one_line(error))
        forget_frames(error)  # Hydra keeps the error of each job until the sweep ends
        raise error


def _check_own_keys(config: dict[str, Any]) -> None:
    """Raise UserError where a key of the config itself is none of what `Root` says, which a resumed run's can be."""
    config.setdefault("resume", None)  # a ~ may have deleted it
    trust, choices = config.setdefault("trust", []), config.setdefault("choices", {})
    if not isinstance(config["resume"], str | None):
        raise UserError(f"resume must be a directory, got {config['resume']!r}; give it as resume=RUN_DIR", 2)
    if not isinstance(trust, list) or not all(isinstance(package, str) for package in trust):
        raise UserError(f"trust must be a list of packages, such as trust=[mypackage], got {trust!r}", 2)
    if not isinstance(choices, dict):
        raise UserError(f"choices must map groups to options, as the run's config.yaml does, got {choices!r}", 2)


def _keep_logging_quiet() -> None:
    """Keep logging from printing a stack of its own for each line that a full disk does not take."""
    logging.raiseExceptions = False


def _without_exit(error: Exception | SystemExit) -> Exception:
    """The error; a sentence where code of a part exits, which must not end the other jobs of a sweep."""
    if not isinstance(error, SystemExit):
        return error
    instead = UserError(f"the run called sys.exit({error.code!r}); HYDRA_FULL_ERROR=1 shows where")
    instead.__cause__ = error
    return instead


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
    if not found.first:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        logging.disable()


def _refuse_sweep_of_ranks(line: CommandLine) -> None:
    if not ranks.current().alone and (line.multirun or "hydra.mode=MULTIRUN" in line.overrides):
        raise UserError(
            "the ranks of torchrun train one run, got a sweep (-m); start python run.py -m without torchrun"
        )


def _choices(hydra_config: Any) -> dict[str, str]:
    chosen = hydra_config.runtime.choices
    return {group: option for group, option in chosen.items() if "/" not in group and option is not None}


def _explain(error: BaseException, conf: Path) -> int:
    """Say on standard error what went wrong; return the exit code."""
    from vaelab.cli.sentences import sentence  # only a failed command needs it

    if isinstance(error, PastHydraError):
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
        print(visible("".join(traceback.format_exception(error)), lines=True), end="", file=sys.stderr)
    else:
        say(text)
    return code
