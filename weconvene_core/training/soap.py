"""SOAP: Adam in the eigenbasis of each kernel's gradient covariances (Vyas et al., 2024, arXiv 2409.11321).

Rate and distortion pull a compression model's weights in conflicting directions, which Adam, looking at one coordinate
at a time, resolves slowly; Zhang and Zhu (2026, arXiv 2601.20769) found that SOAP needs a third of its steps. What it
gains and costs here: ``results/tables/recipe.csv``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from weconvene_core.errors import WeconveneError

REFRESH = 10  # steps between two updates of a kernel's bases
SAMPLE = 2  # steps between two gradients that enter the covariances
SMALLEST = 1e-8
KERNEL_AXES = 4
SIDES = ("out", "in")


class Soap(torch.optim.Optimizer):
    """SOAP for convolution kernels; every other parameter gets plain Adam.

    A kernel (O, I, kh, kw) has two bases, of its output and its input channels; kernel positions are left alone. A
    kernel's first gradient only fills its bases. The whole state is tensors, so that it can be saved as such.

    Parameters
    ----------
    params : parameters, on any device.
    lr : step size; Adam's are a good start.
    betas : decay of the first and second moments.
    gram_decay : decay of the covariances.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, betas: tuple[float, float] = (0.95, 0.95), gram_decay: float = 0.95
    ) -> None:
        if lr <= 0 or not all(0 <= decay < 1 for decay in (*betas, gram_decay)):
            raise WeconveneError(f"lr={lr}, betas={betas}, gram_decay={gram_decay}: use lr > 0 and decays in 0..1.")
        super().__init__(params, {"lr": lr, "betas": betas, "gram_decay": gram_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for number, parameter in enumerate(group["params"]):
                if parameter.grad is not None:
                    self._update(parameter, group, number)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any], number: int) -> None:
        state, kernel = self.state[parameter], parameter.ndim == KERNEL_AXES
        gradient = _stacked(parameter.grad) if kernel else parameter.grad
        if not state:
            _start(state, gradient, kernel)
            if kernel:
                return
        state["step"] += 1
        parameter.add_(_unstacked(self._change(state, gradient, group, kernel), parameter))
        turn = int(state["step"]) + number  # kernels take turns with what is expensive
        if kernel and turn % SAMPLE == 0:
            for side in SIDES:
                state[f"gram_{side}"].lerp_(_gram(gradient, side), 1 - group["gram_decay"] ** SAMPLE)
        if kernel and turn % REFRESH == 0:
            _refresh(state)

    @staticmethod
    def _change(state: dict[str, Tensor], gradient: Tensor, group: dict[str, Any], kernel: bool) -> Tensor:
        """Adam's step; for kernels both moments live in the eigenbases."""
        count, (first, second) = int(state["step"]), group["betas"]
        along = _rotate(gradient, state) if kernel else gradient
        state["exp_avg"].lerp_(along, 1 - first)
        state["exp_avg_sq"].lerp_(along.square(), 1 - second)
        spread = (state["exp_avg_sq"] / (1 - second**count)).sqrt_().add_(SMALLEST)
        direction = (state["exp_avg"] / spread).mul_(-group["lr"] / (1 - first**count))
        return _rotate_back(direction, state) if kernel else direction


OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "soap": Soap}
"""What a training configuration can name."""


def _stacked(kernel: Tensor) -> Tensor:
    """(O, I, kh, kw) -> (kh kw, O, I): one matrix per kernel position."""
    return kernel.flatten(2).permute(2, 0, 1)


def _unstacked(change: Tensor, like: Tensor) -> Tensor:
    """Invert :func:`_stacked` for a kernel; leave anything else as it is."""
    return change.permute(1, 2, 0).reshape(like.shape) if like.ndim == KERNEL_AXES else change


def _start(state: dict[str, Tensor], gradient: Tensor, kernel: bool) -> None:
    state["step"] = torch.zeros(())
    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
    for side in SIDES if kernel else ():
        gram = _gram(gradient, side)
        state[f"gram_{side}"], state[f"basis_{side}"] = gram, _eigenvectors(gram)


def _eigenvectors(gram: Tensor) -> Tensor:
    """Columns sorted by eigenvalue, the largest first.

    One gradient's covariance may lack most of its rank; in single precision LAPACK then sometimes returns NaN, or
    gives up (``data/checkpoints/RUNS.md`` has how often).
    """
    return torch.linalg.eigh(gram.double())[1].flip(1).to(gram.dtype)


def _gram(stack: Tensor, side: str) -> Tensor:
    """Covariance of the rows (O, O) or of the columns (I, I) of all matrices together."""
    flat = stack.transpose(0, 1).flatten(1) if side == "out" else stack.flatten(0, 1).T
    return flat @ flat.T


def _rotate(stack: Tensor, state: dict[str, Tensor]) -> Tensor:
    return state["basis_out"].T @ stack @ state["basis_in"]


def _rotate_back(stack: Tensor, state: dict[str, Tensor]) -> Tensor:
    return state["basis_out"] @ stack @ state["basis_in"].T


def _refresh(state: dict[str, Tensor]) -> None:
    """One orthogonal iteration towards the covariances' eigenvectors, sorted by eigenvalue."""
    average = _rotate_back(state["exp_avg"], state)
    for side, axis in zip(SIDES, (1, 2), strict=True):
        gram, basis = state[f"gram_{side}"], state[f"basis_{side}"]
        spread = gram @ basis
        order = (basis * spread).sum(0).argsort(descending=True)
        state["exp_avg_sq"] = state["exp_avg_sq"].index_select(axis, order)
        state[f"basis_{side}"] = torch.linalg.qr(spread[:, order])[0]
    state["exp_avg"] = _rotate(average, state)
