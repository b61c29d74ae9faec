"""Imports run one way, and few packages know W&B and Hydra: the contracts in `pyproject.toml`."""

import subprocess
import sys
from pathlib import Path

from conftest import ROOT


def test_the_contracts_on_imports_are_kept(tmp_path):
    linter = Path(sys.executable).with_name("lint-imports")
    command = [linter, "--config", ROOT / "pyproject.toml", "--cache-dir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_an_import_the_wrong_way_breaks_a_contract(tmp_path):
    package = tmp_path / "vaelab"
    package.mkdir()
    for name in ("run", "training"):
        (package / f"{name}.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "training.py").write_text("import vaelab.run\n")
    contract = '[tool.importlinter]\nroot_package = "vaelab"\n[[tool.importlinter.contracts]]\nname = "one way"\n'
    (tmp_path / "pyproject.toml").write_text(f'{contract}type = "layers"\nlayers = ["vaelab.run", "vaelab.training"]\n')
    linter = Path(sys.executable).with_name("lint-imports")
    command = [linter, "--config", tmp_path / "pyproject.toml", "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "vaelab.training is not allowed to import vaelab.run" in done.stdout
