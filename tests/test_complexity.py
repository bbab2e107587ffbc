"""Counted MACs against formulas, lifting operations against those that really run, and the stopwatch's books."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from matplotlib.text import Text
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from lab.complexity import count_macs, latency, mac_formulas, tables
from lab.complexity.models import contender, sample_image
from lab.complexity.peak_memory import LOADED, peak_memory
from lab.figures import complexity as figures
from weconvene_core.errors import WeconveneError
from weconvene_core.model.presets import ModelConfig, preset
from weconvene_core.model.weconvene import WeConvene

TINY = preset("tiny")
VARIANTS = {
    "tiny": TINY,
    "odd widths": replace(TINY, narrow=10, wide=14, hyper=18, z_channels=5, slice_hidden=22),
    "haar, three levels": replace(TINY, wavelet="haar", levels=3, blocks_a=2, blocks_s=3),
    "9/7 latent, no levels": replace(TINY, levels=0, latent_wavelet="9/7"),
    "2-D layer": replace(TINY, channel_dwt=False),
    "no shortcut": replace(TINY, shortcut=False),
    "packets, 3x3 everywhere": replace(TINY, channel_levels=2, channel_packets=True, high_kernel=3),
    "attention, one rate": replace(TINY, slice_attention=True, quality=3.0, hyper_blocks=1),
} | {
    f"{name}, small": replace(
        preset(name), narrow=8, wide=12, hyper=12, z_channels=8, slice_hidden=28, latent_channels=40, blocks_a=1
    )
    for name in ("paper", "paper-2d", "baseline")
}


def codec(config: ModelConfig) -> WeConvene:
    torch.manual_seed(0)
    model = WeConvene(config).eval()
    model.update(force=True)
    return model


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (128, 320)])
def test_counted_macs_are_those_of_the_formulas(name: str, height: int, width: int) -> None:
    model = codec(VARIANTS[name])
    x = torch.rand(1, 3, height, width)
    assert count_macs.count_macs(model, x) == mac_formulas.macs_by_hand(model.config, height, width)


def test_macs_of_a_known_convolution_codec() -> None:
    """bmshj2018-hyperprior at quality 3 (N=128, M=192), as Balle et al. (2018) describe it: 5x5 kernels and GDN."""
    encode, decode = count_macs.count_macs(contender("bmshj2018-hyperprior"), torch.rand(1, 3, 64, 64))
    n, m, pixels = 128, 192, 64 * 64
    transform = 25 * 3 * n // 4 + 25 * n * n // 16 + 25 * n * n // 64 + 25 * n * m // 256
    gdn = n * n // 4 + n * n // 16 + n * n // 64
    assert encode["g_a"] == decode["g_s"] == (transform + gdn) * pixels
    hyper = 9 * m * n / 256 + 25 * n * n / 1024 + 25 * n * n / 4096
    assert encode["h_a"] == encode["h_s"] == decode["h_s"] == hyper * pixels


def test_slices_add_up_to_the_autoregressive_model() -> None:
    encode, decode = mac_formulas.macs_by_hand(TINY, 64, 64)
    rows = mac_formulas.slice_macs(TINY, 64, 64)
    assert sum(row[-1] for row in rows) == encode["charm"] == decode["charm"]
    assert sum(coded for name, _, coded, _ in rows if name.startswith("HF")) == sum(TINY.layout.hf)


class LiftingOperations(TorchDispatchMode):
    """Counts the additions and multiplications that run inside the wavelet package."""

    COUNTED = (torch.ops.aten.add, torch.ops.aten.add_, torch.ops.aten.mul)

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in self.COUNTED and self.in_wavelets():
            self.flops += result.numel() * (1 + ("alpha" in (kwargs or {})))
        return result

    @staticmethod
    def in_wavelets() -> bool:
        frame = sys._getframe()
        while frame is not None:
            if Path(frame.f_code.co_filename).parent.name == "wavelets":
                return True
            frame = frame.f_back
        return False


@pytest.mark.parametrize("name", VARIANTS)
def test_lifting_operations_are_those_that_run(name: str) -> None:
    model, x = codec(VARIANTS[name]), torch.rand(1, 3, 128, 128)
    with LiftingOperations() as encoding:
        coded = model.compress(x)
    with LiftingOperations() as decoding:
        model.decompress(coded["strings"], coded["shape"])
    assert (encoding.flops, decoding.flops) == mac_formulas.lifting_flops(model.config, 128, 128)
    assert (encoding.flops == 0) == name.startswith("baseline")


def test_flop_counter_books_lifting_as_nothing() -> None:
    """The reason for counting it by hand."""
    from weconvene_core.wavelets import dwt2d

    with FlopCounterMode(display=False) as counter:
        dwt2d(torch.rand(1, 3, 64, 64), "9/7", 3)
    assert counter.get_total_flops() == 0


def test_stopwatch_books_time_to_the_innermost_stage() -> None:
    watch = latency.Stopwatch()
    with watch.stage("outer"):
        time.sleep(0.02)
        with watch.stage("inner"):
            time.sleep(0.05)
        time.sleep(0.02)
    assert watch.seconds["inner"] >= 0.05
    assert 0.04 <= watch.seconds["outer"] < watch.seconds["inner"] + watch.seconds["outer"]


def test_stages_add_up_to_the_whole_and_leave_the_model_as_it_was() -> None:
    model, x = codec(TINY), torch.rand(1, 3, 64, 64)
    before = model.compress(x)
    found = latency.time_codec(model, x, runs=1)
    assert found.runs == 1
    # a missing or doubled stage shows; what a busy machine does between two clocks does not
    assert sum(found.encode_stages.values()) == pytest.approx(found.encode_ms, rel=0.5)
    assert sum(found.decode_stages.values()) == pytest.approx(found.decode_ms, rel=0.5)
    for stages in (found.encode_stages, found.decode_stages):
        assert all(stages[name] > 0 for name in (latency.TRANSFORM, latency.PARAMETERS, latency.CODING))
    assert "analyse" not in vars(model)
    assert "forward" not in vars(model.charm)
    assert model.compress(x) == before


def test_stopwatch_restores_a_failing_call() -> None:
    model = nn.Conv2d(3, 1, 1)
    watch = latency.Stopwatch()
    with pytest.raises(RuntimeError), watch.around(model, "forward", "conv"):
        model(torch.rand(1, 2, 4, 4))
    assert "forward" not in vars(model)
    assert watch.seconds["conv"] > 0


def test_sample_image_is_the_photograph_continued_by_reflection() -> None:
    small, large = sample_image(40, 56), sample_image(900, 1000)
    assert small.shape == (1, 3, 40, 56)
    assert torch.equal(large[..., :40, :56], small)
    height = next(h for h in range(200, 800) if torch.equal(large[0, :, h, :], large[0, :, h - 1, :]))
    assert torch.equal(large[0, :, height + 9, :], large[0, :, height - 10, :])
    with pytest.raises(WeconveneError, match="no image size"):
        sample_image(0, 8)


def test_peak_memory_grows_with_the_image() -> None:
    peaks = peak_memory("bmshj2018-hyperprior", [(512, 512), (64, 64)], threads=1)
    assert list(peaks) == [LOADED, "64x64", "512x512"]
    assert 50 < peaks[LOADED] <= peaks["64x64"] < peaks["512x512"]


def test_unknown_contender_is_named() -> None:
    with pytest.raises(WeconveneError, match="nothing-like-this"):
        contender("nothing-like-this")


def test_growth_finds_a_line_and_refuses_two_points() -> None:
    table = pd.DataFrame({"image": ["1000x500", "1000x1000", "2000x1000"], "decode_ms": [150.0, 250.0, 450.0]})
    slope, start, fit = tables.growth(table, "decode_ms")
    assert (slope, start, fit) == pytest.approx((200.0, 50.0, 1.0))
    with pytest.raises(WeconveneError, match="at least three"):
        tables.growth(table[:2], "decode_ms")


def test_parts_table_names_a_mismatch() -> None:
    found, formula = {"g_a": 2000, "h_s": 10}, {"g_a": 2000, "h_s": 11}
    table = tables.parts_table((found, {}), (formula, {}), (2, 1))
    assert table.verdict.tolist() == ["match", "MISMATCH"]
    assert table.kmac_px[0] == 1.0


def test_costs_of_one_model_fill_every_column() -> None:
    size = (64, 128)
    peaks = {"bmshj2018-hyperprior": {"128x64": 300.0}}
    table, stages = tables.measure_costs(["bmshj2018-hyperprior"], [size], peaks, runs=1)
    assert list(table) == tables.COLUMNS
    assert table.notna().all(axis=None)
    row = table.iloc[0]
    assert (row.image, row.peak_mb) == ("128x64", 300.0)
    assert 0 < row.entropy_coding_ms < row.decode_ms
    assert stages.side.tolist() == ["encode", "decode"]
    both = tables.kmac_per_pixel("bmshj2018-hyperprior", size)
    assert (row.kmac_px_encode, row.kmac_px_decode) == both[:2]
    assert max(both[:2]) < both[2] < sum(both[:2])  # h_s runs on both sides


def test_published_figures_name_their_sources() -> None:
    published = tables.published_complexity()
    assert (published.params_m_low <= published.params_m_high).all()
    assert published.source.str.len().min() > 0
    assert 2343 in published.kmac_px.tolist()


def test_bars_of_the_figures_add_up() -> None:
    found, _ = mac_formulas.macs_by_hand(TINY, 64, 64)
    axes = figures.macs_figure({"encode": found}, 64 * 64, limit=5.0, title="tiny").axes[0]
    assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(sum(found.values()) / (1e3 * 64 * 64))
    stages = pd.DataFrame([["m", "i", "encode", 1.0, 2.0, 3.0, 4.0, 10.0, 1]], columns=tables.STAGE_COLUMNS)
    axes = figures.stages_figure(stages, "an image").axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([10.0, 20.0, 30.0, 40.0])


def test_parts_too_small_to_see_are_not_in_the_legend() -> None:
    figure = figures.macs_figure({"encode": {"g_a": 20_000, mac_formulas.OUTSIDE: 9}}, 1, limit=30.0, title="made up")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["g_a (analysis)"]


def test_names_in_the_landscape_touch_no_mark_and_no_other_name() -> None:
    near = pd.DataFrame({"model": ["paper", "b", "c"], "params_m": [80.0, 84, 90], "kmac_px": [900.0, 950, 990]})
    published = tables.published_complexity()
    figure = figures.landscape_figure(near, published)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    middle = (published.params_m_low + published.params_m_high) / 2
    points = [*zip(middle, published.kmac_px, strict=True), *zip(near.params_m, near.kmac_px, strict=True)]
    marks = axes.transData.transform(points)
    assert len(boxes) == len(marks)
    assert axes.texts[len(published)].get_text() == "preset paper"
    assert not any(box.contains(*mark) for box in boxes for mark in marks)
    assert all(box.count_overlaps(boxes) == 1 for box in boxes)  # itself
