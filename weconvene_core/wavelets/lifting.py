"""One level of a DWT along any axes by lifting (paper, section on the 3-D DWT; JPEG 2000, Annex F).

The steps are executed in place, with a hand-written adjoint: fresh memory costs most, so the signal is copied once and
all steps work on the copy. The textbook form (:mod:`.lifting_reference`) serves learnt coefficients, integers and
exported programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets import lifting_reference
from weconvene_core.wavelets.lifting_plan import Mode, Plan, make_plan, polyphase_parts
from weconvene_core.wavelets.lifting_schemes import NAMED, LiftingScheme, Scaling, Wavelet, scheme

is_exporting = getattr(torch.compiler, "is_exporting", bool)  # torch 2.4 cannot tell


def split_axes(
    x: Tensor, wavelet: Wavelet, dims: Sequence[int], scaling: Scaling = "orthonormal", mode: Mode = "symmetric"
) -> tuple[Tensor, ...]:
    """Transform along k axes at once.

    Parameters
    ----------
    x, wavelet, scaling, mode : as in :func:`weconvene_core.wavelets.dwt1d`.
    dims : the axes to transform.

    Returns
    -------
    The 2^k bands: all low first, the last axis alternating fastest. For (height, width) these are LL, HL, LH, HH.
    """
    lifting, axes = _checked(x, wavelet, dims, mode)
    if _in_textbook_form(lifting):
        return lifting_reference.split_axes(x, lifting, axes, scaling, mode)
    if torch.compiler.is_compiling():
        return tuple(split(x, lifting.name, scaling, mode, axes, False))
    # (..., H, W) -> 2^k bands in place, with the adjoint as gradient
    return _Analysis.apply(x, make_plan(lifting, scaling, mode, axes, tuple(map(x.size, axes))))


def join_axes(
    bands: Sequence[Tensor], wavelet: Wavelet, dims: Sequence[int], scaling: Scaling = "orthonormal",
    mode: Mode = "symmetric", overwrite: bool = False,
) -> Tensor:  # fmt: skip
    """Invert :func:`split_axes`. With ``overwrite`` the bands serve as scratch memory: their values are lost."""
    low, high = bands[0], bands[-1]
    lifting, axes = _checked(low, wavelet, dims, mode)
    lengths = []  # of the signal along each axis
    for dim in axes:
        n_low, n_high = low.shape[dim], high.shape[dim]
        if not 0 <= n_low - n_high <= 1:
            raise WeconveneError(
                f"low and high have sizes {n_low} and {n_high} along axis {dim}; low must be high or one more."
            )
        lengths.append(n_low + n_high)
    if _in_textbook_form(lifting):
        return lifting_reference.join_axes(bands, lifting, axes, scaling, mode)
    if torch.compiler.is_compiling():
        return join(list(bands), lifting.name, scaling, mode, axes, False)
    return _Synthesis.apply(make_plan(lifting, scaling, mode, axes, tuple(lengths)), overwrite, *bands)


def _checked(x: Tensor, wavelet: Wavelet, dims: Sequence[int], mode: Mode) -> tuple[LiftingScheme, tuple[int, ...]]:
    """Return the lifting scheme and the axes counted from the end, or raise what is impossible."""
    lifting = scheme(wavelet)
    if mode not in get_args(Mode):
        raise WeconveneError(f"mode={mode!r} is unknown; use one of {', '.join(get_args(Mode))}.")
    axes = []
    for dim in dims:
        if not -x.ndim <= dim < x.ndim:
            raise WeconveneError(f"dim={dim} is impossible for x of shape {tuple(x.shape)}; it has {x.ndim} axes.")
        if x.shape[dim] == 0:
            raise WeconveneError(f"x has size 0 along axis {dim}; at least one sample is needed.")
        axes.append(dim % x.ndim - x.ndim)  # counted from the end: the same for (C, H, W) and (B, C, H, W)
    if lifting.integer and (x.is_floating_point() or x.is_complex() or x.dtype == torch.bool):
        raise WeconveneError(f"x has dtype {x.dtype}; wavelet={lifting.name!r} transforms integers: convert x first.")
    if not lifting.integer and not x.is_floating_point():
        raise WeconveneError(
            f"x has dtype {x.dtype}; wavelet={lifting.name!r} needs a floating type, so convert x first "
            "or use wavelet='5/3-integer'."
        )
    return lifting, tuple(axes)


def _in_textbook_form(lifting: LiftingScheme) -> bool:
    """True where the in-place execution is impossible, or slower."""
    if lifting.integer or lifting.learnt or is_exporting():
        return True
    if not torch.compiler.is_compiling():
        return False
    # a compiler fuses Haar well, but recomputes every step of a longer wavelet for every output sample
    inside_pairs = all(len(step.taps) == 1 for step in lifting.steps)
    return inside_pairs or NAMED.get(lifting.name) is not lifting  # the operators know a wavelet by its name


class _Analysis(torch.autograd.Function):
    """x -> its 2^k bands. The gradient of a linear map is its adjoint, so nothing is saved for the backward pass."""

    @staticmethod
    def forward(x: Tensor, plan: Plan) -> tuple[Tensor, ...]:
        # scaled polyphase parts, (..., H, W) -> (..., H/2, W/2): the only copy
        bands = [x[part] * gain for part, gain in zip(plan.parts, plan.gains, strict=True)]
        _lift(bands, plan)
        return tuple(bands)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Plan], output: tuple[Tensor, ...]) -> None:
        ctx.plan = inputs[1]

    @staticmethod
    def backward(ctx: Any, *bands: Tensor) -> tuple[Tensor, None]:
        # the adjoint is a synthesis with another plan: so derivatives of any order follow
        return _Synthesis.apply(ctx.plan.adjoint_inverse, False, *bands), None


class _Synthesis(torch.autograd.Function):
    """2^k bands -> x, the inverse of :class:`_Analysis`."""

    @staticmethod
    def forward(plan: Plan, overwrite: bool, *bands: Tensor) -> Tensor:
        parts = list(bands) if overwrite else [band.clone() for band in bands]  # lifting works in place
        _lift(parts, plan, inverse=True)
        x = _empty_signal(parts, plan.dims)
        for band, part, gain in zip(parts, plan.parts, plan.gains, strict=True):
            torch.mul(band, 1 / gain, out=x[part])  # (..., H/2, W/2) -> every second row and column of (..., H, W)
        return x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.plan = inputs[0]

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *_Analysis.apply(x, ctx.plan.adjoint_inverse)


def _lift(bands: list[Tensor], plan: Plan, inverse: bool = False) -> None:
    """Run the lifting steps of every axis in place; ``inverse``: backwards, with the opposite sign."""
    order = range(len(plan.dims))
    for axis in reversed(order) if inverse else order:
        # this bit of a band's number tells whether the band is low (0) or high (1) along the axis
        dim, bit = plan.dims[axis], len(bands) >> (axis + 1)
        for number, low in enumerate(bands):
            if number & bit:
                continue  # a high band: its low partner comes by itself
            high = bands[number | bit]
            for shear in reversed(plan.shears[axis]) if inverse else plan.shears[axis]:
                # predict steps change the high band, update steps the low one
                target, source = (high, low) if shear.into_high else (low, high)
                target = target.narrow(dim, shear.target_start, shear.length)
                source = source.narrow(dim, shear.source_start, shear.length)
                target.add_(source, alpha=-shear.coefficient if inverse else shear.coefficient)


def _empty_signal(bands: Sequence[Tensor], dims: Sequence[int]) -> Tensor:
    # of the signal of these bands, in the memory format of the first one
    low, shape = bands[0], list(bands[0].shape)
    for dim in dims:
        shape[dim] += bands[-1].shape[dim]  # samples of the low and of the high half
    channels_last = low.ndim == 4 and low.shape[1] > 1 and low.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=low.dtype, device=low.device, memory_format=layout)


# --- in compiled graphs --------------------------------------------------------------------------------------------

SIGNATURE = "str wavelet, str scaling, str mode, int[] dims, bool dual"  # torch 2.4 reads no postponed annotations


def _plan(lengths: Sequence[int], wavelet: str, scaling: str, mode: str, dims: Sequence[int], dual: bool) -> Plan:
    # lengths may differ from call to call, so the plan is made (or found in the cache) when the graph runs
    plan = make_plan(NAMED[wavelet], scaling, mode, tuple(dims), tuple(lengths))  # type: ignore[arg-type]
    return plan.adjoint_inverse if dual else plan


@torch.library.custom_op("weconvene::split", mutates_args=(), schema=f"(Tensor x, {SIGNATURE}) -> Tensor[]")
def split(x: Tensor, wavelet: str, scaling: str, mode: str, dims: Sequence[int], dual: bool) -> list[Tensor]:
    """Run :class:`_Analysis` along ``dims`` (< 0); ``dual``: the adjoint of the inverse."""
    return list(_Analysis.forward(x, _plan([x.shape[dim] for dim in dims], wavelet, scaling, mode, dims, dual)))


@torch.library.custom_op("weconvene::join", mutates_args=(), schema=f"(Tensor[] bands, {SIGNATURE}) -> Tensor")
def join(bands: Sequence[Tensor], wavelet: str, scaling: str, mode: str, dims: Sequence[int], dual: bool) -> Tensor:
    """Run :class:`_Synthesis`; ``dual``: the adjoint of the analysis."""
    lengths = [bands[0].shape[dim] + bands[-1].shape[dim] for dim in dims]
    return _Synthesis.forward(_plan(lengths, wavelet, scaling, mode, dims, dual), False, *bands)


@split.register_fake
def _(x: Tensor, wavelet: str, scaling: str, mode: str, dims: Sequence[int], dual: bool) -> list[Tensor]:
    return [x[part] * 1.0 for part in polyphase_parts(tuple(dims))]  # shapes and memory formats alone count here


@join.register_fake
def _(bands: Sequence[Tensor], wavelet: str, scaling: str, mode: str, dims: Sequence[int], dual: bool) -> Tensor:
    return _empty_signal(bands, dims)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *ctx.how, ctx.dual = inputs[1:]  # the gradient of the one operator is the other, on the adjoint's plan


split.register_autograd(lambda ctx, bands: (join(bands, *ctx.how, not ctx.dual), *[None] * 5), setup_context=_keep)
join.register_autograd(lambda ctx, x: (split(x, *ctx.how, not ctx.dual), *[None] * 5), setup_context=_keep)
