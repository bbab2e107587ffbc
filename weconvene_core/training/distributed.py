"""The same training on N processes: ``torchrun --nproc-per-node N`` or any launcher that sets torchrun's variables.

Every process draws the whole batch from (seed, step) and works on its part, so the batch does not depend on N, nor does
the loss, up to the order of additions. All processes read one output folder; the main process writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import TorchFunctionMode

from weconvene_core.errors import WeconveneError


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of one training, as one of them sees it: ``rank`` of ``size``."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def local_batch(self, batch: int) -> slice:
        """Return which images of a batch this process works on; ``WeconveneError`` if it cannot be divided evenly."""
        if batch % self.size:
            raise WeconveneError(f"batch={batch} cannot be shared by {self.size} processes; use a multiple of it.")
        part = batch // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def mean(self, values: Tensor) -> Tensor:
        """Average a tensor over the processes."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values

    def any(self, *flags: bool) -> list[bool]:
        """Return which flags are set in at least one process; all processes get the same answer."""
        nccl = dist.is_initialized() and dist.get_backend() == "nccl"
        device = default_device() if nccl else torch.device("cpu")
        return [bool(flag) for flag in self.mean(torch.tensor(flags, dtype=torch.float32, device=device)).tolist()]

    def wrap(self, module: nn.Module, some_unused: bool) -> nn.Module:
        """Let the gradients of ``module`` be averaged over the processes while they are computed (DDP)."""
        if self.size == 1:
            return module
        return DistributedDataParallel(module, broadcast_buffers=False, find_unused_parameters=some_unused)

    def noise(self) -> AbstractContextManager[object]:
        """Inside it, quantisation noise is this process's part of what one process would draw for the whole batch."""
        return _LocalNoise(self) if self.size > 1 else nullcontext()


class _LocalNoise(TorchFunctionMode):
    """Draws ``uniform_`` for the whole batch and keeps this process's part of it."""

    def __init__(self, group: ProcessGroup) -> None:
        super().__init__()
        self.group = group

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is not Tensor.uniform_:
            return function(*args, **(kwargs or {}))
        part, *bounds = args
        images = 0 if part.ndim == 4 else part.ndim - 1  # CompressAI lays z out as (C, 1, B h w)
        whole = torch.cat([part] * self.group.size, images).uniform_(*bounds)
        return part.copy_(whole.chunk(self.group.size, images)[self.group.rank])


def default_device() -> torch.device:
    """Return this process's GPU, or the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


@contextmanager
def join() -> Iterator[ProcessGroup]:
    """Join the processes that torchrun started, for as long as the context lasts; alone when it started none."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ProcessGroup()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
