"""Whole files and their beginnings: previews, slice by slice, damage, several threads, and killed processes."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from lab.figures.pictures import prefix_pictures
from lab.paths import ROOT
from lab.rd.metrics import psnr_rgb
from weconvene_core.codec import api, pictures
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


def test_the_profile_comes_back_with_the_picture_and_goes_into_what_is_saved() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    picture = Image.new("RGB", (9, 7), (200, 100, 50))
    picture.info["icc_profile"] = profile
    back = api.decode(api.encode(picture, 3))
    assert back.info["icc_profile"] == profile
    for name in ("a.png", "a.jpg", "a.tif", "a.webp"):
        assert Image.open(io.BytesIO(pictures.to_bytes(back, name))).info["icc_profile"] == profile


def test_srgb_is_what_no_profile_means() -> None:
    picture = Image.new("RGB", (9, 7))
    picture.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert unpack(api.encode(picture, 3)).of("icc") == []


def noisy_ramp(seed: int) -> np.ndarray:
    ramp = np.linspace(0, 255, 60 + seed)[None, :, None] * np.array([1.0, 0.7, 0.3])
    noise = np.random.default_rng(seed).normal(0, 8, (70, 60 + seed, 3))
    return np.clip(ramp + noise, 0, 255).astype(np.uint8)


def there_and_back(seed: int) -> tuple[bytes, bytes]:
    data = api.encode(noisy_ramp(seed), 1 + seed % 6)
    return data, api.decode(data).tobytes()


def test_threads_give_what_one_gives() -> None:
    seeds = range(6)
    alone = [there_and_back(seed) for seed in seeds]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(there_and_back, seeds)) == alone


@pytest.mark.slow
def test_processes_give_what_one_gives() -> None:
    seeds = range(6)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(there_and_back, seeds)) == [there_and_back(seed) for seed in seeds]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that cannot be caught")
def test_a_killed_encode_leaves_no_half_file(tmp_path: Path) -> None:
    """Killed once while it computes or loads, and once at the first sight of a file under a temporary name."""
    noise = np.random.default_rng(0).integers(0, 256, (320, 640, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "in.png")
    target = tmp_path / "out.wcv"
    command = [sys.executable, "-m", "weconvene_core", "encode", tmp_path / "in.png", target, "--quality", "6"]
    for moment in ("early", "writing"):
        process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL)
        if moment == "early":
            time.sleep(0.5)
            assert process.poll() is None
        while moment == "writing" and process.poll() is None and not any(tmp_path.glob(".*.tmp")):
            pass
        process.kill()
        process.wait()
        assert moment == "writing" or not target.exists()
        if target.exists():
            assert unpack(target.read_bytes()).width == 640


def test_the_pictures_for_a_notebook(data: bytes) -> None:
    parts = prefix_pictures(data, (0.1, 0.5, 1.0))
    assert [name.split(" %")[0] for name in parts] == ["10", "50", "100"]
    assert all(picture.shape == (128, 192, 3) and picture.dtype == np.uint8 for picture in parts.values())
    np.testing.assert_array_equal(list(parts.values())[-1], np.asarray(api.decode(data)))
