"""Figures of curves: same bytes for same data, names on every line, refusals in one clear sentence."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.figures.curves import LABEL_GAP, _spread, bd_rate_figure, rd_figure, sensitivity_figure
from lab.figures.style import CODEC_LOOK, codec_looks, save
from lab.rd.bd_rate import METHODS, bd_rate
from lab.rd.ffmpeg_codecs import FFMPEG_CODECS
from lab.rd.pillow_codecs import CLASSICAL_CODECS, JPEG_2000_BY_DEFAULT, avif
from lab.rd.published_curves import anchor_curve, published_curve
from lab.rd.tables import BD_COLUMNS
from weconvene_core.errors import WeconveneError

LIVE = ["BPG444", "WebP", "JPEG"]


@pytest.fixture(scope="module")
def curves():
    return [published_curve("kodak", name) for name in LIVE]


@pytest.fixture(scope="module")
def table(curves):
    rows = []
    for curve in curves:
        for anchor in ("K-A", "K-B"):
            for method in METHODS:
                found = bd_rate(anchor_curve(anchor), curve, method)
                rows.append(
                    {
                        **{"dataset": "kodak", "images": 24, "codec": curve.codec, "anchor": anchor, "method": method},
                        **{"metric": "psnr_rgb", "bd_rate_pct": found.bd_rate_pct, "points": found.points_test},
                        **{"low_db": found.low_db, "high_db": found.high_db, "overlap_pct": found.overlap_pct},
                    }
                )
    return pd.DataFrame(rows, columns=BD_COLUMNS)


def texts(figure):
    return {text.get_text() for axes in figure.axes for text in axes.texts}


def test_a_figure_is_the_same_byte_for_byte(curves, tmp_path):
    files = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        path = save(rd_figure(curves, [anchor_curve("K-A")], "Kodak, 24 images"), "rd", folder)
        assert path == folder / "rd.png"
        files.append((path.read_bytes(), path.with_suffix(".svg").read_bytes()))
    assert files[0] == files[1]
    assert b"<dc:date>" not in files[0][1]
    assert b"matplotlib" not in files[0][0].lower()


def test_every_line_is_named_and_the_title_says_which_images(curves):
    figure = rd_figure(curves[:1], [*curves[1:], anchor_curve("K-A")], "Kodak, 24 images", ours="BPG444")
    assert texts(figure) == {*LIVE, "VTM-9.1 (K-A)"}
    assert figure.axes[0].get_title(loc="left").endswith("Kodak, 24 images")
    lines, samples = figure.axes[0].lines[:4], figure.axes[0].lines[4:]
    assert [line.get_linestyle() for line in lines] == ["-", "--", "--", "--"]  # live solid, published dashed
    assert len({str(line._dash_pattern) for line in samples}) == len(samples) == 4  # no dash twice beside the names


def test_a_live_codec_looks_the_same_everywhere_and_like_no_other():
    names = ["lite", *(rival.name for rival in (*CLASSICAL_CODECS, *FFMPEG_CODECS)), JPEG_2000_BY_DEFAULT.name]
    names += [avif(4).name, avif(tune=None).name]
    assert set(names) <= set(CODEC_LOOK)
    assert len(set(codec_looks(names).values())) == len(names)
    assert codec_looks(names[-3:]) == {name: CODEC_LOOK[name] for name in names[-3:]}
    strangers = codec_looks(["a", *names, "b"])
    assert strangers == codec_looks(["a", *names, "b"])
    assert len(set(strangers.values())) == len(names) + 2


def test_several_curves_that_end_early_are_named_in_a_legend_from_the_top_down(curves):
    bpg, webp, jpeg = curves
    short = [replace(curve, bpp=curve.bpp[:4], value=curve.value[:4]) for curve in (jpeg, webp)]
    figure = rd_figure([*short, bpg], [], "Kodak, 24 images", ours="WebP")
    assert not texts(figure)
    found = figure.axes[0].get_legend().get_texts()
    assert [(text.get_text(), text.get_fontweight()) for text in found] == [
        ("BPG444", "normal"), ("WebP", "bold"), ("JPEG", "normal")]  # fmt: skip


def test_one_curve_that_ends_early_is_named_at_its_end(curves):
    bpg, webp, jpeg = curves
    figure = rd_figure([replace(bpg, bpp=bpg.bpp[:4], value=bpg.value[:4]), webp, jpeg], [], "Kodak, 24 images")
    (label,) = [text for text in figure.axes[0].texts if text.get_text() == "BPG444"]
    assert tuple(label.xy) == (bpg.bpp[3], bpg.value[3])
    assert figure.axes[0].get_legend() is None


def test_curves_that_end_early_far_apart_are_named_at_their_ends(curves):
    """Also when training makes files smaller: the headline figure must not fall back to a legend across its lines."""
    bpg, webp, jpeg = curves
    ends = (replace(bpg, bpp=np.linspace(0.1, end, 8), value=bpg.value[:8]) for end in (0.7, 1.05))
    short = [replace(curve, codec=name) for curve, name in zip(ends, ("one", "two"), strict=True)]
    figure = rd_figure([*short, webp, jpeg], [], "Kodak, 24 images")
    assert figure.axes[0].get_legend() is None
    named = {text.get_text(): text.xy[0] for text in figure.axes[0].texts if text.get_text() in ("one", "two")}
    assert named == pytest.approx({"one": 0.7, "two": 1.05})


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=15))
def test_labels_stand_apart_in_order_and_on_the_axis(heights):
    spread = np.array(_spread(heights))
    order = np.argsort(heights, kind="stable")
    assert (np.diff(spread[order]) >= LABEL_GAP - 1e-9).all()
    assert spread.min() >= 0.0
    assert spread.max() <= 1.0 + 1e-9
    if len(heights) == 1:
        assert spread == pytest.approx(heights)


def test_bd_rates_are_written_beside_their_dots(table):
    figure = bd_rate_figure(table, "Kodak, 24 images", "K-A")
    assert texts(figure) == {"+22.0 %", "+78.7 %", "+208.5 %"}
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["JPEG", "WebP", "BPG444"]
    assert figure.get_suptitle() == "BD-rate against VTM-9.1 (K-A): Kodak, 24 images"
    assert "each over its own common range" in figure.axes[0].get_xlabel()
    assert figure.get_supxlabel() == "grey: published averages, no spread over images known"


@pytest.mark.parametrize(("anchor", "said"), [("K-A", "does not cancel"), ("WebP", "that they share cancels")])
def test_what_an_interval_means_depends_on_the_anchor(table, anchor, said):
    rows = table[table.anchor == "K-A"].assign(anchor=anchor, ci_low=0.0, ci_high=9.0)
    figure = bd_rate_figure(rows, "Kodak, 24 images", anchor)
    assert figure.get_supxlabel().endswith(said)
    assert "grey" not in figure.get_supxlabel()


def test_sensitivity_shows_every_anchor_and_interpolation(table):
    figure = sensitivity_figure(table, "Kodak, 24 images", "WebP")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["K-B", "K-A"]
    assert [line.get_label() for line in figure.axes[0].lines] == list(METHODS)
    assert all(len(line.get_xdata()) == 2 for line in figure.axes[0].lines)
    assert "left is better" in figure.axes[0].get_xlabel()


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
