"""Video encoders and JPEG XL through the optional extra's ffmpeg: real streams, stated colour, clear refusals."""

import sys
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from codec_checks import check_quality_rises
from PIL import Image

from lab.paths import save_table
from lab.rd.curves import MEAN
from lab.rd.ffmpeg_codecs import AV1, AV1_SPEED, FFMPEG_CODECS, HEVC, JPEG_XL, VVC, av1, ffmpeg
from lab.rd.metrics import psnr_rgb
from lab.rd.pillow_codecs import JPEG, WEBP, available, measure_available, measure_codecs
from lab.studies import video_intra_codecs
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import folder_set, image_set
from weconvene_core.errors import WeconveneError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what is left out is tested below
    HERE = available(FFMPEG_CODECS)
by_name = pytest.mark.parametrize("codec", HERE, ids=lambda codec: codec.name)
needs = pytest.mark.skipif(not HERE, reason="no ffmpeg with these encoders: the extra 'codecs' is not installed")


@pytest.fixture(scope="module")
def picture():
    return load_rgb(image_set("default").paths[1]).crop((90, 40, 346, 232))  # 256x192 of the cat


@by_name
def test_quality_rises_with_the_rate(codec, picture):
    check_quality_rises(codec, picture, codec.qualities[::2])


@by_name
def test_streams_are_deterministic_and_carry_no_advertisement(codec, picture):
    data = codec.encode(picture, codec.qualities[2])
    assert data == codec.encode(picture, codec.qualities[2])
    assert b"x265" not in data  # its options, in clear, are longer than a small picture
    assert len(codec.encode(Image.new("RGB", (64, 64)), codec.qualities[0])) < 250


@by_name
def test_odd_sides_come_back(codec, picture):
    odd = picture.crop((0, 0, 201, 131))
    decoded = codec.decode(codec.encode(odd, codec.qualities[3]))
    assert decoded.size == odd.size
    even = picture.crop((0, 0, 200, 130))
    usual = psnr_rgb(even, codec.decode(codec.encode(even, codec.qualities[3])))
    assert psnr_rgb(odd, decoded) == pytest.approx(usual, abs=0.3)


@pytest.mark.skipif(VVC not in HERE, reason="no ffmpeg with VVC: the extra 'codecs' is not installed")
@pytest.mark.parametrize(("sides", "mark"), [((201, 130), b"\1"), ((200, 131), b"\2"), ((201, 131), b"\3")])
def test_an_odd_side_costs_vvc_one_byte_and_its_last_pixels_twice(sides, mark, picture):
    odd = picture.crop((0, 0, *sides))
    twice = np.pad(odd, ((0, sides[1] % 2), (0, sides[0] % 2), (0, 0)), "edge")
    bare = VVC.encode(Image.fromarray(twice), 33.0)
    assert bare.startswith(b"\0\0\0\1")  # an even picture has its stream alone, as it was measured before
    assert VVC.encode(odd, 33.0) == mark + bare
    assert VVC.decode(mark + bare) == VVC.decode(bare).crop((0, 0, *sides))


@by_name
def test_grey_stays_grey_and_colours_keep_their_place(codec):
    """A wrong matrix or range on either side shifts flat colours by tens of levels."""
    flat = np.zeros((64, 192, 3), np.uint8)
    flat[:, :64], flat[:, 64:128], flat[:, 128:] = (128, 128, 128), (200, 40, 40), (30, 60, 220)
    decoded = np.asarray(codec.decode(codec.encode(Image.fromarray(flat), codec.qualities[-1])), dtype=float)
    for left in (0, 64, 128):
        middle = decoded[16:48, left + 16 : left + 48].mean((0, 1))
        assert np.abs(middle - flat[0, left]).max() < 3.0


def test_only_four_four_four_goes_without_a_label():
    for codec in FFMPEG_CODECS:
        assert ("4:2:0" in codec.name) == codec.pixels.startswith("yuv420")
    assert (HEVC.pixels, AV1.pixels, JPEG_XL.pixels) == ("yuv444p10le", "yuv444p10le", "")


@needs
def test_every_setting_is_part_of_the_state():
    states = {codec.state() for codec in (*HERE, replace(HERE[0], options=("-preset", "fast")))}
    assert len(states) == len(HERE) + 1
    assert "ffmpeg version" in HERE[0].state()
    assert "/" not in HERE[0].state().split("ffmpeg version")[1]  # no path: another place is the same encoder


@needs
def test_a_missing_encoder_is_named_and_the_others_are_measured(picture, tmp_path):
    picture.crop((0, 0, 176, 176)).save(tmp_path / "cat.png")
    foreign = replace(HEVC, name="EVC", encoder="libevc_of_nobody")
    with pytest.warns(UserWarning, match="EVC is left out of the comparison: This ffmpeg has no encoder 'libevc_of"):
        points = measure_available(
            folder_set(tmp_path), [foreign, replace(JPEG, qualities=(10, 50))], processes=1, folder=tmp_path / "kept"
        )
    assert set(points.codec) == {JPEG.name}


@needs
def test_a_picture_that_an_encoder_refuses_is_named(picture):
    with pytest.raises(WeconveneError, match="cannot do nonsense with .*no_such_option.*leave this codec") as said:
        replace(HERE[0], name="nonsense", options=("-no_such_option", "1")).encode(picture, 30)
    assert "install" not in str(said.value)  # the encoder is there
    with pytest.raises(WeconveneError, match=f"ffmpeg cannot do {HERE[0].name.split()[0]}") as said:
        HERE[0].decode(b"no stream at all")
    assert "0x" not in str(said.value)  # no addresses in memory


def test_without_any_ffmpeg_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # as if it were not installed
    with pytest.raises(WeconveneError, match=r"no ffmpeg on this machine: install the extra \(pip install 'weconvene"):
        ffmpeg()
    with pytest.warns(UserWarning, match="left out"):
        assert available([VVC, JPEG]) == (JPEG,)


def test_stored_points_are_shown_for_their_own_images_alone(tmp_path, own_results, picture):
    for name in ("a.png", "b.png"):
        picture.save(tmp_path / name)
    both = folder_set(tmp_path)
    assert video_intra_codecs.modern_points(both).empty
    hevc = replace(JPEG, name=HEVC.name, qualities=HEVC.qualities)
    stored = measure_available(
        both, [hevc, replace(hevc, name="of an earlier release")], processes=1, folder=tmp_path / "x"
    )
    save_table(stored, video_intra_codecs.TABLE)
    assert set(video_intra_codecs.modern_points(both).codec) == {HEVC.name}
    (tmp_path / "b.png").unlink()
    assert video_intra_codecs.modern_points(folder_set(tmp_path)).empty


def test_jpeg_xl_is_not_shown_where_it_halves_the_resolution(tmp_path, own_results, picture):
    assert max(JPEG_XL.qualities) <= 7.0
    picture.save(tmp_path / "a.png")
    as_before = replace(JPEG, name=JPEG_XL.name, qualities=(14.0, 10.0, 7.0, 5.0))  # as the release stored them
    points = measure_available(folder_set(tmp_path), [as_before], processes=1, folder=tmp_path / "cache")
    save_table(points, video_intra_codecs.TABLE)
    assert set(video_intra_codecs.modern_points(folder_set(tmp_path)).quality) == {7.0, 5.0}


def test_a_slower_setting_is_named():
    assert AV1.name == f"AV1 4:4:4 (libaom, speed {AV1_SPEED})" != av1(4).name
    assert f"-cpu-used {AV1_SPEED}" in " ".join(AV1.options)


def test_a_headline_has_one_row_per_codec():
    names = ["lite", "JPEG", "AVIF speed 6", "AVIF speed 6, tune default", "JPEG 2000", "JPEG 2000, mct=0"]
    assert video_intra_codecs.one_of_each(names) == ["JPEG", "AVIF speed 6", "JPEG 2000"]
    assert video_intra_codecs.one_of_each([*names, AV1.name]) == ["JPEG", "JPEG 2000", AV1.name]


def test_speeds_are_compared_by_our_codec_on_the_same_pictures(tmp_path, monkeypatch, picture):
    for name, box in (("a.png", (0, 0, 176, 176)), ("b.png", (60, 10, 240, 190))):
        picture.crop(box).save(tmp_path / name)
    cached = partial(measure_codecs, folder=tmp_path / "kept")
    monkeypatch.setattr(video_intra_codecs, "measure_codecs", cached)
    monkeypatch.setattr(video_intra_codecs, "measure", lambda codec, name, images, *_: measure_available(
        images, [replace(JPEG, name="lite")], processes=1, folder=tmp_path / "kept"))  # fmt: skip
    found = video_intra_codecs.speeds(
        folder_set(tmp_path), (WEBP, replace(WEBP, name="fast", settings=(("method", 0),)))
    )
    assert set(found.codec) == {"lite"}
    by_psnr = found[found.metric == "psnr_rgb"].set_index("anchor")
    assert by_psnr.bd_rate_pct["WebP"] > by_psnr.bd_rate_pct["fast"]  # the slow one is harder to beat
    assert by_psnr.encode_s["WebP"] > by_psnr.encode_s["fast"]
    assert (by_psnr.ci_low <= by_psnr.bd_rate_pct).all()


@needs
def test_a_codec_that_fails_costs_itself_alone_and_its_stored_points_stay(tmp_path, monkeypatch, own_results, picture):
    picture.crop((0, 0, 176, 176)).save(tmp_path / "cat.png")
    images, kept = folder_set(tmp_path), tmp_path / "kept"
    jpeg, last = (replace(JPEG, name=name, qualities=(10, 50)) for name in ("first", "last"))
    broken = replace(HERE[0], name="broken", options=("-no_such_option", "1"), qualities=jpeg.qualities)
    foreign = replace(HEVC, name="EVC", encoder="libevc_of_nobody")
    monkeypatch.setattr(video_intra_codecs, "FFMPEG_CODECS", (jpeg, broken, foreign, last))
    monkeypatch.setattr(video_intra_codecs, "measure_codecs", partial(measure_codecs, processes=1, folder=kept))
    before = measure_available(images, [replace(jpeg, name="broken")], processes=1, folder=kept)
    other = before.replace("cat.png", "dog.png").assign(codec="EVC")  # of other images: not to be shown
    save_table(pd.concat([before, other]), video_intra_codecs.TABLE)
    with pytest.warns(UserWarning, match="was not measured anew") as said:
        points = video_intra_codecs.modern_points(images, fresh=True)
    texts = [str(warning.message) for warning in said]
    assert [text.split(":")[0] for text in texts] == [f"{name} was not measured anew" for name in ("broken", "EVC")]
    assert "no_such_option" in texts[0]
    assert "install" not in texts[0]
    assert "no encoder 'libevc_of_nobody': install the extra" in texts[1]
    assert set(points.codec) == {"first", "broken", "last"}
    assert points[points.codec == "broken"].bpp.tolist() == pytest.approx(before.bpp.tolist(), abs=1e-6)
    assert set(points.image) == {"cat.png", MEAN}


def test_without_any_encoder_the_stored_points_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(video_intra_codecs, "FFMPEG_CODECS", (replace(HEVC, encoder="no_such_encoder"),))
    with pytest.warns(UserWarning, match="HEVC 4:4:4 .* was not measured anew"):
        assert video_intra_codecs.modern_points(image_set("default", 1), fresh=True).empty
