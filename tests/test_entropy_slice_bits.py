"""Bits by slice, subband and place, and what context is worth, on the shipped model and a real photograph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from lab.entropy_analysis import context_ablation, slice_bits
from lab.figures import entropy as figures
from weconvene_core.codec.api import load_model
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.image_tensors import to_8_bit
from weconvene_core.model.presets import PRESETS, preset
from weconvene_core.model.weconvene import WeConvene

QUALITY = 3.0


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.asarray(load_rgb(image_set("default", 1).paths[0]).crop((70, 50, 70 + 187, 50 + 130)))


@pytest.fixture(scope="module")
def lite() -> WeConvene:
    return load_model("lite")


@pytest.fixture(scope="module")
def slices(lite: WeConvene, picture: np.ndarray) -> list[slice_bits.CodedSlice]:
    return slice_bits.coded_slices(lite, picture, QUALITY)


def test_slices_add_up_to_the_likelihoods(lite: WeConvene, picture: np.ndarray, slices) -> None:
    with torch.no_grad():
        likelihoods = lite(slice_bits.as_input(lite, picture), QUALITY)["likelihoods"]
    for group, prefix in (("y_lf", "L"), ("y_hf", "H")):
        bits = -likelihoods[group].double().log2().sum().item()
        assert sum(s.total for s in slices if s.name.startswith(prefix)) == pytest.approx(bits, rel=1e-6)


def test_maps_have_the_resolution_of_their_slice(picture: np.ndarray, slices) -> None:
    assert [s.stride for s in slices] == [32, 32, 16] + [8] * 7
    for coded in slices:
        height, width = (side * coded.stride for side in coded.per_pixel.shape)
        assert (height, width) == (160, 192)
        assert coded.per_pixel.sum() * coded.stride**2 == pytest.approx(coded.total)


def test_subbands_hold_every_coefficient_once(lite: WeConvene, slices) -> None:
    table = slice_bits.subband_table(slices, lite.config, 160 * 192).set_index("subband")
    assert list(table.index[:4]) == ["LL5", "HL5", "LH5", "HH5"]
    assert len(table) == 16
    for level in range(1, 6):
        assert table.coefficients_px[f"HH{level}"] == pytest.approx(3 / 4**level)
    assert table.coefficients_px.sum() == pytest.approx(3)
    assert table.bpp.sum() == pytest.approx(sum(s.total for s in slices) / (160 * 192))


@pytest.mark.parametrize("config", [*PRESETS.values(), replace(preset("tiny"), lf_slices=(3, 45), hf_slices=2)])
def test_every_channel_of_every_configuration_has_a_subband(config) -> None:
    names = slice_bits.subbands(config)
    coded = sum(config.layout.hf) + sum(config.layout.lf) + (3 + 2 * 9 - 3 if config.shortcut else 0)
    assert sum(map(len, names)) == coded
    assert [len(n) for n in names][-len(config.layout.hf or config.layout.lf) :] == list(
        config.layout.hf or config.layout.lf
    )


def test_picture_grows_slice_by_slice_into_the_decoded_one(lite: WeConvene, picture: np.ndarray, slices) -> None:
    shown = slice_bits.after_slices(lite, picture, QUALITY, [1, 5, len(slices)])
    errors = [np.square(s.astype(float) - picture).mean() for s in shown]
    assert errors[0] > 1.5 * errors[1] > 1.5 * errors[2]
    coded = lite.compress(slice_bits.as_input(lite, picture), QUALITY)
    decoded = lite.decompress(coded["strings"], coded["shape"], QUALITY)["x_hat"]
    np.testing.assert_array_equal(shown[-1], to_8_bit(decoded)[:130, :187])


def test_context_saves_bits_and_the_parts_add_up(lite: WeConvene, picture: np.ndarray, slices) -> None:
    table = context_ablation.context_gains(lite, picture, QUALITY).set_index("slice")
    coded = np.array([s.total / (130 * 187) for s in slices])
    assert table.bpp.to_numpy() == pytest.approx(coded, rel=0.08)
    assert table.bpp.sum() == pytest.approx(coded.sum(), rel=0.03)
    assert (table.saved_by_lf[table.index.str.startswith("L")].abs() < 1e-12).all()
    saved = table.drop(columns="bpp").sum()
    assert saved.saved_by_lf > 0.01
    assert saved.saved_by_earlier > 0.01


def test_context_of_an_untrained_model_is_worth_nothing(picture: np.ndarray) -> None:
    torch.manual_seed(0)
    model = WeConvene(preset("tiny")).eval()
    table = context_ablation.context_gains(model, picture[:64, :64], QUALITY)
    assert table[["saved_by_lf", "saved_by_earlier"]].abs().to_numpy().max() < 1e-6 * table.bpp.sum()


def test_residual_prediction_acts_once_it_is_trained(lite: WeConvene, picture: np.ndarray) -> None:
    trained = context_ablation.residual_prediction(lite, picture, QUALITY)
    untrained = context_ablation.residual_prediction(WeConvene(preset("tiny")).eval(), picture, QUALITY)
    for column in ("bpp", "mse_steps", "psnr_db"):
        assert untrained[column][0] == untrained[column][1]
        assert trained[column][0] != trained[column][1]
    assert trained.bpp[0] < trained.bpp[1]
    assert trained.psnr_db[0] > trained.psnr_db[1]
    assert trained.mse_steps[0] < 2 * trained.mse_steps[1]  # it serves the picture and may cost the latent something


def test_streams_keep_the_promise_of_the_likelihoods(lite: WeConvene, picture: np.ndarray) -> None:
    table = slice_bits.stream_sizes(lite, picture, QUALITY)
    assert table.stream.tolist() == ["y_lf", "y_hf", "z"]
    assert ((table.bytes - table.estimate).abs() < 0.01 * table.estimate + 16).all()


def test_figures_show_what_they_were_given(lite: WeConvene, picture: np.ndarray, slices) -> None:
    maps = figures.maps_figure(picture, slices, "maps")
    assert sum(len(axes.images) for axes in maps.axes) == 1 + len(slices)
    bands = slice_bits.subband_table(slices, lite.config, picture.shape[0] * picture.shape[1])
    shares = [bar.get_width() for bar in figures.subbands_figure(bands, "bands").axes[0].patches]
    assert sum(shares) == pytest.approx(100)
    call = slice_bits.calls(lite, picture, QUALITY)[-1]
    panels = figures.channel_figure(call, 5, "channel").axes
    np.testing.assert_array_equal(panels[3].images[0].get_array(), figures.inner(call.residual[0, 5]))
    order = figures.order_figure({"a": picture, "b": picture}, "order")
    assert [axes.get_title(loc="left") for axes in order.axes if axes.images] == ["a", "b"]


def test_priors_fill_their_bar_and_one_that_costs_bits_lies_left_of_zero() -> None:
    rows = [["LL band", 0.012, -0.003, 0.0, 0.011, 0.0], ["LF slice 1", 0.06, 0.02, 0.0, 0.01, 0.01]]
    axes = figures.context_figure(pd.DataFrame(rows, columns=context_ablation.COLUMNS), "context").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["LL", "LF"]
    widths = np.array([bar.get_width() for bar in axes.patches]).reshape(len(figures.PART_LOOKS), 2, 2)
    assert widths.sum((0, 1)) == pytest.approx([100, 100])
    assert widths[1, 1, 0] == pytest.approx(-15)
    assert [text.get_text() for text in axes.texts][:2] == ["60", "60"]


def test_an_interval_is_named_with_its_probability_and_its_bits() -> None:
    density, cost = figures.interval_figure(1.5, 2).axes
    inside = np.exp(-np.sqrt(2) / 1.5 * np.array([1.5, 2.5])) / 2
    chance = inside[0] - inside[1]
    assert density.texts[0].get_text() == f"P(2) = {chance:.3f}\n{-np.log2(chance):.2f} bits"
    assert cost.lines[1].get_ydata()[2] == pytest.approx(-np.log2(chance), rel=1e-5)
