"""What a launch leaves that never became a run: Hydra makes the directory, and its log, before any part is built."""

from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from vaelab.errors import PastHydraError
from vaelab.machine import ranks


class Leftovers(Callback):
    """Removes what this launch alone has written for a run that never began, that is for one without a `config.yaml`.

    A job of a sweep keeps its directory, which the sweep's report needs.
    """

    run_dir: ClassVar[Path | None] = None
    absent: ClassVar[list[Path]] = []

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remember what is not there yet, of all that Hydra writes before a run begins."""
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(config)  # `hydra.run.dir` may ask for it
        try:
            Leftovers.run_dir = run_dir = Path(config.hydra.run.dir).absolute()
        except OmegaConfBaseException as error:
            raise PastHydraError(error) from error
        finally:
            HydraConfig.instance().cfg = before
        candidates = [run_dir / f"{config.hydra.job.name}.log", run_dir / ".lock", run_dir, *run_dir.parents]
        # told by the first rank, so that no other makes the directory before it has looked
        Leftovers.absent = ranks.current().broadcast(lambda: [path for path in candidates if not path.exists()])

    @classmethod
    def remove(cls) -> None:
        """Remove it, unless the run has begun; a folder in which there is anything else stays."""
        run_dir, absent = cls.run_dir, cls.absent
        cls.run_dir, cls.absent = None, []
        if run_dir is None or not ranks.current().is_main_process or (run_dir / "config.yaml").exists():
            return
        for path in absent:
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
