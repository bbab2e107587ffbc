"""The network and its files: contracts, real bytes against the estimate, decoder against encoder, any size and mode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from weconvene_core import paths
from weconvene_core.codec import api
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import CorruptFileError, WeconveneError
from weconvene_core.model.checkpoint import release
from weconvene_core.model.presets import PRESETS, preset
from weconvene_core.model.weconvene import WeConvene, pad

FACTS = {"steps": 0}


def small_model(**changes: object) -> WeConvene:
    """`tiny` with every parameter off its initial value, and scales wide enough that no coefficient is far out."""
    torch.manual_seed(3)
    model = WeConvene(replace(preset("tiny"), **changes)).eval()
    with torch.no_grad():
        model.charm.set_scales(*model.analyse(photograph(128), torch.tensor([5.0])), factor=4.0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    model.update(force=True)
    return model


def photograph(size: int) -> torch.Tensor:
    picture = np.asarray(load_rgb(image_set("default", 1).paths[0]))[:size, :size]
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of checkpoints that holds a small `lite`."""
    folder = tmp_path_factory.mktemp("checkpoints")
    release(small_model(), folder / "lite.safetensors", FACTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "CHECKPOINTS", folder)
        api._loaded.cache_clear()
        yield folder
    api._loaded.cache_clear()


def test_forward_keeps_compressai_contract() -> None:
    model, x = small_model().train(), photograph(64).repeat(2, 1, 1, 1)
    output = model(x, torch.tensor([1.0, 6.0]))
    assert output["x_hat"].shape == x.shape
    assert set(output["likelihoods"]) == {"y_lf", "y_hf", "z"}
    assert all(0 < p.min() <= p.max() <= 1 for p in output["likelihoods"].values())
    assert model.aux_loss().isfinite()


def test_untrained_transforms_add_nothing_so_bypassing_them_is_exact() -> None:
    torch.manual_seed(0)
    model, x = WeConvene(preset("tiny")).eval(), photograph(64)
    with torch.no_grad():
        full = model(x, 3.0)["x_hat"]
        model.bypass_transforms = True
        torch.testing.assert_close(model(x, 3.0)["x_hat"], full, atol=1e-6, rtol=0)


def test_untrained_codec_is_a_wavelet_codec() -> None:
    torch.manual_seed(0)
    model, x = WeConvene(preset("tiny")).eval(), photograph(128)
    with torch.no_grad():
        errors = [(model(x, q)["x_hat"] - x).square().mean().item() for q in (1.0, 3.0, 6.0)]
    assert errors[0] > errors[1] > errors[2]
    assert -10 * np.log10(errors[2]) > 30


@pytest.mark.parametrize("changes", [{}, {"wavelet": "haar", "levels": 1}, {"levels": 0, "channel_dwt": False},
                                     {"latent_wavelet": "9/7"}, {"shortcut": False}])  # fmt: skip
@pytest.mark.parametrize("quality", [1.0, 4.3])
def test_decoder_sees_what_the_encoder_saw(changes: dict[str, object], quality: float) -> None:
    model, x = small_model(**changes), pad(photograph(100))
    coded = model.compress(x, quality)
    decoded = model.decompress(coded["strings"], coded["shape"], quality)["x_hat"]
    with torch.no_grad():
        expected = model(x, quality)
    torch.testing.assert_close(decoded, expected["x_hat"].clamp(0, 1), atol=2e-3, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 31), (64, 97)])
def test_any_size_comes_back(released: Path, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    back = api.decode(api.encode(pixels, 5.0))
    assert (back.height, back.width, back.mode) == (*size, "RGB")


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_grey_and_alpha_come_back(released: Path, mode: str) -> None:
    picture = load_rgb(image_set("default", 1).paths[0]).crop((0, 0, 70, 50)).convert(mode)
    if mode.endswith("A"):
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    back = api.decode(api.encode(picture, 6.0))
    assert back.mode == mode
    if mode.endswith("A"):
        assert back.getchannel("A").tobytes() == picture.getchannel("A").tobytes()


def test_decoding_twice_gives_the_same_pixels(released: Path) -> None:
    data = api.encode(image_set("default", 1).paths[0], 2.0)
    assert api.decode(data).tobytes() == api.decode(data).tobytes()


def test_higher_quality_costs_bytes_and_gains_fidelity(released: Path) -> None:
    picture = load_rgb(image_set("default", 1).paths[0]).crop((0, 0, 256, 256))
    files = [api.encode(picture, q) for q in (1, 3, 6)]
    errors = [np.square(np.asarray(api.decode(f), float) - np.asarray(picture, float)).mean() for f in files]
    assert len(files[0]) < len(files[1]) < len(files[2])
    assert errors[0] > errors[1] > errors[2]


def test_file_of_other_weights_is_refused(released: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = api.encode(np.zeros((8, 8, 3), np.uint8), 1.0)
    release(small_model(levels=1), tmp_path / "lite.safetensors", FACTS)
    monkeypatch.setattr(paths, "CHECKPOINTS", tmp_path)
    api._loaded.cache_clear()
    with pytest.raises(CorruptFileError, match="other weights"):
        api.decode(data)
    api._loaded.cache_clear()


def test_altered_payload_with_valid_checksum_ends_cleanly(released: Path) -> None:
    from weconvene_core.codec.container import pack, unpack

    box = unpack(api.encode(image_set("default", 1).paths[0], 2.0))
    rng = np.random.default_rng(0)
    for stream in range(3):
        garbage = list(box.streams)
        garbage[stream] = rng.bytes(len(garbage[stream]))
        try:
            image = api.decode(pack(replace(box, streams=tuple(garbage))))
        except CorruptFileError:
            continue
        assert (image.width, image.height) == (
            box.width,
            box.height,
        )  # plausible garbage: bounded, right size, no crash


def test_unknown_model_and_quality_are_one_sentence(released: Path) -> None:
    with pytest.raises(WeconveneError, match="known here are lite"):
        api.encode(np.zeros((8, 8, 3), np.uint8), 1.0, model="huge")
    with pytest.raises(WeconveneError, match="outside 0 to 7"):
        api.encode(np.zeros((8, 8, 3), np.uint8), 8.0)


def test_presets_fit_their_frames() -> None:
    def millions(name: str) -> float:
        return sum(p.numel() for p in WeConvene(PRESETS[name]).parameters()) / 1e6

    assert millions("lite") <= 8
    assert millions("tiny") < 0.5
    assert millions("paper") < 107


def test_types_and_tables_that_are_not_there_are_one_sentence() -> None:
    model, x = small_model(), torch.rand(1, 3, 64, 64)
    for call in (model, model.compress):
        with pytest.raises(WeconveneError, match="computes in float32"):
            call(x.double())
    untouched = WeConvene(model.config).eval()
    with pytest.raises(WeconveneError, match=r"update\(\)"):
        untouched.compress(x)
    with torch.inference_mode():
        assert untouched.update(force=True)
        made = WeConvene(model.config).eval()
        made.update(force=True)
        assert made.compress(x)["shape"] == (2, 2)  # tables that nobody counts the changes of


def test_the_picture_can_be_viewed_as_a_vector() -> None:
    x = torch.rand(2, 3, 64, 64)
    assert small_model()(x)["x_hat"].view(2, -1).shape == (2, 3 * 64 * 64)
