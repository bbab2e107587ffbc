"""Textures finer than any photograph: never worse than without the learned transforms, and better with every bit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from damaged_files import with_right_checksums
from PIL import Image, ImageDraw

from lab.rd.metrics import psnr_rgb
from weconvene_core.codec import api, plain_coding
from weconvene_core.codec.container import unpack
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.codec.plain_coding import (
    DistortionMonitor,
    finest_squares,
    rate_distortion_loss,
    without_transforms,
)
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.entropy import EncodeMode
from weconvene_core.errors import CorruptFileError
from weconvene_core.image_tensors import from_8_bit
from weconvene_core.model.config import ModelConfig
from weconvene_core.model.presets import PRESETS
from weconvene_core.model.weconvene import WeConvene

SIDE = 64
QUALITIES = range(8)


def grey(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)[..., None].repeat(3, 2)


def ramp() -> np.ndarray:
    return np.tile(np.linspace(0, 255, SIDE), (SIDE, 1))


def photo(side: int = SIDE) -> np.ndarray:
    return np.asarray(load_rgb(image_set("default", 1).paths[0]).crop((40, 40, 40 + side, 40 + side)))


def checks() -> np.ndarray:
    return grey(np.indices((SIDE, SIDE)).sum(0) % 2 * 255)


def dithered() -> np.ndarray:
    return np.asarray(Image.fromarray(ramp().astype(np.uint8)).convert("1").convert("RGB"))


def ordered() -> np.ndarray:
    bayer = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])
    return grey((ramp() > np.tile(bayer * 16 + 8, (SIDE // 4, SIDE // 4))) * 255)


def halftone() -> np.ndarray:
    waves = np.sin(np.arange(SIDE) * 2 * np.pi / 5)
    return grey((np.outer(waves, waves) * 127 + 128 > ramp()) * 255)


def noise() -> np.ndarray:
    return grey(np.random.default_rng(0).uniform(0, 255, (SIDE, SIDE)))


def text() -> np.ndarray:
    image = Image.new("L", (SIDE, SIDE), 255)
    letters = np.random.default_rng(0).choice(list("abcdefghijklmnopqrstuvwxyz "), (6, 30))
    for row, line in enumerate(letters):
        ImageDraw.Draw(image).text((1, 11 * row), "".join(line), fill=0)
    return np.asarray(image.convert("RGB"))


def half_a_photo() -> np.ndarray:
    return np.concatenate([photo()[:, : SIDE // 2], dithered()[:, SIDE // 2 :]], 1)


def gratings() -> np.ndarray:
    return grey(np.indices((SIDE, SIDE))[1] % 2 * 255)


TEXTURES = (dithered, text, half_a_photo, checks, ordered, halftone, noise, gratings)


def file_loss(data: bytes, picture: np.ndarray, quality: float) -> float:
    return rate_distortion_loss(len(data), picture, np.asarray(api.decode(data)), quality)


def some_of(textures: tuple[Callable[[], np.ndarray], ...]) -> list[object]:
    """Return the first three textures, and the others as slow parameters."""
    return [*textures[:3], *(pytest.param(texture, marks=pytest.mark.slow) for texture in textures[3:])]


@pytest.mark.parametrize("texture", some_of(TEXTURES))
def test_more_bits_give_a_better_picture(texture: Callable[[], np.ndarray]) -> None:
    picture = texture()
    quality = [psnr_rgb(picture, api.decode(api.encode(picture, q))) for q in QUALITIES]
    assert min(np.diff(quality)) > -0.05


@pytest.mark.parametrize("texture", some_of((photo, *TEXTURES)))
def test_no_file_is_worse_than_both_ways_tried_would_give(
    texture: Callable[[], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The few squares that are looked at must not miss what the comparison of whole files would find."""
    picture = texture()
    for quality in (0, 3, 6):
        found = file_loss(api.encode(picture, quality), picture, quality)
        monkeypatch.setattr(plain_coding, "SUSPECT", -1.0)
        assert found <= file_loss(api.encode(picture, quality), picture, quality)
        monkeypatch.undo()


def test_without_transforms_what_is_coded_is_within_half_a_step() -> None:
    """The LL band is coded through a pyramid of its own, whose errors add up."""
    for exact in (False, True):
        plain = without_transforms(api.load_model(exact=exact))
        for texture in (checks, noise):
            x, at = from_8_bit(texture()), torch.tensor([7.0])
            with torch.no_grad():
                target, step = plain.analyse(x, at), EncodeMode(plain.tables)
                decoded = plain.code_latents(at, step, *target)[:2]
            of_lf, of_hf = (made - wanted for made, wanted in zip(decoded, target, strict=True))
            assert max(float(part.abs().max()) for part in (of_lf[:, 3:], of_hf)) < 0.501
            assert float(of_lf[:, :3].abs().max()) < 2


def test_without_quantisation_the_plain_picture_is_the_picture() -> None:
    plain, x, at = without_transforms(api.load_model()), from_8_bit(photo()), torch.tensor([2.5])
    torch.testing.assert_close(plain.synthesise(*plain.analyse(x, at), at), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", ["lite", "lite_msssim"])
@pytest.mark.parametrize("quality", [0, 3, 6])
def test_photographs_keep_their_transforms(model: str, quality: float) -> None:
    data = api.encode(photo(128), quality, model)
    assert not unpack(data).plain


def test_plain_files_in_tiles_in_floating_point_with_alpha_and_in_part() -> None:
    pixels = np.tile(dithered(), (2, 2, 1))
    picture = Image.fromarray(pixels).convert("LA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    for options in ({"tile": 128}, {"exact": False}):
        data = api.encode(picture, 5, **options)
        assert unpack(data).plain
        back = api.decode(data)
        assert back.getchannel("A").tobytes() == picture.getchannel("A").tobytes()
        assert psnr_rgb(pixels, back.convert("RGB")) > 30
        shown = [psnr_rgb(pixels, image.convert("RGB")) for image in api.decode_progressive(data)]
        assert shown[-1] > shown[0] + 10
        assert len(api.latent_hash(data)) == 64


def test_threads_with_and_without_transforms_do_not_meet() -> None:
    jobs = [(texture(), quality) for texture in (dithered, photo) for quality in (2, 5)] * 2

    def there_and_back(job: tuple[np.ndarray, float]) -> tuple[bytes, bytes]:
        data = api.encode(*job)
        return data, api.decode(data).tobytes()

    alone = [there_and_back(job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(there_and_back, jobs)) == alone
    for network in (api.load_model(), api.load_model(exact=True)):
        assert (network.bypass_transforms, network.charm.corrected, network.tables.first) == (False, True, 1)


def test_squares_lie_where_the_detail_is() -> None:
    picture = np.full((300, 500, 3), 128, np.uint8)
    picture[170:180, 333:340] = np.random.default_rng(0).integers(0, 256, (10, 7, 3))
    (top, left), *_ = finest_squares(picture, 2)
    assert (top + plain_coding.SQUARE_HALO, left + plain_coding.SQUARE_HALO) == (160, 320)
    for size in ((1, 1), (40, 500), (63, 97), (96, 96), (65, 64)):
        places = finest_squares(picture[: size[0], : size[1]], 9)
        assert all(0 <= top < size[0] and 0 <= left < size[1] for top, left in places)


def test_a_monitor_looks_at_a_small_part_of_large_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def synthesise(lf: torch.Tensor, hf: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        seen.append(lf)
        return torch.zeros(len(lf), 3, 8 * lf.shape[2], 8 * lf.shape[3])

    model, at = api.load_model(), torch.tensor([3.0])
    monitor = DistortionMonitor(model, at)
    monkeypatch.setattr(monitor, "model", SimpleNamespace(config=model.config, synthesise=synthesise))
    latents = torch.zeros(1, 48, 64, 96), torch.zeros(1, 144, 64, 96)
    monitor(np.full((512, 768, 3), 90, np.uint8), latents)
    assert 0 < sum(part[:, 0].numel() for part in seen) < 0.1 * 64 * 96
    assert monitor.suspicious  # black where the picture has some light


def test_models_without_shortcut_need_their_transforms() -> None:
    config = ModelConfig(**{**PRESETS["tiny"].to_dict(), "shortcut": False, "ll_passes": False})
    with pytest.raises(CorruptFileError, match="codes nothing without transforms"):
        without_transforms(WeConvene(config))


@pytest.mark.parametrize("turn", [0, 4, 11])
def test_a_forged_second_flag_gives_a_picture_or_one_sentence(turn: int) -> None:
    data = bytearray(api.encode(dithered(), 4))
    data[5] = turn
    with contextlib.suppress(CorruptFileError):
        assert api.decode(with_right_checksums(bytes(data))).size == (SIDE, SIDE)
