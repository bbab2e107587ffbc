"""PyWavelets' filters as lifting schemes, and what can be read off a wavelet: filters, gains, energy bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pywt
import torch

from lab.wavelet_analysis.filter_banks import analysis_filters, conversion_table, energy_bounds, lifting_scheme
from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets import SCHEMES, dwt1d, idwt1d

FACTORED = (
    "db2", "db3", "db4", "db8", "sym4", "coif1", "bior1.3", "bior2.2", "bior3.3", "bior4.4", "bior6.8", "rbio2.2",
)  # fmt: skip
ORTHOGONAL = ("haar", "db2", "db4", "sym4", "coif1")


def signal(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=n)


@pytest.mark.parametrize("wavelet", FACTORED)
def test_periodic_mode_equals_pywavelets_up_to_a_shift_and_sign(wavelet: str) -> None:
    x = torch.from_numpy(signal(48))
    bands = dwt1d(x, lifting_scheme(wavelet), 0, mode="periodic")
    for ours, theirs in zip(bands, pywt.dwt(x.numpy(), wavelet, mode="periodization"), strict=True):
        fits = [np.abs(sign * np.roll(theirs, shift) - ours.numpy()).max() for sign in (1, -1) for shift in range(24)]
        assert min(fits) < 1e-8
    torch.testing.assert_close(idwt1d(*bands, lifting_scheme(wavelet), 0, mode="periodic"), x)


@pytest.mark.parametrize(("name", "table"), [("bior2.2", "5/3"), ("bior4.4", "9/7")])
def test_factoring_finds_the_published_lifting_steps(name: str, table: str) -> None:
    found, published = lifting_scheme(name), SCHEMES[table]
    assert len(found.steps) == len(published.steps)
    for step, other in zip(found.steps, published.steps, strict=True):
        assert (step.target, [t.offset for t in step.taps]) == (other.target, [t.offset for t in other.taps])
        np.testing.assert_allclose([t.coefficient for t in step.taps], [t.coefficient for t in other.taps], rtol=1e-9)
    assert (found.low_gain, found.high_gain) == pytest.approx((published.low_gain, published.high_gain))


@pytest.mark.parametrize("wavelet", FACTORED)
def test_symmetric_borders_keep_constants(wavelet: str) -> None:
    for n in (1, 2, 3, 7, 12):
        low, high = dwt1d(torch.ones(n, dtype=torch.float64), lifting_scheme(wavelet), 0)
        torch.testing.assert_close(low, torch.full_like(low, math.sqrt(2)), atol=1e-8, rtol=0)
        torch.testing.assert_close(high, torch.zeros_like(high), atol=1e-8, rtol=0)


@pytest.mark.parametrize(("name", "words"), [("dmey", "59 taps"), ("morl", "discrete wavelet")])
def test_a_wavelet_that_cannot_be_factored_is_named(name: str, words: str) -> None:
    with pytest.raises(WeconveneError, match=words):
        lifting_scheme(name)


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
    assert energy_bounds(lifting_scheme(wavelet)) == pytest.approx((1.0, 1.0), abs=1e-8)


@pytest.mark.parametrize("wavelet", ["5/3", "9/7", "bior6.8"])
def test_energy_stays_within_the_stated_bounds(wavelet: str) -> None:
    lowest, highest = energy_bounds(lifting_scheme(wavelet))
    x = torch.from_numpy(signal(64))
    bands = dwt1d(x, lifting_scheme(wavelet), 0, mode="periodic")
    assert lowest < (sum(band.square().sum() for band in bands) / x.square().sum()).item() < highest
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
