"""The beginning of a file: a preview, then slice by slice, and only what is certain."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lab.figures.pictures import prefix_pictures
from lab.rd.metrics import psnr_rgb
from weconvene_core.codec import api
from weconvene_core.codec.container import CutFileError, unpack
from weconvene_core.datasets.image_sets import image_set, load_rgb
from weconvene_core.errors import CorruptFileError


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return load_rgb(image_set("default", 1).paths[0]).crop((20, 20, 212, 148))


@pytest.fixture(scope="module")
def data(photo: Image.Image) -> bytes:
    return api.encode(photo, 6)


def start_of_hf(data: bytes) -> int:
    container = unpack(data)
    return len(data) - sum(4 + len(stream) for stream in container.of("y_hf"))


def test_each_slice_brings_the_picture_nearer(photo: Image.Image, data: bytes) -> None:
    pictures = list(api.decode_progressive(data))
    assert len(pictures) == 1 + len(api.load_model().config.layout.hf)
    quality = [psnr_rgb(photo, picture) for picture in pictures]
    assert quality == sorted(quality)
    assert quality[-1] > quality[0] + 3
    assert pictures[-1].tobytes() == api.decode(data).tobytes()
    assert pictures[0].tobytes() == api.preview(data).tobytes()


@pytest.mark.parametrize("tile", [0, 128])
def test_a_cut_file_shows_what_is_there(photo: Image.Image, tile: int) -> None:
    whole = api.encode(photo, 6, tile=tile)
    with pytest.raises(CutFileError, match=f"of its {len(whole)} bytes"):
        api.decode(whole[:-1])
    complete, quality = list(api.decode_progressive(whole)), 0.0
    assert len(list(api.decode_progressive(whole[: start_of_hf(whole) + 8]))) == 1
    for share in (0.3, 0.6, 0.9, 0.999):
        begun = whole[: int(share * len(whole))]
        pictures = list(api.decode_progressive(begun))
        assert len(pictures) <= len(complete)
        if not tile and len(begun) >= start_of_hf(whole):  # of tiles, the first have more slices than the last
            assert [p.tobytes() for p in pictures] == [p.tobytes() for p in complete[: len(pictures)]]
        now = psnr_rgb(photo, pictures[-1])
        assert now >= quality
        quality = now


def test_a_file_cut_behind_lf_gives_the_whole_files_preview(data: bytes) -> None:
    assert api.preview(data[: start_of_hf(data)]).tobytes() == api.preview(data).tobytes()


def test_before_the_hyperprior_is_there_nothing_can_be_shown(data: bytes) -> None:
    with pytest.raises(CutFileError, match="no preview yet"):
        api.preview(data[:40])


def test_a_damaged_beginning_is_refused(data: bytes) -> None:
    altered = bytearray(data[: start_of_hf(data)])
    altered[len(altered) // 2] ^= 1
    with pytest.raises(CorruptFileError, match="altered"):
        api.preview(bytes(altered))


def test_a_preview_without_its_alpha_plane_is_opaque(photo: Image.Image) -> None:
    picture = photo.convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    whole = api.encode(picture, 3)
    container = unpack(whole)
    behind_lf = start_of_hf(whole) - 4 - len(container.of("alpha")[0])
    assert api.preview(whole[:behind_lf]).mode == "RGB"
    assert api.preview(whole[: start_of_hf(whole)]).getchannel("A").tobytes() == picture.getchannel("A").tobytes()


def test_the_pictures_for_a_notebook(data: bytes) -> None:
    parts = prefix_pictures(data, (0.1, 0.5, 1.0))
    assert [name.split(" %")[0] for name in parts] == ["10", "50", "100"]
    assert all(picture.shape == (128, 192, 3) and picture.dtype == np.uint8 for picture in parts.values())
    np.testing.assert_array_equal(list(parts.values())[-1], np.asarray(api.decode(data)))
