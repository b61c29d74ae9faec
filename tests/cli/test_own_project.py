"""The page on a project of one's own, followed in a fresh environment with a built wheel."""

import json
import os
import re
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from conftest import ROOT, clean_environment

PAGE = ROOT / "docs/your-own-project.md"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.slow


def run(*arguments, **options):
    process = subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True, **options)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel, built from a copy, for setuptools writes beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    left_out = shutil.ignore_patterns("*.egg-info", "__pycache__")
    for name in ("conf", "src"):
        shutil.copytree(ROOT / name, folder / "source" / name, symlinks=True, ignore=left_out)
    for name in ("README.md", "LICENSE", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / "source")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", folder, folder / "source")
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """Variables of a fresh environment that sees the installed libraries, but no vaelab."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, symlinks=True)
    (own,) = folder.glob("lib/python*/site-packages")
    (own / "libraries.pth").write_text("\n".join(site.getsitepackages()))  # whose own .pth files are not followed
    pip = folder / "bin/pip"
    pip.write_text(f'#!/bin/sh\nexec {folder}/bin/python -m pip "$@"\n')
    pip.chmod(0o755)
    kept = {name: value for name, value in clean_environment().items() if name != "PYTHONPATH"}
    from_wheel = {f"PIP_{name}": "1" for name in ("NO_INDEX", "NO_DEPS", "IGNORE_INSTALLED")}
    from_wheel["PIP_FIND_LINKS"] = str(wheel.parent)
    return {**kept, **from_wheel, "VIRTUAL_ENV": str(folder), "PATH": f"{folder}/bin{os.pathsep}{kept['PATH']}"}


@pytest.fixture(scope="module")
def project(environment, tmp_path_factory):
    """A folder in which all blocks of the page have been followed in their order, by one shell."""
    folder = tmp_path_factory.mktemp("project")
    script = ["set -eux"]
    for language, title, text in BLOCK.findall(PAGE.read_text()):
        if title:
            script.append(f"cat > {title} <<'END'\n{text}END")
        elif language == "python":
            script.append(f"python - <<'END'\n{text}END")
        else:
            assert language == "bash"
            script.append(text)
    run("bash", "-c", "\n".join(script), cwd=folder, env=environment)
    return folder


def test_the_wheel_has_all_that_is_no_code(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"vaelab/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")} <= names
    page = ROOT / "src/vaelab/compare/comparison_page"
    assert {f"vaelab/compare/comparison_page/{path.name}" for path in page.iterdir()} <= names
    assert "hydra_plugins/vaelab/pool_launcher.py" in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"vaelab", "hydra_plugins"}


def test_the_page_runs_with_the_vaelab_of_the_wheel(project, environment):
    where = run("python", "-c", "import vaelab; print(vaelab.__file__)", cwd=project, env=environment)
    assert Path(where).is_relative_to(environment["VIRTUAL_ENV"])
    summary = json.loads((project / "outputs/first/summary.json").read_text())
    assert (summary["status"], summary["epochs"]) == ("finished", 5)
    assert (summary["choices"]["model"], summary["choices"]["experiment"]) == ("mine", "mine")
    (sweep,) = (project / "outputs/sweeps").iterdir()
    assert (sweep / "results.csv").read_text().count("finished") == 2
    assert (project / "samples.png").exists()
    assert (project / "compare.html").exists()


def test_the_folder_one_is_in_is_imported_only_if_one_says_so(project, environment):
    command = ["vaelab", "train", "--config-dir", "conf", "experiment=mine"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "mypackage" in done.stderr
    assert len(done.stderr.splitlines()) == 1
