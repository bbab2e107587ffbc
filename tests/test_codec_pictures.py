"""Pictures of every kind in and out, and what comes back bit by bit: alpha planes and colour profiles."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms, ImageDraw, features

from weconvene_core.codec import pictures
from weconvene_core.codec.container import ORIENTATIONS
from weconvene_core.codec.pictures import (
    WEBP_SIDE,
    PictureWarning,
    load,
    pack_alpha,
    to_bytes,
    to_pil,
    turned,
    turned_back,
    unpack_alpha,
    unpack_profile,
)
from weconvene_core.errors import CorruptFileError, WeconveneError

RNG = np.random.default_rng(0)
RGBA = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)
PLANE = RGBA[..., 0]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".webp", ".PNG"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_round_trip_through_files_without_loss(tmp_path: Path, suffix: str, mode: str) -> None:
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    first = load(RGBA[..., :channels])
    path = tmp_path / f"picture{suffix}"
    path.write_bytes(to_bytes(to_pil(first.rgb, first.mode, first.alpha), path))
    second = load(path)
    np.testing.assert_array_equal(second.rgb, first.rgb)
    assert (second.alpha is None) == (first.alpha is None)
    if first.alpha is not None:
        np.testing.assert_array_equal(second.alpha, first.alpha)
    if suffix != ".webp":  # which has no grey
        assert second.mode == mode


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    """Each orientation is made by the inverse of what a viewer does, so all eight must load as the same picture."""
    turn = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1), 7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: lambda a: np.rot90(a, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(turn(RGBA[..., :3]))).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(load(tmp_path / "a.png").rgb, RGBA[..., :3])


def test_grey_becomes_equal_channels_and_comes_back() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = load(Image.fromarray(ramp))
    assert picture.mode == "L"
    np.testing.assert_array_equal(picture.rgb, np.stack([ramp] * 3, axis=-1))
    np.testing.assert_array_equal(to_pil(picture.rgb, "L"), ramp)


def test_decoded_grey_is_the_rounded_mean() -> None:
    image = to_pil(np.array([[[10, 11, 12], [10, 11, 11], [255, 255, 254]]], dtype=np.uint8), "L")
    assert np.asarray(image).tolist() == [[11, 11, 255]]


def test_bilevel_is_black_and_white() -> None:
    bits = RNG.integers(0, 2, (4, 9)).astype(bool)
    picture = load(Image.fromarray(bits))
    assert picture.mode == "L"
    np.testing.assert_array_equal(picture.rgb[..., 1], bits * np.uint8(255))


def test_palettes_become_colour_and_keep_transparency() -> None:
    colours = Image.fromarray(RGBA[..., :3]).quantize(8)
    picture = load(colours)
    assert (picture.mode, picture.alpha) == ("RGB", None)
    np.testing.assert_array_equal(picture.rgb, np.asarray(colours.convert("RGB")))
    index = np.asarray(colours)
    colours.info["transparency"] = int(index[0, 0])
    picture = load(colours)
    assert picture.mode == "RGBA"
    np.testing.assert_array_equal(picture.alpha, np.where(index == index[0, 0], 0, 255))


def test_transparent_colour_of_a_grey_png(tmp_path: Path) -> None:
    Image.fromarray(np.array([[7, 8]], dtype=np.uint8)).save(tmp_path / "a.png", transparency=7)
    picture = load(tmp_path / "a.png")
    assert picture.mode == "LA"
    np.testing.assert_array_equal(picture.alpha, [[0, 255]])
    np.testing.assert_array_equal(picture.rgb[..., 0], [[7, 8]])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bit_grey_is_scaled(tmp_path: Path, suffix: str) -> None:
    samples = np.array([[0, 128, 129, 32768, 65535, 65406]], dtype=np.uint16)
    Image.fromarray(samples).save(tmp_path / f"a{suffix}")
    with pytest.warns(PictureWarning, match="reduced to 8 bits"):
        picture = load(tmp_path / f"a{suffix}")
    assert picture.mode == "L"
    np.testing.assert_array_equal(picture.rgb[..., 2], [[0, 0, 1, 128, 255, 254]])
    with pytest.warns(PictureWarning):
        np.testing.assert_array_equal(load(samples).rgb, picture.rgb)


GREY, COLOUR, GREY_AND_ALPHA = 0, 2, 4  # colour types of PNG


def png(depth: int, colour: int, width: int, row: bytes, **chunks: bytes) -> bytes:
    """One row of a depth that Pillow reads but does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)
    others = b"".join(chunk(kind.encode(), content) for kind, content in chunks.items())
    samples = chunk(b"IDAT", zlib.compress(b"\0" + row))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + others + samples + chunk(b"IEND", b"")


def tiff(samples: bytes, width: int, bits: int, mark: bytes = b"", **tags: int) -> bytes:
    """One row of grey samples, with tags by their numbers, and ``mark`` behind the header."""
    own = {256: width, 257: 1, 258: bits, 259: 1, 262: 1, 277: 1, 278: 1, 279: len(samples)}
    own |= {int(name[1:]): value for name, value in tags.items()} | {273: 0}
    own[273] = 8 + len(mark) + 2 + 12 * len(own) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(own.items()))
    return (
        b"II*\0" + struct.pack("<I", 8 + len(mark)) + mark + struct.pack("<H", len(own)) + entries + bytes(4) + samples
    )


SIXTEEN_BIT_PNG = png(16, COLOUR, 2, struct.pack(">6H", 0, 256, 65535, 32768, 1, 2))
SIXTEEN_BIT_PPM = b"P6 2 1 65535\n" + struct.pack(">6H", 0, 256, 65535, 32768, 1, 2)


@pytest.mark.parametrize("data", [SIXTEEN_BIT_PNG, SIXTEEN_BIT_PPM])
def test_sixteen_bit_colour_is_reduced_with_a_word(data: bytes) -> None:
    with pytest.warns(PictureWarning, match="reduced to 8 bits"):
        picture = load(io.BytesIO(data))
    np.testing.assert_array_equal(picture.rgb, [[[0, 1, 255], [128, 0, 0]]])


def test_twelve_bits_fill_the_range() -> None:
    with pytest.warns(PictureWarning, match="reduced to 8 bits"):
        picture = load(tiff(bytes.fromhex("000fff800001"), 4, 12))  # 0, 4095, 2048, 1
    np.testing.assert_array_equal(picture.rgb[..., 0], [[0, 255, 128, 0]])


@pytest.mark.parametrize(("bits", "samples"), [(8, bytes([0, 255])), (16, struct.pack("<2H", 0, 65535))])
def test_white_may_be_zero(bits: int, samples: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PictureWarning)
        assert load(tiff(samples, 2, bits, t262=0)).rgb[..., 0].tolist() == [[255, 0]]


@pytest.mark.parametrize(
    ("depth", "row", "colour"),
    [(1, b"\x40", 1), (2, b"\x70", 3), (4, b"\x5f", 15), (8, b"\7\10", 8), (16, b"\1\1\1\0", 256)],
)
def test_the_transparent_grey_of_a_png_of_any_depth(depth: int, row: bytes, colour: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PictureWarning)
        picture = load(png(depth, GREY, 2, row, tRNS=struct.pack(">H", colour)))
    assert picture.mode == "LA"
    np.testing.assert_array_equal(picture.alpha, [[255, 0]])


def test_the_transparent_colour_of_a_deep_png() -> None:
    row = struct.pack(">6H", 1000, 2000, 3000, 40000, 2000, 3000)
    with pytest.warns(PictureWarning):
        picture = load(png(16, COLOUR, 2, row, tRNS=row[6:]))
    assert (picture.mode, picture.alpha.tolist()) == ("RGBA", [[255, 0]])


def test_deep_grey_with_alpha_stays_grey() -> None:
    with pytest.warns(PictureWarning):
        picture = load(png(16, GREY_AND_ALPHA, 1, struct.pack(">2H", 0x8123, 0x4123)))
    assert (picture.mode, picture.rgb.max(), picture.alpha.max()) == ("LA", 0x81, 0x41)


@pytest.mark.parametrize(("mark", "tags"), [(b"", {"t254": 1}), (b"CR\2\0" + bytes(4), {})])
def test_a_preview_in_front_of_camera_raw_is_no_picture(mark: bytes, tags: dict[str, int]) -> None:
    with pytest.raises(WeconveneError, match="camera raw"):
        load(tiff(b"\1\2", 2, 8, mark, **tags))


def test_a_gamma_of_its_own_is_reported(recwarn: pytest.WarningsRecorder) -> None:
    for gamma, others in ((45455, {}), (100_000, {"sRGB": b"\0"})):
        load(png(8, GREY, 1, b"\7", gAMA=struct.pack(">I", gamma), **others))
    assert not recwarn.list
    with pytest.warns(PictureWarning, match="gamma of 1"):
        load(png(8, GREY, 1, b"\7", gAMA=struct.pack(">I", 100_000)))


DEEPER = {
    "AVIF": {b"av1C\x81\x00": b"\x4c", b"pixi\0\0\0\0\3": b"\x0a\x0a\x0a"},
    "JPEG2000": {b"\xff\x4f\xff\x51\0\x2f\0\0" + struct.pack(">8I", 32, 32, 0, 0, 32, 32, 0, 0) + b"\0\3": b"\x0b"},
}


@pytest.mark.parametrize("kind", DEEPER)
def test_depth_that_pillow_drops_in_silence_is_reported(kind: str) -> None:
    """Pillow writes 8 bits alone: the header is made to say more, which is all that is looked at."""
    if not features.check({"AVIF": "avif", "JPEG2000": "jpg_2000"}[kind]):
        pytest.skip("this Pillow does not read the format")
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (9, 99, 199)).save(buffer, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PictureWarning)
        load(buffer)
    data = buffer.getvalue()
    for mark, depth in DEEPER[kind].items():
        assert mark in data
        place = data.index(mark) + len(mark)
        data = data[:place] + depth + data[place + len(depth) :]
    with pytest.warns(PictureWarning, match="reduced to 8 bits"), contextlib.suppress(WeconveneError):
        load(data)  # the samples do not fit the header any more


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def linear(profile: bytes) -> bytes:
    """The same name and primaries with exponent 1 in place of 2.4."""
    return profile.replace(bytes.fromhex("00026666"), bytes.fromhex("00010000"))


def test_a_profile_is_judged_by_its_colours_not_by_its_name() -> None:
    image = Image.fromarray(RGBA[..., :3])
    renamed = SRGB.replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))
    assert renamed != SRGB
    assert linear(SRGB) != SRGB
    for profile, kept in ((SRGB, False), (renamed, False), (linear(SRGB), True), (linear(renamed), True)):
        image.info["icc_profile"] = profile
        assert (load(image).icc is not None) == kept


def test_a_later_frame_is_called_by_its_number(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 3), shade) for shade in (10, 200, 90)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.gif") as image:
        image.seek(1)
        with pytest.warns(PictureWarning, match="only number 2"):
            assert load(image).rgb.max() == 200


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, io.BytesIO])
def test_pictures_in_memory(kind: type) -> None:
    buffer = io.BytesIO()
    Image.fromarray(RGBA).save(buffer, "PNG")
    np.testing.assert_array_equal(load(kind(buffer.getvalue())).alpha, RGBA[..., 3])


@pytest.mark.parametrize("source", [None, 7, [[1, 2]], {}, io.StringIO("text"), torch.zeros(3, 4, 4), "a\0b.png"])
def test_what_is_no_picture_gives_a_sentence(source: object) -> None:
    with pytest.raises(WeconveneError, match=r"^(A|The) picture .*\.$"):
        load(source)


def test_an_image_that_proves_damaged_when_it_is_read() -> None:
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, "PNG")
    with pytest.raises(WeconveneError, match="cannot be read"):
        load(Image.open(io.BytesIO(buffer.getvalue()[:-2000])))


def test_animations_lose_all_but_their_first_frame_with_a_word(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 3), (shade, 0, 0)) for shade in (10, 200, 90)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(PictureWarning, match="Of 3 frames"):
        assert load(tmp_path / "a.gif").rgb.max() == 10


def test_usual_pictures_are_read_without_a_word(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    for suffix in ("png", "jpg", "tif", "webp"):
        Image.fromarray(np.zeros((4, 1600, 3), np.uint8)).save(tmp_path / f"a.{suffix}")
        load(tmp_path / f"a.{suffix}")
    assert not recwarn.list


@pytest.mark.parametrize("mode", ["CMYK", "F", "LAB"])
def test_kinds_that_need_a_choice_are_refused(mode: str) -> None:
    with pytest.raises(WeconveneError, match=mode):
        load(Image.new(mode, (4, 4)))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4)), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), bool), np.zeros((4, 4), np.int32),
        np.zeros((4, 4, 5), np.uint8), np.zeros(4, np.uint8), np.zeros((0, 4, 3), np.uint8),
        np.zeros((1, 3, 4, 4), np.uint8),
    ],
)  # fmt: skip
def test_arrays_that_are_no_pictures_are_refused(array: np.ndarray) -> None:
    with pytest.raises(WeconveneError):
        load(array)


def test_a_picture_stays_itself_and_an_array_is_copied() -> None:
    picture = load(RGBA)
    assert load(picture) is picture
    assert not np.shares_memory(picture.rgb, RGBA)


def damaged_pictures() -> dict[str, bytes]:
    good = io.BytesIO()
    Image.fromarray(np.tile(RGBA[..., :3], (30, 30, 1))).save(good, "PNG")
    return {"empty": b"", "text": b"not a picture", "truncated": good.getvalue()[: len(good.getvalue()) // 2]}


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "missing", "folder"])
def test_unreadable_files_give_one_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(damaged_pictures()[kind])
    with pytest.raises(WeconveneError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(deadline=None, max_examples=80)
@given(
    st.integers(0, 10**6), st.binary(min_size=1, max_size=20), st.sampled_from(["PNG", "JPEG", "TIFF", "GIF", "WEBP"])
)
def test_altered_files_load_or_give_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, place: int, noise: bytes, kind: str
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(RGBA[..., :3]).save(buffer, kind)
    data = bytearray(buffer.getvalue())
    data[place % len(data) : place % len(data) + len(noise)] = noise
    path = tmp_path_factory.getbasetemp() / "altered"
    path.write_bytes(data)
    with contextlib.suppress(WeconveneError):
        assert load(path).rgb.dtype == np.uint8


def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (100, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)  # Pillow refuses above twice its limit
    with pytest.raises(WeconveneError, match="exceeds limit"):
        load(tmp_path / "a.png")


@pytest.mark.parametrize(("name", "mode"), [("a.xyz", "RGB"), ("a", "RGB"), ("a.jpg", "RGBA"), ("a.jpeg", "LA")])
def test_saving_what_a_format_cannot_hold(name: str, mode: str) -> None:
    with pytest.raises(WeconveneError, match=".png"):
        to_bytes(Image.new(mode, (3, 3)), name)


def webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


@settings(deadline=None, max_examples=40)
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


@settings(deadline=None, max_examples=30)
@given(st.binary(max_size=3000))
def test_profiles_survive(profile: bytes) -> None:
    assert unpack_profile(zlib.compress(profile, level=9)) == profile


def test_an_endless_profile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PROFILE", 1000)
    with pytest.raises(CorruptFileError, match="colour profile"):
        unpack_profile(zlib.compress(bytes(10**6)))


def test_the_orientation_mirrors_then_flips_then_transposes() -> None:
    picture = np.arange(18).reshape(2, 3, 3)
    np.testing.assert_array_equal(turned(picture, 1), picture[:, ::-1])
    np.testing.assert_array_equal(turned(picture, 2), picture[::-1])
    np.testing.assert_array_equal(turned(picture, 5), picture[:, ::-1].transpose(1, 0, 2))
    assert len({turned(picture, i).tobytes() + bytes(turned(picture, i).shape) for i in range(ORIENTATIONS)}) == 8
    for i in range(ORIENTATIONS):
        np.testing.assert_array_equal(turned_back(turned(picture, i), i), picture)
