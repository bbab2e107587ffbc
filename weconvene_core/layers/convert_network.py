"""Put 3DM-WeConv into anyone's network: replace chosen convolutions of a model and say what changed.

The new kernels start from the old ones: inside each subband a convolution acts again as a convolution, whose kernel
follows from moving one wavelet of that band about; what crosses over to other bands, and what does not fit into the
kernel, is dropped. So a trained network keeps most of its response at LF and has to be fine-tuned for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from weconvene_core.errors import WeconveneError
from weconvene_core.layers.weconv import WeConv3d
from weconvene_core.wavelets import Pyramid, Wavelet, dwt2d, idwt2d

_GRID = 16  # coefficients a side of the coarsest band while a kernel is probed: wider than any wavelet and kernel here
Selection = Callable[[str, nn.Conv2d], bool]


@dataclass(frozen=True)
class Conversion:
    """What :func:`convert` did: the table of replaced layers, and why others stayed.

    ``replaced`` has columns layer, in_channels, out_channels, kernel, parameters_before, parameters_after
    and macs_ratio (multiplications after / before on large maps).
    """

    replaced: pd.DataFrame
    kept: dict[str, str]

    def __str__(self) -> str:
        """One line per replaced layer and a sum."""
        before, after = self.replaced["parameters_before"].sum(), self.replaced["parameters_after"].sum()
        head = f"{len(self.replaced)} convolutions replaced, {len(self.kept)} kept; parameters {before} -> {after}"
        return "\n".join([head, self.replaced.to_string(index=False, float_format=lambda v: f"{v:.3f}")])


def convert(
    model: nn.Module,
    select: Selection | None = None,
    wavelet: Wavelet = "9/7",
    levels: int = 1,
    channel_dwt: bool = True,
) -> Conversion:
    """Replace convolutions of ``model`` by 3DM-WeConv layers, in place.

    Parameters
    ----------
    model : any module; its stride-1, undilated, ungrouped convolutions with odd kernels of 3 or more and zero padding
        that keeps the size can be replaced.
    select : gets each such layer's name and module and answers whether to replace it; None replaces all. A layer that
        is registered at several places is asked for once, by its first name, and replaced at all of them.
    wavelet, levels, channel_dwt : as in :class:`WeConv3d`.

    Raises
    ------
    WeconveneError
        If ``model`` is itself a convolution (nothing holds it), or no convolution could be or was chosen.
    """
    if isinstance(model, nn.Conv2d):
        raise WeconveneError("model is itself a convolution and cannot be replaced in place; use from_conv(model).")
    rows, kept = [], {}

    def layer_for(name: str, conv: nn.Conv2d) -> WeConv3d | None:
        reason = obstacle(conv) or (None if select is None or select(name, conv) else "not selected")
        if reason:
            kept[name] = reason
            return None
        layer = from_conv(conv, wavelet, levels, channel_dwt)
        rows.append(_row(name, conv, layer))
        return layer

    replace_convolutions(model, layer_for)
    if not rows:
        raise WeconveneError(f"no convolution of the model was replaced; {len(kept)} were kept: {_summary(kept)}.")
    return Conversion(pd.DataFrame(rows), kept)


def replace_convolutions(model: nn.Module, layer_for: Callable[[str, nn.Conv2d], nn.Module | None]) -> None:
    """Put other layers in the places of convolutions below ``model``, in place.

    ``layer_for`` gets each convolution once, with its first name, and answers with its successor, None to keep it. The
    successor takes every place where the convolution is registered, so that what was shared stays shared.
    """
    successors: dict[nn.Module, nn.Module | None] = {}
    for name, conv in list(model.named_modules(remove_duplicate=False)):
        if not isinstance(conv, nn.Conv2d):
            continue
        if conv not in successors:
            successors[conv] = layer_for(name, conv)
        layer = successors[conv]
        if layer is not None:
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, layer)


def obstacle(conv: nn.Conv2d) -> str | None:
    """Say why a convolution cannot become a 3DM-WeConv layer, or None if it can.

    A subclass, a parametrisation and a hook all change what is computed in ways that the kernels do not tell.
    """
    if is_parametrized(conv):
        return f"parametrised ({', '.join(conv.parametrizations)})"
    if type(conv) is not nn.Conv2d:
        return f"a {type(conv).__name__}, which may compute something else than nn.Conv2d"
    if any((conv._forward_hooks, conv._forward_pre_hooks, conv._backward_hooks, conv._backward_pre_hooks)):
        return "hooks, which would be lost"
    kernel = conv.kernel_size
    if conv.stride != (1, 1):
        return f"stride {conv.stride[0]}"
    if conv.groups != 1 or conv.dilation != (1, 1):
        return "grouped or dilated"
    if kernel[0] != kernel[1] or kernel[0] < 3 or kernel[0] % 2 == 0:
        return f"kernel {kernel[0]}x{kernel[1]}"
    if conv.padding not in ("same", (kernel[0] // 2,) * 2) or conv.padding_mode != "zeros":
        return f"padding {conv.padding} ({conv.padding_mode})"
    return None


def from_conv(conv: nn.Conv2d, wavelet: Wavelet = "9/7", levels: int = 1, channel_dwt: bool = True) -> WeConv3d:
    """Return the 3DM-WeConv layer that comes closest to a convolution band by band.

    Raises
    ------
    WeconveneError
        If the convolution is strided, grouped, dilated, even-sized or not padded to keep the size, or is a subclass,
        parametrised or hooked.
    """
    if reason := obstacle(conv):
        raise WeconveneError(f"the convolution cannot become a 3DM-WeConv layer: {reason}; choose another one.")
    kernel = conv.kernel_size[0]
    layer = WeConv3d(
        conv.in_channels, conv.out_channels, wavelet, levels, channel_dwt, kernel, bias=conv.bias is not None
    ).to(conv.weight)
    with torch.no_grad():
        low, *high = (_in_channel_domain(layer, k) for k in _band_kernels(conv.weight, wavelet, levels, kernel))
        layer.low_weight.copy_(low)
        if high:
            layer.high_weight.copy_(torch.cat(high))
        if conv.bias is not None and layer.bias is not None:
            layer.bias.copy_(conv.bias)
    return layer


def _in_channel_domain(layer: WeConv3d, kernel: Tensor) -> Tensor:
    """Take the channel DWT's inverse out of a kernel, so that folding it in again gives the kernel."""
    if not layer.channel_dwt:
        return kernel
    analysis, synthesis = layer.out_split.matrices()[0].to(kernel), layer.in_split.matrices()[1].to(kernel)
    return torch.einsum("po,oikl,iq->pqkl", analysis, kernel, synthesis)


def _band_kernels(weight: Tensor, wavelet: Wavelet, levels: int, low_kernel: int) -> list[Tensor]:
    """Return the kernels of LL_J, then of HL, LH, HH from the finest level on, as :class:`WeConv3d` stacks them."""
    size = _GRID * 2**levels
    empty = dwt2d(torch.zeros(size, size, dtype=torch.float64), wavelet, levels, mode="periodic")
    names = [f"{band}{level}" for level in range(1, levels + 1) for band in ("HL", "LH", "HH")]
    kernels = [(f"LL{levels}" if levels else "LL", low_kernel), *((name, 1) for name in names)]
    return [_band_kernel(weight, empty, name, kernel) for name, kernel in kernels]


def _band_kernel(weight: Tensor, empty: Pyramid, name: str, kernel: int) -> Tensor:
    """Kernel (out, in, k, k) by which a convolution acts within one band."""
    shape = empty.bands()[name].shape
    row, column = shape[0] // 2, shape[1] // 2
    signal = idwt2d(_with_one(empty, name, row, column))
    reach, window = weight.shape[-1] // 2, range(-(kernel // 2), kernel // 2 + 1)
    taps = torch.zeros(*weight.shape[-2:], kernel, kernel, dtype=torch.float64)
    for dy, dx in product(range(-reach, reach + 1), repeat=2):
        moved = torch.roll(signal, (-dy, -dx), (0, 1))  # a tap at (dy, dx) reads x[p + (dy, dx)]
        band = dwt2d(moved, empty.wavelet, empty.levels, mode="periodic").bands()[name]
        response = [[band[row - m, column - n] for n in window] for m in window]
        taps[dy + reach, dx + reach] = torch.tensor(response, dtype=torch.float64)
    return torch.einsum("oiyx,yxkl->oikl", weight, taps.to(weight))


def _with_one(empty: Pyramid, name: str, row: int, column: int) -> Pyramid:
    """Copy of a pyramid of zeros with a single 1 in one band."""
    band = torch.zeros_like(empty.bands()[name])
    band[row, column] = 1
    if name.startswith("LL"):
        return replace(empty, low=band)
    level = int(name[2:]) - 1
    details = list(empty.details)
    details[level] = replace(details[level], **{name[:2].lower(): band})
    return replace(empty, details=tuple(details))


def _row(name: str, conv: nn.Conv2d, layer: WeConv3d) -> dict[str, object]:
    side = 64 * 2**layer.levels
    return {
        "layer": name, "in_channels": conv.in_channels, "out_channels": conv.out_channels,
        "kernel": f"{conv.kernel_size[0]}x{conv.kernel_size[1]}",
        "parameters_before": sum(p.numel() for p in conv.parameters()),
        "parameters_after": sum(p.numel() for p in layer.parameters()),
        "macs_ratio": layer.macs(side, side) / (conv.weight.numel() * side**2),
    }  # fmt: skip


def _summary(kept: dict[str, str]) -> str:
    reasons = sorted(set(kept.values()))
    return ", ".join(f"{sum(r == reason for r in kept.values())} x {reason}" for reason in reasons) or "there are none"
