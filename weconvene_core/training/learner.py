"""Everything that training changes: the weights, their average, and the state of two optimisers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weconvene_core.errors import WeconveneError
from weconvene_core.model.checkpoint import load_weights
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.distributed import ProcessGroup
from weconvene_core.training.losses import Objective, RateDistortion
from weconvene_core.training.soap import OPTIMIZERS

AUX_RATE = 1e-3  # learning rate of the quantiles of z (CompressAI's auxiliary loss)


class Learner:
    """A model in training, the average of its weights over the steps (EMA), and two optimisers.

    In a stage that leaves g_a and g_s alone the model skips them. The average never does: untrained, they add nothing.
    """

    def __init__(self, model: WeConvene, config: TrainConfig, group: ProcessGroup) -> None:
        self.model, self.config, self.group = model, config, group
        model.quantiser = config.quantiser
        trained = _choose(model, config.trains)
        self.ema = copy.deepcopy(model).eval()
        quantiles = [p for name, p in trained.items() if name.endswith(".quantiles")]
        weights = [p for name, p in trained.items() if not name.endswith(".quantiles")]
        self.optimizers = {"weights": OPTIMIZERS[config.optimizer](weights, lr=AUX_RATE)}  # its rate is set every step
        if quantiles:  # of the factorised prior: CompressAI trains them by Adam and a loss of their own
            self.optimizers["aux"] = torch.optim.Adam(quantiles, lr=AUX_RATE)
        objective = Objective(model, config.lambda_exponent, config.metric, config.largest_loss)
        self.objective = group.wrap(objective, some_unused=not all(stage.transforms for stage in config.stages))

    def enter(self, stage: Stage) -> None:
        """Set what is trained in this stage."""
        bypass = not stage.transforms and self.model.config.shortcut
        if self.model.bypass_transforms and not bypass:
            self.ema.load_state_dict(self.model.state_dict())  # newly unlocked networks start their average afresh
        self.model.bypass_transforms = bypass
        self.model.train()

    def gradients(self, x: Tensor, quality: Tensor, stage: Stage) -> tuple[RateDistortion, bool]:
        """Compute clipped gradients of this process's images; return the loss's terms, and whether all are finite."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        with self.group.noise():
            loss, terms = self.objective(x, quality, stage.w_lf, stage.w_hf)
        loss.backward()
        weights = self.optimizers["weights"].param_groups[0]["params"]  # z's quantiles would drown the others' norm
        norm = torch.nn.utils.clip_grad_norm_(weights, self.config.clip_norm)
        return terms, bool((loss.detach() + norm).isfinite())

    def update(self, step: int, rate: float) -> None:
        """Update the weights at this learning rate, and their average."""
        self.optimizers["weights"].param_groups[0]["lr"] = rate
        for optimizer in self.optimizers.values():
            optimizer.step()
        decay = min(self.config.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.parameters()), list(self.model.parameters()), 1.0 - decay)

    def tensors(self) -> dict[str, Tensor]:
        """Return the whole state by name: ``model/...``, ``ema/...``, ``weights/<parameter>/...``, ``aux/...``."""
        tensors = {f"model/{name}": t for name, t in self.model.state_dict().items()}
        tensors |= {f"ema/{name}": t for name, t in self.ema.state_dict().items()}
        for label, optimizer in self.optimizers.items():
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"{label}/{index}/{key}": value for key, value in state.items()}
        return tensors

    def restore(self, tensors: dict[str, Tensor], path: Path) -> None:
        """Take up a state of :meth:`tensors`, read from ``path``; ``WeconveneError`` if of another architecture."""
        load_weights(self.model, _under("model/", tensors), path)
        load_weights(self.ema, _under("ema/", tensors), path)
        for label, optimizer in self.optimizers.items():
            optimizer.load_state_dict(_optimizer_state(optimizer, _under(f"{label}/", tensors)))


def _choose(model: WeConvene, prefixes: Sequence[str]) -> dict[str, nn.Parameter]:
    """Freeze every parameter but those whose name starts with one of ``prefixes``; with none, nothing."""
    every = dict(model.named_parameters())
    if unknown := [prefix for prefix in prefixes if not any(name.startswith(prefix) for name in every)]:
        parts = ", ".join(dict.fromkeys(name.split(".")[0] for name in every))
        raise WeconveneError(f"trains={', '.join(unknown)} names nothing in the model; its parts are {parts}.")
    for name, parameter in every.items():
        parameter.requires_grad_(not prefixes or name.startswith(tuple(prefixes)))
    return {name: parameter for name, parameter in every.items() if parameter.requires_grad}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _optimizer_state(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Order a file's tensors as an optimiser wants them, with the memory layout of its parameters."""
    parameters = optimizer.param_groups[0]["params"]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split("/")
        like = parameters[int(index)]
        laid_out = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
        state.setdefault(int(index), {})[key] = laid_out
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
