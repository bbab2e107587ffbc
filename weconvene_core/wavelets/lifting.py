"""One level of a one-dimensional DWT along any axis, by lifting (paper section on the 3-D DWT; JPEG 2000 Annex F).

Critically sampled with whole-sample symmetric extension: a signal of length n >= 1 gives ceil(n/2) low and floor(n/2)
high samples and comes back with its exact length. Only slices, ``cat`` and additions are used: no padding operators,
deterministic on every device, exact gradients to any order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets.filters import LiftingStep, Scaling, scheme


def dwt1d(x: Tensor, wavelet: str, dim: int, scaling: Scaling = "orthonormal") -> tuple[Tensor, Tensor]:
    """Split ``x`` along ``dim`` into its low and high band.

    Parameters
    ----------
    x : Tensor of a floating type, any rank, size n >= 1 along ``dim``.
    wavelet : ``haar``, ``5/3`` or ``9/7``.
    dim : axis to transform.
    scaling : ``orthonormal`` (default, for networks) or ``jpeg2000``.

    Returns
    -------
    (low, high) with sizes ceil(n/2) and floor(n/2) along ``dim``.

    Raises
    ------
    WeconveneError
        For an integer tensor, an empty axis, or an unknown wavelet or scaling.
    """
    _check_input(x, dim)
    lifting = scheme(wavelet)
    low, high = _every_second(x, dim, 0), _every_second(x, dim, 1)
    for step in lifting.steps:
        low, high = _apply(step, step.coefficient, low, high, dim)
    low_gain, high_gain = lifting.gains(scaling)
    return _scaled(low, low_gain), _scaled(high, high_gain)


def idwt1d(low: Tensor, high: Tensor, wavelet: str, dim: int, scaling: Scaling = "orthonormal") -> Tensor:
    """Invert :func:`dwt1d`: join (low, high) along ``dim`` into a signal of size ``low + high``.

    Raises
    ------
    WeconveneError
        If the two sizes cannot come from one signal (low must equal high or be one larger).
    """
    n_low, n_high = low.shape[dim], high.shape[dim]
    if not 0 <= n_low - n_high <= 1:
        raise WeconveneError(
            f"low and high have sizes {n_low} and {n_high} along axis {dim}; low must be high or one more."
        )
    lifting = scheme(wavelet)
    low_gain, high_gain = lifting.gains(scaling)
    low, high = _scaled(low, 1.0 / low_gain), _scaled(high, 1.0 / high_gain)
    for step in reversed(lifting.steps):
        low, high = _apply(step, -step.coefficient, low, high, dim)
    return _interleave(low, high, dim)


def _check_input(x: Tensor, dim: int) -> None:
    if not x.is_floating_point():
        raise WeconveneError(f"x has dtype {x.dtype}; the transform needs a floating type, so convert it first.")
    if x.shape[dim] == 0:
        raise WeconveneError(f"x has size 0 along axis {dim}; at least one sample is needed.")


def _every_second(x: Tensor, dim: int, start: int) -> Tensor:
    index = [slice(None)] * x.ndim
    index[dim] = slice(start, None, 2)
    return x[tuple(index)]


def _apply(step: LiftingStep, coefficient: float, low: Tensor, high: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Run one lifting step with the given (signed) coefficient."""
    if high.shape[dim] == 0:  # a single sample has no neighbour to learn from
        return low, high
    if step.target == "high":
        return low, torch.add(high, _neighbours_of_high(low, high.shape[dim], step.neighbours, dim), alpha=coefficient)
    return torch.add(low, _neighbours_of_low(high, low.shape[dim], step.neighbours, dim), alpha=coefficient), high


def _neighbours_of_high(low: Tensor, n_high: int, neighbours: int, dim: int) -> Tensor:
    """Sum the even neighbours of every odd sample; the last one mirrors when the signal has even length."""
    left = low.narrow(dim, 0, n_high)
    if neighbours == 1:
        return left
    right = low.narrow(dim, 1, low.shape[dim] - 1)
    if right.shape[dim] < n_high:
        right = torch.cat([right, low.narrow(dim, low.shape[dim] - 1, 1)], dim)
    return left + right


def _neighbours_of_low(high: Tensor, n_low: int, neighbours: int, dim: int) -> Tensor:
    """Sum the odd neighbours of every even sample, mirrored at both borders."""
    n_high = high.shape[dim]
    if neighbours == 1:
        missing = n_low - n_high  # Haar: a last sample without partner gets no update
        return high if missing == 0 else torch.cat([high, torch.zeros_like(high.narrow(dim, 0, missing))], dim)
    first, last = high.narrow(dim, 0, 1), high.narrow(dim, n_high - 1, 1)
    left = torch.cat([first, high.narrow(dim, 0, n_low - 1)], dim)
    right = high if n_low == n_high else torch.cat([high, last], dim)
    return left + right


def _scaled(band: Tensor, gain: float) -> Tensor:
    return band if gain == 1.0 else band * gain


def _interleave(low: Tensor, high: Tensor, dim: int) -> Tensor:
    """Merge even and odd samples again: l0 h0 l1 h1 ..."""
    n_low, n_high = low.shape[dim], high.shape[dim]
    dim = dim % low.ndim
    pairs = torch.stack([low.narrow(dim, 0, n_high), high], dim + 1).flatten(dim, dim + 1)
    return pairs if n_low == n_high else torch.cat([pairs, low.narrow(dim, n_low - 1, 1)], dim)
