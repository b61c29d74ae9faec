"""Imports run one way, and W&B and Hydra are known to few files."""

import ast
from pathlib import Path

import pytest

import vaelab

SOURCE = Path(vaelab.__file__).parent

# A module imports from the lines above its own only; a folder stands for its files.
LAYERS = """
errors labels metrics
folder gpus ops plain_yaml suggestions
images layers parts ranks rebuilt records restored run_log saved study terminal threads
device prepared
dataset model posterior prior likelihood scheduler
vae loader average
objective
loss
compiled contracts evaluate figures
checkpoint signals progress rows state update profiling continuation pruning sampling
wandb_run
wandb_process
logger pictures compared
train ranking
build compare
page dashboard listing
experiment
runs
cli leftovers pool sentences search search_space asked
sweep arguments composition sweep_view cluster search_report
launch
preload
vaelab
"""
LAYER = {name: number for number, line in enumerate(LAYERS.split("\n")) for name in line.split()}
FEW = {
    "wandb": {"wandb_run", "preload", "dashboard"},
    "wandb_workspaces": {"dashboard"},
    "hydra": {
        "build",
        "launch",
        "sweep",
        "sentences",
        "composition",
        "arguments",
        "search_space",
        "asked",
        "leftovers",
    },
    "omegaconf": {"build", "launch", "sweep", "sentences", "composition", "arguments", "leftovers"},
}


def module_names(folder):
    """{name: file} of all modules below vaelab, such as `model.mlp`; the package itself is `vaelab`."""
    names = {}
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        names[".".join(part for part in parts if part != "__init__") or "vaelab"] = file
    return names


MODULES = module_names(SOURCE)


def imports(module, source, is_package=False):
    """Absolute names of what a module imports anywhere, in functions too, `vaelab.ops.generator` for a name in one."""
    package = ["vaelab", *module.split(".")][: None if is_package else -1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in ("import_module", "__import__"):
                yield str(node.args[0].value)


def violations(module, source, is_package=False):
    """What a module imports against the rules, and whether it has no layer."""
    part = module.split(".")[0]
    if part not in LAYER:
        return [f"{module} has no layer"]
    found = []
    for name in imports(module, source, is_package):
        root, *inner = name.split(".")
        if root in FEW and module not in FEW[root]:
            found.append(f"{module} imports {root}")
        if root == "vaelab":
            imported = inner[0] if inner and inner[0] in LAYER else "vaelab"
            if LAYER[imported] >= LAYER[part]:
                found.append(f"{module} imports {name}")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_earlier_layers_only(module):
    file = MODULES[module]
    assert violations(module, file.read_text(), file.name == "__init__.py") == []


def test_every_layer_has_its_module():
    assert {module.split(".")[0] for module in MODULES} == LAYER.keys()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ops", "from vaelab.train import Trainer"),
        ("ops", "def f():\n    from vaelab.train import Trainer"),
        ("ops", "if TYPE_CHECKING:\n    import vaelab.errors, vaelab.train as t"),
        ("checkpoint", "from vaelab import errors, logger"),
        ("train", "from vaelab import load_run"),
        ("evaluate", "from . import runs"),
        ("model.mlp", "from .conv import networks"),
        ("model.mlp", "from ..vae import VAE"),
        ("prior.normal", "from vaelab.posterior.gaussian import GaussianPosterior"),
        ("posterior.flow", "from vaelab.posterior.gaussian import GaussianPosterior"),
        ("vae", "class A:\n    def f(self):\n        importlib.import_module('vaelab.objective.elbo')"),
        ("ops", "__import__('vaelab.cli')"),
        ("train", "def f():\n    import wandb.sdk"),
        ("train", "from wandb import init"),
        ("experiment", "import hydra"),
        ("logger", "from omegaconf import OmegaConf"),
        ("model.logger", "import wandb"),
        ("utils", "import math"),
    ],
)
def test_a_made_up_violation_is_found(module, source):
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("train", "from vaelab import checkpoint\nfrom vaelab.errors import UserError\nimport torch"),
        ("model.mlp", "from vaelab.layers import activation_layer\nfrom ..errors import check_integer"),
        ("wandb_run", "def f():\n    import wandb"),
        ("build", "from hydra.utils import instantiate"),
    ],
)
def test_a_good_import_is_none(module, source):
    assert violations(module, source) == []
