"""3DM-WeConv, its blocks and the wavelet shortcut."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lab.layer_analysis.layer_internals import receptive_field_of
from weconvene_core.errors import WeconveneError
from weconvene_core.lambdas import LAMBDAS
from weconvene_core.layers import (
    DownWeConvBlock,
    RateEmbedding,
    ResidualWeConvBlock,
    SubPixelConv,
    UpWeConvBlock,
    WaveletShortcut,
    WeConv3d,
    WeConvSpec,
)
from weconvene_core.layers.rate_conditioning import check_quality, lambda_of
from weconvene_core.layers.wavelet_shortcut import HF_CHANNELS, LF_CHANNELS, polyphase_order


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 13), (16, 16)])
@pytest.mark.parametrize("channel_dwt", [True, False])
@pytest.mark.parametrize(("wavelet", "levels"), [("haar", 1), ("5/3", 2), ("9/7", 3), ("9/7", 0)])
def test_folded_layer_equals_the_papers_order(
    wavelet: str, levels: int, channel_dwt: bool, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    layer = WeConv3d(5, 6, wavelet, levels, channel_dwt)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 5, *size)
    assert layer(x).shape == (2, 6, *size)
    torch.testing.assert_close(layer(x), layer.unfolded_forward(x), atol=2e-5, rtol=1e-4)


def test_identity_kernels_reconstruct_the_input() -> None:
    layer = WeConv3d(4, 4, "9/7", 2)
    with torch.no_grad():
        layer.low_weight.zero_()[:, :, 1, 1] = torch.eye(4)
        layer.high_weight.copy_(torch.eye(4).repeat(6, 1)[:, :, None, None])
    x = torch.randn(1, 4, 11, 10)
    torch.testing.assert_close(layer(x), x, atol=1e-5, rtol=1e-5)


def test_zero_levels_is_a_plain_convolution() -> None:
    layer, plain = WeConv3d(3, 4, levels=0, channel_dwt=False), torch.nn.Conv2d(3, 4, 3, padding=1)
    with torch.no_grad():
        plain.weight.copy_(layer.low_weight)
        plain.bias.copy_(layer.bias)
    x = torch.randn(1, 3, 8, 9)
    torch.testing.assert_close(layer(x), plain(x))


@pytest.mark.parametrize("levels", [0, 1, 2])
def test_multiplications_by_hand_equal_the_counter(levels: int) -> None:
    layer, x = WeConv3d(8, 12, "haar", levels, channel_dwt=False), torch.randn(1, 8, 13, 22)
    with FlopCounterMode(display=False) as counter:
        layer(x)
    assert counter.get_total_flops() // 2 == layer.macs(13, 22)


def test_two_levels_cost_a_sixth_of_a_plain_convolution() -> None:
    assert WeConv3d(128, 128, levels=2).macs(256, 256) * 6 == WeConv3d(128, 128, levels=0).macs(256, 256)


@pytest.mark.parametrize(
    ("block", "shape"),
    [
        (ResidualWeConvBlock(4, WeConvSpec("5/3", 1)), (2, 4, 9, 14)),
        (DownWeConvBlock(4, 6, WeConvSpec("5/3", 1)), (2, 6, 5, 7)),
        (UpWeConvBlock(4, 6, WeConvSpec("5/3", 1)), (2, 6, 18, 28)),
    ],
)
def test_blocks_change_sizes_as_documented(block: torch.nn.Module, shape: tuple[int, ...]) -> None:
    assert block(torch.randn(2, 4, 9, 14)).shape == shape


def test_every_kernel_of_the_layer_learns() -> None:
    layer = WeConv3d(3, 3, "5/3", 2)
    layer(torch.randn(1, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().amax() > 0 for p in layer.parameters())


@pytest.mark.parametrize("bad", [{"levels": -1}, {"low_kernel": 2}, {"high_kernel": 0}, {"in_channels": 0}])
def test_impossible_layers_are_refused_by_name(bad: dict[str, int]) -> None:
    with pytest.raises(WeconveneError, match=next(iter(bad))):
        WeConv3d(**{"in_channels": 4, "out_channels": 4, **bad})


def test_image_pyramid_inverts_and_keeps_the_energy() -> None:
    x = torch.rand(2, 3, 64, 96)
    pyramid = WaveletShortcut()
    lf, hf = pyramid.analysis(x)
    assert lf.shape == (2, LF_CHANNELS, 8, 12)
    assert hf.shape == (2, HF_CHANNELS, 8, 12)
    torch.testing.assert_close(pyramid.synthesis(lf, hf), x, atol=1e-5, rtol=0)
    energy = (lf.square().sum() + hf.square().sum()) / (x - 0.5).square().sum()
    assert 0.9 < energy.item() < 1.1


def test_polyphase_order_puts_neighbours_into_earlier_quarters() -> None:
    order = polyphase_order(4)
    assert sorted(order) == list(range(16))
    quarter = {position: order.index(position) // 4 for position in order}
    assert all(quarter[p] != quarter[p + 1] for p in range(16) if p % 4 < 3)
    assert all(quarter[p] != quarter[p + 4] for p in range(12))


def test_quality_runs_through_the_lambda_table() -> None:
    at = torch.arange(8, dtype=torch.float32)
    torch.testing.assert_close(lambda_of(at), torch.tensor(LAMBDAS))
    middle = lambda_of(torch.tensor([0.5]))
    torch.testing.assert_close(middle, torch.tensor([(LAMBDAS[0] * LAMBDAS[1]) ** 0.5]))  # linear in log lambda
    fine = lambda_of(torch.linspace(0, 7, 101))
    assert (fine.diff() > 0).all()


@pytest.mark.parametrize("quality", [-0.01, 7.01, float("nan")])
def test_quality_out_of_range_is_refused(quality: float) -> None:
    with pytest.raises(WeconveneError, match="outside 0 to 7"):
        check_quality(quality)


def test_rate_table_interpolates_its_rows() -> None:
    table = RateEmbedding(2)
    with torch.no_grad():
        table.rows.copy_(torch.arange(16.0).view(8, 2))
    torch.testing.assert_close(table(torch.tensor([0.0, 2.25, 7.0]))[:, 0, 0, 0], torch.tensor([0.0, 4.5, 14.0]))


def test_receptive_field_is_what_one_output_really_depends_on() -> None:
    layer = WeConv3d(1, 1, "haar", levels=2, channel_dwt=False)
    with torch.no_grad():
        layer.low_weight.fill_(1.0)
        layer.high_weight.zero_()
    x = torch.zeros(1, 1, 32, 32, requires_grad=True)
    layer(x)[0, 0, 16, 16].backward()
    assert x.grad is not None
    assert x.grad[0, 0].any(0).sum().item() == receptive_field_of(layer) == 12


@pytest.mark.parametrize("factor", [2, 3])
def test_sub_pixel_convolution_in_runs_is_a_convolution_and_a_pixel_shuffle(factor: int) -> None:
    layer, x = SubPixelConv(16, 8, factor), torch.randn(2, 16, 6, 5).contiguous(memory_format=torch.channels_last)
    quick = layer(x)
    torch.testing.assert_close(quick, nn.Sequential.forward(layer, x))
    assert quick.is_contiguous(memory_format=torch.channels_last)
