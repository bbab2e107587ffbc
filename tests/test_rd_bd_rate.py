"""BD-rate against the package bjontegaard, against its own algebra, and against the published points' check values."""

from dataclasses import replace

import bjontegaard
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.paths import PUBLISHED
from lab.rd.bd_rate import (
    METHODS,
    bd_psnr,
    bd_rate,
    bootstrap_bd_rate,
    bootstrap_draws,
    common_range,
    comparable,
    log_rate,
)
from lab.rd.curves import Curve, ImageCurves, averaged_curve
from lab.rd.published_curves import ANCHOR_NAMES, anchor_curve, anchors_of, published_curve
from weconvene_core.errors import WeconveneError

CHECK_VALUES = [
    ("K-A", "WeConvene", -8.35),
    ("K-A", "ChWDTA", -17.82),
    ("K-A", "LALIC", -15.26),
    ("K-A", "DCAE", -16.98),
    ("K-A", "HPCM-Large", -19.95),
    ("K-A", "elic2022", -7.02),
    ("K-A", "EVC-SS", 7.05),
    ("K-A", "cheng2020-anchor", 3.68),
    ("K-A", "AV1", 16.18),
    ("K-A", "mbt2018-mean", 21.28),
    ("K-A", "BPG444", 21.99),
    ("K-A", "HM", 23.31),
    ("K-A", "bmshj2018-hyperprior", 30.49),
    ("K-A", "paper-bmshj2018-factorized", 65.84),
    ("K-A", "WebP", 78.75),
    ("K-A", "JPEG2000", 97.97),
    ("K-A", "JPEG", 208.49),
    ("T-L", "WeConvene", -7.85),
    ("T-L", "LALIC", -17.63),
    ("T-L", "ChWDTA", -22.56),
    ("C-L", "WeConvene", -6.88),
    ("C-L", "LALIC", -15.41),
]


def curve(bpp, value, metric="psnr_rgb", codec="codec"):
    return Curve(codec, np.asarray(bpp, dtype=float), np.asarray(value, dtype=float), metric)


@st.composite
def curves(draw):
    """A strictly rising curve that covers at least 30 to 34 dB."""
    n = draw(st.integers(4, 9))
    steps = st.lists(st.floats(0.2, 3.0), min_size=n, max_size=n)
    rate = 0.05 * np.exp(np.cumsum(np.array(draw(steps)) / 3.0))
    rise = np.cumsum(draw(steps))
    value = 30.0 + (rise - rise[0]) / (rise[-1] - rise[0]) * draw(st.floats(4.0, 9.0)) - draw(st.floats(0.0, 0.5))
    return curve(rate, value)


@pytest.mark.parametrize(("anchor", "codec", "expected"), CHECK_VALUES)
def test_published_points_give_the_known_bd_rates(anchor, codec, expected):
    found = bd_rate(anchor_curve(anchor), published_curve(ANCHOR_NAMES[anchor].dataset, codec))
    assert found.bd_rate_pct == pytest.approx(expected, abs=0.0051)


@pytest.mark.parametrize(("one", "other", "low", "high"), [("K-A", "K-B", 1.0, 2.0), ("C-T", "C-M", 3.0, 4.5)])
def test_the_choice_of_anchor_moves_a_figure_by_points(one, other, low, high):
    codec = published_curve(ANCHOR_NAMES[one].dataset, "WeConvene")
    assert low < bd_rate(anchor_curve(other), codec).bd_rate_pct - bd_rate(anchor_curve(one), codec).bd_rate_pct < high


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=60, deadline=None)
@given(anchor=curves(), test=curves())
def test_agrees_with_the_oracle(method, anchor, test):
    rate = bjontegaard.bd_rate(
        anchor.bpp, anchor.value, test.bpp, test.value, method=method, min_overlap=0, require_matching_points=False
    )
    assert bd_rate(anchor, test, method).bd_rate_pct == pytest.approx(rate, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("codec", ["LALIC", "BPG444", "JPEG2000"])
def test_bd_psnr_agrees_with_the_oracle(method, codec):
    anchor, test = anchor_curve("K-A"), published_curve("kodak", codec)
    gain = bjontegaard.bd_psnr(
        anchor.bpp, anchor.value, test.bpp, test.value, method=method, min_overlap=0, require_matching_points=False
    )
    assert bd_psnr(anchor, test, method) == pytest.approx(gain, rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=40, deadline=None)
@given(anchor=curves(), factor=st.floats(0.3, 3.0))
def test_a_scaled_rate_is_that_many_percent(method, anchor, factor):
    scaled = curve(anchor.bpp * factor, anchor.value)
    assert bd_rate(anchor, scaled, method).bd_rate_pct == pytest.approx(100.0 * (factor - 1.0), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(anchor=curves(), test=curves(), seed=st.integers(0, 99))
def test_the_order_of_points_does_not_matter(anchor, test, seed):
    order = np.random.default_rng(seed).permutation(len(test))
    shuffled = curve(test.bpp[order], test.value[order])
    assert bd_rate(anchor, shuffled) == bd_rate(anchor, test)


def test_overlap_says_how_much_of_the_test_curve_is_compared():
    anchor = curve([0.1, 0.2, 0.4, 0.8], [30, 32, 34, 36])
    found = bd_rate(anchor, curve([0.1, 0.2, 0.4, 0.8, 1.6], [28, 30, 32, 34, 38]))
    assert (found.low_db, found.high_db) == (30.0, 36.0)
    assert found.overlap_pct == pytest.approx(60.0)


def test_within_limits_the_range_and_a_mean_over_parts_is_the_whole():
    anchor, test = anchor_curve("K-A"), published_curve("kodak", "BPG444")
    whole = bd_rate(anchor, test, within=(28.0, 36.0))
    low, high = (bd_rate(anchor, test, within=r).bd_rate_pct for r in ((28.0, 32.0), (32.0, 36.0)))
    assert (whole.low_db, whole.high_db) == (28.0, 36.0)
    mean_log = (np.log1p(low / 100.0) + np.log1p(high / 100.0)) / 2.0
    assert np.log1p(whole.bd_rate_pct / 100.0) == pytest.approx(mean_log, rel=1e-9)


def test_common_range_is_covered_by_all():
    a, b = curve([0.1, 0.2, 0.4, 0.8], [30, 32, 34, 36]), curve([0.1, 0.2, 0.4, 0.8], [31, 32, 34, 39])
    assert common_range([a, b]) == (31.0, 36.0)
    with pytest.raises(WeconveneError, match="share no quality range"):
        common_range([a, curve([0.1, 0.2], [40, 41])])


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (curve([0.1, 0.2, 0.4], [30, 32, 34]), "has 3 points"),
        (curve([0.1, 0.2, 0.4, 0.8], [30, 33, 32, 36]), "does not rise strictly"),
        (curve([0.1, 0.2, 0.2, 0.8], [30, 31, 32, 36]), "does not rise strictly"),
        (curve([0.1, 0.2, 0.4, 0.8], [40, 41, 42, 43]), "share no quality range"),
        (curve([0.1, 0.2, 0.4, 0.8], [0.90, 0.92, 0.94, 0.96], "ms_ssim"), "one metric"),
    ],
)
def test_refuses_what_has_no_bd_rate(test, message):
    anchor = curve([0.1, 0.2, 0.4, 0.8], [30, 32, 34, 36])
    with pytest.raises(WeconveneError, match=message):
        bd_rate(anchor, test)
    if "quality" not in message:
        with pytest.raises(WeconveneError, match=message):
            bd_psnr(anchor, test)


def test_comparable_leaves_out_what_has_no_bd_rate_and_says_why():
    anchor = anchor_curve("K-A")
    short = Curve("short", anchor.bpp[:3], anchor.value[:3])
    far = Curve("far", anchor.bpp, anchor.value + 60.0)
    good = published_curve("kodak", "BPG444")
    with pytest.warns(UserWarning, match="is left out") as said:
        kept = comparable(anchor, [short, good, far])
    assert [curve.codec for curve in kept] == [good.codec]
    texts = [str(warning.message) for warning in said]
    assert "'short' is left out: 'short' has 3 points" in texts[0]
    assert "'far' is left out: " in texts[1]
    assert "share no quality range" in texts[1]


def test_refuses_an_unknown_method():
    with pytest.raises(WeconveneError, match="Unknown interpolation"):
        bd_rate(anchor_curve("K-A"), anchor_curve("K-B"), "linear")


def test_ms_ssim_is_compared_in_db_of_the_mean():
    anchor = anchor_curve("K-A", "ms_ssim")
    test = published_curve("kodak", "BPG444", "ms_ssim")
    rate = bjontegaard.bd_rate(
        anchor.bpp,
        -10 * np.log10(1 - anchor.value),
        test.bpp,
        -10 * np.log10(1 - test.value),
        "pchip",
        min_overlap=0,
        require_matching_points=False,
    )
    assert bd_rate(anchor, test).bd_rate_pct == pytest.approx(rate, rel=1e-9)


def image_curves(images, seed, factor=1.0):
    rng = np.random.default_rng(seed)
    rate = np.array([0.1, 0.2, 0.4, 0.8, 1.2]) * rng.uniform(0.5, 2.0, (images, 1))
    value = np.array([29.0, 31.0, 33.0, 35.0, 36.5]) + rng.uniform(-2.0, 2.0, (images, 1))
    return ImageCurves("codec", factor * rate, value)


def test_bootstrap_is_seeded_and_brackets_the_estimate():
    anchor, test = image_curves(12, 2), image_curves(12, 1)
    first = bootstrap_bd_rate(anchor, test, samples=200, seed=3)
    assert first == bootstrap_bd_rate(anchor, test, samples=200, seed=3)
    assert first != bootstrap_bd_rate(anchor, test, samples=200, seed=4)
    assert first[0] < bd_rate(anchor.averaged(), test.averaged()).bd_rate_pct < first[1]
    narrower = bootstrap_bd_rate(anchor, test, samples=200, seed=3, level=0.5)
    assert first[0] < narrower[0] < narrower[1] < first[1]


def test_bootstrap_draws_a_live_anchor_in_pairs():
    anchor, test = image_curves(12, 1), image_curves(12, 1, factor=0.8)
    paired = bootstrap_bd_rate(anchor, test, samples=100)
    assert paired == pytest.approx((-20.0, -20.0))  # every draw sees the same ratio


def test_there_is_no_interval_against_a_published_curve():
    with pytest.raises(WeconveneError, match=r"'VTM-9.1 \(K-A\)' is an average: without its images"):
        bootstrap_bd_rate(anchor_curve("K-A"), image_curves(12, 1))


def test_a_codec_against_itself_has_an_interval_of_nothing():
    same = bootstrap_bd_rate(image_curves(12, 1), image_curves(12, 1))
    assert same == pytest.approx((0.0, 0.0), abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_bootstrap_is_the_bd_rate_of_every_draw_however_often_its_curves_are_compared(method):
    anchor, test, other = image_curves(12, 1), image_curves(12, 2, factor=0.8), image_curves(12, 3)
    draws = []
    for counts in np.random.default_rng(5).multinomial(12, np.full(12, 1 / 12), 60):
        one, two = (curve(counts / 12 @ c.bpp, counts / 12 @ c.value) for c in (anchor, test))
        draws.append(bd_rate(one, two, method).bd_rate_pct)
    for _ in range(2):
        bootstrap_bd_rate(anchor, other, method, 60, 5)
        found = bootstrap_bd_rate(anchor, test, method, 60, 5)
        assert found == pytest.approx(tuple(np.percentile(draws, [2.5, 97.5])))


def test_a_draw_without_a_bd_rate_counts_for_nothing():
    value = np.array([[30.0, 32, 34, 36], [30, 31, 35, 33], [30, 32, 34, 36]])  # the second picture's curve falls
    bent = ImageCurves("bent", np.tile([0.1, 0.2, 0.4, 0.8], (3, 1)), value)
    straight = ImageCurves("straight", 2 * bent.bpp, np.tile(value[0], (3, 1)))
    drawn = bootstrap_draws(straight, bent, samples=200)
    mostly_the_second = np.random.default_rng(0).multinomial(3, np.full(3, 1 / 3), 200)[:, 1] >= 2
    assert np.isnan(drawn).tolist() == mostly_the_second.tolist()
    with pytest.raises(WeconveneError, match="draws have no BD-rate"):
        bootstrap_bd_rate(straight, bent, samples=200)


def test_an_interval_in_ms_ssim_and_within_a_range_is_that_of_every_draw():
    anchor, test = (replace(image_curves(12, seed), metric="ms_ssim") for seed in (1, 2))
    anchor, test = (replace(c, value=1 - 10 ** (-c.value / 25)) for c in (anchor, test))
    draws, within = [], (13.0, 14.0)
    for counts in np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), 40):
        one, two = (curve(counts / 12 @ c.bpp, counts / 12 @ c.value, "ms_ssim") for c in (anchor, test))
        draws.append(bd_rate(one, two, within=within).bd_rate_pct)
    assert bootstrap_draws(anchor, test, samples=40, within=within) == pytest.approx(draws)


def test_bootstrap_refuses_what_it_cannot_draw():
    anchor = image_curves(4, 1)
    with pytest.raises(WeconveneError, match="at least 2 images"):
        bootstrap_bd_rate(image_curves(1, 1), image_curves(1, 0))
    with pytest.raises(WeconveneError, match="different numbers of images"):
        bootstrap_bd_rate(image_curves(3, 0), image_curves(4, 0))
    above = ImageCurves("codec", image_curves(4, 0).bpp, image_curves(4, 0).value + 50.0)
    with pytest.raises(WeconveneError, match="draws have no BD-rate"):
        bootstrap_bd_rate(anchor, above, samples=50)


def test_every_anchor_name_has_points_with_a_source():
    for name, anchor in ANCHOR_NAMES.items():
        found = anchor_curve(name)
        assert len(found) >= 6
        assert found.is_monotone()
        assert found.source
        assert (anchor.shown, found.metric) == (found.codec, "psnr_rgb")


def test_a_sets_anchors_are_those_with_points_of_the_metric():
    assert [name for d in ("kodak", "clic2020_professional", "tecnick") for name in anchors_of(d)] == list(ANCHOR_NAMES)
    for metric in ("ms_ssim", "ms_ssim_db"):
        assert anchors_of("kodak", metric) == ["K-A", "K-B"]
        assert anchors_of("clic2020_professional", metric) == anchors_of("tecnick", metric) == []
    assert all(anchor_curve(name, "ms_ssim_db").metric == "ms_ssim_db" for name in anchors_of("kodak", "ms_ssim_db"))
    assert anchors_of("clic-9images") == anchors_of("kodak-first4") == []


@pytest.mark.parametrize("name", ["K-A", "K-B", "LALIC-MSSSIM"])
def test_ms_ssim_in_db_is_the_db_of_the_published_mean(name):
    stored, converted = (published_curve("kodak", name, metric) for metric in ("ms_ssim", "ms_ssim_db"))
    assert converted.value == pytest.approx(-10 * np.log10(1 - stored.value))


def test_db_of_an_unknown_kind_are_compared_with_nothing():
    with pytest.raises(WeconveneError, match="'DCAE-MSSSIM' has MS-SSIM in dB alone"):
        published_curve("kodak", "DCAE-MSSSIM", "ms_ssim_db")


@pytest.mark.parametrize("metric", ["psnr_rgb", "ms_ssim_db"])
@pytest.mark.parametrize("table", ["rd_points", "rd_points_refined"])
def test_two_runs_of_vtm_agree_on_our_codec(table, metric):
    points = pd.read_csv(PUBLISHED / "tables" / f"{table}.csv")
    ours = averaged_curve(points, "lite" if table == "rd_points" else "lite refined", metric, "kodak")
    a, b = (bd_rate(anchor_curve(name, metric), ours).bd_rate_pct for name in ("K-A", "K-B"))
    assert abs(a - b) < 3.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: anchor_curve("K-Z"), "Unknown anchor"),
        (lambda: anchor_curve("C-L", "ms_ssim"), "no published ms_ssim"),
        (lambda: published_curve("imagenet", "VTM"), "No published points"),
        (lambda: published_curve("kodak", "no such codec"), "No published curve"),
        (lambda: published_curve("kodak", "VTM"), "names several curves"),
    ],
)
def test_unknown_names_get_one_clear_sentence(call, message):
    with pytest.raises(WeconveneError, match=message):
        call()


def test_curves_refuse_what_they_cannot_hold():
    for rate, value in (([], []), ([0.1], [1, 2]), ([0.0, 0.1], [1, 2]), ([0.1, 0.2], [30, np.inf])):
        with pytest.raises(WeconveneError):
            curve(rate, value)


@pytest.mark.parametrize("method", METHODS)
def test_log_rate_is_what_a_bd_rate_integrates(method):
    anchor, test = anchor_curve("K-A"), published_curve("kodak", "WeConvene")
    found = bd_rate(anchor, test, method)
    grid = np.linspace(found.low_db, found.high_db, 20001)
    mean = (log_rate(test, method)(grid) - log_rate(anchor, method)(grid)).mean()
    assert 100 * (10**mean - 1) == pytest.approx(found.bd_rate_pct, abs=1e-3)


def test_interpolations_pass_through_the_points_and_the_cubic_beside_them():
    curve = anchor_curve("K-A")
    for method in ("pchip", "akima"):
        assert log_rate(curve, method)(curve.value) == pytest.approx(np.log10(curve.bpp))
    assert np.abs(log_rate(curve, "cubic")(curve.value) - np.log10(curve.bpp)).max() > 1e-4
    with pytest.raises(WeconveneError, match="has 3 points"):
        log_rate(Curve("short", curve.bpp[:3], curve.value[:3]))
