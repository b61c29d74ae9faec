"""The YAML files that a command line composes: vaelab's own, and those of a project's folder over them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import vaelab
from vaelab.errors import UserError


def installed() -> Path:
    """The config folder of the `vaelab` that is imported: `conf/` of a clone, or its copy in a wheel."""
    return (Path(vaelab.__file__).parent / "conf").resolve()


class ConfigFile(NamedTuple):
    """One option of a group.

    Args:
        group: its folder, relative to the config folder; `.` for `config.yaml` itself.
        path: the file.
    """

    group: Path
    path: Path

    def __str__(self) -> str:
        """From the config folder on, `conf/model/mlp.yaml`."""
        return str(Path(*self.path.absolute().parts[-len(self.group.parts) - 2 :]))


class ConfigFiles:
    """The files of config folders, where the same file in an earlier one is used.

    Args:
        folders: vaelab's, and that of `--config-dir` if there is one.
    """

    def __init__(self, *folders: Path) -> None:
        self.folders = folders

    def over(self, own: str | None) -> "ConfigFiles":
        """These, and those of the folder `own` beside them.

        Raises:
            UserError: if a file there would silently not be used, for one here has its name and other content.
        """
        if own is None or not Path(own).is_dir():  # which Hydra says
            return self
        found = ConfigFiles(Path(own))
        for group, path in found:
            for folder in self.folders:
                ours = folder / group / path.name
                if ours.is_file() and ours.read_bytes() != path.read_bytes():
                    sentence = f"{path} must have a name of its own, got that of an option of vaelab's; rename it"
                    raise UserError(sentence, 2)
        return ConfigFiles(*self.folders, *found.folders)

    def __iter__(self) -> Iterator[ConfigFile]:
        for folder in self.folders:
            for path in sorted(folder.rglob("*.yaml")):
                yield ConfigFile(path.parent.relative_to(folder), path)

    @property
    def groups(self) -> set[str]:
        """The groups of the parts, without Hydra's own."""
        return {path.name for folder in self.folders for path in folder.iterdir() if path.is_dir()} - {"hydra"}

    def has_group(self, group: str) -> bool:
        """Whether there is such a group, `hydra/launcher` too."""
        return any((folder / group).is_dir() for folder in self.folders)
