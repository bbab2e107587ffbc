"""Blocks around 3DM-WeConv, sub-pixel convolution, the wavelet shortcut, rates and windowed attention."""

from __future__ import annotations

import pytest
import torch
from compressai.layers import GDN as ReferenceGDN
from torch import nn

from weconvene_core.errors import WeconveneError
from weconvene_core.lambdas import LAMBDAS
from weconvene_core.layers import (
    DownWeConvBlock,
    RateEmbedding,
    ResidualWeConvBlock,
    SubPixelConv,
    UpWeConvBlock,
    WaveletShortcut,
    WeConvSpec,
)
from weconvene_core.layers.blocks import GDN, check_quality, lambda_of
from weconvene_core.layers.wavelet_shortcut import HF_CHANNELS, LF_CHANNELS, SliceOrder, polyphase_order
from weconvene_core.layers.window_attention import WINDOW, WindowAttention


@pytest.mark.parametrize(
    ("block", "shape"),
    [
        (ResidualWeConvBlock(4, WeConvSpec("5/3", 1)), (2, 4, 9, 14)),
        (DownWeConvBlock(4, 6, WeConvSpec("5/3", 1)), (2, 6, 5, 7)),
        (UpWeConvBlock(4, 6, WeConvSpec("5/3", 1)), (2, 6, 18, 28)),
    ],
)
def test_blocks_change_sizes_as_documented(block: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(2, 4, 9, 14)
    y = block(x)
    assert y.shape == shape
    with torch.no_grad():
        torch.testing.assert_close(block(x), y)  # adds in place there


def test_sub_pixel_convolution_in_runs_is_a_convolution_and_a_pixel_shuffle() -> None:
    layer, x = SubPixelConv(16, 8), torch.randn(2, 16, 6, 5).contiguous(memory_format=torch.channels_last)
    quick = layer(x)
    torch.testing.assert_close(quick, nn.Sequential.forward(layer, x))
    assert quick.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_equals_compressai(inverse: bool) -> None:
    """State, start, output, and gradients, which below a bound may only raise the number."""
    ours, theirs = GDN(5, inverse), ReferenceGDN(5, inverse=inverse)
    for (name, tensor), (other, expected) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(tensor, expected)
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    state = theirs.state_dict()
    state["beta"].copy_(torch.tensor([-1.0, 1e-4, 0.5, 1.0, 2.0]))
    state["gamma"].copy_(0.3 * torch.randn(5, 5))
    ours.load_state_dict(state)
    x = torch.randn(2, 5, 6, 7)
    found, wanted = [], []
    for layer, results in ((ours, found), (theirs, wanted)):
        y = layer(inputs := x.clone().requires_grad_())
        results += [y, *torch.autograd.grad((y * x).sum(), (inputs, layer.beta, layer.gamma))]
    assert all(map(torch.equal, found, wanted))
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("order", ["polyphase", "band"])
def test_the_shortcut_inverts_and_keeps_the_energy(order: SliceOrder) -> None:
    x = torch.rand(2, 3, 64, 96)
    shortcut = WaveletShortcut(order)
    lf, hf = shortcut.analysis(x)
    assert lf.shape == (2, LF_CHANNELS, 8, 12)
    assert hf.shape == (2, HF_CHANNELS, 8, 12)
    torch.testing.assert_close(shortcut.synthesis(lf, hf), x, atol=1e-5, rtol=0)
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


def test_rate_embedding_interpolates_its_rows() -> None:
    table = RateEmbedding(2)
    with torch.no_grad():
        table.rows.copy_(torch.arange(16.0).view(8, 2))
    torch.testing.assert_close(table(torch.tensor([0.0, 2.25, 7.0]))[:, 0, 0, 0], torch.tensor([0.0, 4.5, 14.0]))


@pytest.mark.parametrize("offset", [0, WINDOW // 2])
def test_attention_looks_into_its_own_window_alone(offset: int) -> None:
    torch.manual_seed(0)
    layer = WindowAttention(16, offset)
    x = torch.randn(1, 16, 11, 21, requires_grad=True)
    y = layer(x)
    assert y.shape == x.shape
    assert y.isfinite().all()
    (gradient,) = torch.autograd.grad(y[0, :, 5, 9].sum(), x)
    seen = gradient[0].abs().sum(0) > 0
    rows, columns = torch.arange(11) + offset, torch.arange(21) + offset
    window = ((rows // WINDOW == (5 + offset) // WINDOW)[:, None]) & (columns // WINDOW == (9 + offset) // WINDOW)
    assert torch.equal(seen, window)
