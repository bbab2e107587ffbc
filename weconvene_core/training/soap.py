"""SOAP: Adam in the eigenbasis of each kernel's gradient covariances (Vyas et al., 2024, arXiv 2409.11321).

Rate and distortion pull a compression model's weights in conflicting directions, which Adam, looking at one coordinate
at a time, resolves slowly; Zhang and Zhu (2026, arXiv 2601.20769) found that SOAP needs a third of its steps. What it
gains and costs here: ``results/tables/recipe.csv``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

REFRESH = 10  # steps between two updates of a kernel's bases
SAMPLE = 2  # steps between two gradients that enter the covariances
GRAM_DECAY = 0.95  # of the covariances, per step
SMALLEST = 1e-8
KERNEL_AXES = 4
SIDES = ("out", "in")
MOMENTS = ("exp_avg", "exp_avg_sq")


class Soap(torch.optim.Optimizer):
    """SOAP for convolution kernels; every other parameter gets plain Adam.

    A kernel (O, I, kh, kw) has two bases, of its output and its input channels; kernel positions are left alone. A
    kernel's first gradient only fills its bases. The whole state is tensors, so that it can be saved as such.

    Parameters
    ----------
    params : parameters, on any device.
    lr : step size; Adam's are a good start.
    betas : decay of the first and second moments.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, betas: tuple[float, float] = (0.95, 0.95)) -> None:
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            others = []
            for number, parameter in enumerate(group["params"]):
                if parameter.grad is None:
                    continue
                if parameter.ndim == KERNEL_AXES:
                    self._update_kernel(parameter, group, number)
                else:
                    state = self.state[parameter] or _start(self.state[parameter], parameter.grad)
                    others.append((parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"], state["step"]))
            _adam(others, group)

    def _update_kernel(self, parameter: Tensor, group: dict[str, Any], number: int) -> None:
        """Adam in the eigenbases, where both moments live."""
        # (O, I, kh, kw) -> (O, kh kw, I), which a kernel whose channels are neighbours in memory is already
        state, gradient = self.state[parameter], parameter.grad.permute(0, 2, 3, 1).flatten(1, 2).contiguous()
        if not state:
            _start(state, gradient.transpose(0, 1))
            for side in SIDES:
                gram = _gram(gradient, side)
                state[f"gram_{side}"], state[f"basis_{side}"] = gram, _eigenvectors(gram)
            return
        along = _rotate(gradient, state)
        change = torch.zeros_like(along)
        _adam([(change, along, *(_moment(state, key) for key in MOMENTS), state["step"])], group)
        change = _rotate(change, state, back=True).unflatten(1, parameter.shape[2:])  # (O, kh, kw, I)
        parameter.add_(change.permute(0, 3, 1, 2))
        turn = int(state["step"]) + number  # kernels take turns with what is expensive
        if turn % SAMPLE == 0:
            for side in SIDES:
                state[f"gram_{side}"].lerp_(_gram(gradient, side), 1 - GRAM_DECAY**SAMPLE)
        if turn % REFRESH == 0:
            _refresh(state)


OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "soap": Soap}
"""What a training configuration can name."""


def _start(state: dict[str, Tensor], like: Tensor) -> dict[str, Tensor]:
    state["step"] = torch.zeros(())
    state |= {key: torch.zeros_like(like) for key in MOMENTS}
    return state


def _moment(state: dict[str, Tensor], key: str) -> Tensor:
    """Return a kernel's moment (O, kh kw, I) in one piece; files keep the positions in front."""
    moment = state[key].transpose(0, 1).contiguous()  # copies nothing but what a file gave
    state[key] = moment.transpose(0, 1)
    return moment


def _adam(rows: Sequence[tuple[Tensor, ...]], group: dict[str, Any]) -> None:
    """Adam's step for rows of (target, gradient, first moment, second moment, step): one pass over the memory."""
    if not rows:
        return
    *tensors, steps = (list(column) for column in zip(*rows, strict=True))
    torch._foreach_add_(steps, 1)
    first, second = group["betas"]
    torch._fused_adam_(
        *tensors, [], [step.to(rows[0][0].device) for step in steps], lr=group["lr"], beta1=first, beta2=second,
        weight_decay=0.0, eps=SMALLEST, amsgrad=False, maximize=False,
    )  # fmt: skip


def _eigenvectors(gram: Tensor) -> Tensor:
    """Columns sorted by eigenvalue, the largest first.

    One gradient's covariance may lack most of its rank; in single precision LAPACK then sometimes returns NaN, or
    gives up (``data/checkpoints/RUNS.md`` has how often).
    """
    return torch.linalg.eigh(gram.double())[1].flip(1).to(gram.dtype).contiguous()


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Matrix product, on a CPU by oneDNN: MKL leaves half of an AMD processor's vector width unused."""
    if left.device.type == "cpu" and left.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._linear_pointwise(left, right.T, None, "none", [], "")
    return left @ right


def _gram(stack: Tensor, side: str) -> Tensor:
    """Covariance of the rows (O, O) or of the columns (I, I) of all matrices together."""
    flat = stack.flatten(1) if side == "out" else stack.flatten(0, 1).T
    return _product(flat, flat.T)


def _rotate(stack: Tensor, state: dict[str, Tensor], back: bool = False) -> Tensor:
    """Turn the matrix (O, I) at every position into the eigenbases, or back."""
    rows, columns = (state[f"basis_{side}"] for side in SIDES)
    left, right = (rows, columns.T) if back else (rows.T, columns)
    half = _product(stack.flatten(0, 1), right)
    return _product(left, half.view(len(stack), -1)).view(stack.shape)


def _refresh(state: dict[str, Tensor]) -> None:
    """One orthogonal iteration towards the covariances' eigenvectors, sorted by eigenvalue."""
    average, square = (_moment(state, key) for key in MOMENTS)
    average = _rotate(average, state, back=True)
    for side, axis in zip(SIDES, (0, 2), strict=True):
        gram, basis = state[f"gram_{side}"], state[f"basis_{side}"]
        spread = _product(gram, basis)
        order = (basis * spread).sum(0).argsort(descending=True)
        square = square.index_select(axis, order)
        state[f"basis_{side}"] = torch.linalg.qr(spread[:, order])[0].contiguous()
    state |= {"exp_avg": _rotate(average, state).transpose(0, 1), "exp_avg_sq": square.transpose(0, 1)}
