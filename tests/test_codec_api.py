"""Whole files and their beginnings: previews, slice by slice, damage, several threads, and killed processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from codec_damage import is_one_sentence, with_right_checksums
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from lab.rd.metrics import psnr_rgb
from weconvene_core.codec import api, pictures
from weconvene_core.codec.container import CutFileError, pack, unpack
from weconvene_core.datasets.image_sets import image_set, load_rgb
from weconvene_core.errors import CorruptFileError, WeconveneError
from weconvene_core.paths import ROOT


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


@pytest.fixture(scope="module")
def small_files() -> list[bytes]:
    """Small files of every kind: in one piece, in tiles, with alpha and a profile, and in floating point."""
    picture = load_rgb(image_set("default", 1).paths[0]).crop((0, 0, 90, 40))
    alpha = picture.convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize(picture.size))
    alpha.info["icc_profile"] = b"a profile"
    wide = picture.resize((140, 30))
    return [
        api.encode(picture, 3), api.encode(alpha, 4), api.encode(wide, 2, tile=128), api.encode(picture, 5, exact=False)
    ]  # fmt: skip


Damage = tuple[int, tuple[str, int, bytes]]
FLIPS = st.builds(lambda at, bit: ("flip", at, bytes([1 << bit])), st.integers(0, 10_000), st.integers(0, 7))
NOISE = st.builds(lambda at, noise: ("noise", at, noise), st.integers(0, 10_000), st.binary(min_size=1, max_size=60))
CUTS = st.builds(lambda at: ("cut", at, b""), st.integers(0, 10_000))
LONGER = st.builds(lambda noise: ("longer", 0, noise), st.binary(min_size=1, max_size=60))
DAMAGE = st.tuples(st.integers(0, 3), st.one_of(FLIPS, NOISE, CUTS, LONGER))


def damaged(data: bytes, kind: str, at: int, noise: bytes) -> bytes:
    at %= len(data)
    if kind == "longer":
        return data + noise
    if kind == "cut":
        return data[:at]
    there = data[at : at + len(noise)]
    changed = bytes([there[0] ^ noise[0]]) if kind == "flip" else noise[: len(there)]
    return data[:at] + changed + data[at + len(noise) :]


def said(decode: Callable[..., Image.Image], data: bytes, **options: int) -> None:
    """Decode to a picture, or fail with one sentence."""
    failure = None
    try:
        assert min(decode(data, **options).size) > 0
    except WeconveneError as error:
        failure = error
    assert failure is None or is_one_sentence(failure)


@settings(deadline=None, max_examples=40)
@given(DAMAGE)
def test_damage_is_refused_in_one_sentence(
    small_files: list[bytes], damage: tuple[int, tuple[str, int, bytes]]
) -> None:
    data = damaged(small_files[damage[0]], *damage[1])
    if data == small_files[damage[0]]:
        return
    with pytest.raises(CorruptFileError) as caught:
        api.decode(data)
    assert is_one_sentence(caught.value)
    said(api.preview, data)


@settings(deadline=None, max_examples=40)
@given(DAMAGE)
def test_damage_behind_right_checksums_ends_in_a_picture_or_one_sentence(
    small_files: list[bytes], damage: Damage
) -> None:
    data = with_right_checksums(damaged(small_files[damage[0]], *damage[1]))
    said(api.decode, data, max_memory=300)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 3), st.integers(0, 7), st.binary(max_size=300), st.booleans())
def test_forged_streams_and_sizes_end_in_a_picture_or_one_sentence(
    small_files: list[bytes], file: int, place: int, noise: bytes, larger: bool
) -> None:
    container = unpack(small_files[file])
    streams = list(container.streams)
    streams[place % len(streams)] = noise
    if larger and not container.tile:
        container = replace(container, width=16 * container.width, height=16 * container.height)
    said(api.decode, pack(replace(container, streams=tuple(streams))), max_memory=300)


def test_the_profile_comes_back_with_the_picture_and_goes_into_what_is_saved(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    picture = Image.new("RGB", (9, 7), (200, 100, 50))
    picture.info["icc_profile"] = profile
    back = api.decode(api.encode(picture, 3))
    assert back.info["icc_profile"] == profile
    for name in ("a.png", "a.jpg", "a.tif", "a.webp"):
        pictures.save(back, tmp_path / name)
        assert Image.open(tmp_path / name).info["icc_profile"] == profile


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
