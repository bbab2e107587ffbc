"""Tables and figures of notebooks 05 and 06: what they say is what the curves give."""

from __future__ import annotations

from dataclasses import fields, replace

import pandas as pd
import pytest

from lab.figures.bd_steps import bd_example_figure, image_bd_figure, local_rate_figure
from lab.figures.certificate import margin_figure
from lab.figures.curves import bd_rate_figure, rd_figure
from lab.figures.rates import spread_figure, streams_figure
from lab.rd.bd_rate import METHODS, bd_rate, common_range
from lab.rd.curves import MEASURED, with_means
from lab.rd.published_curves import anchor_curve, published_curve
from lab.rd.tables import (
    image_bd_rates,
    published_bd_table,
)
from lab.reproduce.certificate import Entry
from weconvene_core.errors import WeconveneError

QUALITIES = (1.0, 2.0, 3.0, 4.0, 5.0)
RATIOS = {"a.png": 0.8, "b.png": 1.25, "c.png": 1.0}


@pytest.fixture(scope="module")
def points() -> pd.DataFrame:
    """Codec two needs RATIOS times the rate of codec one, image by image."""
    rows = []
    for image, ratio in RATIOS.items():
        for quality in QUALITIES:
            base = dict.fromkeys(MEASURED, 0.1) | {"psnr_db": 27.0 + 2.0 * quality, "ms_ssim": 0.9 + 0.01 * quality}
            row = {"dataset": "made up", "image": image, "quality": quality, **base}
            rate = 0.1 * 1.6**quality * len(image)
            rows += [row | {"codec": "one", "bpp": rate}, row | {"codec": "two", "bpp": ratio * rate}]
    return with_means(rows)


def texts(figure) -> str:
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    named = [text for legend in legends for text in legend.get_texts()]
    return "\n".join(text.get_text() for text in (*named, *(text for axes in figure.axes for text in axes.texts)))


def test_stacked_parts_add_up_to_the_rate():
    rows = [{"image": i, "quality": q, "part": p, "bpp": q * s} for i in "ab" for q in (1.0, 2.0)
            for p, s in (("LF", 0.5), ("HF", 0.3), ("header", 0.01))]  # fmt: skip
    left, right = streams_figure(pd.DataFrame(rows), "made up").axes
    assert [text.get_text() for text in right.texts] == ["62", "62", "37", "37"]  # the header is too thin for a number
    assert max(bar.get_y() + bar.get_height() for bar in left.patches) == pytest.approx(2 * 0.81)
    assert max(bar.get_y() + bar.get_height() for bar in right.patches) == pytest.approx(100)


def test_the_cheapest_and_the_dearest_image_are_named(points):
    figure = spread_figure(points, "two", "made up")
    assert {text.get_text() for text in figure.axes[0].texts} == {"a", "b", "mean over the images"}


def test_figures_of_bd_rates_say_their_numbers(points):
    anchor, test = anchor_curve("K-A"), published_curve("kodak", "WeConvene")
    assert f"WeConvene: {bd_rate(anchor, test).bd_rate_pct:+.1f} %" in texts(local_rate_figure(anchor, [test], "Kodak"))
    example = bd_example_figure(anchor, test)
    assert f"{bd_rate(anchor, test).bd_rate_pct:+.2f} %" in example.get_supxlabel()
    low, high = common_range([anchor, test])
    assert {*METHODS, f" from {low:g} dB", f"to {high:g} dB "} <= set(texts(example).split("\n"))
    found = image_bd_rates(points, "two", "one")
    figure = image_bd_figure(found, 3.0, "made up")
    assert f"mean of the images: {found.mean():+.1f} %" in texts(figure)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["b", "c", "a"]


def test_lines_of_extra_rate_stand_in_the_legend_as_they_end():
    anchor, names = anchor_curve("K-A"), ["WeConvene", "JPEG", "WebP"]
    figure = local_rate_figure(anchor, [published_curve("kodak", name) for name in names], "Kodak")
    (axes,) = figure.axes
    shown = [text.get_text().partition(":")[0] for text in axes.get_legend().get_texts()]
    assert shown == ["JPEG", "WebP", "WeConvene"]
    assert axes.get_ylim()[0] <= min(line.get_ydata().min() for line in axes.lines[1:])
    assert {0, 10, 50, 100} <= set(axes.get_yticks())


def test_every_judged_claim_is_drawn_with_its_value_in_three_digits_and_its_unit():
    blank = dict.fromkeys((field.name for field in fields(Entry)), "")
    made_up = {"a-b: rate on Kodak, %; its paper claims 2": "1.0049", "c: time, ratio": "7", "d: no unit": "123456"}
    rows = [Entry(**blank | {"claim": claim, "expected": "1", "tolerance": "0.5", "obtained": value})
            for claim, value in made_up.items()]  # fmt: skip
    figure = margin_figure([*rows, replace(rows[0], obtained="")])
    assert texts(figure).split("\n") == ["1.00 %", "7.00 x", "1.23e+05"]
    names = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]
    assert names == ["a b", "c", "d"]
    with pytest.raises(WeconveneError, match="no claim has"):
        margin_figure([])


def test_published_dots_are_grey_and_claim_no_interval():
    table = published_bd_table("kodak", ["LALIC", "WeConvene"], ["K-A"])
    figure = bd_rate_figure(table, "Kodak", "K-A", ours="WeConvene")
    (axes,) = figure.axes
    assert "95 %" not in figure.get_supxlabel()
    colours = [line.get_color() for line in axes.lines if line.get_marker() == "o"]
    assert len(set(colours)) == 2


def test_a_note_stands_below_the_curves():
    figure = rd_figure([anchor_curve("K-A")], [], "Kodak", note="lite: 10 steps")
    assert figure.get_supxlabel() == "lite: 10 steps"
