"""What went wrong, in one sentence, from whatever Hydra, OmegaConf, torch or the operating system raised."""

import errno
from collections.abc import Iterator

from hydra.errors import InstantiationException

from vaelab.cli.composition_errors import explained
from vaelab.cli.config_files import ConfigFiles
from vaelab.cli.suggestions import content_of
from vaelab.errors import OUT_OF_MEMORY, UserError, is_out_of_memory, one_line

COMMAND_LINE = 2
OF_DEAD_WORKERS = ("BrokenProcessPool", "TerminatedWorkerError")  # joblib's


def sentence(error: BaseException, files: ConfigFiles) -> tuple[str | None, int]:
    """The sentence and the exit code; None instead of a sentence for what is no mistake of a person.

    Args:
        error: what was raised.
        files: in which names near a misspelt one are looked for.
    """
    for text, code in _known(error, files):
        return one_line(text), code
    return None, 1


def _known(error: BaseException, files: ConfigFiles) -> Iterator[tuple[str, int]]:
    """Sentences that fit, the best first."""
    if isinstance(error, InstantiationException) and isinstance(error.__cause__, UserError):
        error = error.__cause__  # of a launcher or a sweeper
    if isinstance(error, UserError):
        yield f"{error}{_origin(error, files)}", error.exit_code
    of_machine = _of_machine(error)
    if of_machine is not None:
        yield of_machine, 1
    of_composition = explained(error, files)
    if of_composition is not None:
        yield of_composition, COMMAND_LINE


def _of_machine(error: BaseException) -> str | None:
    """What the machine has not, or does not let do."""
    if 'detect "srun"' in str(error):
        return "there is no SLURM on this machine; start the sweep on one that has sbatch, or use hydra/launcher=pool"
    if type(error).__name__ in OF_DEAD_WORKERS:
        return "a worker of the sweep was killed, and the jobs that had not ended with it; resume them one by one"
    if is_out_of_memory(error):  # elsewhere than where the run itself says what did not fit
        return OUT_OF_MEMORY
    if not isinstance(error, OSError) or error.errno is None:
        return None
    path = error.filename or "a file of the run"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({path}); the last good checkpoint is kept; free some space and resume the run"
    advice = "choose another folder with hydra.run.dir or dataset.root"
    return f"{path} could not be written or read: {error.strerror}; {advice}"


def _origin(error: UserError, files: ConfigFiles) -> str:
    """The YAML files in which an unknown key stands."""
    node, key = getattr(error, "node", None), getattr(error, "key", None)
    if node is None or key is None:
        return ""
    names = []
    for file in files:
        content = content_of(file.path.read_text())
        inside = content if file.group.name == node else content.get(node) if isinstance(content, dict) else None
        if isinstance(inside, dict) and key in inside:
            names.append(str(file))
    return f" (in {', '.join(names)})" if names else ""
