"""What is postponed of torch is imported as soon as it is needed, once and whole."""

import subprocess
import sys

import pytest

BEGIN = """
import sys
import torch
from vaelab.machine.dynamo import postpone
postpone()
weight = torch.nn.Parameter(torch.ones(3))
optimizer = torch.optim.Adam([weight], lr=0.1)
weight.sum().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
assert abs(weight[0].item() - 0.9) < 1e-6
assert "torch._dynamo.config" not in sys.modules, "an optimizer needs none of it"
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "needs",
    [
        "import torch._dynamo.config as config; assert config.recompile_limit > 0",
        "from torch._dynamo import config; assert config.recompile_limit > 0",
        "import torch._dynamo; assert torch._dynamo.config.recompile_limit > 0",
        "import torch._inductor.compile_fx",
        "disabled = torch.compiler.disable(recursive=False)(lambda: 3); assert disabled() == 3",
        "from torch._dynamo import disable; assert disable(lambda: 3)._torchdynamo_disable",
        "import importlib.util; assert importlib.util.find_spec('torch._dynamo').name == 'torch._dynamo'",
        "assert torch.compile(lambda x: x + 1, backend='eager')(weight).tolist() == (weight + 1).tolist()",
    ],
)
def test_torch_dynamo_is_there_when_it_is_asked_for(needs):
    check = """
import importlib
module = importlib.import_module("torch._dynamo.config")
assert module is torch._dynamo.config is sys.modules["torch._dynamo"].config
assert type(module.__spec__.loader).__module__ != "vaelab.machine.dynamo"
weight.sum().backward()
optimizer.step()
"""
    done = subprocess.run(
        [sys.executable, "-c", f"{BEGIN}\n{needs}\n{check}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
