"""The DWT against independent oracles: PyWavelets, values by hand; bands, the channel axis, integers, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets import SCHEMES, AxisDWT, dwt1d, dwt2d, dwt3d, idwt1d, idwt2d, idwt3d, scheme

WAVELETS = tuple(SCHEMES)
PYWT = {"5/3": ("bior2.2", 1), "9/7": ("bior4.4", 2)}  # name there, and where the critically sampled part starts


def signal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("n", [6, 7, 16, 17, 40])
@pytest.mark.parametrize("wavelet", PYWT)
def test_equals_pywavelets_reflect_borders_included(wavelet: str, n: int) -> None:
    x = signal(n, seed=n)
    name, offset = PYWT[wavelet]
    low, high = dwt1d(x, wavelet, 0)
    expected_low, expected_high = pywt.dwt(x.numpy(), name, mode="reflect")
    # pywt's high-pass has the opposite sign (design notes: pywt_H = -J2K_H / sqrt 2)
    np.testing.assert_allclose(low, expected_low[offset : offset + len(low)], atol=1e-6)
    np.testing.assert_allclose(high, -expected_high[offset : offset + len(high)], atol=1e-6)


@pytest.mark.parametrize("n", [2, 8, 32])
def test_haar_equals_pywavelets(n: int) -> None:
    x = signal(n)
    low, high = dwt1d(x, "haar", 0)
    expected_low, expected_high = pywt.dwt(x.numpy(), "haar")
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
    for n in (1, 2, 3, 7, 12, 32):
        low, high = dwt1d(torch.ones(n, dtype=torch.float64), wavelet, 0, scaling)
        torch.testing.assert_close(low, torch.full_like(low, dc), atol=1e-8, rtol=0)
        torch.testing.assert_close(high, torch.zeros_like(high), atol=1e-8, rtol=0)
    low, high = dwt1d(torch.tensor([1.0, -1.0] * 16, dtype=torch.float64), wavelet, 0, scaling)
    torch.testing.assert_close(high, torch.full_like(high, -nyquist), atol=1e-8, rtol=0)
    torch.testing.assert_close(low, torch.zeros_like(low), atol=1e-8, rtol=0)


@settings(max_examples=40, deadline=None)
@given(
    wavelet=st.sampled_from(WAVELETS), levels=st.integers(0, 4), seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 21), st.integers(1, 21)),
)  # fmt: skip
def test_perfect_reconstruction_of_any_size(wavelet: str, levels: int, seed: int, shape: tuple[int, ...]) -> None:
    x = signal(*shape, seed=seed)
    torch.testing.assert_close(idwt2d(dwt2d(x, wavelet, levels)), x)
    torch.testing.assert_close(idwt3d(dwt3d(x, wavelet, levels)), x)


def test_haar_is_orthonormal_and_nine_seven_nearly() -> None:
    x = signal(8, 64, 64)
    for wavelet, low, high in (("haar", 1 - 1e-12, 1 + 1e-12), ("9/7", 0.9, 1.1)):
        energy = sum(band.square().sum() for band in dwt2d(x, wavelet, 2).bands().values())
        assert low <= (energy / x.square().sum()).item() <= high


# --- bands ---------------------------------------------------------------------------------------------------------


def test_two_levels_give_the_seven_bands_of_the_paper() -> None:
    pyramid = dwt3d(torch.zeros(1, 5, 13, 10), "9/7", 2)
    sizes = {name: tuple(band.shape[1:]) for name, band in pyramid.bands().items()}
    assert sizes == {
        "LL2": (5, 4, 3), "HL2": (5, 4, 2), "LH2": (5, 3, 3), "HH2": (5, 3, 2),
        "HL1": (5, 7, 5), "LH1": (5, 6, 5), "HH1": (5, 6, 5),
    }  # fmt: skip


def test_bands_answer_to_the_edges_they_are_named_for() -> None:
    stripes = torch.tensor([0.0, 1.0]).repeat(8) - 0.5
    for band, picture in {"HL1": stripes.expand(16, 16), "LH1": stripes[:, None].expand(16, 16)}.items():
        shares = dwt2d(picture, "5/3").energies()
        assert max(shares, key=shares.get) == band
        assert sum(shares.values()) == pytest.approx(1)


# --- the channel axis ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 11, 48])
@pytest.mark.parametrize(("levels", "packets"), [(0, False), (1, False), (2, False), (2, True), (3, True)])
def test_axis_dwt_has_sizes_names_an_inverse_and_matrices(size: int, levels: int, packets: bool) -> None:
    split, x = AxisDWT(size, "9/7", levels, packets), signal(size)
    parts = split.split(x, 0)
    assert tuple(part.shape[0] for part in parts) == split.sizes
    assert len(split.names) == len(set(split.names)) == len(parts)
    torch.testing.assert_close(split.merge(parts, 0), x)
    analysis, synthesis = split.matrices()
    torch.testing.assert_close(analysis @ x, torch.cat(parts))
    torch.testing.assert_close(synthesis @ analysis, torch.eye(size, dtype=torch.float64), atol=1e-9, rtol=0)


def test_packets_are_equal_and_ordered_by_frequency() -> None:
    n = 256
    split = AxisDWT(n, "9/7", 2, packets=True, mode="periodic")
    assert split.sizes == (n // 4,) * 4
    for band in range(4):
        tone = torch.cos(math.pi * (band + 0.5) / 4 * torch.arange(n, dtype=torch.float64))
        energies = [part.square().sum().item() for part in split.split(tone, 0)]
        assert int(np.argmax(energies)) == band
        assert energies[band] > 0.75 * sum(energies)


@pytest.mark.parametrize("channels", [1, 2, 5, 12])
@pytest.mark.parametrize(("levels", "packets"), [(1, False), (2, False), (2, True)])
def test_three_dimensions_are_the_channel_dwt_and_then_the_spatial_one(
    channels: int, levels: int, packets: bool
) -> None:
    if packets and channels < 4:
        return
    x = signal(2, channels, 9, 10)
    pyramid = dwt3d(x, "5/3", 1, channel_levels=levels, channel_packets=packets)
    analysis, _ = AxisDWT(channels, "5/3", levels, packets).matrices()
    expected = dwt2d(torch.einsum("ij,bjhw->bihw", analysis, x), "5/3")
    for name, band in pyramid.bands().items():
        torch.testing.assert_close(band, expected.bands()[name])
    torch.testing.assert_close(idwt3d(pyramid), x)


# --- integers ------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    image=hnp.arrays(st.sampled_from([np.uint8, np.int16]), hnp.array_shapes(min_dims=3, max_dims=3, max_side=14)),
    levels=st.integers(0, 4),
)  # fmt: skip
def test_integer_transform_is_lossless(image: np.ndarray, levels: int) -> None:
    x = torch.from_numpy(image)
    assert torch.equal(idwt3d(dwt3d(x, "5/3-integer", levels)).to(x.dtype), x)
    assert torch.equal(idwt2d(dwt2d(x, "5/3-integer", levels, mode="periodic")).to(x.dtype), x)


def test_integer_five_three_by_hand() -> None:
    # x = 2 6 4 0 9 (JPEG 2000, reversible): d0 = 6 - floor((2 + 4) / 2) = 3, d1 = 0 - floor((4 + 9) / 2) = -6;
    # s0 = 2 + floor((3 + 3 + 2) / 4) = 4, s1 = 4 + floor((3 - 6 + 2) / 4) = 3, s2 = 9 + floor((-6 - 6 + 2) / 4) = 6
    low, high = dwt1d(torch.tensor([2, 6, 4, 0, 9], dtype=torch.uint8), "5/3-integer", 0)
    assert (low.tolist(), high.tolist(), low.dtype) == ([4, 3, 6], [3, -6], torch.int16)


def test_integer_transform_rounds_the_real_one() -> None:
    x = torch.randint(0, 256, (64,), generator=torch.Generator().manual_seed(0))
    for band, real in zip(dwt1d(x, "5/3-integer", 0), dwt1d(x.double(), "5/3", 0, "jpeg2000"), strict=True):
        assert (band - real).abs().max() <= 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: dwt1d(torch.arange(4), "haar", 0), "dtype torch.int64"),
        (lambda: dwt1d(torch.zeros(0), "haar", 0), "size 0"),
        (lambda: dwt1d(torch.zeros(4), "haar", 0, "loud"), "'loud' is unknown"),
        (lambda: dwt1d(torch.zeros(4), "5/3-integer", 0), "transforms integers"),
        (lambda: dwt1d(torch.zeros(4), "haar", 0, mode="mirror"), "mode='mirror'"),
        (lambda: dwt1d(torch.zeros(4), "haar", 3), "dim=3"),
        (lambda: idwt1d(torch.zeros(2), torch.zeros(5), "haar", 0), "sizes 2 and 5"),
        (lambda: dwt2d(torch.zeros(4), "haar"), "it has 1 axes"),
        (lambda: dwt2d(torch.zeros(3, 0), "haar"), "size 0 along axis -1"),
        (lambda: dwt2d(torch.zeros(4, 4), "haar", -1), "levels=-1"),
        (lambda: dwt2d(torch.zeros(4, 4), "db99"), "'db99' is unknown"),
        (lambda: dwt3d(torch.zeros(4, 4), "haar"), "at least 3 axes"),
        (lambda: dwt3d(torch.zeros(2, 4, 4), "haar", channel_levels=2, channel_packets=True), "has 2"),
        (lambda: idwt3d(dwt2d(torch.zeros(2, 4, 4), "haar")), "no channel split"),
        (lambda: AxisDWT(3, "haar", 2, packets=True), "at least 4 samples"),
        (lambda: AxisDWT(3, "haar", -1), "levels=-1"),
        (lambda: AxisDWT(4, "haar", 2).merge([torch.zeros(4)], 0), "1 subbands"),
        (lambda: scheme("morl"), "or a LiftingScheme"),
        (lambda: scheme("db2"), "lifting_scheme"),
        (lambda: scheme(["haar"]), "is unknown"),
        (lambda: dwt2d(np.zeros((4, 4)), "haar"), "type ndarray"),
    ],
)
def test_impossible_requests_are_named(call: object, words: str) -> None:
    with pytest.raises(WeconveneError, match=words):
        call()
