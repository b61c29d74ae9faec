"""The processes that train one run together, as `torchrun` starts them; rank 0 alone writes.

Each rank makes every step on its share of the batch. What is summed over the ranks is the same on all of them to the
last bit, so that all take the same turns without being told. A process that torchrun did not start is the only rank,
for which nothing here costs anything.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from vaelab.errors import UserError, one_line

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


class RankLostError(UserError):
    """Another rank does not answer any more: it has died, or ended with an error of its own."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train the run.

    All ranks must call a method that communicates, in the same order. Over gloo, which is all on CPUs and all but
    `all_reduce` on GPUs, it raises RankLostError where one is gone. NCCL waits; there torchrun ends the others.

    Args:
        rank: its number, from 0.
        size: how many there are.
        local_rank: its number on its machine, and that of its GPU.
        store: of torch.distributed, which outlives the ranks; None for a single one.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    store: Any = None

    @property
    def is_main_process(self) -> bool:
        """Whether this rank is the one that writes."""
        return self.rank == 0

    @property
    def is_single(self) -> bool:
        """Whether there is no other rank."""
        return self.size == 1

    def rows_of(self, images: int) -> slice:
        """This rank's rows of a batch; shares differ by one image at most, and one can be empty."""
        return slice(images * self.rank // self.size, images * (self.rank + 1) // self.size)

    def all_reduce(self, tensors: Sequence["Tensor"], weight: float, vote: bool) -> tuple[list["Tensor"], "Tensor"]:
        """The sum over ranks of `weight` times each tensor, and the number of votes; one message for all.

        A single message of a step is also what makes every step the same sum: who splits it anew after the first step,
        as DistributedDataParallel does, sums three ranks in another order than a resumed run in its first step.

        Args:
            tensors: the same shapes on all ranks, the first one's type for all that is sent.
            weight: of this rank's.
            vote: what this rank has to say to the others, without a message of its own.

        Returns:
            The sums in the tensors' shapes, and the votes, () on their device, where reading it may wait.
        """
        import torch

        flat = [tensor.detach().flatten() for tensor in tensors]
        message = torch.cat([*flat, flat[0].new_full((1,), float(vote))])
        message[:-1] *= weight
        with _connected():
            torch.distributed.all_reduce(message)
        *parts, votes = message.split([*(tensor.numel() for tensor in tensors), 1])
        sums = [part.view_as(tensor).to(tensor.dtype) for part, tensor in zip(parts, tensors, strict=True)]
        return sums, votes.squeeze()

    def all_reduce_max(self, value: int) -> int:
        """The largest of the ranks' values."""
        if self.is_single:
            return value
        import torch

        found = torch.tensor(value)
        with _connected():
            torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
        return int(found)

    def all_gather(self, value: T) -> list[T]:
        """The values of all ranks, in their order."""
        if self.is_single:
            return [value]
        import torch

        found: list[Any] = [None] * self.size
        with _connected():
            torch.distributed.all_gather_object(found, value)
        return found

    def broadcast(self, call: Callable[[], T]) -> T:
        """What `call` returns on the first rank, the only one that calls it."""
        found: list[Any] = [call() if self.is_main_process else None]
        if not self.is_single:
            import torch

            with _connected():
                torch.distributed.broadcast_object_list(found, src=0, device=torch.device("cpu"))
        return found[0]

    def broadcast_tensors(self, tensors: Iterable["Tensor"]) -> None:
        """Give the tensors, in place, the values that they have on the first rank."""
        if self.is_single:
            return
        import torch

        with _connected():
            for tensor in tensors:
                torch.distributed.broadcast(tensor, src=0)

    def may_say(self, text: str, error: BaseException) -> bool:
        """Whether this rank is to print `text` about the error that ends it.

        Ranks that end for the same reason say so once; those that end because another did say nothing after it.
        """
        if self.is_single:
            return True
        try:
            is_first_error = self.store.add("errors", 1) == 1
            said_before = self.store.add(f"error: {text}", 1) > 1
        except RuntimeError:  # the store went with its machine
            return True
        return is_first_error if isinstance(error, RankLostError) else not said_before


SINGLE = Ranks()
_current = SINGLE


def current() -> Ranks:
    """This process among the ranks of its run; the only one, unless `join` found others."""
    return _current


def join() -> Ranks:
    """Connect this process to the others that torchrun has started, where it has, and return `current`.

    Raises:
        UserError: if the others cannot be reached.
    """
    global _current
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return _current
    import torch
    from torch.distributed.rendezvous import rendezvous

    try:
        store, rank, size = next(iter(rendezvous("env://")))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"WORLD_SIZE={size} announces several ranks, but they cannot be connected ({one_line(error, 200)}); start "
            f"them with torchrun, or unset WORLD_SIZE"
        ) from error
    _current = Ranks(rank, size, int(os.environ.get("LOCAL_RANK", "0")), store)
    return _current


def leave() -> None:
    """End the connection; after an error the end of the process does so."""
    if not _current.is_single:
        import torch

        torch.distributed.destroy_process_group()


@contextmanager
def _connected() -> Iterator[None]:
    """Turn what gloo and NCCL raise when a rank is gone into one sentence."""
    try:
        yield
    except RuntimeError as error:
        if "out of memory" in str(error):
            raise
        raise RankLostError("another rank of this run has died; the report of torchrun says which") from error
