"""Figures of curves and BD-rates: they carry the data of their tables, and are the same byte for byte."""

import numpy as np
import pandas as pd
import pytest

from lab.figures.bd_steps import bd_example_figure, bootstrap_figure, image_bd_figure, local_rate_figure
from lab.figures.curves import bd_rate_figure, rd_figure, rivals_figure, sensitivity_figure
from lab.figures.pictures import OVERHEAD
from lab.figures.rates import ratio_figure, spread_figure, streams_figure, sweep_figure, two_measures_figure
from lab.figures.style import CODEC_LOOK, GREY, codec_looks, save
from lab.rd.bd_rate import METHODS, bd_rate, common_range, log_rate
from lab.rd.curves import MEASURED, with_means
from lab.rd.ffmpeg_codecs import FFMPEG_CODECS
from lab.rd.pillow_codecs import CLASSICAL_CODECS, JPEG_2000_BY_DEFAULT, avif
from lab.rd.published_curves import anchor_curve, published_curve
from lab.rd.tables import published_bd_table
from weconvene_core.errors import WeconveneError

LIVE = ["BPG444", "WebP", "JPEG"]


@pytest.fixture(scope="module")
def curves():
    return [published_curve("kodak", name) for name in LIVE]


@pytest.fixture(scope="module")
def table():
    return published_bd_table("kodak", LIVE, ["K-A", "K-B"])


def points_of(axes, marker="o"):
    """The places of all single marks."""
    return [tuple(np.ravel(line.get_xydata())) for line in axes.lines if line.get_marker() == marker]


def test_a_figure_is_the_same_byte_for_byte(curves, tmp_path):
    files = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        path = save(rd_figure(curves, [anchor_curve("K-A")], "Kodak, 24 images"), "rd", folder)
        assert path == folder / "rd.png"
        files.append((path.read_bytes(), path.with_suffix(".svg").read_bytes()))
    assert files[0] == files[1]
    assert b"<dc:date>" not in files[0][1]


def test_every_curve_is_drawn_and_named_from_the_top_down(curves):
    anchor = anchor_curve("K-A")
    figure = rd_figure(curves, [anchor], "Kodak, 24 images", ours="BPG444", conditions="10 steps")
    (axes,) = figure.axes
    drawn = {line.get_label(): line.get_xydata() for line in axes.lines}
    for curve in (*curves, anchor):
        assert drawn[curve.codec].tolist() == np.stack([curve.bpp, curve.value], 1).tolist()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [anchor.codec, *LIVE]
    assert figure.get_supxlabel().endswith("10 steps")


def test_a_live_codec_looks_the_same_everywhere_and_like_no_other():
    names = ["lite", *(codec.name for codec in (*CLASSICAL_CODECS, *FFMPEG_CODECS)), JPEG_2000_BY_DEFAULT.name]
    names += [avif(4).name, avif(tune=None).name]
    assert set(names) <= set(CODEC_LOOK)
    assert len(set(codec_looks(names).values())) == len(names)
    strangers = codec_looks(["a", *names, "b"])
    assert strangers == codec_looks(["a", *names, "b"])
    assert len(set(strangers.values())) == len(names) + 2


def test_dots_of_bd_rates_are_those_of_the_table(table):
    (axes,) = bd_rate_figure(table, "a message", "K-A").axes
    assert axes.get_xlabel().startswith("BD-rate against VTM-9.1 (K-A) in %")
    found = table[(table.anchor == "K-A") & (table.method == "pchip")].sort_values("bd_rate_pct", ascending=False)
    assert points_of(axes) == [(rate, i) for i, rate in enumerate(found.bd_rate_pct)]
    assert [label.get_text() for label in axes.get_yticklabels()] == found.codec.tolist()
    (axes,) = sensitivity_figure(table, "a message", "WebP").axes
    rows = table[table.codec == "WebP"]
    assert {line.get_label(): list(line.get_xdata()) for line in axes.lines} == {
        method: rows[rows.method == method].bd_rate_pct.tolist() for method in METHODS
    }


def test_only_intervals_of_the_table_are_drawn_and_only_live_codecs_have_a_colour(table):
    rows = table[table.anchor == "K-A"]
    figure = bd_rate_figure(rows, "Kodak", "K-A", live=["WebP"])
    (axes,) = figure.axes
    assert not np.isfinite(np.ravel([bar.get_segments() for bar in axes.collections])).any()
    assert figure.get_supxlabel() == "colour: measured here; grey: published averages"
    colours = {line.get_color() for line in axes.lines if line.get_marker() == "o"}
    assert colours == {CODEC_LOOK["WebP"].colour, GREY}
    paired = bd_rate_figure(rows.assign(anchor="WebP", ci_low=0.0, ci_high=9.0), "Kodak", "WebP", live=LIVE)
    marked = bd_rate_figure(published_bd_table("kodak", ["WeConvene"], ["K-A"]), "Kodak", "K-A", ours="WeConvene")
    (label,) = marked.axes[0].get_yticklabels()
    assert (label.get_text(), label.get_fontweight()) == ("WeConvene (2-D)", "bold")
    assert paired.get_supxlabel() == "line: 95 % over images, codec and anchor on the same ones"


def test_lines_of_extra_rate_are_what_a_bd_rate_averages():
    anchor, test = anchor_curve("K-A"), published_curve("kodak", "WeConvene")
    (axes,) = local_rate_figure(anchor, [test], "Kodak").axes
    quality, extra = axes.lines[1].get_data()
    assert extra == pytest.approx(100 * (10 ** (log_rate(test)(quality) - log_rate(anchor)(quality)) - 1))
    assert [text.get_text() for text in axes.texts] == [f"WeConvene (2-D): {bd_rate(anchor, test).bd_rate_pct:+.1f} %"]
    left, right = bd_example_figure(anchor, test, "a message").axes
    (area,) = right.collections
    outline = area.get_paths()[0].vertices[:, 0]
    assert (outline.min(), outline.max()) == pytest.approx(common_range([anchor, test]))
    (axes,) = image_bd_figure(pd.Series({"a.png": 1.0, "b.png": 3.0}), 2.0, "made up").axes
    assert [tuple(point) for point in axes.lines[-1].get_xydata()] == [(3.0, 0), (1.0, 1)]


def test_names_beside_lines_keep_the_order_of_their_ends_and_do_not_touch(curves):
    (axes,) = local_rate_figure(anchor_curve("K-A"), curves, "a message", ours="WebP").axes
    ends = {
        text.get_text().split(":")[0]: line.get_ydata()[-1]
        for text, line in zip(axes.texts, axes.lines[1:4], strict=True)
    }
    heights = {text.get_text().split(":")[0]: text.xy[1] for text in axes.texts}
    assert sorted(ends, key=ends.get) == sorted(heights, key=heights.get)
    assert np.diff(sorted(heights.values())).min() > 0.06
    assert [text.get_text().split(":")[0] for text in axes.texts if text.get_fontweight() == "bold"] == ["WebP"]


def test_rivals_without_an_interval_are_hollow():
    rows = published_bd_table("kodak", ["WebP"], ["K-A", "K-B"]).query("method == 'pchip'")
    rows = pd.concat([rows, rows.assign(metric="ms_ssim_db", bd_rate_pct=1.0)], ignore_index=True)
    rows.loc[rows.anchor == "K-B", ["ci_low", "ci_high"]] = [-1.0, 3.0]
    panels = rivals_figure(rows, "a message").axes
    for axes, metric in zip(panels, ("psnr_rgb", "ms_ssim_db"), strict=True):
        dots = [line for line in axes.lines if line.get_marker() == "o"]
        assert [line.get_xdata()[0] for line in dots] == rows[rows.metric == metric].bd_rate_pct.tolist()
        assert [line.get_markerfacecolor() == "white" for line in dots] == [True, False]
    assert len(panels[0].get_yticklabels()) == 2


def test_bootstrap_draws_are_all_counted():
    generator = np.random.default_rng(0)
    paired, unpaired = generator.normal(0, 1, 500), generator.normal(0, 9, 500)
    panels = bootstrap_figure(paired, unpaired, 0.0, "a message").axes
    assert [sum(bar.get_height() for bar in axes.containers[0]) for axes in panels] == [500, 500]
    assert panels[0].get_xlim() == panels[1].get_xlim()


def test_stacked_parts_add_up_to_the_rate():
    rows = [{"image": i, "quality": q, "part": p, "bpp": q * s} for i in "ab" for q in (1.0, 2.0)
            for p, s in (("y, LF slices", 0.5), ("y, HF slices", 0.3), (OVERHEAD, 0.01))]  # fmt: skip
    left, right = streams_figure(pd.DataFrame(rows), "made up").axes
    assert max(bar.get_y() + bar.get_height() for bar in left.patches) == pytest.approx(2 * 0.81)
    assert max(bar.get_y() + bar.get_height() for bar in right.patches) == pytest.approx(100)


def test_lines_of_rates_are_ratios_at_equal_quality():
    anchor, test = anchor_curve("K-A"), published_curve("kodak", "WeConvene")
    (axes,) = ratio_figure(anchor, [test], [], "WeConvene", "made up").axes
    line = axes.lines[1]  # behind that of the anchor
    quality, ratio = line.get_data()
    assert ratio == pytest.approx(10 ** (log_rate(test)(quality) - log_rate(anchor)(quality)))
    assert (quality[0], quality[-1]) == common_range([anchor, test])
    assert [text.get_text() for text in axes.texts] == ["WeConvene (2-D)"]


def test_slopes_join_the_two_numbers_of_a_codec():
    rates = pd.DataFrame({"PSNR": [10.0, 20.0], "MS-SSIM": [8.0, 5.0]}, index=["lite", "WebP"])
    (axes,) = two_measures_figure(rates, "lite", "made up", ["lite"]).axes
    assert [line.get_ydata().tolist() for line in axes.lines] == [[10.0, 8.0], [20.0, 5.0]]
    assert [line.get_color() for line in axes.lines] == [CODEC_LOOK["lite"].colour, GREY]
    assert {text.get_text() for text in axes.texts} == {"+10 %", "+8 %  lite", "+20 %", "+5 %  WebP"}


def test_only_qualities_between_whole_ones_stand_off_the_curve():
    table = pd.DataFrame({"quality": [0.0, 0.5, 1.0], "offset_db": [0.0, -0.3, 0.0]})
    (axes,) = sweep_figure(table, "made up").axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn["whole qualities"] == [[0.0, 0.0], [1.0, 0.0]]
    assert drawn["between them"] == [[0.5, -0.3]]
    low, high = axes.get_ylim()
    assert low < -0.3 < 0.3 < high


def test_the_cheapest_and_the_most_expensive_image_are_named():
    rows = []
    for name, rate in (("a", 1), ("b", 3), ("c", 2)):
        for q in (1, 2):
            row = {"dataset": "d", "codec": "c", "image": f"{name}.png", "quality": q}
            rows.append(dict.fromkeys(MEASURED, 0.1) | row | {"bpp": q * rate, "psnr_db": 30 + q})
    (axes,) = spread_figure(with_means(rows), "c", "made up").axes
    assert {text.get_text() for text in axes.texts} == {"a", "b", "mean over the images"}


def test_refusals(curves, table, tmp_path):
    with pytest.raises(WeconveneError, match="one metric"):
        rd_figure([], [], "Kodak")
    with pytest.raises(WeconveneError, match="one metric"):
        rd_figure(curves, [anchor_curve("K-A", "ms_ssim_db")], "Kodak")
    with pytest.raises(WeconveneError, match="raise max_bpp"):
        rd_figure(curves, [], "Kodak", max_bpp=0.01)
    with pytest.raises(WeconveneError, match="no BD-rate against 'C-L'"):
        bd_rate_figure(table, "Kodak", "C-L")
    with pytest.raises(WeconveneError, match="no BD-rate of 'HM'"):
        sensitivity_figure(table, "Kodak", "HM")
    figure = bd_rate_figure(table, "Kodak", "K-A")
    with pytest.raises(WeconveneError, match="cannot name a figure"):
        save(figure, "../rd", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(WeconveneError, match="Cannot write the figure"):
        save(figure, "rd", tmp_path / "file")
