"""Photographs at several scales: what is shrunk, what is compared, and what a change with scale means."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lab.figures.resolution import resolution_figure
from lab.figures.style import save
from lab.rd.curves import MEAN
from lab.rd.measure import measure
from lab.rd.pillow_codecs import JPEG_2000, WEBP
from lab.rd.tables import change_with_scale
from lab.studies.resolution import at_scale, header_bytes, resolution_table
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import folder_set, image_set
from weconvene_core.errors import WeconveneError


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder, photographs = tmp_path_factory.mktemp("scaled"), image_set("default")
    return {scale: at_scale(photographs, scale, folder) for scale in (1, 2)}


@pytest.fixture(scope="module")
def table(sets):
    """JPEG 2000 takes our place: its BD-rate against WebP at two scales, with real files."""
    points = []
    for images in sets.values():
        size = float(np.mean([np.prod(load_rgb(path).size) / 1e6 for path in images.paths]))
        for rival in (JPEG_2000, WEBP):
            points.append(measure(rival, rival.name, images, rival.qualities[::2]).assign(megapixels=size))
    headers = header_bytes([(rival.name, rival, rival.qualities[0]) for rival in (JPEG_2000, WEBP)])
    return resolution_table(pd.concat(points, ignore_index=True), "JPEG 2000", headers, samples=50)


def test_every_scale_shows_the_same_middle_in_multiples_of_our_blocks(sets):
    for scale, images in sets.items():
        assert images.name == f"default-1/{scale}"
        for shrunk, original in zip(images.paths, image_set("default").paths, strict=True):
            picture, whole = load_rgb(shrunk), load_rgb(original)
            assert [side % 32 for side in picture.size] == [0, 0]
            assert picture.size == tuple(side // 256 * 256 // scale for side in whole.size)
    full, half = (np.asarray(load_rgb(sets[scale].paths[0]), dtype=float) for scale in (1, 2))
    means = full.reshape(half.shape[0], 2, half.shape[1], 2, 3).mean((1, 3))
    assert np.abs(means - half).mean() < 3.0


def test_small_photographs_are_refused(tmp_path):
    (tmp_path / "small").mkdir()
    load_rgb(image_set("default").paths[0]).crop((0, 0, 300, 200)).save(tmp_path / "small" / "a.png")
    with pytest.raises(WeconveneError, match="300x200 pixels; use sides of 256 or more"):
        at_scale(folder_set(tmp_path / "small"), 2, tmp_path)


def test_every_scale_has_its_own_bd_rate_and_interval(table):
    assert list(table.dataset) == ["default-1/1", "default-1/2", "default-1/1"]
    assert list(table.metric) == ["psnr_rgb", "psnr_rgb", "ms_ssim_db"]  # 128 pixels a side are too few for MS-SSIM
    assert (table.anchor == "WebP").all()
    assert (table.images == 4).all()
    assert (table.groupby("metric").megapixels.diff().dropna() < 0).all()
    assert ((table.ci_low <= table.bd_rate_pct) & (table.bd_rate_pct <= table.ci_high)).all()
    assert table.bd_rate_pct.nunique() == 3


def test_without_headers_the_codec_with_the_larger_one_gains_most_where_pictures_are_small(table):
    headers = header_bytes([("JPEG 2000", JPEG_2000, 240), ("WebP", WEBP, 5)])
    assert headers["JPEG 2000"] > 2 * headers["WebP"]
    gained = table.bd_rate_pct - table.bare_pct
    assert (gained > 0).all()
    assert gained.iloc[1] > 1.5 * gained.iloc[0]


def test_the_change_goes_from_the_smallest_to_the_largest_scale(table):
    change, certain = change_with_scale(table, "WebP")
    small, large = table.iloc[1], table.iloc[0]
    assert change == pytest.approx(large.bd_rate_pct - small.bd_rate_pct)
    assert certain == (large.ci_high < small.ci_low or small.ci_high < large.ci_low)
    with pytest.raises(WeconveneError, match="0 scales against 'BPG'"):
        change_with_scale(table, "BPG")
    with pytest.raises(WeconveneError, match="1 scales against 'WebP' by ms_ssim_db"):
        change_with_scale(table, "WebP", "ms_ssim_db")


def test_the_figure_is_drawn_from_the_table(table, tmp_path):
    alone = table.iloc[[0]].assign(dataset="kodak", megapixels=0.4)
    png = save(resolution_figure(pd.concat([table, alone]), "JPEG 2000", "4 photographs"), "resolution", tmp_path)
    again = save(resolution_figure(pd.concat([table, alone]), "JPEG 2000", "4 photographs"), "again", tmp_path)
    assert png.read_bytes() == again.read_bytes()
    assert (tmp_path / "resolution.svg").read_bytes() == (tmp_path / "again.svg").read_bytes()
    assert min(Image.open(png).size) > 400
    assert MEAN not in set(table.dataset)


def test_the_note_says_what_dots_and_open_marks_are_and_no_two_intervals_share_a_place(table):
    alone = [table.iloc[[0]].assign(dataset=name, megapixels=size) for name, size in (("kodak", 0.4), ("tecnick", 1.4))]
    rows = pd.concat([table, *alone])
    figure = resolution_figure(pd.concat([rows, rows.assign(anchor="JPEG")]), "JPEG 2000", "4 photographs")
    assert "dotted: without file headers; open diamonds: Kodak; open squares: Tecnick" in figure.get_supxlabel()
    bars = [segment[0][0] for bar in figure.axes[0].collections for segment in bar.get_segments()]
    assert len(set(bars)) == len(bars) == 8
