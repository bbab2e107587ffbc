"""Wavelets beyond the three tables: factored, periodic, packets, integers; gains and energy bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lab.wavelet_analysis.filter_gains import analysis_filters, conversion_table, energy_bounds
from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets import SCHEMES, AxisDWT, channel_matrix, dwt1d, dwt2d, dwt3d, idwt2d, idwt3d, scheme

FACTORED = (
    "db2", "db3", "db4", "db8", "sym4", "coif1", "bior1.3", "bior2.2", "bior3.3", "bior4.4", "bior6.8", "rbio2.2",
)  # fmt: skip
ORTHOGONAL = ("haar", "db2", "db4", "sym4", "coif1")


def signal(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n)


@pytest.mark.parametrize("wavelet", FACTORED)
def test_periodic_mode_equals_pywavelets_up_to_a_shift_and_sign(wavelet: str) -> None:
    x = signal(48)
    bands = dwt1d(torch.from_numpy(x), wavelet, 0, mode="periodic")
    for ours, theirs in zip(bands, pywt.dwt(x, wavelet, mode="periodization"), strict=True):
        fits = [np.abs(sign * np.roll(theirs, shift) - ours.numpy()).max() for sign in (1, -1) for shift in range(24)]
        assert min(fits) < 1e-8


@pytest.mark.parametrize(("name", "table"), [("bior2.2", "5/3"), ("bior4.4", "9/7")])
def test_factoring_finds_the_published_lifting_steps(name: str, table: str) -> None:
    found, published = scheme(name), SCHEMES[table]
    assert len(found.steps) == len(published.steps)
    for step, other in zip(found.steps, published.steps, strict=True):
        assert (step.target, [t.offset for t in step.taps]) == (other.target, [t.offset for t in other.taps])
        np.testing.assert_allclose([t.coefficient for t in step.taps], [t.coefficient for t in other.taps], rtol=1e-9)
    assert (found.low_gain, found.high_gain) == pytest.approx((published.low_gain, published.high_gain))


@pytest.mark.parametrize("wavelet", [*SCHEMES, *FACTORED])
def test_symmetric_borders_keep_constants(wavelet: str) -> None:
    for n in (1, 2, 3, 7, 12):
        low, high = dwt1d(torch.ones(n, dtype=torch.float64), wavelet, 0)
        torch.testing.assert_close(low, torch.full_like(low, math.sqrt(2)), atol=1e-8, rtol=0)
        torch.testing.assert_close(high, torch.zeros_like(high), atol=1e-8, rtol=0)


@pytest.mark.parametrize("n", [2, 5, 8, 16])
@pytest.mark.parametrize("wavelet", ["5/3", "9/7"])
def test_dense_matrix_from_the_definition(wavelet: str, n: int) -> None:
    """Oracle: the filters' taps on a signal that is mirrored by hand about its first and last sample."""
    filters = analysis_filters(wavelet)
    rows = []
    for taps, start in ((filters.low, 0), (filters.high, 1)):
        for centre in range(start, n, 2):
            row = np.zeros(n)
            for position, tap in taps.items():
                index = abs(centre + position) % (2 * (n - 1))
                row[min(index, 2 * (n - 1) - index)] += tap
            rows.append(row)
    x = signal(n)
    np.testing.assert_allclose(torch.cat(dwt1d(torch.from_numpy(x), wavelet, 0)), np.array(rows) @ x, atol=1e-9)


def test_filters_have_the_published_lengths_and_values() -> None:
    # LeGall 5/3 in JPEG 2000 scaling: low (-1 2 6 2 -1) / 8, high (-1 2 -1) / 2 (ISO/IEC 15444-1, Annex F)
    filters = analysis_filters("5/3", "jpeg2000")
    assert filters.low == pytest.approx({-2: -1 / 8, -1: 2 / 8, 0: 6 / 8, 1: 2 / 8, 2: -1 / 8})
    assert filters.high == pytest.approx({-1: -1 / 2, 0: 1.0, 1: -1 / 2})
    assert [len(taps) for taps in analysis_filters("9/7")] == [9, 7]
    # CDF 9/7, published to 12 digits: the centre tap of the low-pass filter with DC gain 1
    assert analysis_filters("9/7", "jpeg2000").low[0] == pytest.approx(0.602949018236358, abs=1e-9)


@pytest.mark.parametrize("wavelet", ORTHOGONAL)
def test_orthogonal_wavelets_keep_energy(wavelet: str) -> None:
    assert energy_bounds(wavelet) == pytest.approx((1.0, 1.0), abs=1e-8)


@pytest.mark.parametrize("wavelet", ["5/3", "9/7", "bior6.8"])
def test_energy_stays_within_the_stated_bounds(wavelet: str) -> None:
    lowest, highest = energy_bounds(wavelet)
    x = torch.from_numpy(signal(64))
    energy = sum(band.square().sum() for band in dwt1d(x, wavelet, 0, mode="periodic")) / x.square().sum()
    assert lowest < energy.item() < highest
    assert lowest <= 1 <= highest


def test_conversion_table_turns_our_coefficients_into_the_others() -> None:
    table = conversion_table().set_index(["wavelet", "scaling"])
    x = signal(40)
    jpeg = dwt1d(torch.from_numpy(x), "9/7", 0, "jpeg2000")
    theirs = pywt.dwt(x, "bior4.4", mode="reflect")
    for band, other, factor in zip(jpeg, theirs, ("low_factor", "high_factor"), strict=True):
        np.testing.assert_allclose(band * table.loc[("9/7", "pywt"), factor], other[2:22], atol=1e-6)
    ours = dwt1d(torch.from_numpy(x), "9/7", 0)
    np.testing.assert_allclose(jpeg[1] * table.loc[("9/7", "orthonormal"), "high_factor"], ours[1])


# --- integers ------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
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


# --- the channel axis ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 11, 320])
@pytest.mark.parametrize(("levels", "packets"), [(0, False), (1, False), (2, False), (2, True), (3, True)])
def test_axis_split_sizes_names_and_inverse(size: int, levels: int, packets: bool) -> None:
    split = AxisDWT(size, "9/7", levels, packets)
    x = torch.from_numpy(signal(size))
    parts = split.split(x, 0)
    assert tuple(part.shape[0] for part in parts) == split.sizes
    assert len(split.names) == len(set(split.names)) == len(parts)
    torch.testing.assert_close(split.merge(parts, 0), x)
    analysis, synthesis = split.matrices()
    torch.testing.assert_close(analysis @ x, torch.cat(parts))
    torch.testing.assert_close(synthesis @ analysis, torch.eye(size, dtype=torch.float64), atol=1e-9, rtol=0)


def test_packets_are_equal_and_ordered_by_frequency() -> None:
    n = 256
    split = AxisDWT(n, "db8", 2, packets=True, mode="periodic")
    assert split.sizes == (n // 4,) * 4
    for band in range(4):
        frequency = math.pi * (band + 0.5) / 4
        tone = torch.cos(frequency * torch.arange(n, dtype=torch.float64))
        energies = [part.square().sum().item() for part in split.split(tone, 0)]
        assert int(np.argmax(energies)) == band
        assert energies[band] > 0.9 * sum(energies)


@pytest.mark.parametrize("packets", [False, True])
def test_separate_channel_and_space_levels(packets: bool) -> None:
    x = torch.from_numpy(signal(2 * 12 * 9 * 10)).reshape(2, 12, 9, 10)
    pyramid = dwt3d(x, "5/3", 1, channel_levels=2, channel_packets=packets, channel_wavelet="haar")
    analysis, _ = channel_matrix(12, "haar", 2, packets)
    torch.testing.assert_close(pyramid.low, dwt2d(torch.einsum("ij,bjhw->bihw", analysis, x), "5/3", 1).low)
    torch.testing.assert_close(idwt3d(pyramid), x)
    groups = ("P0", "P1", "P2", "P3") if packets else ("L2", "H2", "H1")
    assert [name for name in pyramid.channel_bands() if name.endswith("LL1")] == [f"{g}-LL1" for g in groups]
    assert sum(band.numel() for band in pyramid.channel_bands().values()) == x.numel()


# --- the pyramid ---------------------------------------------------------------------------------------------------


def test_mosaic_has_the_size_of_the_picture_and_its_energy() -> None:
    x = torch.from_numpy(signal(3 * 13 * 22)).reshape(3, 13, 22)
    pyramid = dwt2d(x, "haar", 2)
    mosaic = pyramid.mosaic()
    assert mosaic.shape == x.shape
    torch.testing.assert_close(mosaic[:, :4, :6], pyramid.low)
    torch.testing.assert_close(mosaic[:, :7, 11:], pyramid.details[0].hl)


@pytest.mark.parametrize("levels", [0, 1, 3])
def test_packing_into_channels_and_back(levels: int) -> None:
    x = torch.from_numpy(signal(2 * 3 * 16 * 24)).reshape(2, 3, 16, 24)
    pyramid = dwt2d(x, "9/7", levels)
    packed = pyramid.packed()
    assert packed.shape == (2, 3 * 4**levels, 16 // 2**levels, 24 // 2**levels)
    torch.testing.assert_close(idwt2d(pyramid.unpacked(packed)), x)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: dwt2d(torch.zeros(1, 1, 6, 6), "haar", 2).packed(), "multiples of 4"),
        (lambda: dwt2d(torch.zeros(1, 2, 8, 8), "haar").unpacked(torch.zeros(1, 7, 4, 4)), "7 channels"),
        (lambda: AxisDWT(3, "haar", 2, packets=True), "at least 4 samples"),
        (lambda: AxisDWT(3, "haar", -1), "levels=-1"),
        (lambda: AxisDWT(4, "haar", 2).merge([torch.zeros(4)], 0), "1 subbands"),
        (lambda: dwt3d(torch.zeros(2, 4, 4), "haar", channel_levels=2, channel_packets=True), "has 2"),
        (lambda: idwt3d(dwt2d(torch.zeros(2, 4, 4), "haar")), "no channel split"),
        (lambda: dwt1d(torch.zeros(4), "5/3-integer", 0), "transforms integers"),
        (lambda: dwt1d(torch.zeros(4), "haar", 0, mode="mirror"), "mode='mirror'"),
        (lambda: dwt1d(torch.zeros(4), "haar", 3), "dim=3"),
        (lambda: dwt2d(torch.zeros(3, 0), "haar"), "must not be empty"),
        (lambda: scheme("dmey"), "59 taps"),
        (lambda: scheme("morl"), "discrete wavelet"),
    ],
)  # fmt: skip
def test_impossible_requests_are_named(call: object, words: str) -> None:
    with pytest.raises(WeconveneError, match=words):
        call()
