"""Energy compaction, channel correlation and lossless bits: against closed forms, PyWavelets and published tables."""

import copy
import math

import numpy as np
import pytest
import pywt
import torch

from lab.wavelet_analysis import energy_compaction, lossless_bits
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets import SCHEMES, dwt2d, dwt3d, idwt2d

# L2 norms of JPEG 2000's 5/3 synthesis functions (OpenJPEG, opj_dwt_norms)
NORMS_53 = {"LL1": 1.500, "HL1": 1.038, "HH1": 0.7186, "LL2": 2.750, "HL2": 1.592, "HH2": 0.9218}


@pytest.fixture(scope="module")
def noise():
    return torch.randn(48, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 20 + 128


def test_synthesis_norms_of_5_3_are_those_published_for_jpeg_2000():
    one, two = (energy_compaction.synthesis_norms("5/3", levels, "jpeg2000") for levels in (1, 2))
    assert {name: (one | two)[name] for name in NORMS_53} == pytest.approx(NORMS_53, abs=1e-3)


@pytest.mark.parametrize("band", ["LL2", "LH2", "HH1"])
def test_dropping_a_coefficient_takes_its_basis_picture_away(band):
    pyramid = dwt2d(torch.randn(96, 96, dtype=torch.float64), "5/3", 2)
    before, values = idwt2d(pyramid), pyramid.bands()[band]
    place = values.shape[0] // 2, values.shape[1] // 2
    coefficient = values[place].item()
    values[place] = 0
    picture = energy_compaction.basis_picture("5/3", 2, band)
    middle = len(picture) // 2 - 24
    lost = (before - idwt2d(pyramid))[24:72, 24:72]
    torch.testing.assert_close(lost, coefficient * picture[middle : middle + 48, middle : middle + 48])


@pytest.mark.parametrize(("wavelet", "pywt_name"), [("haar", "haar"), ("5/3", "bior2.2"), ("9/7", "bior4.4")])
def test_synthesis_norms_are_pywavelets(wavelet, pywt_name):
    found = energy_compaction.synthesis_norms(wavelet, 2)
    zeros = pywt.wavedec2(np.zeros((64, 64)), pywt_name, "periodization", 2)
    for name, at in (("LL2", 0), ("HL2", 1), ("HL1", 2)):
        coefficients = copy.deepcopy(zeros)
        band = coefficients[0] if at == 0 else coefficients[at][1]
        band[8, 8] = 1.0
        assert found[name] == pytest.approx(np.linalg.norm(pywt.waverec2(coefficients, pywt_name, "periodization")))


@pytest.mark.parametrize("percent", [0.01, 3.3, 50, 100])
def test_exactly_the_asked_share_is_kept_largest_first(noise, percent):
    pyramid = dwt2d(noise, "9/7", 3)
    kept = energy_compaction.keep_largest(pyramid, percent)
    before, after = (
        torch.cat([b.flatten() for b in energy_compaction.weighted_bands(p).values()]) for p in (pyramid, kept)
    )
    assert (after != 0).sum() == math.ceil(noise.numel() * percent / 100)
    assert torch.equal(after[after != 0], before[after != 0])
    assert before[after == 0].abs().max().item() <= after[after != 0].abs().min() if percent < 100 else True


def test_haar_loses_exactly_the_energy_that_was_dropped(noise):
    pyramid = dwt2d(noise, "haar", 3)
    kept = energy_compaction.keep_largest(pyramid, 20)
    dropped = sum((a - b).square().sum() for a, b in zip(pyramid.bands().values(), kept.bands().values(), strict=True))
    assert (idwt2d(kept) - noise).square().sum().item() == pytest.approx(dropped.item())


@pytest.mark.parametrize("wavelet", sorted(SCHEMES))
def test_keeping_more_is_never_worse_and_everything_is_lossless(noise, wavelet):
    rows = energy_compaction.compaction(noise.round(), wavelet, 3, [1, 5, 25, 100])
    assert rows.energy_kept_pct.is_monotonic_increasing
    assert rows.psnr_db.is_monotonic_increasing
    assert rows.energy_kept_pct.iloc[-1] == pytest.approx(100)
    assert rows.psnr_db.iloc[-1] == math.inf


@pytest.mark.parametrize("percent", [0, -1, 101, math.nan])
def test_an_impossible_share_is_refused(percent):
    with pytest.raises(WeconveneError, match="cannot be kept"):
        energy_compaction.keep_largest(dwt2d(torch.rand(4, 4), "haar", 1), percent)


def test_coding_gain_of_haar_on_a_markov_field_is_the_closed_form():
    """One level on a separable AR(1) field of correlation r: bands (1+-r)(1+-r), so the gain is 1 / (1 - r^2)."""
    r, n = 0.5, 400
    lags = torch.arange(n, dtype=torch.float64)
    root = torch.linalg.cholesky(r ** (lags[:, None] - lags).abs())
    white = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    field = root @ white @ root.T
    assert energy_compaction.coding_gain_db(field, "haar", 1) == pytest.approx(-10 * math.log10(1 - r**2), abs=0.05)
    assert energy_compaction.coding_gain_db(white, "haar", 1) == pytest.approx(0, abs=0.02)


def test_the_energy_of_a_band_is_that_of_the_picture_it_makes_alone():
    smooth = dwt2d(torch.full((32, 32), 5.0), "5/3", 2)
    rows = energy_compaction.band_energies(smooth).set_index("band")
    assert rows.energy_pct["LL2"] == pytest.approx(100)
    haar = dwt2d(torch.rand(16, 24, dtype=torch.float64), "haar", 2)  # orthonormal: coefficients' energy, no detour
    found = energy_compaction.band_energies(haar).set_index("band").energy_pct.to_dict()
    assert found == pytest.approx({name: 100 * share for name, share in haar.energies().items()})


def test_band_shares_sum_to_a_hundred(noise):
    rows = energy_compaction.band_energies(dwt2d(noise, "9/7", 2))
    assert list(rows.band) == ["LL2", "HL2", "LH2", "HH2", "HL1", "LH1", "HH1"]
    assert list(rows[["coefficients_pct", "energy_pct"]].sum()) == pytest.approx([100, 100])


def test_the_channel_dwt_gathers_what_neighbouring_channels_share():
    alike = torch.ones(6, 6, dtype=torch.float64)
    unlike = torch.diag(torch.ones(6, dtype=torch.float64))
    in_pairs = torch.block_diag(*[torch.ones(2, 2, dtype=torch.float64)] * 3)
    apart = torch.tensor([0, 2, 1, 3, 4, 5])
    assert energy_compaction.channel_low_share(alike, "haar") == pytest.approx(1.0)
    assert energy_compaction.channel_low_share(unlike, "haar") == pytest.approx(0.5)
    assert energy_compaction.channel_low_share(in_pairs, "haar") == pytest.approx(1.0)
    assert energy_compaction.channel_low_share(in_pairs, "haar", apart) == pytest.approx(2 / 3)
    white = torch.eye(256, dtype=torch.float64)
    assert [energy_compaction.channel_low_share(white, name) for name in ("5/3", "9/7")] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("wavelet", ["5/3", "9/7"])
def test_energies_of_a_3d_transform_come_by_halves(wavelet):
    white = torch.randn(64, 64, 64, generator=torch.Generator().manual_seed(2))
    rows = energy_compaction.band_energies(dwt3d(white, wavelet, 1))
    assert list(zip(rows.band, rows.half, strict=True))[:2] == [("LL1", "channel-low"), ("LL1", "channel-high")]
    # white noise: every coefficient is worth about the same
    assert list(rows.energy_pct) == pytest.approx(list(rows.coefficients_pct), rel=0.25)
    assert rows.energy_pct.sum() == pytest.approx(100)


def test_stack_gain_without_channels_is_that_of_the_pictures_and_the_klt_bounds_haar():
    torch.manual_seed(3)
    mixing = torch.eye(8) + 0.8 * torch.eye(8).roll(1, 0)
    maps = torch.einsum("ij,jhw->ihw", mixing, torch.randn(8, 64, 64))
    flat = [energy_compaction.coding_gain_db(m, "9/7", 2) for m in maps]
    assert energy_compaction.stack_gain_db(maps, "9/7", 2, 0) == pytest.approx(np.mean(flat), abs=0.05)
    klt = torch.linalg.eigvalsh(torch.corrcoef(maps.flatten(1)))  # variances after the best orthonormal transform
    bound = -10 * klt.log10().mean()
    assert 0.1 < energy_compaction.stack_gain_db(maps, "haar", 0, 1) < bound


def test_order_is_what_a_channel_dwt_lives_on():
    torch.manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(1, 1, 9, 9) * 255, size=96, mode="bicubic")[0, 0]
    ordered = energy_compaction.edge_stack(smooth + torch.randn(96, 96))
    shuffled = ordered[torch.randperm(16)]
    assert (
        energy_compaction.stack_gain_db(ordered, "9/7", 0, 1)
        > energy_compaction.stack_gain_db(shuffled, "9/7", 0, 1) + 3
    )
    assert ordered.min() >= 0


def test_entropy_is_that_of_the_histogram():
    assert lossless_bits.entropy_bits(torch.tensor([7, 7, 7])) == 0
    assert lossless_bits.entropy_bits(torch.arange(256).repeat(3)) == pytest.approx(8 * 768)
    assert lossless_bits.entropy_bits(torch.tensor([0, 0, 0, 1])) == pytest.approx(4 * (2 - 0.75 * math.log2(3)))


def test_zlib_keeps_every_signed_number():
    values = torch.tensor([0, -1, 1, -300, 300], dtype=torch.int16)
    assert lossless_bits.zlib_bytes([values]) > lossless_bits.zlib_bytes([torch.zeros(5, dtype=torch.int16)])


def test_lossless_sizes_of_a_photograph_shrink_by_the_transform():
    photograph = np.asarray(load_rgb(image_set("default").paths[0]))[:128, :128].copy()
    table = lossless_bits.lossless_sizes(torch.from_numpy(photograph).permute(2, 0, 1).contiguous())
    bits = table.set_index(["coded", "by"]).bits_per_sample
    assert bits["5/3 bands", "entropy"] < bits["samples", "entropy"] <= 8
    assert 0 < bits["file", "JPEG 2000, reversible"] < 8


def test_estimated_bits_are_those_of_a_laplacian_and_differentiable():
    torch.manual_seed(0)
    samples = torch.distributions.Laplace(0.0, 20.0).sample((64, 64))
    estimate = lossless_bits.laplace_bits(dwt2d(samples, "haar", 0)).item()
    assert estimate == pytest.approx(math.log2(2 * math.e * 20), abs=0.1)  # the Laplacian's entropy
    assert estimate == pytest.approx(lossless_bits.entropy_bits(samples.round()) / 4096, abs=0.3)
    samples.requires_grad_()
    lossless_bits.laplace_bits(dwt2d(samples, "5/3", 2)).backward()
    assert samples.grad.isfinite().all()
    assert samples.grad.any()
