"""The wavelet engine against independent oracles: PyWavelets, values by hand, gains, reconstruction."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets import SCHEMES, channel_matrix, dwt1d, dwt2d, dwt3d, idwt1d, idwt2d, idwt3d

WAVELETS = tuple(SCHEMES)
PYWT = {"5/3": ("bior2.2", 1), "9/7": ("bior4.4", 2)}  # name there, and where the critically sampled part starts


@pytest.mark.parametrize("n", [6, 7, 16, 17, 40])
@pytest.mark.parametrize("wavelet", PYWT)
def test_equals_pywavelets_reflect_borders_included(wavelet: str, n: int) -> None:
    x = np.random.default_rng(n).normal(size=n)
    name, offset = PYWT[wavelet]
    low, high = dwt1d(torch.from_numpy(x), wavelet, 0)
    expected_low, expected_high = pywt.dwt(x, name, mode="reflect")
    # pywt's high-pass has the opposite sign (design notes: pywt_H = -J2K_H / sqrt 2)
    np.testing.assert_allclose(low, expected_low[offset : offset + len(low)], atol=1e-6)
    np.testing.assert_allclose(high, -expected_high[offset : offset + len(high)], atol=1e-6)


@pytest.mark.parametrize("n", [2, 8, 32])
def test_haar_equals_pywavelets(n: int) -> None:
    x = np.random.default_rng(n).normal(size=n)
    low, high = dwt1d(torch.from_numpy(x), "haar", 0)
    expected_low, expected_high = pywt.dwt(x, "haar")
    np.testing.assert_allclose(low, expected_low, atol=1e-12)
    np.testing.assert_allclose(high, -expected_high, atol=1e-12)


def test_five_three_by_hand_in_jpeg2000_scaling() -> None:
    # x = 2 6 4 0 8: high = odd - mean of even neighbours: 6 - (2+4)/2 = 3, 0 - (4+8)/2 = -6.
    # low = even + a quarter of the high neighbours (mirrored):
    # 2 + (3+3)/4 = 3.5, 4 + (3-6)/4 = 3.25, 8 + (-6-6)/4 = 5.
    low, high = dwt1d(torch.tensor([2.0, 6.0, 4.0, 0.0, 8.0]), "5/3", 0, "jpeg2000")
    assert high.tolist() == [3.0, -6.0]
    assert low.tolist() == [3.5, 3.25, 5.0]


@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.parametrize(
    ("scaling", "dc", "nyquist"), [("jpeg2000", 1.0, 2.0), ("orthonormal", math.sqrt(2), math.sqrt(2))]
)
def test_gains_for_constant_and_alternating_signals(wavelet: str, scaling: str, dc: float, nyquist: float) -> None:
    ones = torch.ones(32, dtype=torch.float64)
    alternating = torch.tensor([1.0, -1.0] * 16, dtype=torch.float64)
    low, high = dwt1d(ones, wavelet, 0, scaling)
    torch.testing.assert_close(low, torch.full_like(low, dc), atol=1e-8, rtol=0)
    torch.testing.assert_close(high, torch.zeros_like(high), atol=1e-8, rtol=0)
    low, high = dwt1d(alternating, wavelet, 0, scaling)
    torch.testing.assert_close(high, torch.full_like(high, -nyquist), atol=1e-8, rtol=0)
    torch.testing.assert_close(low, torch.zeros_like(low), atol=1e-8, rtol=0)


@settings(max_examples=60, deadline=None)
@given(
    wavelet=st.sampled_from(WAVELETS), levels=st.integers(0, 4), seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 21), st.integers(1, 21)),
)  # fmt: skip
def test_perfect_reconstruction_of_any_size(wavelet: str, levels: int, seed: int, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(idwt2d(dwt2d(x, wavelet, levels)), x)
    torch.testing.assert_close(idwt3d(dwt3d(x, wavelet, levels)), x)
    assert sum(band.numel() for band in dwt3d(x, wavelet, levels).bands().values()) == x.numel()  # critically sampled


def test_haar_is_orthonormal_and_nine_seven_nearly() -> None:
    x = torch.randn(8, 128, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for wavelet, low, high in (("haar", 1 - 1e-12, 1 + 1e-12), ("9/7", 0.9, 1.1)):
        energy = sum(band.square().sum() for band in dwt2d(x, wavelet, 2).bands().values())
        assert low <= (energy / x.square().sum()).item() <= high


def test_two_levels_give_the_seven_bands_of_the_paper() -> None:
    pyramid = dwt3d(torch.zeros(1, 5, 13, 10), "9/7", 2)
    sizes = {name: tuple(band.shape[1:]) for name, band in pyramid.bands().items()}
    assert sizes == {
        "LL2": (5, 4, 3), "HL2": (5, 4, 2), "LH2": (5, 3, 3), "HH2": (5, 3, 2),
        "HL1": (5, 7, 5), "LH1": (5, 6, 5), "HH1": (5, 6, 5),
    }  # fmt: skip


def test_bands_answer_to_the_edges_they_are_named_for() -> None:
    stripes = torch.tensor([0.0, 1.0]).repeat(8)
    vertical, horizontal = stripes.expand(16, 16), stripes[:, None].expand(16, 16)
    assert max(dwt2d(vertical, "5/3").energies().items(), key=lambda item: item[1] * (item[0] != "LL1"))[0] == "HL1"
    assert max(dwt2d(horizontal, "5/3").energies().items(), key=lambda item: item[1] * (item[0] != "LL1"))[0] == "LH1"


@pytest.mark.parametrize("channels", [1, 2, 5, 8])
@pytest.mark.parametrize("wavelet", WAVELETS)
def test_channel_matrix_is_the_channel_transform(wavelet: str, channels: int) -> None:
    x = torch.randn(channels, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    analysis, synthesis = channel_matrix(channels, wavelet)
    torch.testing.assert_close(torch.einsum("ij,jhw->ihw", analysis, x), dwt3d(x, wavelet, 0).low)
    torch.testing.assert_close(synthesis @ analysis, torch.eye(channels, dtype=torch.float64))


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_gradients_are_exact_to_second_order(wavelet: str) -> None:
    x = torch.randn(1, 3, 5, 6, dtype=torch.float64, requires_grad=True)

    def bands(t: torch.Tensor) -> torch.Tensor:
        return torch.cat([b.flatten() for b in dwt3d(t, wavelet, 2).bands().values()]).square()

    assert torch.autograd.gradcheck(bands, (x,))
    assert torch.autograd.gradgradcheck(bands, (x,))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: dwt1d(torch.arange(4), "haar", 0), "dtype torch.int64"),
        (lambda: dwt1d(torch.zeros(0), "haar", 0), "size 0"),
        (lambda: dwt2d(torch.zeros(4), "haar"), "at least 2 axes"),
        (lambda: dwt2d(torch.zeros(4, 4), "haar", -1), "levels=-1"),
        (lambda: dwt2d(torch.zeros(4, 4), "db99"), "'db99' is unknown"),
        (lambda: dwt1d(torch.zeros(4), "haar", 0, "loud"), "'loud' is unknown"),
        (lambda: idwt1d(torch.zeros(2), torch.zeros(5), "haar", 0), "sizes 2 and 5"),
    ],
)
def test_impossible_input_is_named(call: object, words: str) -> None:
    with pytest.raises(WeconveneError, match=words.replace("(", r"\(")):
        call()
