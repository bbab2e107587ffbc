"""What must come back bit by bit: alpha planes and colour profiles, and what damage does to them."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms, ImageDraw

from weconvene_core.codec import api, lossless
from weconvene_core.codec.container import unpack
from weconvene_core.codec.files import save
from weconvene_core.codec.lossless import WEBP_SIDE, pack_alpha, pack_profile, unpack_alpha, unpack_profile
from weconvene_core.errors import CorruptFileError

RNG = np.random.default_rng(0)
PLANE = RNG.integers(0, 256, (6, 5), dtype=np.uint8)


def webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


@settings(deadline=None)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_alpha_survives(alpha: np.ndarray) -> None:
    np.testing.assert_array_equal(unpack_alpha(pack_alpha(alpha), *alpha.shape), alpha)


@pytest.mark.parametrize("shape", [(1, WEBP_SIDE + 1), (WEBP_SIDE + 1, 3)])
def test_alpha_of_sides_that_webp_lacks_survives(shape: tuple[int, int]) -> None:
    alpha = RNG.integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(unpack_alpha(pack_alpha(alpha), *shape), alpha)


def test_masks_take_fewer_bytes_than_in_png() -> None:
    mask = Image.new("L", (600, 400))
    ImageDraw.Draw(mask).ellipse((50, 50, 500, 350), fill=255)
    buffer = io.BytesIO()
    mask.resize((300, 200)).save(buffer, "PNG", optimize=True)
    assert len(pack_alpha(np.asarray(mask.resize((300, 200))))) < len(buffer.getvalue())


@pytest.mark.parametrize(
    "data",
    [
        b"", b"junk", zlib.compress(bytes(29)), zlib.compress(bytes(10**6)), zlib.compress(bytes(30))[:-3],
        pack_alpha(PLANE)[:-3], webp(Image.new("RGB", (6, 5))), webp(Image.new("RGB", (16_000, 16_000))),
        zlib.compress(bytes(30)) + b"more",
    ],
)  # fmt: skip
def test_damaged_alpha_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptFileError):
        unpack_alpha(data, 6, 5)


@settings(deadline=None)
@given(st.binary(max_size=3000))
def test_profiles_survive(profile: bytes) -> None:
    assert unpack_profile(pack_profile(profile)) == profile


def test_an_endless_profile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lossless, "MAX_PROFILE", 1000)
    with pytest.raises(CorruptFileError, match="colour profile"):
        unpack_profile(zlib.compress(bytes(10**6)))


def test_the_profile_comes_back_with_the_picture_and_goes_into_what_is_saved(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    picture = Image.new("RGB", (9, 7), (200, 100, 50))
    picture.info["icc_profile"] = profile
    back = api.decode(api.encode(picture, 3))
    assert back.info["icc_profile"] == profile
    for name in ("a.png", "a.jpg", "a.tif", "a.webp"):
        save(back, tmp_path / name)
        assert Image.open(tmp_path / name).info["icc_profile"] == profile


def test_srgb_is_what_no_profile_means() -> None:
    picture = Image.new("RGB", (9, 7))
    picture.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert unpack(api.encode(picture, 3)).of("icc") == []
