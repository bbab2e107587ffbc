"""Whole files and their beginnings: previews, slice by slice, damage, several threads, and killed processes."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from lab.figures.pictures import prefix_pictures
from lab.paths import ROOT
from lab.rd.metrics import psnr_rgb
from weconvene_core.codec import api, pictures
from weconvene_core.codec.container import CutFileError, unpack
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import CorruptFileError, WeconveneError


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


@contextmanager
def default(name: str, value: object) -> Iterator[None]:
    before = getattr(torch, f"get_default_{name}")()
    getattr(torch, f"set_default_{name}")(value)
    try:
        yield
    finally:
        getattr(torch, f"set_default_{name}")(before if name == "dtype" else None)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


SETTINGS = {
    "inference mode": torch.inference_mode,
    "gradients": torch.enable_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float64": lambda: default("dtype", torch.float64),
    "bfloat16": lambda: default("dtype", torch.bfloat16),
    "another device": lambda: default("device", "meta"),
    "a device context": lambda: torch.device("meta"),
    "deterministic": deterministic,
}


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_set_in_pytorch_changes_no_file(name: str) -> None:
    """Also when it is set while the model is read, by whatever call comes first."""
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    wanted = {exact: api.encode(pixels, 3, exact=exact) for exact in (True, False)}
    decoded = {exact: api.decode(data).tobytes() for exact, data in wanted.items()}
    api._loaded.cache_clear()
    with SETTINGS[name]():
        for exact, data in wanted.items():
            assert api.decode(data).tobytes() == decoded[exact]
            assert api.preview(data, api.ALL).tobytes() == decoded[exact]
            assert [picture.tobytes() for picture in api.decode_progressive(data)][-1] == decoded[exact]
            assert api.encode(pixels, 3, exact=exact) == data
        own = api.load_model()
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    own(x)["x_hat"].sum().backward()  # what was read then can be trained now
    assert x.grad.any()


@pytest.mark.parametrize("exact", [False, True])
def test_a_loaded_model_is_the_callers_own(photo: Image.Image, exact: bool) -> None:
    before = api.encode(photo, 4, exact=exact)
    pixels = api.decode(before).tobytes()
    own = api.load_model(exact=exact)
    with torch.no_grad():
        for tensor in [*own.parameters(), *own.buffers()]:
            tensor.zero_()
    own.train()
    assert api.encode(photo, 4, exact=exact) == before
    assert api.decode(before).tobytes() == pixels
    assert next(api.load_model(exact=exact).parameters()).any()


def test_the_exact_form_takes_images_that_have_gradients() -> None:
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    assert api.load_model(exact=True)(x, 3.0)["x_hat"].shape == x.shape


def test_a_compressed_file_in_any_hand(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.wcv").write_bytes(data)
    wanted = api.preview(data).tobytes()
    hands = (str(tmp_path / "a.wcv"), tmp_path / "a.wcv", bytearray(data), memoryview(data), io.BytesIO(data))
    for hand in (*hands, np.frombuffer(data, np.uint8)):
        assert api.preview(hand).tobytes() == wanted


@pytest.mark.parametrize("wrong", [None, 7, "none.wcv", Path("none.wcv"), io.StringIO("a"), [1], "a\0b", {}])
def test_what_is_no_compressed_file_gives_a_sentence(wrong: object) -> None:
    for call in (api.decode, api.preview, api.latent_hash, lambda given: list(api.decode_progressive(given))):
        with pytest.raises(WeconveneError, match=r"^(Give a|The) compressed file .*\.$"):
            call(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"quality": "3"}, {"quality": None}, {"quality": [3]}, {"quality": np.zeros(2)}, {"quality": torch.zeros(2)},
        {"quality": float("nan")}, {"max_memory": "100"}, {"max_memory": 1.5}, {"effort": "1"}, {"tile": "256"},
        {"tile": 100}, {"tile": -1}, {"effort": 9}, {"model": None}, {"model": Path("lite")},
    ],
)  # fmt: skip
def test_arguments_of_another_kind_give_a_sentence(photo: Image.Image, wrong: dict[str, object]) -> None:
    with pytest.raises(WeconveneError, match=r"^[^\n]{10,200}$"):
        api.encode(photo, **{"quality": 3, **wrong})


@pytest.mark.parametrize("quality", [3, 3.0, np.float32(3), np.int64(3), torch.tensor(3.0), np.array(3.0)])
def test_a_quality_may_be_any_number(quality: object) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    assert api.encode(pixels, quality) == api.encode(pixels, 3)


def test_settings_differ_from_thread_to_thread() -> None:
    alone = [there_and_back(seed) for seed in range(6)]

    def one(seed: int) -> tuple[bytes, bytes]:
        with torch.inference_mode(seed % 2 == 0), torch.autocast("cpu", torch.bfloat16, enabled=seed % 3 == 0):
            return there_and_back(seed)

    api._loaded.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(6))) == alone
        assert len(set(map(id, pool.map(lambda _: api.load_model(), range(4))))) == 4


@pytest.mark.slow
@pytest.mark.skipif("fork" not in get_all_start_methods(), reason="needs fork")
def test_a_fork_of_a_process_that_has_coded_gives_the_same() -> None:
    """With several threads, of which a fork has none: PyTorch would wait for them for ever."""
    code = (
        "import os, torch, numpy as np; torch.set_num_threads(3); from weconvene_core import encode\n"
        "pixels = np.arange(12288, dtype=np.uint8).reshape(64, 64, 3); data = encode(pixels, 3); child = os.fork()\n"
        "if not child: os._exit(0 if encode(pixels, 3) == data else 5)\n"
        "print(os.waitpid(child, 0)[1])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "0\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of memory that holds")
def test_too_little_memory_is_a_memory_error(tmp_path: Path) -> None:
    """PyTorch raises a RuntimeError with lines of C++."""
    code = (
        "import resource, numpy as np; from weconvene_core import encode; encode(np.zeros((8, 8, 3), np.uint8), 3)\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20),) * 2)\n"
        "try: encode(np.zeros((2000, 2000, 3), np.uint8), 3, max_memory=10**6)\n"
        "except MemoryError as error: print(len(str(error).splitlines()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout in ("1\n", "0\n")


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
