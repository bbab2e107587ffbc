"""The table of learned peers and the overview figure: published curves, our files, and costs that were counted."""

import numpy as np
import pandas as pd
import pytest

from lab.complexity import peers
from lab.complexity.tables import kmac_per_pixel, published_complexity
from lab.figures.overview import overview_figure
from lab.figures.style import SHADE, apart
from lab.paths import PUBLISHED
from lab.rd.bd_rate import bd_rate, log_rate
from lab.rd.curves import averaged_curve
from lab.rd.published_curves import LEARNED, anchor_curve, paper_range


@pytest.fixture(scope="module")
def points():
    table = pd.read_csv(PUBLISHED / "tables" / "rd_points.csv")
    return table[table.dataset == "kodak"]


@pytest.fixture(scope="module")
def table(points):
    costs = [["lite", "768x512", 360.0], ["lite", "256x256", 90.0], ["cheng2020-anchor", "768x512", 6000.0]]
    return peers.peers_table(points, pd.DataFrame(costs, columns=["model", "image", "decode_ms"]))


def test_peers_stand_beside_ours_with_what_is_known_of_each(table):
    assert list(table.columns) == peers.COLUMNS
    assert table.codec.tolist()[:6] == ["lite", *LEARNED, "WeConvene", peers.CLAIM]
    assert set(table.codec[6:]) >= {"JPEG", "WebP", "JPEG 2000"}
    assert table.codec.is_unique
    rows = table.set_index("codec")
    known = {"bmshj2018-hyperprior": 30.49, "mbt2018-mean": 21.28, "cheng2020-anchor": 3.68, "WeConvene": -8.35}
    assert rows.bd_rate_pct_all[list(known)].to_dict() == pytest.approx(known, abs=0.0051)
    assert rows.decode_s[["lite", "cheng2020-anchor"]].tolist() == [0.36, 6.0]
    assert np.isnan(rows.decode_s["mbt2018-mean"])  # was not timed
    theirs = published_complexity().iloc[0]
    assert theirs.params_m_low <= rows.params_m["WeConvene"] <= theirs.params_m_high
    assert rows.kmac_px_decode["WeConvene"] == kmac_per_pixel("paper-2d", peers.SIZE)[1] < theirs.kmac_px / 2
    assert (rows.kmac_px_decode_widest / rows.kmac_px_decode)[list(LEARNED)].min() > 2
    assert rows.source.notna().all()


def test_the_claim_has_its_number_and_nothing_else(table):
    row = table[table.codec == peers.CLAIM].iloc[0]
    assert row.bd_rate_pct_all == -12.24
    assert row.drop(["codec", "bd_rate_pct_all", "source"]).isna().all()


def test_ours_stands_on_both_ranges(table, points):
    assert paper_range() == (30.07, 37.96)
    curve = averaged_curve(points, "lite")
    row = table[table.codec == "lite"].iloc[0]
    assert row.bd_rate_pct_all == pytest.approx(bd_rate(anchor_curve("K-A"), curve).bd_rate_pct)
    within = bd_rate(anchor_curve("K-A"), curve, within=(30.07, 37.96)).bd_rate_pct
    assert row.bd_rate_pct_paper_range == pytest.approx(within)
    assert within != pytest.approx(row.bd_rate_pct_all, abs=0.5)


def test_without_kodak_only_the_published_rows_stand(table):
    rows = peers.peers_table(
        pd.DataFrame(columns=["codec", "dataset"]), pd.DataFrame(columns=["model", "image", "decode_ms"])
    )
    assert rows.codec.tolist() == table.codec.tolist()[1:6]


def test_the_overview_draws_ratios_at_equal_quality_and_no_claim(table, points):
    anchor, live = anchor_curve("K-A"), [averaged_curve(points, name) for name in ("lite", "JPEG 2000")]
    learned = [peers.published(name) for name in LEARNED]
    figure = overview_figure(anchor, live, learned, table, "lite", paper_range())
    left, right = figure.axes
    quality, ratio = next(line.get_data() for line in left.lines if line.get_linewidth() == 3.2)
    assert ratio == pytest.approx(10 ** (log_rate(live[0])(quality) - log_rate(anchor)(quality)))
    dots = {tuple(line.get_xydata()[0]) for line in right.lines if line.get_marker() == "o"}
    costed = table.dropna(subset="kmac_px_decode")
    assert dots == set(zip(costed.kmac_px_decode, costed.bd_rate_pct_all, strict=True))
    assert not any("claim" in text.get_text() for axes in figure.axes for text in axes.texts)
    (shaded,) = left.patches
    assert (shaded.get_x(), shaded.get_x() + shaded.get_width()) == pytest.approx((30.07, 37.96))
    assert shaded.get_facecolor()[:3] == pytest.approx([int(SHADE[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def test_names_move_apart_as_little_as_needed_and_keep_their_order():
    assert apart([3.0, 0.0, 1.0], 1.0).tolist() == [3.0, 0.0, 1.0]
    moved = apart([1.0, 1.0, 5.0], 1.0)
    assert moved.tolist() == pytest.approx([0.5, 1.5, 5.0])
