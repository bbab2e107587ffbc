"""3DM-WeConv into other networks: what is replaced, what stays and why, and what the new kernels answer."""

from __future__ import annotations

import pytest
import torch
from compressai.layers import MaskedConv2d
from compressai.models import Cheng2020Anchor
from torch import nn
from torchvision.models import resnet18

from weconvene_core.errors import WeconveneError
from weconvene_core.layers import WeConv3d
from weconvene_core.layers.convert_network import convert, from_conv


def test_resnet_is_converted_and_still_runs_and_learns() -> None:
    torch.manual_seed(0)
    network = resnet18(num_classes=4)
    report = convert(network, levels=1)
    assert len(report.replaced) == sum(isinstance(m, WeConv3d) for m in network.modules()) == 13
    assert set(report.kept.values()) == {"stride 2"}
    assert "13 convolutions replaced, 7 kept" in str(report)
    assert "layer1.0.conv1: 3x3, 64 -> 64 channels" in str(report)
    network(torch.randn(2, 3, 31, 33)).sum().backward()
    assert network.get_submodule("layer1.0.conv1").low_weight.grad.abs().sum() > 0


def test_compressai_model_is_converted_where_chosen() -> None:
    torch.manual_seed(0)
    model = Cheng2020Anchor(N=12)
    report = convert(model, lambda name, conv: name.startswith("g_a") and conv.in_channels == 12, "5/3", 2)
    assert all(row["layer"].startswith("g_a") and row["macs_ratio"] < 0.2 for row in report.replaced)
    output = model(torch.rand(1, 3, 64, 64))
    assert output["x_hat"].shape == (1, 3, 64, 64)


@pytest.mark.parametrize("levels", [0, 1, 2])
@pytest.mark.parametrize("wavelet", ["haar", "9/7"])
def test_converted_kernels_keep_the_response_to_smooth_signals(wavelet: str, levels: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 7, 3, padding=1)
    smooth = nn.functional.interpolate(torch.randn(1, 6, 8, 8), size=64, mode="bicubic")
    layer, wanted = from_conv(conv, wavelet, levels), conv(smooth)
    error = (layer(smooth) - wanted).square().mean() / (wanted - conv.bias[:, None, None]).square().mean()
    assert error < (1e-10 if levels == 0 else 0.1)


def test_a_pointwise_kernel_is_kept_exactly() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1)
    with torch.no_grad():
        conv.weight *= torch.zeros(3, 3).index_put((torch.tensor(1), torch.tensor(1)), torch.tensor(1.0))
    x = torch.randn(1, 4, 13, 18)
    torch.testing.assert_close(from_conv(conv, "9/7", 2)(x), conv(x), atol=1e-5, rtol=1e-4)


def test_a_shared_layer_stays_shared() -> None:
    """A convolution at two places, in a block that is itself at two."""
    conv = nn.Conv2d(4, 4, 3, padding=1)
    block = nn.Sequential(conv, nn.ReLU(), conv)
    network, asked = nn.ModuleDict({"a": block, "b": nn.Sequential(block, conv)}), []
    report = convert(network, lambda name, found: not asked.append(name))
    assert asked == [row["layer"] for row in report.replaced] == ["a.0"]
    layer = block[0]
    assert isinstance(layer, WeConv3d)
    assert layer is block[2] is network["b"][1]
    assert not any(isinstance(m, nn.Conv2d) for m in network.modules())


def hooked(conv: nn.Conv2d) -> nn.Conv2d:
    conv.register_forward_hook(lambda module, inputs, output: 2 * output)
    return conv


@pytest.mark.parametrize(
    ("conv", "words"),
    [
        (MaskedConv2d(4, 4, 5, padding=2), "MaskedConv2d"),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3, padding=1)), "parametrised"),
        (nn.utils.spectral_norm(nn.Conv2d(4, 4, 3, padding=1)), "hooks"),
        (hooked(nn.Conv2d(4, 4, 3, padding=1)), "hooks"),
        (nn.Conv2d(4, 4, 3, stride=2, padding=1), "stride 2"),
        (nn.Conv2d(4, 4, 3, padding=1, groups=2), "grouped"),
        (nn.Conv2d(4, 4, 1), "kernel 1x1"),
        (nn.Conv2d(4, 4, 3), "padding"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "reflect"),
    ],
)
def test_what_cannot_be_converted_is_named(conv: nn.Conv2d, words: str) -> None:
    with pytest.raises(WeconveneError, match=words):
        from_conv(conv)
    with pytest.raises(WeconveneError, match=words):
        convert(nn.Sequential(conv))
    with pytest.raises(WeconveneError, match="from_conv"):
        convert(nn.Conv2d(4, 4, 3, padding=1))


def test_nothing_selected_is_said() -> None:
    with pytest.raises(WeconveneError, match="1 x not selected"):
        convert(nn.Sequential(nn.Conv2d(2, 2, 3, padding=1)), lambda name, conv: False)
