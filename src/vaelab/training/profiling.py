"""Where the time of a training step goes: a trace of some steps and a short table of the host and of the device."""

import logging
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

from torch.autograd import DeviceType

from vaelab.files import folder

log = logging.getLogger(__name__)

SKIPPED_STEPS, TRACED_STEPS = 20, 50
ROWS = 15


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
        if self._steps <= SKIPPED_STEPS:
            return
        self._reached = True
        with TemporaryDirectory(prefix="vaelab-trace-") as private:  # torch follows a link of the file's name
            trace = Path(private, "profile.json")
            self._profile.export_chrome_trace(str(trace))
            folder.write(self.run_dir, trace.name, trace.read_bytes())
        steps = min(self._steps - SKIPPED_STEPS, TRACED_STEPS)
        folder.write(self.run_dir, "profile.txt", profile_text(self._profile.key_averages(), steps).encode())
        log.info("where the time goes: %s", self.run_dir / "profile.txt")


def profile_text(averages: Any, steps: int) -> str:
    """The operations that took the most time of the host and, where another device was used, those of the device.

    Args:
        averages: as `torch.profiler.profile.key_averages` gives them.
        steps: how many steps they are of.
    """
    orders = {"the host": "self_cpu_time_total"}
    if any(event.device_type != DeviceType.CPU for event in averages):
        orders["the device"] = "self_device_time_total"
    tables = (
        f"{steps} training steps, by the time of {of}\n"
        + averages.table(sort_by=order, row_limit=ROWS, max_name_column_width=60)
        for of, order in orders.items()
    )
    return "\n".join(tables)
