"""One level of a DWT along any axes, by lifting (paper section on the 3-D DWT; JPEG 2000 Annex F).

Critically sampled: a signal of length n >= 1 gives ceil(n/2) low and floor(n/2) high samples and comes back with its
exact length. Two executions of the same lifting steps:

* :mod:`.eager`: in place on the polyphase parts, with a hand-written adjoint; the fast one. Compiled graphs reach it
  through the operators of :mod:`.operator`;
* :mod:`.functional`: slices, ``cat`` and additions that automatic differentiation and compilers follow by themselves,
  for learnt coefficients, integers, exported programs, and Haar inside compiled graphs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets import lifting_reference, operator
from weconvene_core.wavelets.lifting_inplace import Analysis, Separable, Synthesis
from weconvene_core.wavelets.lifting_plan import Mode, check_mode, make_plan
from weconvene_core.wavelets.lifting_schemes import LiftingScheme, Scaling, Wavelet, is_named, scheme

is_exporting = getattr(torch.compiler, "is_exporting", bool)  # torch 2.4 cannot tell


def dwt1d(
    x: Tensor, wavelet: Wavelet, dim: int, scaling: Scaling = "orthonormal", mode: Mode = "symmetric"
) -> tuple[Tensor, Tensor]:
    """Split ``x`` along ``dim`` into its low and high band.

    Parameters
    ----------
    x : tensor of a floating type (an integer type for ``5/3-integer``), any rank, size n >= 1 along ``dim``.
    wavelet : ``haar``, ``5/3``, ``9/7``, ``5/3-integer``, a wavelet of PyWavelets by name, or a lifting scheme.
    dim : axis to transform.
    scaling : ``orthonormal`` (default, for networks) or ``jpeg2000``.
    mode : ``symmetric`` (whole-sample, as JPEG 2000) or ``periodic``; with an odd n each band wraps around by itself.

    Returns
    -------
    (low, high) with sizes ceil(n/2) and floor(n/2) along ``dim``. Integers of 8 bits come back as int16, of 16 bits as
    int32, so that the high band cannot overflow.

    Raises
    ------
    WeconveneError
        For a type that does not suit the wavelet, an axis that is absent or empty, or an unknown wavelet, scaling or
        mode.
    """
    low, high = split_axes(x, wavelet, (dim,), scaling, mode)
    return low, high


def idwt1d(
    low: Tensor, high: Tensor, wavelet: Wavelet, dim: int, scaling: Scaling = "orthonormal", mode: Mode = "symmetric"
) -> Tensor:
    """Invert :func:`dwt1d`: join (low, high) along ``dim`` into a signal of size ``low + high``.

    Raises
    ------
    WeconveneError
        As :func:`dwt1d`, and if the two sizes cannot come from one signal (low must equal high or be one larger).
    """
    return join_axes((low, high), wavelet, (dim,), scaling, mode)


def split_axes(x: Tensor, wavelet: Wavelet, dims: Sequence[int], scaling: Scaling, mode: Mode) -> tuple[Tensor, ...]:
    """Transform along several axes at once: 2^k bands for k axes, all low first, the last axis alternating fastest."""
    lifting = _checked(x, wavelet, dims, mode)
    axes = tuple(dim % x.ndim - x.ndim for dim in dims)  # counted from the end
    if not _is_plain(lifting):
        return lifting_reference.split_axes(x, lifting, axes, scaling, mode)
    if torch.compiler.is_compiling():
        return tuple(operator.split(x, lifting.name, scaling, mode, axes, False))
    plans = tuple(make_plan(lifting, scaling, mode, x.shape[dim]) for dim in axes)
    return Analysis.apply(x, Separable(plans, axes))


def join_axes(
    bands: Sequence[Tensor],
    wavelet: Wavelet,
    dims: Sequence[int],
    scaling: Scaling,
    mode: Mode,
    overwrite: bool = False,
) -> Tensor:
    """Invert :func:`split_axes`; with ``overwrite`` the bands may serve as scratch memory and are lost."""
    first, last = bands[0], bands[-1]
    lifting = _checked(first, wavelet, dims, mode)
    axes = tuple(dim % first.ndim - first.ndim for dim in dims)
    for dim in axes:
        n_low, n_high = first.shape[dim], last.shape[dim]
        if not 0 <= n_low - n_high <= 1:
            raise WeconveneError(
                f"low and high have sizes {n_low} and {n_high} along axis {dim}; low must be high or one more."
            )
    if not _is_plain(lifting):
        return lifting_reference.join_axes(bands, lifting, axes, scaling, mode)
    if torch.compiler.is_compiling():
        return operator.join(list(bands), lifting.name, scaling, mode, axes, False)
    plans = tuple(make_plan(lifting, scaling, mode, first.shape[dim] + last.shape[dim]) for dim in axes)
    return Synthesis.apply(Separable(plans, axes, overwrite=overwrite), *bands)


def _is_plain(lifting: LiftingScheme) -> bool:
    """True where the in-place execution serves best."""
    if lifting.integer or lifting.learnt or is_exporting():
        return False
    reaches_neighbours = any(len(step.taps) > 1 for step in lifting.steps)
    return not torch.compiler.is_compiling() or (reaches_neighbours and is_named(lifting))


def _checked(x: Tensor, wavelet: Wavelet, dims: Sequence[int], mode: Mode) -> LiftingScheme:
    lifting = scheme(wavelet)
    check_mode(mode)
    for dim in dims:
        if not -x.ndim <= dim < x.ndim:
            raise WeconveneError(f"dim={dim} is impossible for x of shape {tuple(x.shape)}; it has {x.ndim} axes.")
        if x.shape[dim] == 0:
            raise WeconveneError(f"x has size 0 along axis {dim}; at least one sample is needed.")
    if lifting.integer and (x.is_floating_point() or x.is_complex() or x.dtype == torch.bool):
        raise WeconveneError(f"x has dtype {x.dtype}; wavelet={lifting.name!r} transforms integers: convert x first.")
    if not lifting.integer and not x.is_floating_point():
        raise WeconveneError(
            f"x has dtype {x.dtype}; wavelet={lifting.name!r} needs a floating type, so convert x first "
            "or use wavelet='5/3-integer'."
        )
    return lifting
