"""Lifting: in place and in textbook form agree; types, memory formats, derivatives, compilers."""

from __future__ import annotations

import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weconvene_core.wavelets import (
    LiftingScheme,
    LiftingStep,
    Tap,
    Wavelet,
    dwt1d,
    dwt2d,
    dwt3d,
    idwt1d,
    idwt2d,
    idwt3d,
    scheme,
)
from weconvene_core.wavelets.lifting import split_axes, textbook_join, textbook_split

FAR = LiftingScheme(  # taps that reach beyond the next neighbours, lopsided
    "far",
    (LiftingStep("high", (Tap(-1, 0.1), Tap(2, -0.3))), LiftingStep("low", (Tap(-3, 0.2), Tap(1, 0.1), Tap(4, 0.05)))),
    1.1,
    -0.9,
)
WAVELETS = ("haar", "5/3", "9/7", FAR)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.15, torch.float16: 0.02}
MODES = ("symmetric", "periodic")


def name(value: object) -> str:
    return value.name if isinstance(value, LiftingScheme) else str(value)


def noise(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


@settings(max_examples=40, deadline=None)
@given(
    wavelet=st.sampled_from(WAVELETS), mode=st.sampled_from(MODES), seed=st.integers(0, 99),
    scaling=st.sampled_from(["orthonormal", "jpeg2000"]), shape=st.tuples(*[st.integers(1, 18)] * 2),
)  # fmt: skip
def test_in_place_equals_textbook(wavelet: Wavelet, mode: str, scaling: str, shape: tuple[int, int], seed: int) -> None:
    x = noise(2, *shape, seed=seed)
    bands = split_axes(x, wavelet, (-2, -1), scaling, mode)
    expected = textbook_split(x, scheme(wavelet), (-2, -1), scaling, mode)
    for band, other in zip(bands, expected, strict=True):
        torch.testing.assert_close(band, other, atol=1e-11, rtol=1e-9)
    torch.testing.assert_close(textbook_join(bands, scheme(wavelet), (-2, -1), scaling, mode), x)


@settings(max_examples=60, deadline=None)
@given(
    wavelet=st.sampled_from(WAVELETS), mode=st.sampled_from(MODES), levels=st.integers(0, 3),
    dtype=st.sampled_from(list(TOLERANCE)), channels_last=st.booleans(), packets=st.booleans(),
    channel_levels=st.integers(0, 2), shape=st.tuples(st.integers(4, 9), st.integers(1, 19), st.integers(1, 19)),
)  # fmt: skip
def test_reconstruction_for_every_shape_type_and_layout(
    wavelet: Wavelet, mode: str, levels: int, dtype: torch.dtype, channels_last: bool, packets: bool,
    channel_levels: int, shape: tuple[int, ...],
) -> None:  # fmt: skip
    x = noise(2, *shape, dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    pyramid = dwt3d(x, wavelet, levels, mode=mode, channel_levels=channel_levels, channel_packets=packets)
    back = idwt3d(pyramid)
    assert (back.dtype, back.shape) == (x.dtype, x.shape)
    assert sum(band.numel() for band in pyramid.bands().values()) == x.numel()  # critically sampled
    # lopsided border steps grow small-signal errors a little; the scale is that of the coefficients
    scale = max(1.0, *(b.abs().max().item() if b.numel() else 0.0 for b in pyramid.bands().values()))
    torch.testing.assert_close(back, x, atol=4 * scale * TOLERANCE[dtype], rtol=0)


def test_channels_last_stays_channels_last() -> None:
    x = noise(2, 6, 12, 10).contiguous(memory_format=torch.channels_last)
    pyramid = dwt2d(x, "9/7", 2)
    assert all(band.is_contiguous(memory_format=torch.channels_last) for band in pyramid.bands().values())
    assert idwt2d(pyramid).is_contiguous(memory_format=torch.channels_last)


def test_the_input_is_never_changed() -> None:
    x = noise(1, 3, 8, 9)
    kept = x.clone()
    pyramid = dwt2d(x, "9/7", 2)
    bands = {name: band.clone() for name, band in pyramid.bands().items()}
    idwt2d(pyramid)
    assert torch.equal(x, kept)
    assert all(torch.equal(band, bands[name]) for name, band in pyramid.bands().items())


@pytest.mark.parametrize(
    ("wavelet", "mode"), [("haar", "symmetric"), ("9/7", "symmetric"), (FAR, "periodic")], ids=name
)
def test_gradients_are_exact_to_second_order(wavelet: Wavelet, mode: str) -> None:
    x = noise(2, 3, 5).requires_grad_()

    def energies(t: torch.Tensor) -> torch.Tensor:
        pyramid = dwt3d(t, wavelet, 2, mode=mode)
        return torch.cat([idwt3d(pyramid).flatten(), *(b.flatten() for b in pyramid.bands().values())]).square()

    assert torch.autograd.gradcheck(energies, (x,))
    assert torch.autograd.gradgradcheck(energies, (x,))


def test_gradient_of_the_inverse_is_its_adjoint() -> None:
    low, high = noise(4, seed=1).requires_grad_(), noise(3, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: idwt1d(a, b, "9/7", 0).square(), (low, high))


def round_trip(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    pyramid = dwt3d(x, "9/7", 2)
    return idwt3d(pyramid), torch.cat([band.flatten() for band in pyramid.bands().values()])


@pytest.mark.slow
def test_compiles_in_one_graph_and_differentiates() -> None:
    torch._dynamo.reset()
    x = noise(1, 4, 13, 10, dtype=torch.float32).requires_grad_()
    back, bands = torch.compile(round_trip, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(back, x, atol=1e-5, rtol=0)
    torch.testing.assert_close(bands, round_trip(x)[1], atol=1e-5, rtol=0)
    (gradient,) = torch.autograd.grad(bands.square().sum(), x)
    (expected,) = torch.autograd.grad(round_trip(x)[1].square().sum(), x)
    torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.parametrize("wavelet", ["9/7", FAR], ids=name)
def test_generated_code_equals_eager(wavelet: Wavelet) -> None:
    torch._dynamo.reset()
    x = noise(2, 9, 14, dtype=torch.float32)
    low, high = torch.compile(lambda t: dwt1d(t, wavelet, -1), fullgraph=True)(x)
    torch.testing.assert_close((low, high), dwt1d(x, wavelet, -1), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_exports() -> None:
    class RoundTrip(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return round_trip(x)

    x = noise(1, 4, 9, 8, dtype=torch.float32)
    program = torch.export.export(RoundTrip(), (x,))
    torch.testing.assert_close(program.module()(x)[0], x, atol=1e-5, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("wavelet", WAVELETS, ids=name)
def test_cuda_equals_cpu(wavelet: Wavelet) -> None:
    x = noise(2, 5, 33, 18)
    here, there = dwt3d(x, wavelet, 2), dwt3d(x.cuda(), wavelet, 2)
    for name, band in here.bands().items():
        torch.testing.assert_close(there.bands()[name].cpu(), band)
    torch.testing.assert_close(idwt3d(there).cpu(), x)
