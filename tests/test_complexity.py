"""Counted MACs against formulas, lifting operations against those that really run, and the stopwatch's books."""

from __future__ import annotations

import gc
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lab.complexity import latency, tables
from lab.complexity.count_macs import LiftingCounter, _without_data, count_macs, slice_macs, slice_names
from lab.complexity.models import ready_model, sample_image
from lab.complexity.peak_memory import LOADED, peak_memory
from lab.figures import complexity as figures
from lab.figures.style import BLUE
from weconvene_core.errors import WeconveneError
from weconvene_core.model.presets import ModelConfig, preset
from weconvene_core.model.weconvene import WeConvene

TINY = preset("tiny")
SMALL = {"narrow": 8, "wide": 12, "hyper": 12, "z_channels": 8, "slice_hidden": 28, "blocks_a": 1}
VARIANTS = {
    "tiny": TINY,
    "2-D haar, no shortcut": replace(TINY, wavelet="haar", levels=3, channel_dwt=False, shortcut=False),
    "attention, one rate": replace(TINY, slice_attention=True, quality=3.0, hyper_blocks=1),
    "baseline, small": replace(preset("baseline"), latent_channels=40, **SMALL),
}


def codec(config: ModelConfig) -> WeConvene:
    torch.manual_seed(0)
    model = WeConvene(config).eval()
    model.update(force=True)
    return model


@pytest.mark.parametrize("name", VARIANTS)
def test_counts_without_data_are_those_of_real_coding(name: str) -> None:
    model, x = codec(VARIANTS[name]), torch.rand(1, 3, 64, 128)
    with FlopCounterMode(display=False) as encoding:
        coded = model.compress(x)
    with FlopCounterMode(display=False) as decoding:
        model.decompress(coded["strings"], coded["shape"])
    found = count_macs(model, 64, 128)
    assert [sum(side.values()) for side in found] == [real.get_total_flops() // 2 for real in (encoding, decoding)]


def test_slices_add_up_to_3dwecharm() -> None:
    model = codec(TINY)
    found, slices = count_macs(model, 64, 128), slice_macs(model, 64, 128)
    assert slices.MACs.sum() == found[0]["charm"] == found[1]["charm"]
    assert slices.MACs.min() > 0
    assert slices.slice.tolist() == slice_names(model.config)


def test_macs_of_a_known_convolution_codec() -> None:
    """bmshj2018-hyperprior at quality 3 (N=128, M=192), as Balle et al. (2018) describe it: 5x5 kernels and GDN."""
    encode, decode = count_macs(ready_model("bmshj2018-hyperprior"), 64, 64)
    n, m, pixels = 128, 192, 64 * 64
    transform = 25 * 3 * n // 4 + 25 * n * n // 16 + 25 * n * n // 64 + 25 * n * m // 256
    gdn = n * n // 4 + n * n // 16 + n * n // 64
    assert encode["g_a"] == decode["g_s"] == (transform + gdn) * pixels
    hyper = 9 * m * n / 256 + 25 * n * n / 1024 + 25 * n * n / 4096
    assert encode["h_a"] == encode["h_s"] == decode["h_s"] == hyper * pixels


def test_lifting_is_seen_by_its_own_counter_alone() -> None:
    from weconvene_core.wavelets import dwt2d

    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad(), FlopCounterMode(display=False) as counter, LiftingCounter() as lifting:
        dwt2d(x, "9/7", 1)
        x + x  # outside the wavelet package
    assert counter.get_total_flops() == 0
    # four steps of two taps on every second sample, x + alpha y twice each, along both axes; one gain a sample
    assert lifting.flops == x.numel() * (2 * 4 * 2 + 1)


def test_time_counts_for_the_innermost_stage() -> None:
    watch = latency.Stopwatch()
    inner = watch.timed(lambda: time.sleep(0.05), "inner")
    outer = watch.timed(lambda: (time.sleep(0.02), inner()), "outer")
    watch.run(outer)
    assert watch.seconds["inner"] >= 0.05
    assert 0.02 <= watch.seconds["outer"] < watch.seconds["inner"] + watch.seconds["outer"]


def test_every_stage_takes_time_and_the_model_is_left_as_it_was() -> None:
    model, x = codec(TINY), torch.rand(1, 3, 64, 64)
    before = model.compress(x)
    times = latency.time_codec(model, x, runs=1)
    assert times.index.tolist() == ["encode", "decode"]
    assert (times[[latency.TRANSFORM, latency.PARAMETERS, latency.CODING]] > 0).all(axis=None)
    assert times.total.to_numpy() == pytest.approx(times[list(latency.STAGES)].sum(axis=1).to_numpy())
    assert "analyse" not in vars(model)
    assert "forward" not in vars(model.charm)
    assert model.compress(x) == before


def test_sample_image_is_the_photograph_continued_by_reflection() -> None:
    small, large = sample_image(40, 56), sample_image(900, 1000)
    assert small.shape == (1, 3, 40, 56)
    assert torch.equal(large[..., :40, :56], small)
    height = next(h for h in range(200, 800) if torch.equal(large[0, :, h, :], large[0, :, h - 1, :]))
    assert torch.equal(large[0, :, height + 9, :], large[0, :, height - 10, :])
    with pytest.raises(WeconveneError, match="no image size"):
        sample_image(0, 8)


@pytest.mark.slow
def test_peak_memory_grows_with_the_image() -> None:
    peaks = peak_memory("bmshj2018-hyperprior", [(512, 512), (64, 64)], threads=1)
    assert list(peaks) == [LOADED, "64x64", "512x512"]
    assert 50 < peaks[LOADED] <= peaks["64x64"] < peaks["512x512"]


def test_unknown_model_is_named() -> None:
    with pytest.raises(WeconveneError, match="nothing-like-this"):
        ready_model("nothing-like-this")


def test_growth_finds_a_line_and_refuses_two_points() -> None:
    table = pd.DataFrame({"image": ["1000x500", "1000x1000", "2000x1000"], "decode_ms": [150.0, 250.0, 450.0]})
    slope, start, fit = tables.growth(table, "decode_ms")
    assert (slope, start, fit) == pytest.approx((200.0, 50.0, 1.0))
    with pytest.raises(WeconveneError, match="at least three"):
        tables.growth(table[:2], "decode_ms")


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
    found, _ = count_macs(codec(TINY), 64, 64)
    axes = figures.macs_figure({"encode": found}, 64 * 64, limit=5.0, title="tiny").axes[0]
    assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(sum(found.values()) / (1e3 * 64 * 64))
    stages = pd.DataFrame([["m", "i", "encode", 1.0, 2.0, 3.0, 4.0, 10.0, 1]], columns=tables.STAGE_COLUMNS)
    axes = figures.stages_figure(stages, "a message").axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([10.0, 20.0, 30.0, 40.0])


def test_a_copy_without_data_shares_its_weights_and_leaves_the_model_alone() -> None:
    """So that the largest model is in memory once, and codes as before."""
    model = codec(TINY)
    before, memory = model.state_dict(), {p.data_ptr() for p in model.parameters()}
    found = _without_data(model)
    assert found is not model
    assert {p.data_ptr() for p in found.parameters()} == memory
    x = torch.rand(1, 3, 64, 64)
    coded = model.compress(x)
    count_macs(model, 64, 64)
    assert model.compress(x) == coded
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_counting_keeps_numbers_and_no_model() -> None:
    """A model of half a gigabyte is counted in quick mode, but never coded with."""
    tables._counted.cache_clear()
    ready_model.cache_clear()
    encode, decode, one_pass = tables.kmac_per_pixel("paper", (64, 64))
    assert tables.parameters_m("paper") > 20
    assert one_pass < encode + decode
    gc.collect()
    kept = [found for found in gc.get_objects() if isinstance(found, WeConvene)]
    assert not any(found.config == preset("paper") for found in kept)
    assert ready_model.cache_info().currsize == 0


def test_an_untrained_model_is_hollow_and_speed_is_work_over_time() -> None:
    measured = pd.DataFrame({"model": ["lite", "paper"], "params_m": [6.0, 26.0], "kmac_px": [85.0, 429.0]})
    figure = figures.landscape_figure(
        measured.assign(trained=[True, False]), tables.published_complexity(), "a message"
    )
    faces = {
        line.get_xdata()[0]: line.get_markerfacecolor() for line in figure.axes[0].lines if line.get_marker() == "o"
    }
    assert (faces[6.0], faces[26.0]) == (BLUE, "white")
    table = pd.DataFrame({"model": ["lite"], "image": ["1000x1000"], "kmac_px_decode": [50.0], "decode_ms": [500.0]})
    (axes,) = figures.speed_figure(table, "a message", "", "lite").axes
    assert [text.get_text() for text in axes.texts] == ["lite: 100 GMAC/s"]
