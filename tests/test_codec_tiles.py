"""Large pictures in tiles: any size, no seams, little rate, and memory that keeps to its limit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lab.paths import ROOT
from lab.rd.metrics import psnr_rgb
from weconvene_core.codec import api
from weconvene_core.codec.container import unpack
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.codec.tile_grid import (
    GROUP_SIDE,
    HALO,
    TILE_EDGES,
    UNIT,
    Footprint,
    Span,
    choose_tile,
    footprint,
    group_count,
    spans,
    tile_count,
    tile_groups,
    working_memory,
)
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import WeconveneError
from weconvene_core.image_tensors import from_8_bit, to_8_bit

LITE = Footprint(160, 12)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return load_rgb(image_set("default", 1).paths[0]).crop((0, 0, 389, 263))  # prime sides


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 25_000), st.sampled_from(TILE_EDGES))
def test_interiors_cover_an_axis_once_and_have_halos(length: int, tile: int) -> None:
    parts = spans(length, tile)
    check_spans(parts, 0, length, tile, length)
    assert [part.index for part in parts] == list(range(tile_count(length, tile)))
    assert all(part.length >= HALO for part in parts) or len(parts) == 1


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 9000), st.sampled_from(TILE_EDGES), st.sampled_from(TILE_EDGES))
def test_a_tile_is_divided_into_tiles_whose_halos_cross_its_borders(length: int, tile: int, side: int) -> None:
    for span in spans(length, tile):
        check_spans(spans(length, side, span), span.interior.start, span.interior.stop, side, length)


def check_spans(parts: list[Span], start: int, stop: int, side: int, length: int) -> None:
    """Check tiles that divide ``start .. stop`` of an axis."""
    interiors = [part.interior for part in parts]
    assert [at.start for at in interiors] == [start, *(at.stop for at in interiors[:-1])]
    assert interiors[-1].stop == stop
    for part, at in zip(parts, interiors, strict=True):
        assert at.start % UNIT == 0
        assert 0 < part.length <= (side or length)
        assert part.padded == slice(max(0, at.start - HALO), min(length, at.stop + HALO))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from(TILE_EDGES))
def test_groups_hold_every_tile_once(width: int, height: int, tile: int) -> None:
    groups = tile_groups(width, height, tile)
    assert [group.index for group in groups] == list(range(group_count(width, tile) * group_count(height, tile)))
    found = sorted((row.index, column.index) for group in groups for row, column in group.tiles)
    assert found == [(i, j) for i in range(tile_count(height, tile)) for j in range(tile_count(width, tile))]
    for group in groups:
        assert 0 < len(group.rows) <= GROUP_SIDE >= len(group.columns)
        assert group.rows == tuple(spans(height, tile)[group.rows[0].index : group.rows[-1].index + 1])


@pytest.mark.parametrize("size", [(1, 1), (2, 131), (131, 7), (257, 129)])
def test_any_size_in_the_smallest_tiles(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 4), dtype=np.uint8)
    back = np.asarray(api.decode(api.encode(pixels, 3, tile=128)))
    assert back.shape == (*size, 4)
    np.testing.assert_array_equal(back[..., 3], pixels[..., 3])


def test_a_picture_in_one_piece_is_what_the_model_alone_makes_of_it(photo: Image.Image) -> None:
    model, data = api.load_model(exact=True), api.encode(photo, 4.5)
    coded = model.compress(from_8_bit(np.asarray(photo)), 4.5)
    container = unpack(data)
    assert [container.of(kind) for kind in ("y_lf", "y_hf", "z")] == coded["strings"]
    x_hat = model.decompress(coded["strings"], coded["shape"], 4.5)["x_hat"]
    np.testing.assert_array_equal(to_8_bit(x_hat)[: photo.height, : photo.width], np.asarray(api.decode(data)))


@pytest.mark.slow
def test_tiles_cost_little_and_leave_no_seams(photo: Image.Image) -> None:
    """Tiles far smaller than those in use, one group; even the pixels along their borders lose next to nothing.

    So few pixels are decided by single roundings, 0.2 dB along borders either way at one quality, and which way changes
    with every release: a seam would be a loss at all qualities, so the means over them are held tight.
    """
    original, losses, border_losses = np.asarray(photo), [], []
    along = np.zeros(original.shape[:2], bool)
    for row in spans(photo.height, 128)[1:]:
        along[row.interior.start - 2 : row.interior.start + 2] = True
    for column in spans(photo.width, 128)[1:]:
        along[:, column.interior.start - 2 : column.interior.start + 2] = True
    for quality in (2, 3, 4, 6):
        files = [api.encode(photo, quality, tile=tile) for tile in (0, 128)]
        assert quality < 4 or len(files[1]) < 1.05 * len(files[0])  # half of it for 25 streams' beginnings and ends
        whole, tiled = (np.asarray(api.decode(data)) for data in files)
        losses.append(psnr_rgb(original, whole) - psnr_rgb(original, tiled))
        border = [psnr_rgb(original[along][None], back[along][None]) for back in (whole, tiled)]
        border_losses.append(border[0] - border[1])
    assert abs(np.mean(losses)) < 0.01
    assert max(map(abs, losses)) < 0.04
    assert abs(np.mean(border_losses)) < 0.1
    assert max(map(abs, border_losses)) < 0.3


def test_the_footprint_of_the_shipped_model() -> None:
    assert [footprint(api.load_model().config, exact) for exact in (False, True)] == [LITE, Footprint(280, 12)]


def test_the_limit_of_memory_decides_on_tiles() -> None:
    assert choose_tile(LITE, 768, 512, 2048) == 0
    assert choose_tile(LITE, 20_000, 20_000, 2048) == 1024
    assert choose_tile(LITE, 8000, 8000, 500) == 512
    with pytest.raises(WeconveneError, match="raise --max-memory"):
        choose_tile(LITE, 20_000, 20_000, 10)


def test_a_file_that_would_take_more_memory_is_refused(photo: Image.Image) -> None:
    large = photo.resize((640, 480))
    data = api.encode(large, 1)
    with pytest.raises(WeconveneError, match="raise --max-memory"):
        api.decode(data, max_memory=60)
    assert unpack(api.encode(large, 1, max_memory=60)).tile == 128


MEASURE = """
import resource
import numpy as np
from weconvene_core.codec import api
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
api.decode(api.encode(np.zeros((64, 64, 3), np.uint8), 1))
pixels = np.tile(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), (16, 16, 1))
before, limit = peak(), 60
assert api.decode(api.encode(pixels, 1, max_memory=limit), max_memory=limit).size == (1024, 1024)
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts peak memory in kilobytes")
def test_memory_keeps_near_its_limit() -> None:
    """In a process of its own: 60 MiB and the picture, where the whole would take 280 in integers."""
    assert working_memory(LITE, 1024, 1024, 0) > 160
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True, cwd=ROOT)
    assert float(done.stdout) < 80
