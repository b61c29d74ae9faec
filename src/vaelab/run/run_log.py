"""`run.log` of a run directory, which Hydra's logging opens before anything of the run is known."""

import logging
from io import TextIOWrapper
from pathlib import Path

from vaelab.errors import PastHydraError, UserError
from vaelab.files import folder


class RunLog(logging.FileHandler):
    """Appends to a file that is no link; named by `conf/hydra/job_logging/vaelab.yaml`.

    Raises:
        PastHydraError: with a UserError or an OSError, where the file cannot be opened.
    """

    def _open(self) -> TextIOWrapper:
        path = Path(self.baseFilename)
        try:
            return TextIOWrapper(folder.append(path.parent, path.name), encoding="utf-8")
        except (UserError, OSError) as error:
            raise PastHydraError(error) from error  # logging would only say that it could not make a handler
