"""3DM-WeConv: the folded layer against the paper's order, all variants, costs, receptive field."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lab.layer_analysis.layer_internals import receptive_field_of
from weconvene_core.errors import WeconveneError
from weconvene_core.layers import (
    DownWeConvBlock,
    Pointwise,
    ResidualWeConvBlock,
    SubPixelConv,
    UpWeConvBlock,
    WeConv3d,
    WeConvSpec,
)
from weconvene_core.layers.blocks import GDN
from weconvene_core.wavelets import Wavelet
from weconvene_core.wavelets.lifting_schemes import LiftingScheme, predict, update

VARIANTS = {
    "one level": {"wavelet": "haar"},
    "two levels": {"wavelet": "5/3", "levels": 2},
    "three levels, 2-D": {"levels": 3, "channel_dwt": False},
    "no level": {"levels": 0},
    "predecessor": {"wavelet": "haar", "channel_dwt": False, "high_kernel": 3, "joint_high": True, "norm": GDN},
    "packets": {"channel_levels": 2, "channel_packets": True},
    "deep channels": {"channel_levels": 2, "levels": 2},
    "joint": {"joint_high": True, "levels": 2},
    "normalised": {"norm": partial(GDN, inverse=True), "levels": 2},
    "group norm": {"norm": partial(nn.GroupNorm, 1), "wavelet": "5/3"},
    "no bias": {"bias": False},
    "5x5": {"low_kernel": 5, "high_kernel": 3},
}


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 13), (16, 10)])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_equals_the_papers_order_and_learns(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    layer, x = WeConv3d(5, 6, **VARIANTS[name]), torch.randn(2, 5, *size)
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    y = layer(x)
    assert y.shape == (2, 6, *size)
    torch.testing.assert_close(y, layer(x, folded=False), atol=3e-5, rtol=1e-4)
    y.square().sum().backward()
    if min(size) > 1:  # a map one sample wide has no HF, so nothing to learn there
        assert all(p.grad.isfinite().all() and p.grad.any() for p in layer.parameters() if p.numel())


def test_identity_kernels_reconstruct_the_input() -> None:
    layer = WeConv3d(4, 4, "9/7", 2)
    with torch.no_grad():
        layer.low_weight.zero_()[:, :, 1, 1] = torch.eye(4)
        layer.high_weight.copy_(torch.eye(4).repeat(6, 1)[:, :, None, None])
    x = torch.randn(1, 4, 11, 10)
    torch.testing.assert_close(layer(x), x, atol=1e-5, rtol=1e-5)


def test_zero_levels_is_a_plain_convolution() -> None:
    layer, plain = WeConv3d(3, 4, levels=0, channel_dwt=False), nn.Conv2d(3, 4, 3, padding=1)
    with torch.no_grad():
        plain.weight.copy_(layer.low_weight)
        plain.bias.copy_(layer.bias)
    x = torch.randn(1, 3, 8, 9)
    torch.testing.assert_close(layer(x), plain(x))


OWN_SCHEMES = {
    "constants have details": LiftingScheme("leaky", (predict(-0.4, -0.4), update(0.2, 0.2)), 1.0, 1.0),
    "details at the ends alone": LiftingScheme("open", (predict(-0.5, -0.5), update(0.25, 0.25)), 1.0, 1.0, "zero"),
    "another gain than that of single samples": LiftingScheme("loud", (predict(-1.0), update(0.5)), 1.5, 1.0, "zero"),
}


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (9, 13), (16, 16)])
@pytest.mark.parametrize("wavelet", ["haar", "5/3", "9/7", *OWN_SCHEMES])
def test_the_bias_is_a_constant_of_the_output(wavelet: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer, x = WeConv3d(3, 4, OWN_SCHEMES.get(wavelet, wavelet), levels=2), torch.randn(1, 3, *size)
    without = layer(x)
    nn.init.normal_(layer.bias)
    torch.testing.assert_close(layer(x), without + layer.bias[:, None, None], atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize("wavelet", ["haar", "5/3", "9/7"])
@pytest.mark.parametrize(("levels", "kernel"), [(0, 3), (1, 1), (1, 3), (2, 3)])
def test_receptive_field_is_what_an_output_depends_on(wavelet: Wavelet, levels: int, kernel: int) -> None:
    layer = WeConv3d(1, 1, wavelet, levels, channel_dwt=False, low_kernel=kernel, bias=False).double()
    for weight in layer.parameters():
        nn.init.normal_(weight)
    middle, widths = 32 * 2**levels, []
    for phase in range(2**levels):
        x = torch.zeros(1, 1, 2 * middle, 8, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(layer(x)[0, 0, middle + phase].sum(), x)
        rows = gradient[0, 0].abs().sum(1).gt(1e-14).nonzero()
        widths.append(int(rows.max() - rows.min()) + 1)
    assert max(widths) == receptive_field_of(layer)


@pytest.mark.parametrize("name", ["no level", "two levels", "predecessor", "joint", "packets", "5x5"])
def test_multiplications_by_hand_equal_the_counter(name: str) -> None:
    layer, x = WeConv3d(8, 12, **{**VARIANTS[name], "norm": None}), torch.randn(1, 8, 13, 22)
    with FlopCounterMode(display=False) as counter:
        layer(x, folded=False)
    assert counter.get_total_flops() // 2 == layer.macs(13, 22)


def test_two_levels_cost_a_sixth_of_a_plain_convolution() -> None:
    assert WeConv3d(128, 128, levels=2).macs(256, 256) * 6 == WeConv3d(128, 128, levels=0).macs(256, 256)


SPEC = WeConvSpec()
LAYERS = {
    "WeConv3d": lambda: WeConv3d(8, 4),
    "two levels": lambda: WeConv3d(8, 4, levels=2, channel_dwt=False),
    "normalised": lambda: WeConv3d(8, 8, norm=GDN),
    "down": lambda: DownWeConvBlock(8, 8, SPEC),
    "up": lambda: UpWeConvBlock(8, 8, SPEC),
    "residual": lambda: ResidualWeConvBlock(8, SPEC),
    "sub-pixel": lambda: SubPixelConv(8, 8),
    "pointwise": lambda: Pointwise(8, 4),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_output_has_the_memory_format_of_the_input(name: str) -> None:
    """As that of ``nn.Conv2d``: what follows may be ``x.view(x.size(0), -1)``."""
    layer, x = LAYERS[name](), torch.randn(2, 8, 12, 10)
    y = layer(x)
    assert y.view(2, -1).shape[1] == y[0].numel()
    last = layer(x.to(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last)
    odd = torch.empty(2, 12, 8, 10).permute(0, 2, 1, 3).copy_(x)
    for other in (last, layer(odd), layer(x.flip(3).flip(3)), layer(x.requires_grad_())):
        torch.testing.assert_close(other, y, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_layers_follow_the_default_type_and_a_change_of_type(dtype: torch.dtype) -> None:
    x = torch.randn(1, 4, 9, 8)
    assert WeConv3d(4, 4, levels=2).to(dtype)(x.to(dtype)).dtype == dtype
    torch.set_default_dtype(dtype)
    try:
        layer = WeConv3d(4, 4, levels=2)
        wanted = layer.double()(x.double())
    finally:
        torch.set_default_dtype(torch.float32)
    assert {tensor.dtype for tensor in WeConv3d(4, 4).state_dict().values()} == {torch.float32}
    torch.testing.assert_close(layer.float()(x), wanted.float(), atol=0.02, rtol=0.02)
    with torch.inference_mode():
        seen = layer(x)
    torch.testing.assert_close(seen, layer(x))


def test_bf16_autocast_stays_close() -> None:
    layer, x = WeConv3d(16, 16, "5/3", 2), torch.randn(1, 16, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    assert (y - layer(x)).abs().max() < 0.05 * layer(x).abs().max()


@pytest.mark.parametrize(
    "bad",
    [
        {"levels": -1},
        {"levels": "2"},
        {"low_kernel": 2},
        {"high_kernel": 0},
        {"in_channels": 0},
        {"wavelet": "5/3-integer"},
    ],
)
def test_impossible_layers_are_refused_by_name(bad: dict[str, object]) -> None:
    with pytest.raises(WeconveneError, match=next(iter(bad))):
        WeConv3d(**{"in_channels": 4, "out_channels": 4, **bad})
