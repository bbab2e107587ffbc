"""3DM-WeConv beyond its default: variants, normalisation, learnt wavelets, reach, and conversion of other networks."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from compressai.layers import GDN, MaskedConv2d
from compressai.models import Cheng2020Anchor
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet18

from lab.layer_analysis.layer_internals import receptive_field_of
from weconvene_core.errors import WeconveneError
from weconvene_core.layers import WeConv3d
from weconvene_core.layers.convert_network import convert, from_conv
from weconvene_core.wavelets import LearnableLifting, Wavelet
from weconvene_core.wavelets.lifting_schemes import LiftingScheme, predict, update

VARIANTS = {
    "predecessor": {"wavelet": "haar", "channel_dwt": False, "high_kernel": 3, "joint_high": True, "norm": GDN},
    "packets": {"channel_levels": 2, "channel_packets": True},
    "deep channels": {"channel_levels": 2, "levels": 2},
    "joint": {"joint_high": True, "levels": 2},
    "normalised": {"norm": partial(GDN, inverse=True), "levels": 2},
    "group norm": {"norm": partial(nn.GroupNorm, 1), "wavelet": "db2"},
    "no bias": {"bias": False},
    "5x5": {"low_kernel": 5, "high_kernel": 3},
}


def variant(name: str) -> WeConv3d:
    torch.manual_seed(1)
    layer = WeConv3d(5, 6, **VARIANTS[name])
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    return layer


@pytest.mark.parametrize("size", [(1, 1), (9, 13), (16, 10)])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_equals_the_papers_order_and_learns(name: str, size: tuple[int, int]) -> None:
    layer, x = variant(name), torch.randn(2, 5, *size)
    y = layer(x)
    assert y.shape == (2, 6, *size)
    torch.testing.assert_close(y, layer.unfolded_forward(x), atol=3e-5, rtol=1e-4)
    y.square().sum().backward()
    if size != (1, 1):  # a single sample has no HF, so nothing to learn there
        assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def test_learnable_wavelet_moves_inside_a_layer_with_channel_dwt() -> None:
    torch.manual_seed(0)
    layer, x = WeConv3d(4, 5, LearnableLifting("5/3"), levels=2), torch.randn(1, 4, 12, 11)
    torch.testing.assert_close(layer(x), layer.unfolded_forward(x), atol=2e-5, rtol=1e-4)
    layer(x).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in layer.wavelet.coefficients)


def moved_lifting() -> LearnableLifting:
    lifting = LearnableLifting("5/3")
    with torch.no_grad():
        for coefficient in lifting.coefficients:
            coefficient += 0.1
    return lifting


OWN_SCHEMES = {
    "constants have details": LiftingScheme("leaky", (predict(-0.4, -0.4), update(0.2, 0.2)), 1.0, 1.0),
    "details at the ends alone": LiftingScheme("open", (predict(-0.5, -0.5), update(0.25, 0.25)), 1.0, 1.0, "zero"),
    "another gain than that of single samples": LiftingScheme("loud", (predict(-1.0), update(0.5)), 1.5, 1.0, "zero"),
    "learnt": moved_lifting().scheme(),
}


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (9, 13), (16, 16)])
@pytest.mark.parametrize("wavelet", OWN_SCHEMES.values(), ids=OWN_SCHEMES)
def test_the_bias_is_right_whatever_becomes_of_constants(wavelet: Wavelet, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer, x = WeConv3d(3, 4, wavelet, levels=2), torch.randn(1, 3, *size)
    nn.init.normal_(layer.bias)
    torch.testing.assert_close(layer(x), layer.unfolded_forward(x), atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize("wavelet", ["haar", "5/3", "9/7", "db2", "sym4", "bior3.3"])
def test_common_wavelets_add_the_bias_at_low_resolution(wavelet: str) -> None:
    """Where a constant stays one, adding it to the small LF band is what makes the layer cheap."""
    assert WeConv3d(3, 4, wavelet, levels=3)._constant_gain == pytest.approx(8.0)


def test_a_layer_with_a_learnt_wavelet_can_be_copied_and_the_copy_learns() -> None:
    """As the moving average of the weights does, before training and in its midst."""
    torch.manual_seed(0)
    layer, x = WeConv3d(4, 5, LearnableLifting("5/3"), levels=2), torch.randn(1, 4, 12, 11)
    layer(x).square().sum().backward()
    twin = copy.deepcopy(layer)
    torch.testing.assert_close(twin(x), layer(x))
    twin.zero_grad()
    twin(x).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in twin.wavelet.parameters())
    with torch.no_grad():
        twin.wavelet.coefficients[0] += 0.1
    torch.testing.assert_close(twin(x), twin.unfolded_forward(x), atol=3e-5, rtol=1e-4)
    assert (twin(x) - layer(x)).abs().max() > 1e-3


@pytest.mark.parametrize("wavelet", ["haar", "5/3", "9/7", "db2"])
@pytest.mark.parametrize("levels", [0, 1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
def test_receptive_field_is_what_an_output_depends_on(wavelet: str, levels: int, kernel: int) -> None:
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


@pytest.mark.parametrize("name", ["predecessor", "joint", "packets", "5x5"])
def test_multiplications_of_variants_by_hand_equal_the_counter(name: str) -> None:
    layer, x = WeConv3d(8, 8, **{**VARIANTS[name], "norm": None}), torch.randn(1, 8, 13, 22)
    with FlopCounterMode(display=False) as counter:
        torch.einsum("ij,bjhw->bihw", torch.eye(8), torch.zeros(1, 8, 1, 1))  # the counter must be alive
        alive = counter.get_total_flops()
        layer._convolved(x, layer.wavelet, layer.low_weight, layer._high_kernels())
    assert alive > 0
    assert (counter.get_total_flops() - alive) // 2 == layer.macs(13, 22)


def test_bf16_autocast_stays_close() -> None:
    layer, x = WeConv3d(16, 16, "5/3", 2), torch.randn(1, 16, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    assert (y - layer(x)).abs().max() < 0.05 * layer(x).abs().max()


# --- into other networks -------------------------------------------------------------------------------------------


def test_resnet_is_converted_and_still_runs_and_learns() -> None:
    torch.manual_seed(0)
    network = resnet18(num_classes=4)
    report = convert(network, levels=1)
    assert len(report.replaced) == sum(isinstance(m, WeConv3d) for m in network.modules()) == 13
    assert set(report.kept.values()) == {"stride 2"}
    assert "13 convolutions replaced, 7 kept" in str(report)
    network(torch.randn(2, 3, 63, 65)).sum().backward()
    assert network.get_submodule("layer1.0.conv1").low_weight.grad.abs().sum() > 0


def test_compressai_model_is_converted_where_chosen() -> None:
    torch.manual_seed(0)
    model = Cheng2020Anchor(N=12)
    report = convert(model, lambda name, conv: name.startswith("g_a") and conv.in_channels == 12, "5/3", 2)
    assert list(report.replaced["layer"].str.startswith("g_a")) == [True] * len(report.replaced)
    assert report.replaced["macs_ratio"].lt(0.2).all()
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


def test_pointwise_kernel_is_kept_exactly() -> None:
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
    assert asked == list(report.replaced["layer"]) == ["a.0"]
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
    with pytest.raises(WeconveneError, match="not selected"):
        convert(nn.Sequential(nn.Conv2d(2, 2, 3, padding=1)), lambda name, conv: False)
