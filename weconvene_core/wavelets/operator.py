"""The fast execution as two PyTorch operators, so that ``torch.compile`` puts it into its graph as it is.

A compiler that fuses the textbook form of a long wavelet recomputes every step for every output sample, several
times slower than lifting in place. So for named wavelets a compiled graph calls :mod:`.eager` through these operators;
Haar, whose steps reach no neighbour, fuses well and is left to the compiler. Exported programs keep the textbook form,
which needs nothing but PyTorch's own operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from weconvene_core.wavelets.lifting_inplace import Analysis, Separable, Synthesis, merged_like, phases, samples
from weconvene_core.wavelets.lifting_plan import make_plan
from weconvene_core.wavelets.lifting_schemes import scheme

HOW = "str wavelet, str scaling, str mode, int[] dims, bool dual"  # spelt out: torch 2.4 reads no postponed annotations


def _how(lengths: Sequence[int], wavelet: str, scaling: str, mode: str, dims: Sequence[int], dual: bool) -> Separable:
    plans = tuple(make_plan(scheme(wavelet), scaling, mode, length) for length in lengths)  # type: ignore[arg-type]
    return Separable(plans, tuple(dims), dual)


@torch.library.custom_op("weconvene::split", mutates_args=(), schema=f"(Tensor x, {HOW}) -> Tensor[]")
def split(x: Tensor, wavelet: str, scaling: str, mode: str, dims: Sequence[int], dual: bool) -> list[Tensor]:
    """Transform along ``dims`` (< 0), as :class:`Analysis`."""
    return list(Analysis.forward(x, _how([x.shape[dim] for dim in dims], wavelet, scaling, mode, dims, dual)))


@split.register_fake
def _(x: Tensor, wavelet: str, scaling: str, mode: str, dims: Sequence[int], dual: bool) -> list[Tensor]:
    return [samples(x, dims, phase) * 1.0 for phase in phases(len(dims))]


@torch.library.custom_op("weconvene::join", mutates_args=(), schema=f"(Tensor[] bands, {HOW}) -> Tensor")
def join(bands: Sequence[Tensor], wavelet: str, scaling: str, mode: str, dims: Sequence[int], dual: bool) -> Tensor:
    """Invert :func:`split`, as :class:`Synthesis`."""
    lengths = [bands[0].shape[dim] + bands[-1].shape[dim] for dim in dims]
    return Synthesis.forward(_how(lengths, wavelet, scaling, mode, dims, dual), *bands)


@join.register_fake
def _(bands: Sequence[Tensor], wavelet: str, scaling: str, mode: str, dims: Sequence[int], dual: bool) -> Tensor:
    return merged_like(bands[0], bands[-1], dims)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.how = inputs[1:]


def _split_backward(ctx: Any, bands: list[Tensor]) -> tuple[Any, ...]:
    *how, dual = ctx.how
    return join(bands, *how, not dual), None, None, None, None, None


def _join_backward(ctx: Any, x: Tensor) -> tuple[Any, ...]:
    *how, dual = ctx.how
    return split(x, *how, not dual), None, None, None, None, None


split.register_autograd(_split_backward, setup_context=_keep)
join.register_autograd(_join_backward, setup_context=_keep)
