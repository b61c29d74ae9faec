"""`summary.json` of a run directory: how a run was started, how it ended, what it reached.

The file is there whole or as it was, and has a checksum of itself.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from vaelab.errors import UserError, is_number, one_line
from vaelab.files import folder, plain_json

SUMMARY = "summary.json"
RUNNING, FINISHED, PRUNED, FAILED, KILLED = "running", "finished", "pruned", "failed", "killed"
CHECKSUM = "checksum"  # of the rest
LARGEST_SUMMARY = 4_000_000  # bytes; those of a run are 2,000
DEEPEST = 50
# What a summary may leave out but not have otherwise.
PARTS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(("status", "error", "images"), (str, "text")),
    **dict.fromkeys(("name", "group"), (str | None, "text or null")),
    **dict.fromkeys(("choices", "metrics", "setting", "versions"), (dict, "a mapping")),
    "overrides": (list, "a list"),
}


class Summary:
    """The one writer of a run's summary while it runs; it keeps what earlier launches of the run have written.

    Args:
        run_dir: of the run.
        told: `overrides`, `name`, `group` and further facts of this launch.
        resumed: whether an earlier launch has started the run: its name, its group and the file of its images stay, its
            overrides come first, its seconds count.

    Attributes:
        content: what the file holds, or will once the run begins.
        lost: whether the one of before is damaged, and with it are lost overrides and seconds.
    """

    def __init__(self, run_dir: Path, told: Mapping[str, Any], resumed: bool) -> None:
        self._run_dir = run_dir
        self._started = time.perf_counter()
        before: Mapping[str, Any] = {}
        self.lost = False
        try:
            before = read_summary(run_dir) if resumed else {}
        except UserError:
            self.lost = True
        self._seconds = before.get("seconds", 0)
        kept = {key: before[key] for key in ("name", "group", "images") if key in before}
        overrides = [*before.get("overrides", ()), *told["overrides"]]
        self.content: dict[str, Any] = {"status": RUNNING, **told, **kept, "overrides": overrides}

    def began(self, measured_on: Mapping[str, Any]) -> None:
        """Write that the run goes on from here, and what its metrics will be measured on."""
        self.content["setting"] = measured_on
        write_summary(self._run_dir, self.content)

    def ended(self, status: str, results: Mapping[str, Any]) -> None:
        """Write what the run has reached."""
        self.content |= {"status": status, **results, "seconds": self._all_seconds()}
        write_summary(self._run_dir, self.content)

    def failed(self, status: str, error: BaseException) -> None:
        """Write what has ended the run; a disk that is full is passed over, for the first error is the one to show."""
        said = one_line(error) or type(error).__name__
        self.content |= {"status": status, "error": said, "seconds": self._all_seconds()}
        with suppress(OSError):
            write_summary(self._run_dir, self.content)

    def _all_seconds(self) -> float:
        return self._seconds + round(time.perf_counter() - self._started, 2)


def record_failure(run_dir: Path, told: Mapping[str, Any], error: Exception) -> None:
    """Write how a run failed that could not do so: its process died, or it never began.

    What the run has written stays; `told` is what it would have written first, such as its overrides.
    """
    with suppress(UserError):
        if folder.exists(run_dir, "config.yaml"):  # what lies there without is of another try
            told = {**told, **read_summary(run_dir)}
    with suppress(OSError):
        write_summary(run_dir, {**told, "status": FAILED, "error": one_line(error)})


def write_summary(run_dir: Path, summary: Mapping[str, Any]) -> None:
    """Write the file with its checksum."""
    whole = {**summary, CHECKSUM: _checksum(summary)}
    folder.write(run_dir, SUMMARY, (json.dumps(whole, indent=2, allow_nan=False) + "\n").encode())


def read_summary(run_dir: Path) -> dict[str, Any]:
    """The summary of a run directory, nothing where there is none.

    Raises:
        UserError: if it is damaged: what it holds is of the types that a run writes, and of its checksum if it has one.
        OSError: if it cannot be read.
    """
    try:
        content = folder.read(run_dir, SUMMARY, LARGEST_SUMMARY)
    except FileNotFoundError:
        return {}
    found = plain_json.load_object(content)
    reason = "a JSON object" if found is None else _wrong_part(found)
    if found is not None and reason is None:
        checksum = found.pop(CHECKSUM, None)
        if checksum is None or checksum == _checksum(found):
            return found
        reason = "what its checksum says"
    raise UserError(f"{run_dir / SUMMARY} must hold {reason}; it is damaged, resume the run or move it away")


def _checksum(summary: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(summary, sort_keys=True).encode()).hexdigest()


def _wrong_part(summary: Mapping[str, Any]) -> str | None:
    """What of a summary would have to be something else; None for a good one."""
    for key, (kind, words) in PARTS.items():
        if key in summary and not isinstance(summary[key], kind):
            return f"{words} as {key}"
    if not all(isinstance(override, str) for override in summary.get("overrides", ())):
        return "text as each of its overrides"
    for name, value in {"seconds": summary.get("seconds", 0), **summary.get("metrics", {})}.items():
        if not is_number(value):
            return f"a finite number as {one_line(name, 80)}"
    return f"values nested at most {DEEPEST} levels deep" if _is_deeper(summary, DEEPEST) else None


def _is_deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)
