"""The arithmetic of the integer path: exact convolutions, integer lifting, quantisers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from weconvene_core.errors import WeconveneError
from weconvene_core.exact.fixed_point import ActivationQuantizer, ExactConv, FixedPointRange, to_fixed_point
from weconvene_core.exact.integer_lifting import growth, integer_lifting, join, lifting_of, split
from weconvene_core.layers.weconv import SPACE
from weconvene_core.wavelets import scheme
from weconvene_core.wavelets.lifting import split_axes


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 9), (64, 96)])
def test_convolution_is_the_integer_one(kernel: int, size: tuple[int, int]) -> None:
    weight, bias = 0.1 * torch.randn(6, 5, kernel, kernel), torch.randn(6)
    layer = ExactConv("any", weight, bias, FixedPointRange.of(8, 0, 2.0**15, 5), 10)
    x = torch.randint(-(2**15), 2**15 + 1, (3, 5, *size))
    columns = F.unfold(x.double(), kernel, padding=kernel // 2).long()  # moves numbers, computes none
    bits = layer.weight_bits
    integers = (to_fixed_point(weight, bits) * 2**18).long().flatten(1) @ columns + (
        to_fixed_point(bias) * 2**26
    ).long()[:, None]
    y = layer(x.double())
    assert torch.equal((y * 2.0**16).long().flatten(2), integers)  # unit 10: 26 bits below the point, less 10
    assert 12 <= bits <= 18


@pytest.mark.parametrize("wavelet", ["haar", "5/3", "9/7"])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 6)])
def test_integer_lifting_is_reversible_and_near_the_real_one(wavelet: str, size: tuple[int, int]) -> None:
    lifting = lifting_of(wavelet, {wavelet: integer_lifting(wavelet)})
    x = torch.randint(-(2**15), 2**15, (2, 3, *size)).double()
    bands = split(x, lifting)
    assert torch.equal(join([band.clone() for band in bands], lifting), x)
    plain = replace(scheme(wavelet), low_gain=1.0, high_gain=1.0)
    for band, real in zip(bands, split_axes(x, plain, SPACE, "jpeg2000", "symmetric"), strict=True):
        assert torch.allclose(band, real, rtol=0, atol=32)  # of 2^15
    bits, factor = growth(lifting)
    assert all((band * 2.0**bits == (band * 2.0**bits).round()).all() for band in bands)
    assert max(band.abs().max() for band in bands if band.numel()) <= factor * 2**15


def test_sums_that_may_be_inexact_are_refused() -> None:
    weight = torch.full((1, 4, 3, 3), 200.0)
    with pytest.raises(WeconveneError, match="Layer lower cannot be computed exactly"):
        ExactConv("lower", weight, None, FixedPointRange.of(8, 8, 2.0**23, 4), 0)


def test_a_quantizer_activates_rounds_to_even_and_saturates() -> None:
    x = torch.tensor([0.5, 1.5, 2.4, 4e4, -8.0, -24.0, -1e9]).double()
    assert ActivationQuantizer("any", 3)(x).tolist() == [0, 2, 2, 32767, 0, -2, -32767]
