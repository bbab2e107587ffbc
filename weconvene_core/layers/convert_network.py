"""Put 3DM-WeConv into anyone's network: replace chosen convolutions of a model and say what changed.

Inside each subband a convolution acts again as a convolution; its kernel follows from shifting one wavelet of the band.
What crosses over to other bands, and what does not fit into the kernel, is dropped: LF responses stay, and the network
has to be fine-tuned for the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from weconvene_core.errors import WeconveneError
from weconvene_core.layers.weconv import WeConv3d
from weconvene_core.wavelets import AxisDWT, Wavelet

_GRID = 16  # coefficients of a band while its kernel is probed: more than any wavelet and kernel here
LINE = (
    "{layer}: {kernel}, {in_channels} -> {out_channels} channels, "
    "parameters {parameters_before} -> {parameters_after}, multiplications x {macs_ratio:.3f}"
)


@dataclass(frozen=True)
class Conversion:
    """What :func:`convert` did; as a string, a sum and one line per replaced layer."""

    replaced: list[dict[str, str | int | float]]  # macs_ratio: multiplications after / before, on large maps
    kept: dict[str, str]  # why each other convolution stayed, by its name

    def __str__(self) -> str:
        before, after = (sum(row[f"parameters_{when}"] for row in self.replaced) for when in ("before", "after"))
        head = f"{len(self.replaced)} convolutions replaced, {len(self.kept)} kept; parameters {before} -> {after}"
        return "\n".join([head, *(LINE.format(**row) for row in self.replaced)])


def convert(
    model: nn.Module, select: Callable[[str, nn.Conv2d], bool] | None = None, wavelet: Wavelet = "9/7",
    levels: int = 1, channel_dwt: bool = True,
) -> Conversion:  # fmt: skip
    """Replace convolutions of ``model`` by 3DM-WeConv layers, in place.

    Parameters
    ----------
    model : any module; its stride-1, undilated, ungrouped convolutions with odd kernels of 3 or more and zero padding
        that keeps the size can be replaced.
    select : gets each such layer's name and module and answers whether to replace it; None replaces all.
    wavelet, levels, channel_dwt : as in :class:`WeConv3d`.

    Raises
    ------
    WeconveneError
        If ``model`` is itself a convolution, or no convolution could be or was chosen.
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
        side = 64 * 2**levels  # large enough that borders do not count
        rows.append({
            "layer": name, "in_channels": conv.in_channels, "out_channels": conv.out_channels,
            "kernel": f"{conv.kernel_size[0]}x{conv.kernel_size[1]}",
            "parameters_before": sum(p.numel() for p in conv.parameters()),
            "parameters_after": sum(p.numel() for p in layer.parameters()),
            "macs_ratio": layer.macs(side, side) / (conv.weight.numel() * side**2),
        })  # fmt: skip
        return layer

    replace_convolutions(model, layer_for)
    if not rows:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in sorted(Counter(kept.values()).items()))
        raise WeconveneError(f"no convolution was replaced; {len(kept)} were kept: {reasons or 'there are none'}.")
    return Conversion(rows, kept)


def replace_convolutions(model: nn.Module, layer_for: Callable[[str, nn.Conv2d], nn.Module | None]) -> None:
    """Put other layers in the places of convolutions below ``model``, in place; what was shared stays shared.

    ``layer_for`` gets each convolution once, with its first name, and answers with its successor, None to keep it.
    """
    successors: dict[nn.Module, nn.Module | None] = {}
    # a shared module has several names, and every one of them is a place
    places = list(model.named_modules(remove_duplicate=False))
    for name, conv in [(name, module) for name, module in places if isinstance(module, nn.Conv2d)]:
        if conv not in successors:
            successors[conv] = layer_for(name, conv)
        if (layer := successors[conv]) is not None:
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, layer)


def obstacle(conv: nn.Conv2d) -> str | None:
    """Say why a convolution cannot become a 3DM-WeConv layer, or None if it can."""
    height, width = conv.kernel_size
    hooks = (conv._forward_hooks, conv._forward_pre_hooks, conv._backward_hooks, conv._backward_pre_hooks)
    kept_size = conv.padding in ("same", (height // 2, width // 2)) and conv.padding_mode == "zeros"
    obstacles = {
        "parametrised, so its kernel is computed": is_parametrized(conv),
        f"a {type(conv).__name__}, which may compute something else than nn.Conv2d": type(conv) is not nn.Conv2d,
        "hooks, which would be lost": any(hooks),
        f"stride {conv.stride[0]}": conv.stride != (1, 1),
        "grouped or dilated": conv.groups != 1 or conv.dilation != (1, 1),
        f"kernel {height}x{width}": height != width or height < 3 or height % 2 == 0,
        f"padding {conv.padding} ({conv.padding_mode})": not kept_size,
    }
    return next((reason for reason, found in obstacles.items() if found), None)


def from_conv(conv: nn.Conv2d, wavelet: Wavelet = "9/7", levels: int = 1, channel_dwt: bool = True) -> WeConv3d:
    """Return the 3DM-WeConv layer that comes closest to a convolution band by band.

    A convolution with an :func:`obstacle` raises ``WeconveneError``.
    """
    if reason := obstacle(conv):
        raise WeconveneError(f"the convolution cannot become a 3DM-WeConv layer: {reason}; choose another one.")
    kernel = conv.kernel_size[0]
    sizes = conv.in_channels, conv.out_channels
    layer = WeConv3d(*sizes, wavelet, levels, channel_dwt, kernel, bias=conv.bias is not None).to(conv.weight)
    with torch.no_grad():
        low = _shift_responses(wavelet, levels, False, kernel, kernel)  # LL_J keeps all taps, (k, k)
        layer.low_weight.copy_(_band_kernel(layer, conv.weight, low, low))
        high = []  # HL, LH and HH have 1x1 kernels, finest level first
        for level in range(1, levels + 1):
            low, detail = (_shift_responses(wavelet, level, is_high, 1, kernel) for is_high in (False, True))
            for vertical, horizontal in ((low, detail), (detail, low), (detail, detail)):  # HL, LH, HH
                high.append(_band_kernel(layer, conv.weight, vertical, horizontal))
        if high:
            layer.high_weight.copy_(torch.cat(high))
        if conv.bias is not None:
            layer.bias.copy_(conv.bias)
    return layer


def _shift_responses(wavelet: Wavelet, level: int, high: bool, size: int, taps: int) -> Tensor:
    """Return the coefficients around one wavelet of a band after a shift by each tap of a convolution: (size, taps)."""
    analysis, synthesis = AxisDWT(_GRID * 2**level, wavelet, level, mode="periodic").matrices()
    centre = _GRID // 2 + (_GRID if high else 0)  # the lowest band has the first 16 coefficients, the high one the next
    # a tap at d reads x[p + d]
    shifted = [synthesis[:, centre].roll(-d) for d in range(-(taps // 2), taps // 2 + 1)]
    return analysis[centre - size // 2 : centre + size // 2 + 1].flip(0) @ torch.stack(shifted, 1)


def _band_kernel(layer: WeConv3d, weight: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """Kernel (out, in, k, k) by which a convolution ``weight`` acts within one band, in the channel-wavelet domain."""
    # a 2-D wavelet is separable, and so is its answer to a shift by (y, x)
    kernel = torch.einsum("oiyx,ky,lx->oikl", weight, vertical.to(weight), horizontal.to(weight))
    if not layer.channel_dwt:
        return kernel
    # take out the channel DWT, so that folding it in again gives this kernel: DWT_c * W * IDWT_c
    analysis, synthesis = layer.out_split.matrices()[0].to(kernel), layer.in_split.matrices()[1].to(kernel)
    return torch.einsum("po,oikl,iq->pqkl", analysis, kernel, synthesis)
