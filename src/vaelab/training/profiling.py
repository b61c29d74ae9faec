"""Where the time of a training step goes: a trace of some steps and a short table of the host and of the device."""

import io
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.table import Table
from torch.autograd import DeviceType

from vaelab.files import folder
from vaelab.run.terminal import table

log = logging.getLogger(__name__)

SKIPPED_STEPS, TRACED_STEPS = 20, 50
ROWS = 15
STEP = "ProfilerStep*"  # what torch calls a step


class StepProfiler:
    """Traces TRACED_STEPS steps after the first SKIPPED_STEPS, in which memory is taken and graphs are compiled.

    Writes `profile.json`, for chrome://tracing or ui.perfetto.dev, and `profile.txt` to the run directory.

    Args:
        run_dir: the run's directory.
        wanted: if not, nothing is traced.
    """

    def __init__(self, run_dir: Path, wanted: bool) -> None:
        self.run_dir = run_dir
        self._profile: Any = None
        self._steps = 0
        self._reached = False
        if wanted:
            os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would write each start and stop to the terminal
            from torch.profiler import profile, schedule

            self._profile = profile(
                schedule=schedule(wait=SKIPPED_STEPS - 5, warmup=5, active=TRACED_STEPS, repeat=1),
                on_trace_ready=lambda _: self._write(),
            )

    def __enter__(self) -> "StepProfiler":
        if self._profile is not None:
            self._profile.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def step(self) -> None:
        """To be called after every training step."""
        if self._profile is not None:
            self._steps += 1
            self._profile.step()

    def stop(self) -> None:
        """To be called at the end of the first epoch, for what comes between two epochs is no step."""
        if self._profile is not None:
            self._profile.stop()
            self._profile = None
            if not self._reached:
                log.warning(
                    "no step was profiled, for training or its first epoch ended within %d steps; "
                    "use a smaller batch or more steps",
                    SKIPPED_STEPS,
                )

    def _write(self) -> None:
        steps = min(self._steps - SKIPPED_STEPS, TRACED_STEPS)
        if steps < 1:
            return
        self._reached = True
        with TemporaryDirectory(prefix="vaelab-trace-") as private:  # torch follows a link of the file's name
            trace = Path(private, "profile.json")
            self._profile.export_chrome_trace(str(trace))
            folder.write(self.run_dir, trace.name, trace.read_bytes())
        text = io.StringIO()
        for made in profile_tables(self._profile.key_averages(), steps):
            Console(file=text, width=110).print(made)
        folder.write(self.run_dir, "profile.txt", text.getvalue().encode())
        log.info("where the time goes: %s", self.run_dir / "profile.txt")


def profile_tables(events: Sequence[Any], steps: int) -> list[Table]:
    """A table of the time of the host and, where a device other than the CPU was used, one of its kernels.

    torch reports the time of a kernel for the kernel, once more for the operation that started it, and again for the
    parts of the program around that. Here each microsecond of a thread of the host is counted for the innermost
    operation that it was spent in, and each microsecond of the device for its kernel only.

    Args:
        events: averages by name, as `torch.profiler.profile.key_averages` gives them.
        steps: how many steps they are of.
    """
    host = [event for event in events if event.device_type == DeviceType.CPU]
    kernels = [event for event in events if event.device_type != DeviceType.CPU and not _is_annotation(event)]
    made = [_table(f"{steps} training steps on the host", host, lambda event: event.self_cpu_time_total, steps)]
    if kernels:
        kind = kernels[0].device_type.name
        title = f"the same steps on the device ({kind})"
        made.append(_table(title, kernels, lambda event: event.self_device_time_total, steps))
    return made


def _table(title: str, events: list[Any], self_time: Callable[[Any], float], steps: int) -> Table:
    events = sorted(events, key=self_time, reverse=True)
    whole = sum(map(self_time, events))
    made = table(title, numbers=("µs a step", "share", "calls a step"))
    for event in events[:ROWS]:
        time = self_time(event)
        name = "Python between the operations" if event.key == STEP else event.key[:60]
        made.add_row(name, f"{time / steps:,.1f}", f"{time / whole:.1%}", f"{event.count / steps:.1f}")
    rest = sum(map(self_time, events[ROWS:]))
    made.add_row(f"{max(0, len(events) - ROWS)} more", f"{rest / steps:,.1f}", f"{rest / whole:.1%}")
    made.add_row("all", f"{whole / steps:,.1f}", "100.0%")
    return made


def _is_annotation(event: Any) -> bool:
    """Whether it is a named part of the program, such as a step, around the kernels of a device."""
    return event.key == STEP or getattr(event, "is_user_annotation", False)  # not every release of torch says so
