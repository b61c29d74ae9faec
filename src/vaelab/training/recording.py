"""What a function does to its tensors, written down while it does it."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary


class Recording(TorchDispatchMode):
    """The operations of a call of a function on tensors, and the values that they take from elsewhere.

    Two calls with the same `text` are those of one program: of the tensors that go in, only their form is in it. What
    is computed of no such tensor is no operation, and has its value in the text where one of them takes it.

    Args:
        function: of tensors, which it may change, returning tensors.
        tensors: for it.
    """

    def __init__(self, function: Callable[..., Sequence[Tensor]], tensors: Sequence[Tensor]) -> None:
        super().__init__()
        self.operations = 0
        self._lines: list[str] = []
        self._numbers = WeakTensorKeyDictionary()
        self._add(tensors)
        with self:
            returned = function(*tensors)
        self._lines.append(f"return {[self._named(tensor) for tensor in returned]}")

    @property
    def text(self) -> str:
        """A line an operation and a tensor."""
        return "\n".join(self._lines)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # it would be imported to be skipped, for a second

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        leaves, spec = tree_flatten((args, kwargs))
        if any(isinstance(leaf, Tensor) and leaf in self._numbers for leaf in leaves):
            self.operations += 1
            self._lines.append(f"{operation} {[self._named(leaf) for leaf in leaves]} {spec}")
            self._add([leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)])
        return result

    def _add(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            number = self._numbers.setdefault(tensor, len(self._lines))
            self._lines.append(f"{number} = {tensor.dtype} {tensor.device} {tensor.shape} {tensor.stride()}")

    def _named(self, leaf: Any) -> str:
        if not isinstance(leaf, Tensor):
            return repr(leaf)
        if leaf in self._numbers:
            return f"tensor {self._numbers[leaf]}"
        content = leaf.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        return f"{leaf.dtype} {leaf.device} {leaf.shape} {hashlib.sha256(content).hexdigest()}"
