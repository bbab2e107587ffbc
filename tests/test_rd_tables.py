"""Tables of BD-rates say what the curves say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lab.rd.bd_rate import METHODS, bd_rate
from lab.rd.curves import MEASURED, averaged_curve, with_means
from lab.rd.published_curves import anchor_curve, published_curve
from lab.rd.tables import (
    BD_COLUMNS,
    bd_table,
    image_bd_rates,
    published_bd_table,
)
from weconvene_core.errors import WeconveneError

QUALITIES = (1.0, 2.0, 3.0, 4.0, 5.0)
RATIOS = {"a.png": 0.8, "b.png": 1.1, "c.png": 0.9}


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


def test_one_bd_rate_per_image(points, recwarn):
    found = image_bd_rates(points, "two", "one")
    assert found.to_dict() == pytest.approx({name: 100 * (ratio - 1) for name, ratio in RATIOS.items()})
    assert not recwarn.list


def test_images_without_a_bd_rate_are_named_and_left_out(points):
    bent = points.copy()
    bent.loc[(bent.image == "b.png") & (bent.quality == 2.0), "psnr_db"] = 40.0
    with pytest.warns(UserWarning, match=r"b\.png: .*does not rise"):
        assert list(image_bd_rates(bent, "two", "one").index) == ["a.png", "c.png"]


def test_published_table_holds_every_method():
    table = published_bd_table("kodak", ["LALIC", "WebP"], ["K-A", "VTM-12.1-degraded"])
    assert list(table.columns) == BD_COLUMNS
    assert len(table) == 2 * 2 * len(METHODS)
    row = table[(table.codec == "WebP") & (table.anchor == "VTM-12.1-degraded") & (table.method == "akima")].iloc[0]
    found = bd_rate(published_curve("kodak", "VTM-12.1-degraded"), published_curve("kodak", "WebP"), "akima")
    assert (row.bd_rate_pct, row.low_db, row.points) == (
        found.bd_rate_pct,
        found.low_db,
        len(published_curve("kodak", "WebP")),
    )


def test_bd_table_against_a_live_anchor(points):
    table = bd_table(points, ["one"], samples=60)
    assert list(table.columns) == BD_COLUMNS
    assert list(table.method) == ["pchip", "akima", "cubic"]
    assert set(table.codec) == {"two"}
    assert (table.images == 3).all()
    assert (table.points == len(QUALITIES)).all()
    assert table.ci_low.notna().tolist() == [True, False, False]
    headline = table.iloc[0]
    expected = bd_rate(averaged_curve(points, "one"), averaged_curve(points, "two"))
    assert headline.bd_rate_pct == pytest.approx(expected.bd_rate_pct, rel=1e-9)
    assert headline.ci_low <= headline.bd_rate_pct <= headline.ci_high
    assert headline.bd_rate_pct < 0.0
    assert bd_table(points, ["one"], samples=60).equals(table)


def test_bd_table_in_ms_ssim_and_within_a_range(points):
    low = averaged_curve(points, "one", "ms_ssim_db").value[1]
    table = bd_table(points, ["one"], metric="ms_ssim_db", samples=20, within=(low, low + 3.0))
    assert set(table.metric) == {"ms_ssim_db"}
    assert table.low_db.to_numpy() == pytest.approx(low)
    assert (table.high_db <= low + 3.0).all()


def test_bd_table_against_a_published_anchor_needs_its_images(points):
    with pytest.raises(WeconveneError, match="K-A averages over all of 'kodak'"):
        bd_table(points, ["K-A"])
    named = points.assign(dataset="kodak")
    row = bd_table(named, ["K-A"], samples=20).iloc[0]
    assert np.isnan([row.ci_low, row.ci_high]).all()  # an average has no images to draw
    assert row.bd_rate_pct == pytest.approx(
        bd_rate(anchor_curve("K-A"), averaged_curve(named, "one")).bd_rate_pct, rel=1e-9
    )


def test_bd_table_says_why_a_number_is_missing(points):
    few = points[(points.codec == "one") | (points.quality < 4)]
    with pytest.warns(UserWarning, match="'two' has 3 points"):
        table = bd_table(few, ["one"], samples=20)
    assert table.bd_rate_pct.isna().all()


def test_a_codec_without_common_quality_gets_a_row_without_a_figure(points):
    far = points[points.codec == "two"].assign(codec="far", psnr_db=lambda table: table.psnr_db + 60.0)
    with pytest.warns(UserWarning, match="'one' and 'far' share no quality range"):
        table = bd_table(pd.concat([points, far]), ["one"], samples=4)
    assert table[table.codec == "far"].bd_rate_pct.isna().all()
    assert table[table.codec == "two"].bd_rate_pct.notna().all()


def test_a_codec_without_a_mean_gets_a_row_without_a_figure(points):
    broken = points.copy()
    broken.loc[(broken.codec == "two") & (broken.image == points.image[0]), "psnr_db"] = np.nan
    with pytest.warns(UserWarning, match="not finite"):
        table = bd_table(broken, ["one"], samples=20)
    assert list(table.codec) == ["two"] * 3
    assert table.bd_rate_pct.isna().all()
    assert (table.points == len(QUALITIES)).all()
