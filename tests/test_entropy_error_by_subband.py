"""Where bits and error are: parts add up, and what is said of equal bytes holds for files of equal bytes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lab.entropy_analysis import error_by_subband, scale_calibration, slice_bits
from lab.figures.bd_steps import excess_figure
from lab.paths import PUBLISHED
from lab.rd.metrics import PEAK
from lab.rd.pillow_codecs import JPEG_2000
from weconvene_core.codec.api import load_model
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.entropy import LIKELIHOODS
from weconvene_core.entropy.distributions import laplace_likelihood, scale_table
from weconvene_core.image_tensors import middle

SIDE = 192


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return middle(np.asarray(load_rgb(image_set("default", 1).paths[0])), SIDE)


@pytest.fixture(scope="module")
def compared(picture: np.ndarray) -> pd.DataFrame:
    return error_by_subband.compare([picture], (3.0,), error_by_subband.CODECS[:1])


def test_parts_of_the_error_add_up_and_lie_where_it_was_put(picture: np.ndarray) -> None:
    noisy = (picture + np.random.default_rng(0).normal(0, 6, picture.shape)).clip(0, 255).astype(np.uint8)
    parts = error_by_subband.band_errors(picture, noisy)
    assert parts.drop(("all", "all")).sum() == pytest.approx(parts["all", "all"])
    assert parts["HH1", "chroma"] == pytest.approx(2 * parts["HH1", "luma"], rel=0.2)
    shifted = error_by_subband.band_errors(picture // 2, picture // 2 + 3)
    assert shifted["LL3", "luma"] == pytest.approx(9, rel=1e-3)
    assert shifted.drop([("all", "all"), ("LL3", "luma")]).sum() < 0.01


def test_interpolated_errors_are_those_of_a_file_of_this_size(picture: np.ndarray) -> None:
    curve = error_by_subband.coded_by(error_by_subband.CODECS[0], picture)
    assert list(curve) == sorted(curve)
    between = JPEG_2000.encode(Image.fromarray(picture), 34)
    assert len(between) not in curve
    truth = error_by_subband.band_errors(picture, np.asarray(JPEG_2000.decode(between)))
    found = error_by_subband.at_bytes(curve, len(between))
    assert found["all", "all"] == pytest.approx(truth["all", "all"], rel=0.03)
    assert error_by_subband.at_bytes(curve, min(curve) - 1).isna().all()


def test_tables_say_the_same_of_one_picture(compared: pd.DataFrame) -> None:
    (row,) = error_by_subband.image_table(compared).itertuples()
    assert row.gain_db == pytest.approx(row.psnr_db - row.anchor_psnr_db)
    errors = error_by_subband.subband_errors(compared).set_index(["subband", "colour"])
    assert len(errors) == 2 * 10 + 1
    whole = errors.excess_pct["all", "all"]
    assert 10 * np.log10(1 + whole / 100) == pytest.approx(-row.gain_db)
    assert errors.excess_pct.drop(("all", "all")).sum() == pytest.approx(whole, abs=1.0)
    assert errors.mse["all", "all"] == pytest.approx(PEAK**2 / 10 ** (row.psnr_db / 10))


def test_bits_by_slice_and_by_band_are_the_same_bits(picture: np.ndarray) -> None:
    model = load_model()
    by_slice, by_band = error_by_subband.bits(model, [picture], (3.0,))
    hyper = by_slice[by_slice["slice"] == "z"].bpp.item()
    assert by_slice.bpp.sum() - hyper == pytest.approx(by_band.bpp.sum())
    assert by_band.share_pct.sum() == pytest.approx(100)
    sizes = slice_bits.stream_sizes(model, picture, 3.0).set_index("stream")
    assert hyper * SIDE**2 / 8 == pytest.approx(sizes.estimate["z"], rel=1e-3)


def test_symbols_of_the_promised_distribution_leave_nothing_to_save() -> None:
    """Laplacian residuals with their true scale: other tables and factors gain nothing; with half of it they do."""
    generator, index = torch.Generator().manual_seed(0), 32
    rows = []
    for picture in range(3):
        uniform = torch.rand(20_000, generator=generator, dtype=torch.float64) - 0.5
        scale = scale_table()[index] / 2**0.5
        symbols = (-scale * uniform.sign() * torch.log1p(-2 * uniform.abs())).round().long()
        found = zip(*np.unique(symbols, return_counts=True), strict=True)
        rows += [("LF", index, symbol, count, 3.0, picture) for symbol, count in found]
    counts = pd.DataFrame(rows, columns=[*scale_calibration.COUNTS, "quality", "picture"])
    (fair,) = scale_calibration.table_costs(counts, 1, laplace_likelihood).itertuples()
    assert fair.best_factor == pytest.approx(1, abs=0.03)
    assert abs(fair.held_out_saves_pct) < 0.3
    halved = counts.assign(index=index - round(np.log(2) / np.log(scale_table()[1] / scale_table()[0])))
    (off,) = scale_calibration.table_costs(halved, 1, laplace_likelihood).itertuples()
    assert off.best_factor == pytest.approx(2, rel=0.06)
    assert off.held_out_saves_pct == pytest.approx(off.factor_saves_pct, abs=0.3)
    assert off.factor_saves_pct > 2


def test_calibration_counts_every_symbol_and_charges_what_the_coder_does(picture: np.ndarray) -> None:
    model = load_model()
    table = scale_calibration.calibration_table(model, [picture, picture[:, ::-1]], (3.0,))
    slices = slice_bits.coded_slices(model, picture, 3.0)
    counts = scale_calibration.symbol_counts(slice_bits.calls(model, picture, 3.0))
    assert counts.groupby("slice")["count"].sum().to_dict() == {s.name: s.residual.size for s in slices}
    mirrored = slice_bits.coded_slices(model, picture[:, ::-1], 3.0)
    exact = sum(s.total for s in [*slices, *mirrored]) / (2 * SIDE**2)
    assert table.bpp.sum() == pytest.approx(exact, rel=0.01)
    assert (table.entropy_bpp <= table.bpp).all()
    assert (table.chroma_bpp <= table.bpp).all()
    assert (table.luma_saves_pct >= 0).all()


def test_luma_that_decides_chroma_is_found() -> None:
    shape = (1, 6, 20, 20)
    luma = torch.randn(2, 20, 20, generator=torch.Generator().manual_seed(1)).mul(4).round()
    residual = torch.stack([luma, 2 * luma, torch.zeros_like(luma)], 1).reshape(shape)
    scale, zero = torch.full(shape, 6.0), torch.zeros(shape)
    call = slice_bits.Call("HF", zero + 1, residual, torch.full(shape, 40), scale, zero, residual.clone())
    first, second = scale_calibration.chroma_bits([call], LIKELIHOODS["laplace"]).itertuples()
    zeros = laplace_likelihood(torch.zeros(luma.numel()), torch.full((luma.numel(),), 6.0))
    assert first.luma_known_bits == pytest.approx(-zeros.log2().sum().item(), rel=1e-5)
    assert first.luma_known_bits < first.chroma_bits
    assert second.luma_known_bits == second.chroma_bits


def test_the_figure_shows_the_committed_table() -> None:
    table = pd.read_csv(PUBLISHED / "tables" / "diagnosis_subbands.csv")
    figure = excess_figure(table, "photographs")
    drawn = [bar.get_height() for axes in figure.axes for bar in axes.patches]
    assert sorted(drawn) == pytest.approx(sorted(table[table.subband != "all"].excess_pct))
    rows = [axes.get_ylim() for axes in figure.axes]
    assert len(set(rows)) == table.colour[table.subband != "all"].nunique()
