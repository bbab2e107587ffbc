"""Figures, measurements and the trial of notebook 02: against formulas, against the layer itself, and by learning."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from lab.figures.layer import flow_figure, footprint_figure
from lab.figures.layer_costs import projection_figure, speed_figure, trial_figure
from lab.layer_analysis.denoising_trial import Denoiser, forward_macs, grey_crops, train_denoisers
from lab.layer_analysis.layer_internals import (
    FIELD,
    band_convolutions,
    footprint,
    measured_reach,
    receptive_field_of,
    response_errors,
    window,
)
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.layers import WeConv3d
from weconvene_core.layers.blocks import GDN
from weconvene_core.layers.convert_network import convert, from_conv

PREDECESSOR = {"wavelet": "haar", "channel_dwt": False, "high_kernel": 3, "joint_high": True, "norm": GDN}


@pytest.fixture(scope="module")
def layer():
    torch.manual_seed(0)
    return WeConv3d(6, 10, "5/3", levels=2)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_recorded_convolutions_multiply_what_the_layer_says(layer):
    steps = band_convolutions(layer, torch.randn(1, 6, 26, 39))
    assert [step.bands for step in steps] == ["HL1", "LH1", "HH1", "HL2", "LH2", "HH2", "LL2"]
    assert sum(np.prod(step.kernel) * step.made[2] * step.made[3] for step in steps) == layer.macs(26, 39)
    assert sum(step.seen[2] * step.seen[3] for step in steps) == 26 * 39  # critically sampled


def test_normalisation_does_not_count_as_a_convolution_and_joint_kernels_are_one():
    steps = band_convolutions(WeConv3d(4, 6, **PREDECESSOR), torch.randn(1, 4, 8, 8))
    assert [(step.bands, step.kernel) for step in steps] == [
        ("HL1 + LH1 + HH1", (18, 12, 3, 3)),
        ("LL1", (6, 4, 3, 3)),
    ]


def test_data_flow_shows_low_band_first_and_both_halves_of_the_channels(layer):
    shown = texts(flow_figure(layer, torch.randn(1, 6, 24, 40), ""))
    bands = [text.split("\n") for text in shown if text.startswith(("LL", "HL", "LH", "HH"))]
    assert [name for name, _ in bands[::2]] == ["LL2", "HL2", "LH2", "HH2", "HL1", "LH1", "HH1"]
    assert bands[0] == ["LL2", "6 x 6 x 10"]
    assert bands[-1] == ["HH1", "10 x 12 x 20"]
    halves = {f"channel-low: {half}\nchannel-high: {half}" for half in (3, 5)}
    assert halves | {"x\n6 x 24 x 40", "y\n10 x 24 x 40"} <= set(shown)
    assert [text for text in shown if text.startswith("3x3")] == ["3x3, 6 to 10"]


def test_data_flow_of_a_layer_without_channel_dwt_has_no_halves():
    figure = flow_figure(WeConv3d(4, 4, **PREDECESSOR), torch.randn(1, 4, 8, 8), "")
    assert not any("channel" in text for text in texts(figure))
    assert not any(patch.get_hatch() for patch in figure.axes[0].patches)


@pytest.mark.parametrize("channel_dwt", [False, True])
@pytest.mark.parametrize(("wavelet", "levels"), [("haar", 1), ("haar", 2), ("5/3", 2), ("9/7", 1)])
def test_measured_reach_is_the_formula(wavelet, levels, channel_dwt):
    probe = WeConv3d(4, 4, wavelet, levels, channel_dwt)
    assert measured_reach(probe) == receptive_field_of(probe)
    if wavelet == "haar":
        assert receptive_field_of(probe) == 3 * 2**levels


def test_footprints_are_framed_and_never_brighter_than_the_whole():
    figure = footprint_figure({"Haar": WeConv3d(4, 4, "haar", levels=1), "deep": WeConv3d(4, 4, "haar", levels=2)}, "")
    shown = figure.axes[:2]
    assert [text.get_text() for axes in shown for text in axes.texts] == ["6 x 6", "12 x 12"]
    assert [axes.images[0].get_array().max() for axes in shown] == pytest.approx([0, 0])


def test_a_footprint_is_where_its_window_says():
    probe = WeConv3d(3, 3, "haar", levels=2, channel_dwt=False)
    probe.high_weight.data.zero_()
    assert window(footprint(probe)) == (FIELD // 2 - 4, FIELD // 2 - 4, 12, 12)
    probe.low_weight.data.zero_()
    probe.high_weight.data.fill_(1.0)
    assert window(footprint(probe))[2:] == (4, 4)  # high kernels see their own block


def test_projection_answers_smooth_maps_best_and_a_pointwise_kernel_exactly():
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 4, 3, padding=1)
    smooth = nn.functional.interpolate(torch.randn(1, 4, 6, 6), size=48, mode="bicubic")
    inputs = {"smooth": smooth, "white noise": torch.randn(1, 4, 48, 48)}
    layers = {("9/7", 1): from_conv(conv, "9/7", 1), ("9/7", 0): from_conv(conv, "9/7", 0)}
    table = response_errors(conv, layers, inputs).set_index(["levels", "input"]).unexplained_pct
    assert table[1, "smooth"] < 20 < table[1, "white noise"]
    assert table[0, "white noise"] < 1e-6
    shown = projection_figure(table.reset_index().assign(wavelet="9/7"), "")
    assert [axes.get_title(loc="left") for axes in shown.axes] == ["0 levels", "1 level"]


def test_speed_bars_are_the_tables_and_the_plain_layer_has_no_floor():
    rows = [
        {"layer": name, "layout": layout, "direction": direction, "median_ms": ms, "floor_ms": floor}
        for direction in ("forward", "forward+backward")
        for layout in ("NCHW", "NHWC")
        for name, ms, floor in (("plain 3x3", 20.0, None), ("3DM-WeConv", 12.5, 8.0))
    ]
    figure = speed_figure(pd.DataFrame(rows), "")
    assert [round(bar.get_height(), 1) for bar in figure.axes[0].patches] == [20.0, 20.0, 12.5, 12.5]
    marks = [line.get_ydata() for line in figure.axes[0].lines]
    assert np.isnan(np.asarray(marks[0], dtype=float)).all()
    assert list(marks[1]) == [8.0, 8.0]


def test_trial_learns_from_photographs_and_gives_every_network_the_same_data():
    torch.manual_seed(0)
    photographs = image_set("default").paths
    crops, test = grey_crops(photographs, 16, 24), grey_crops(photographs, 4, 32, seed=5)
    assert crops.shape == (16, 1, 24, 24)
    assert torch.equal(crops, grey_crops(photographs, 16, 24))
    first = Denoiser(8, 1)
    networks = {"a": first, "b": copy.deepcopy(first), "converted": copy.deepcopy(first)}
    convert(networks["converted"], lambda name, _: name.startswith("blocks"), "haar", 2, channel_dwt=False)
    share = forward_macs(networks["converted"], test) / forward_macs(networks["b"], test)
    table = train_denoisers(networks, crops, test, steps=60, every=15)
    runs = {name: rows.reset_index(drop=True) for name, rows in table.groupby("network")}
    assert list(runs["a"].psnr_db) == list(runs["b"].psnr_db)
    assert all(rows.psnr_db.iloc[-1] > rows.psnr_db.iloc[1] + 2 for rows in runs.values())
    assert runs["converted"].gmacs.iloc[-1] == pytest.approx(share * runs["a"].gmacs.iloc[-1])


def test_a_trial_has_a_mark_per_seed_and_a_bar_at_their_mean():
    rows = [[name, seed, "equal steps", 0.5 * seed] for name in ("2-D", "3-D") for seed in range(3)]
    table = pd.DataFrame(rows, columns=["network", "seed", "budget", "over_plain_db"])
    (axes,) = trial_figure(table, "").axes
    assert list(axes.lines[0].get_xdata()) == [0, 0.5, 1.0]
    assert list(axes.lines[1].get_xdata()) == [0.5, 0.5]
