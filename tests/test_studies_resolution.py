"""Photographs at several scales: what is shrunk, what is compared, and what a change with scale means."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lab.figures.resolution import resolution_figure
from lab.figures.style import save
from lab.rd.curves import MEAN, MEASURED, with_means
from lab.rd.measure import measure
from lab.rd.pillow_codecs import JPEG_2000, WEBP
from lab.studies.resolution import (
    CHANGE_COLUMNS,
    at_scale,
    change_table,
    cropped,
    header_bytes,
    resolution_table,
)
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import folder_set, image_set
from weconvene_core.errors import WeconveneError


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder, photographs = tmp_path_factory.mktemp("scaled"), image_set("default")
    return {scale: at_scale(photographs, scale, folder) for scale in (1, 2)}


@pytest.fixture(scope="module")
def points(sets):
    """JPEG 2000 takes our place, beside WebP, at two scales, with real files."""
    tables = []
    for images in sets.values():
        size = float(np.mean([np.prod(load_rgb(path).size) / 1e6 for path in images.paths]))
        for rival in (JPEG_2000, WEBP):
            tables.append(measure(rival, rival.name, images, rival.qualities[::2]).assign(megapixels=size))
    return pd.concat(tables, ignore_index=True)


@pytest.fixture(scope="module")
def table(points):
    headers = header_bytes([(rival.name, rival, rival.qualities[0]) for rival in (JPEG_2000, WEBP)])
    return resolution_table(points, "JPEG 2000", headers, samples=50)


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


def test_the_crops_have_the_detail_of_the_photographs_and_the_pixels_of_the_shrunk(sets, tmp_path):
    crops = cropped(image_set("default"), 2, tmp_path)
    assert crops.name == "default-crops/2"
    for crop, shrunk, full in zip(crops.paths, sets[2].paths, sets[1].paths, strict=True):
        pictures = [np.asarray(load_rgb(path)) for path in (crop, shrunk, full)]
        assert pictures[0].shape == pictures[1].shape
        height, width = pictures[0].shape[:2]
        top, left = ((a - b) // 2 for a, b in zip(pictures[2].shape, (height, width), strict=False))
        assert np.array_equal(pictures[0], pictures[2][top : top + height, left : left + width])


def made_up(changes: dict[str, float], images: int = 8) -> pd.DataFrame:
    """Points of "ours", whose rate is that of "other" times a factor for each set, times a spread over the images."""
    rows, spread = [], np.random.default_rng(1).uniform(0.5, 2.0, images)
    for dataset, factor in changes.items():
        for image, quality in product(range(images), range(1, 6)):
            rate = spread[image] * 0.1 * 1.5**quality
            point = dict.fromkeys(MEASURED, 0.1) | {"psnr_db": 27.0 + 2 * quality, "ms_ssim": 0.85 + 0.02 * quality}
            about = {"dataset": dataset, "image": f"{image}.png", "quality": float(quality)} | point
            rows += [about | {"codec": "other", "bpp": rate}, about | {"codec": "ours", "bpp": factor * rate}]
    return with_means(rows)


def test_a_change_is_drawn_in_pairs_so_that_what_photographs_share_cancels():
    table = change_table(made_up({"a-1/1": 0.8, "a-1/4": 0.9}), "ours", samples=100)
    assert table.control.tolist() == ["none", "none"]
    assert table.metric.tolist() == ["psnr_rgb", "ms_ssim_db"]
    assert table[["change_pct", "ci_low", "ci_high"]].to_numpy() == pytest.approx(-10.0)
    assert (table["images"] == 8).all()


def test_the_control_tells_detail_from_pixels():
    """Here only the number of pixels counts: crops and shrunk copies are alike, and both are unlike full size."""
    table = change_table(made_up({"a-1/1": 0.8, "a-1/4": 0.9, "a-crops/4": 0.9, "kodak": 1.0}), "ours", samples=50)
    assert list(table.columns) == CHANGE_COLUMNS
    change = table[table.metric == "psnr_rgb"].set_index("control").change_pct
    assert change.to_dict() == pytest.approx({"none": -10.0, "crops": -10.0, "equal pixels": 0.0}, abs=1e-9)


def test_a_change_of_real_files_is_that_of_their_bd_rates(points, table):
    found = change_table(points, "JPEG 2000", scale=2, samples=100)
    small, large = table.iloc[1], table.iloc[0]
    assert found.metric.tolist() == ["psnr_rgb"]  # 128 pixels a side are too few for MS-SSIM
    assert found.change_pct[0] == pytest.approx(large.bd_rate_pct - small.bd_rate_pct)
    assert found.ci_low[0] < found.change_pct[0] < found.ci_high[0]


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
