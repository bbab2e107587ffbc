"""Mosaics, energies and pictures of notebooks 00 and 01: against closed forms and published tables, on any size."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.figures.energies import energy_figure, halves_figure, orders_figure, wavelet_lines
from lab.figures.pictures import OVERHEAD, anatomy_figure, crops_figure, detail_box, errors_figure, file_anatomy
from lab.figures.subbands import (
    Setting,
    cube_figure,
    kept_figure,
    mosaic,
    mosaic_figure,
    shapes_figure,
    wavelet_shape,
)
from lab.wavelet_analysis import energy_compaction
from weconvene_core.codec.container import Container, pack
from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets import SCHEMES, dwt2d, dwt3d


@pytest.fixture(scope="module")
def noise():
    return torch.randn(48, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 20 + 128


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 21), st.integers(1, 21), st.integers(0, 3), st.sampled_from(sorted(SCHEMES)))
def test_a_mosaic_has_the_pictures_size_and_stays_within_the_grey_scale(height, width, levels, wavelet):
    picture = mosaic(dwt2d(torch.rand(height, width), wavelet, levels))
    assert picture.shape == (height, width)
    assert 0 <= picture.min() <= picture.max() <= 1


def test_zero_is_mid_grey_and_signs_are_symmetric(noise):
    height, width = noise.shape
    plus, minus = (mosaic(dwt2d(sign * noise, "9/7", 1)) for sign in (1, -1))
    details = np.ones((height, width), dtype=bool)
    details[: height // 2, : width // 2] = False
    np.testing.assert_allclose(plus[details], 1 - minus[details], atol=1e-12)
    flat = mosaic(dwt2d(torch.full((8, 8), 3.0), "haar", 2))
    assert (flat == 0.5).all()


def test_stripes_light_up_the_band_that_their_name_says():
    vertical = (torch.arange(32) % 2).float().expand(32, 32)
    first, second = slice(0, 16), slice(16, 32)
    for picture, rows, columns in ((vertical, first, second), (vertical.T, second, first)):
        away_from_zero = np.abs(mosaic(dwt2d(picture, "5/3", 1)) - 0.5) > 0.1
        assert away_from_zero[rows, columns].all()
        assert away_from_zero[16:, 16:].sum() == 0


def test_a_mosaic_refuses_several_channels():
    with pytest.raises(WeconveneError, match="one channel"):
        mosaic(dwt2d(torch.rand(3, 8, 8), "haar", 1))


def test_a_lone_coefficient_survives_where_many_share_a_pixel():
    pyramid = dwt2d(torch.zeros(1600, 2200), "haar", 1)
    pyramid.details[0].hl[101, 57] = -3.0
    axes = mosaic_figure(pyramid, "one coefficient").axes[0]
    picture = axes.images[0].get_array()
    assert picture.shape == (800, 1100)
    assert np.argwhere(picture != 0.5).tolist() == [[101 // 2, (1100 + 57) // 2]]
    assert picture.min() == 0


def test_a_wavelet_beside_itself_draws_no_line():
    table = pd.DataFrame(
        {"wavelet": ["haar"] * 2 + ["9/7"] * 2, "kept_pct": [1, 2] * 2, "psnr_db": [30.0, 31, 31, 32.5]}
    )
    table["over_haar_db"] = [0.0, 0, 1, 1.5]
    psnr, over = wavelet_lines(table, [("kept_pct", "psnr_db"), ("kept_pct", "over_haar_db")], "two wavelets").axes
    assert [line.get_label() for line in psnr.lines] == ["haar", "9/7"]
    assert [line.get_label() for line in over.lines] == ["9/7"]
    assert over.lines[0].get_color() == psnr.lines[1].get_color()
    assert over.get_ylim()[0] == 0


def test_bars_are_as_long_as_the_shares_of_the_table():
    bands = {"wavelet": "haar", "band": ["LL1", "HL1"], "coefficients_pct": [25.0, 75.0], "energy_pct": [90.0, 10.0]}
    (axes,) = energy_figure(pd.DataFrame(bands), "").axes
    assert [bar.get_width() for bar in axes.patches] == [25, 75, 90, 10]
    halves = {"band": ["LL1", "LL1"], "half": ["channel-low", "channel-high"], "energy_pct": [60.0, 40.0]}
    (axes,) = halves_figure(pd.DataFrame(halves), "").axes
    assert [(bar.get_width(), bool(bar.get_hatch())) for bar in axes.patches] == [(60, False), (40, True)]
    (axes,) = orders_figure({"as they are": (0.45, [0.5, 0.55, 0.55])}, "").axes
    assert axes.lines[0].get_xdata()[0] == 45
    assert sum(bar.get_height() for bar in axes.patches) == 3


def test_the_cube_shows_seven_bands_with_their_shapes_and_both_halves():
    (axes,) = cube_figure(dwt3d(torch.randn(1, 7, 20, 28), "5/3", 2), "").axes
    shown = [text.get_text() for text in axes.texts]
    assert {"LL2", "HL2", "LH2", "HH2", "HL1", "LH1", "HH1"} <= set(shown)
    assert shown.count("7 x 5 x 7") == 4
    assert shown.count("7 x 10 x 14") == 3
    assert "channel-low (front): 4\nchannel-high (back): 3" in shown
    assert sum(bool(patch.get_hatch()) for patch in axes.patches) == 8 * 2  # two faces of a half


@pytest.mark.parametrize("alpha", [(), (b"x" * 7,)])
def test_a_files_parts_add_up_to_the_file(alpha):
    mode = "RGBA" if alpha else "RGB"
    data = pack(Container(b"12345678", 9, 5, mode, 3.0, (b"c" * 40, b"a" * 300, *alpha, b"b" * 1000)))
    parts = file_anatomy(data)
    streams = [parts[name] for name in parts if name not in ("alpha", OVERHEAD)]
    assert streams == [40, 300, 1000]  # as they follow each other in the file
    assert sum(parts.values()) == len(data)
    assert parts.get("alpha") == (7 if alpha else None)
    assert sum(bar.get_width() for bar in anatomy_figure({"quality 3": data}, "a file").axes[0].patches) == 1


def test_errors_stand_below_the_details_that_they_are_of():
    picture = np.random.default_rng(0).integers(0, 200, (12, 16, 3), dtype=np.uint8)
    figure = errors_figure(picture, {"same": picture, "brighter": picture + 6}, (3, 2, 5, 4), "two copies")
    shown = [axes.images[0].get_array() for axes in figure.axes]
    np.testing.assert_array_equal(shown[0], picture[2:6, 3:8])
    np.testing.assert_array_equal(shown[3], picture)
    assert [float(error.max()) for error in shown[4:]] == [0.0, 6.0]
    assert shown[5].min() == 6.0


def test_details_are_cut_where_the_box_says_and_many_pictures_show_one_whole():
    picture = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)
    figure = crops_figure({"one": picture, "two": picture}, (3, 2, 5, 4), "two pictures")
    np.testing.assert_array_equal(figure.axes[2].images[0].get_array(), picture[2:6, 3:8])
    figure = crops_figure({name: picture + i for i, name in enumerate("abcdef")}, (3, 2, 4, 3), "six pictures")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["the whole picture", *"abcdef", ""]
    for i, axes in enumerate(figure.axes[1:7]):
        np.testing.assert_array_equal(axes.images[0].get_array(), picture[2:5, 3:7] + i)
    assert not figure.axes[7].images


@given(st.integers(1, 50), st.integers(1, 50), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_detail_box_always_lies_inside(width, height, x, y, share):
    left, top, across, down = detail_box((width, height), (x, y), share)
    assert 0 <= left < left + across <= width
    assert 0 <= top < top + down <= height


@pytest.mark.parametrize("box", [(-1, 0, 4, 4), (0, 0, 0, 4), (14, 0, 4, 4), (0, 10, 4, 4)])
def test_a_box_outside_the_picture_is_refused(box):
    with pytest.raises(WeconveneError, match="does not lie inside"):
        crops_figure({"one": np.zeros((12, 16), np.uint8)}, box, "")


def test_pictures_of_several_sizes_are_refused():
    with pytest.raises(WeconveneError, match="one size"):
        crops_figure({"one": np.zeros((4, 4), np.uint8), "two": np.zeros((4, 5), np.uint8)}, (0, 0, 1, 1), "")


def test_shapes_are_box_tent_and_half_and_half():
    for wavelet, width in (("haar", 1), ("5/3", 2)):
        x, y = wavelet_shape(wavelet, "low")
        assert x[-1] - x[0] == pytest.approx(width, abs=0.02)
        assert y.max() == pytest.approx(1)
    x, y = wavelet_shape("5/3", "low")
    np.testing.assert_allclose(y, np.clip(1 - np.abs(x), 0, None), atol=0.02)  # a tent
    _, y = wavelet_shape("haar", "high")
    assert sorted(set(np.round(y, 6))) == [-1, 0, 1]
    assert len(shapes_figure(["haar", "db2"], "").axes) == 4


def test_a_setting_shows_its_coefficients_and_its_picture(noise):
    figure = kept_figure(noise.float(), [Setting("9/7", 2, 10.0)], "noise")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    psnr = energy_compaction.compaction(noise.float(), "9/7", 2, [10.0]).psnr_db[0]
    assert titles == ["9/7, 2 levels, 10 % kept", f"rebuilt: {psnr:.2f} dB"]
    zeros = (figure.axes[0].images[0].get_array() == 0.5).mean()
    assert zeros > 0.8
