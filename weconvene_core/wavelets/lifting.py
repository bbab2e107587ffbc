"""One level of a DWT along any axes by lifting (paper, section on the 3-D DWT; JPEG 2000, Annex F).

The steps are executed in place, with a hand-written adjoint: fresh memory costs most, so the signal is copied once and
all steps work on the copy. The textbook form (:func:`textbook_split`: slices, ``cat`` and additions that make new
tensors) serves learnt coefficients, integers and exported programs, since automatic differentiation sees every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets.lifting_plan import Mode, Plan, make_plan, polyphase_parts, tap_runs
from weconvene_core.wavelets.lifting_schemes import NAMED, LiftingScheme, LiftingStep, Scaling, Wavelet, scheme

WIDER = {torch.uint8: torch.int16, torch.int8: torch.int16, torch.int16: torch.int32}  # a high sample spans two ranges
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
    compiling = torch.compiler.is_compiling()
    if lifting.integer or lifting.learnt or (compiling and _compiled_in_textbook_form(lifting)):
        return textbook_split(x, lifting, axes, scaling, mode)
    if compiling:
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
    compiling = torch.compiler.is_compiling()
    if lifting.integer or lifting.learnt or (compiling and _compiled_in_textbook_form(lifting)):
        return textbook_join(bands, lifting, axes, scaling, mode)
    if compiling:
        return join(list(bands), lifting.name, scaling, mode, axes, False)
    return _Synthesis.apply(make_plan(lifting, scaling, mode, axes, tuple(lengths)), overwrite, *bands)


def _checked(x: Tensor, wavelet: Wavelet, dims: Sequence[int], mode: Mode) -> tuple[LiftingScheme, tuple[int, ...]]:
    """Return the lifting scheme and the axes counted from the end, or raise what is impossible."""
    lifting = NAMED.get(wavelet) if isinstance(wavelet, str) else wavelet
    if not isinstance(lifting, LiftingScheme):
        lifting = scheme(wavelet)  # which says what is known
    if not isinstance(x, Tensor):
        raise WeconveneError(f"x is of type {type(x).__name__}; give a tensor, as torch.from_numpy makes one.")
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


def _compiled_in_textbook_form(lifting: LiftingScheme) -> bool:
    """True where a compiler cannot take the in-place execution, or makes faster code without it."""
    # a compiler fuses Haar well, but recomputes every step of a longer wavelet for every output sample
    inside_pairs = all(len(step.taps) == 1 for step in lifting.steps)
    # an exported program has no operators of ours; these know a wavelet by its name
    return is_exporting() or inside_pairs or NAMED.get(lifting.name) is not lifting


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


# --- the textbook form ------------------------------------------------------------------------------------------------


def textbook_split(
    x: Tensor, lifting: LiftingScheme, dims: Sequence[int], scaling: Scaling, mode: Mode
) -> tuple[Tensor, ...]:
    """Transform along the axes (< 0) one after the other: 2^k bands, the last axis alternating fastest."""
    bands = [x.to(WIDER.get(x.dtype, x.dtype)) if lifting.integer else x]
    for dim in dims:
        bands = [half for band in bands for half in _split(band, lifting, dim, scaling, mode)]
    return tuple(bands)


def textbook_join(
    bands: Sequence[Tensor], lifting: LiftingScheme, dims: Sequence[int], scaling: Scaling, mode: Mode
) -> Tensor:
    """Invert :func:`textbook_split`, last axis first."""
    for dim in reversed(dims):
        pairs = zip(bands[::2], bands[1::2], strict=True)  # low and high along this axis are neighbours
        bands = [_join(low, high, lifting, dim, scaling, mode) for low, high in pairs]
    return bands[0]


def _split(x: Tensor, lifting: LiftingScheme, dim: int, scaling: Scaling, mode: Mode) -> tuple[Tensor, Tensor]:
    # the lazy wavelet: even samples are the low band, odd samples the high band
    low, high = (x[part] for part in polyphase_parts((dim,)))
    # predict and update steps in turn
    for step in lifting.steps:
        low, high = _lifted(step, low, high, lifting, mode, dim, sign=1)
    if lifting.integer:
        return low, high
    low_gain, high_gain = lifting.gains(scaling, x.shape[dim])
    return low * low_gain, high * high_gain  # DC and Nyquist gain of the wanted scaling


def _join(low: Tensor, high: Tensor, lifting: LiftingScheme, dim: int, scaling: Scaling, mode: Mode) -> Tensor:
    n_low, n_high = low.shape[dim], high.shape[dim]
    if not lifting.integer:
        low_gain, high_gain = lifting.gains(scaling, n_low + n_high)
        low, high = low / low_gain, high / high_gain  # back to the scale of the steps
    # the same steps backwards, with the opposite sign
    for step in reversed(lifting.steps):
        low, high = _lifted(step, low, high, lifting, mode, dim, sign=-1)
    # interleave: l0 h0 l1 h1 ..., and the last low sample of an odd length
    axis = dim + low.ndim
    x = torch.stack([low.narrow(axis, 0, n_high), high], axis + 1).flatten(axis, axis + 1)
    return x if n_low == n_high else torch.cat([x, low.narrow(axis, n_high, 1)], axis)


def _lifted(
    step: LiftingStep, low: Tensor, high: Tensor, lifting: LiftingScheme, mode: Mode, dim: int, sign: int
) -> tuple[Tensor, Tensor]:
    """Return both bands after one step, added (sign 1) or undone (-1)."""
    if high.shape[dim] == 0:  # a single sample has no neighbour
        return low, high
    target, source = (high, low) if step.target == "high" else (low, high)
    change = 0
    for offset, coefficient in step.taps:
        # what this tap reads, in the order of the target
        runs = tap_runs(low.shape[dim] + high.shape[dim], step.target, offset, lifting.border, mode)
        read = [
            torch.zeros_like(source.narrow(dim, 0, length)) if start is None else source.narrow(dim, start, length)
            for _, start, length in runs
        ]
        change = change + coefficient * (read[0] if len(read) == 1 else torch.cat(read, dim))
    if step.rounding:
        # reversible: the sum is rounded down, and the inverse subtracts the very same integer
        change = (change + step.rounding.bias) >> step.rounding.shift
    target = target + sign * change  # sign -1 undoes the step, since the source did not change
    return (low, target) if step.target == "high" else (target, high)


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
