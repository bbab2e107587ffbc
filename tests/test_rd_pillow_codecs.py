"""The live codecs on one small photograph: settings as stated, honest figures, kept measurements."""

import io
import os
from dataclasses import replace

import numpy as np
import pytest
from codec_checks import check_quality_rises
from PIL import Image

from lab.rd.bd_rate import bd_rate
from lab.rd.curves import MEAN, POINT_COLUMNS, Curve, averaged_curve
from lab.rd.metrics import bpp, psnr_rgb
from lab.rd.pillow_codecs import (
    CLASSICAL_CODECS,
    JPEG,
    JPEG_2000,
    WEBP,
    PillowCodec,
    available,
    avif,
    measure_available,
)
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import folder_set, image_set
from weconvene_core.errors import WeconveneError

by_name = pytest.mark.parametrize("codec", CLASSICAL_CODECS, ids=lambda codec: codec.name)


@pytest.fixture(scope="module")
def picture():
    return load_rgb(image_set("default").paths[1]).crop((90, 40, 346, 232))  # 256x192 of the cat


@pytest.fixture(scope="module")
def images(picture, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cat")
    picture.save(folder / "cat.png")
    return folder_set(folder)


@by_name
def test_quality_rises_with_the_rate(codec, picture):
    check_quality_rises(codec, picture, codec.qualities)


@by_name
def test_files_are_complete_and_deterministic(codec, picture):
    data = codec.encode(picture, codec.qualities[2])
    assert Image.open(io.BytesIO(data)).format == codec.format
    assert data == codec.encode(picture, codec.qualities[2])


@pytest.mark.parametrize(("quality", "luma"), [(89, (2, 2)), (90, (1, 1))])
def test_jpeg_keeps_full_colour_resolution_at_high_qualities_only(picture, quality, luma):
    decoded = Image.open(io.BytesIO(JPEG.encode(picture, quality)))
    assert [(layer[1], layer[2]) for layer in decoded.layer] == [luma, (1, 1), (1, 1)]


@pytest.mark.parametrize("always", ["4:2:0", "4:4:4"])
def test_jpeg_with_its_switch_is_better_than_either_setting_alone(always):
    pictures = [load_rgb(path) for path in image_set("default").paths]

    def curve(codec):
        files = [[codec.encode(picture, quality) for picture in pictures] for quality in codec.qualities]
        rates = [np.mean([bpp(len(f), *p.size) for f, p in zip(row, pictures, strict=True)]) for row in files]
        values = [np.mean([psnr_rgb(p, codec.decode(f)) for f, p in zip(row, pictures, strict=True)]) for row in files]
        return Curve(codec.name, np.array(rates), np.array(values))

    alone = replace(JPEG, settings=(("subsampling", always), ("optimize", True)), switch=None)
    assert bd_rate(curve(alone), curve(JPEG)).bd_rate_pct < 0


def test_jpeg_2000_uses_its_colour_transform(picture):
    without = replace(JPEG_2000, settings=tuple((k, 0 if k == "mct" else v) for k, v in JPEG_2000.settings))
    good, bad = (psnr_rgb(picture, codec.decode(codec.encode(picture, 42))) for codec in (JPEG_2000, without))
    assert good > bad + 0.5


def test_avif_is_tuned_for_psnr(picture):
    def efficiency(codec):
        files = [codec.encode(picture, quality) for quality in (12, 30, 48, 66)]
        points = [(bpp(len(f), *picture.size), psnr_rgb(picture, codec.decode(f))) for f in files]
        return np.interp(32.0, [value for _, value in points], np.log([rate for rate, _ in points]))

    assert efficiency(avif()) < efficiency(avif(tune=None))
    assert avif(tune=None).name == "AVIF speed 6, tune default"


def test_every_setting_is_part_of_the_state():
    states = {
        codec.state()
        for codec in (*CLASSICAL_CODECS, avif(5), avif(tune=None), replace(WEBP, settings=(("method", 4),)))
    }
    assert len(states) == len(CLASSICAL_CODECS) + 3
    assert "Pillow" in JPEG.state()


def test_measurements_are_kept_and_reused(images, tmp_path):
    codecs = (JPEG, JPEG_2000)
    first = measure_available(images, codecs, processes=1, folder=tmp_path)
    written = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(written) == len(codecs)
    again = measure_available(images, codecs, processes=1, folder=tmp_path)
    assert first.equals(again)  # times too: nothing was measured again
    assert written == {path: path.read_bytes() for path in tmp_path.iterdir()}


def test_measurements_go_by_what_is_in_the_file_and_not_by_its_name(picture, tmp_path, monkeypatch):
    """Neither name, size nor time of a file says that it is the same picture."""
    encode, coded = PillowCodec.encode, []
    monkeypatch.setattr(PillowCodec, "encode", lambda *given: coded.append(given[1].size) or encode(*given))

    def measured(names):
        coded.clear()
        points = measure_available(folder_set(tmp_path), [replace(JPEG, qualities=(10, 50))], 1, tmp_path / "kept")
        assert list(points.image) == [name for name in names for _ in range(2)] + [MEAN] * 2
        return points.bpp[:2].tolist(), coded.count(picture.size)

    file = tmp_path / "cat.bmp"  # without compression: as many bytes for any picture of this size
    picture.save(file)
    first, times = measured(["cat.bmp"])
    assert times == 2
    facts = file.stat()
    picture.transpose(Image.Transpose.ROTATE_180).point(lambda level: level // 2).save(file)
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    altered, times = measured(["cat.bmp"])
    assert times == 2
    assert altered[1] < 0.9 * first[1]
    assert measured([file.rename(tmp_path / "dog.bmp").name]) == (altered, 0)
    picture.save(file)
    assert measured(["cat.bmp", "dog.bmp"]) == (first, 0)


def test_a_run_that_was_killed_resumes(images, tmp_path):
    whole = measure_available(images, [JPEG], processes=1, folder=tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[: kept.stat().st_size // 2])  # cut within a line
    resumed = measure_available(images, [JPEG], processes=1, folder=tmp_path)
    same = ["image", "codec", "quality", "bpp", "psnr_db"]
    assert resumed[same].equals(whole[same])


@pytest.mark.slow
def test_two_processes_measure_the_same(images, tmp_path):
    short = [replace(JPEG, qualities=(10, 50)), replace(WEBP, qualities=(10, 50))]
    one = measure_available(images, short, processes=1, folder=tmp_path / "one")
    two = measure_available(images, short, processes=2, folder=tmp_path / "two")
    same = [column for column in POINT_COLUMNS if not column.endswith("_s")]
    assert one[same].equals(two[same])
    assert list(one.image) == (["cat.png"] * 2 + [MEAN] * 2) * 2
    assert len(averaged_curve(two, "WebP")) == 2


def test_a_codec_that_pillow_cannot_write_is_named_and_left_out(images, tmp_path):
    foreign = replace(JPEG, name="BPG", format="BPG")
    with pytest.warns(UserWarning, match="BPG is left out"):
        assert available([foreign, JPEG]) == (JPEG,)
    with pytest.raises(WeconveneError, match="cannot write BPG"):
        foreign.encode(Image.new("RGB", (8, 8)), 10)
    with pytest.warns(UserWarning, match="left out"), pytest.raises(WeconveneError, match="Nothing was measured"):
        measure_available(images, [foreign], processes=1, folder=tmp_path)


@pytest.mark.parametrize("codec", [JPEG, JPEG_2000], ids=lambda codec: codec.name)
def test_a_rival_meets_a_size(codec: PillowCodec, picture: Image.Image) -> None:
    sizes = [len(codec.encode_near(picture, target)) for target in (2000, 4000)]
    assert sizes == [pytest.approx(2000, rel=0.06), pytest.approx(4000, rel=0.06)]
    smallest, largest = (len(codec.encode_near(picture, target)) for target in (1, 10**7))
    assert smallest < 2000
    assert largest > 5 * 4000  # the ends of the quality parameter, not an error
