"""The exact path: the same file gives the same y_hat, whatever computes it; and what sealing refuses."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from weconvene_core.codec import api, sealing
from weconvene_core.codec.container import unpack
from weconvene_core.entropy import Read, tables_of
from weconvene_core.entropy.exact import ExactConv, Span, on_grid
from weconvene_core.entropy.exact_lifting import growth, integer_lifting, join, lifting_of, split
from weconvene_core.entropy.exact_seal import Seal
from weconvene_core.entropy.packed_tables import packed, unpacked
from weconvene_core.entropy.slices import Prediction
from weconvene_core.errors import CorruptFileError, WeconveneError
from weconvene_core.evaluation.datasets import image_set, load_rgb
from weconvene_core.evaluation.quality import psnr_rgb
from weconvene_core.layers.weconv import SPACE
from weconvene_core.model import WeConvene
from weconvene_core.paths import CHECKPOINTS, ROOT
from weconvene_core.presets import ModelConfig, preset
from weconvene_core.training.checkpoint import read_tensors, release, weights_hash, write_tensors
from weconvene_core.wavelets import scheme
from weconvene_core.wavelets.lifting import split_axes

OTHER_PYTHON = "WECONVENE_OTHER_PYTHON"
"""Names an interpreter of another environment, say with the oldest torch, that is to decode the same files."""
HASHES = "import sys; from pathlib import Path; from weconvene_core.codec.api import latent_hash\n" + (
    "for name in sys.argv[1:]: print(latent_hash(Path(name).read_bytes()))"
)
NOISE = 1e-4
PINNED = "1955520921fa70ce33d7c87b290215d27d1afb2bbcd1008ce531f5adef8e6311"
"""SHA-256 of y_hat from weights and symbols that are made of integers: recorded once, for all machines and versions."""


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return load_rgb(image_set("default", 1).paths[0]).crop((60, 60, 252, 188))


@pytest.fixture(scope="module")
def files(photo: Image.Image) -> list[bytes]:
    return [api.encode(photo, 1.3), api.encode(photo, 5), api.encode(photo.crop((0, 0, 150, 40)), 3, tile=128)]


@pytest.fixture(scope="module")
def hashes(files: list[bytes]) -> list[str]:
    return [api.latent_hash(data) for data in files]


def tensor(picture: np.ndarray) -> Tensor:
    return torch.tensor(picture).permute(2, 0, 1)[None].float() / 255


# --- the same bits ---------------------------------------------------------------------------------------------------


def test_files_of_the_released_model_are_exact(files: list[bytes], photo: Image.Image) -> None:
    assert all(unpack(data).exact for data in files)
    assert psnr_rgb(photo, api.decode(files[1])) > 33


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_matter(threads: int, files: list[bytes], hashes: list[str]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert [api.latent_hash(data) for data in files] == hashes
    finally:
        torch.set_num_threads(before)


def test_onednn_does_not_matter(files: list[bytes], hashes: list[str]) -> None:
    with torch.backends.mkldnn.flags(enabled=False):
        assert [api.latent_hash(data) for data in files] == hashes


def test_a_fresh_process_and_another_environment_agree(files: list[bytes], hashes: list[str], tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.wcv" for i in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    for python in (sys.executable, os.environ.get(OTHER_PYTHON)):
        if python:
            command = [python, "-W", "ignore", "-c", HASHES, *map(str, paths)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.stdout.split() == hashes, done.stderr


@pytest.fixture
def perturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every convolution in floating point is off by noise, as on a very different machine."""
    plain = F.conv2d
    generator = torch.Generator().manual_seed(0)

    def noisy(x: Tensor, *arguments: Tensor, **options: object) -> Tensor:
        y = plain(x, *arguments, **options)
        return y + NOISE * torch.randn(y.shape, generator=generator)

    monkeypatch.setattr(F, "conv2d", noisy)


def test_noise_in_floating_point_does_not_matter(
    files: list[bytes], hashes: list[str], photo: Image.Image, request: pytest.FixtureRequest
) -> None:
    before = api.decode(files[1])
    request.getfixturevalue("perturbed")
    assert [api.latent_hash(data) for data in files] == hashes
    after = api.decode(files[1])
    assert after.tobytes() != before.tobytes()  # the noise is there, in g_s
    assert psnr_rgb(before, after) > 50


def test_the_same_noise_ruins_files_of_the_float_path(photo: Image.Image, request: pytest.FixtureRequest) -> None:
    """The proof has teeth."""
    data = api.encode(photo, 5, exact=False)
    before, hashed = api.decode(data), api.latent_hash(data)
    request.getfixturevalue("perturbed")
    try:
        after = api.decode(data)
    except CorruptFileError:
        return
    assert api.latent_hash(data) != hashed
    assert psnr_rgb(before, after) < 30


def test_a_batch_of_eight_is_what_one_is(photo: Image.Image) -> None:
    """The same streams decoded once, and eight times at once."""
    model, x = api.load_model(exact=True), tensor(np.array(photo))
    coded = model.compress(x, 4.0)
    streams = {name: strings[0] for name, strings in zip(("y_lf", "y_hf"), coded["strings"], strict=False)}
    z = model._read_z(coded["strings"][2][0], model._z_shape(coded["shape"])) + model.medians

    def decoded(count: int) -> tuple[Tensor, Tensor]:
        read = Read(tables_of(model.conditional), streams)

        def step(group: str, prediction: Prediction, target: Tensor | None) -> Tensor:
            assert all(torch.equal(indexes, prediction.indexes[0]) for indexes in prediction.indexes)
            first = type(prediction)(prediction.mean[:1], prediction.indexes[:1], prediction.features[:1])
            return read(group, first, None).expand(count, -1, -1, -1)

        with torch.no_grad():
            return model.charm(model.h_s(z.expand(count, -1, -1, -1), torch.full((count,), 4.0)), step)

    for one, eight in zip(decoded(1), decoded(8), strict=True):
        assert all(torch.equal(part, one[0]) for part in eight)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_does_not_matter(files: list[bytes], hashes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu = copy.deepcopy(api.load_model(exact=True)).to("cuda")
    monkeypatch.setattr(api, "_network_of", lambda container: on_gpu)
    assert [api.latent_hash(data) for data in files] == hashes


def test_the_integers_are_those_recorded() -> None:
    """Weights and symbols are made of integers, so this hash holds for every machine and every version."""
    config = replace(preset("tiny"), wavelet="9/7")
    model = WeConvene(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            place = torch.arange(parameter.numel()) * 7919 + zlib.crc32(name.encode())
            scale = 2.0**-12 if parameter.ndim == 4 else 2.0**-9
            parameter.copy_(((place % 509 - 254) * scale).view(parameter.shape))
            if name.endswith("scale_bias"):
                parameter.add_(1.0)
    names = sealing._exact(model, Seal.draft("9/7"))[1].drafts
    exact = sealing.exact_model(model, replace(Seal.draft("9/7"), grids=dict.fromkeys(names, 10)))
    z = ((torch.arange(2 * config.z_channels * 6) * 31) % 13 - 6).view(2, config.z_channels, 2, 3).float()

    def step(group: str, prediction: Prediction, target: Tensor | None) -> Tensor:
        noise = (torch.arange(prediction.mean.numel()) * 137 % 7 - 3).view(prediction.mean.shape)
        return torch.where(prediction.indexes > 20, noise, 0).double()

    with torch.no_grad():
        lf, hf = exact.charm(exact.h_s(z, torch.tensor([1.234, 5.678])), step)
    assert 5 < lf.abs().max() < 100
    assert hf.abs().max() > 1
    assert hashlib.sha256(lf.numpy().tobytes() + hf.numpy().tobytes()).hexdigest() == PINNED


# --- sealing ---------------------------------------------------------------------------------------------------------

SMALL = replace(preset("tiny"), narrow=8, wide=8, hyper=12, z_channels=8, slice_hidden=16)
NO_SHORTCUT = {"shortcut": False, "latent_channels": 16, "latent_stride": 8, "lf_slices": 2, "hf_slices": 2}
KINDS = {
    "plain": SMALL,
    "9/7": replace(SMALL, wavelet="9/7", distribution="gaussian", hyper_blocks=1),
    "db2": replace(SMALL, wavelet="db2", channel_levels=2, channel_packets=True),
    "haar": replace(SMALL, wavelet="haar", channel_dwt=False, up_kernel=3, high_kernel=3),
    "convolutions": replace(SMALL, wavelet_layers=False, quality=2.5),
    "no shortcut": replace(SMALL, **NO_SHORTCUT, latent_wavelet="5/3"),
}


def stirred(config: ModelConfig) -> WeConvene:
    """A model with every parameter off its initial value, and scales that fit what it codes."""
    torch.manual_seed(3)
    model = WeConvene(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        photograph = tensor(np.array(load_rgb(image_set("default", 1).paths[0]))[:128, :128])
        model.charm.set_scales(*model.analyse(photograph, torch.tensor([model.default_quality])), factor=2.0)
    return model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(api, "CHECKPOINTS", tmp_path)
    api._loaded.cache_clear()
    yield tmp_path
    api._loaded.cache_clear()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_sealed(kind: str, folder: Path, photo: Image.Image) -> None:
    """Its files have the size of the float path's, decode to as good a picture, and do not see noise."""
    model, path = stirred(replace(KINDS[kind], name="kind")), folder / "kind.safetensors"
    release(model, path, {"steps": 0})
    picture, quality = np.array(photo)[:70, :101], model.default_quality
    before = api.encode(picture, quality, "kind")
    size = path.stat().st_size
    sealing.seal_checkpoint(path, [picture])
    api._loaded.cache_clear()
    assert path.stat().st_size < size
    exact, floating = (api.encode(picture, quality, "kind", exact=exact) for exact in (None, False))
    assert unpack(exact).exact
    assert len(exact) == pytest.approx(len(floating), rel=0.01, abs=16)
    good, reference = (psnr_rgb(picture, np.asarray(api.decode(data))) for data in (exact, floating))
    assert good == pytest.approx(reference, abs=0.05)
    assert api.decode(before).tobytes() == api.decode(floating).tobytes()  # made before sealing: the same weights


@pytest.mark.parametrize("name", ["paper", "paper-2d", "baseline"])
def test_what_has_no_integer_form_is_refused(name: str) -> None:
    narrow = {"narrow": 8, "wide": 8, "hyper": 12, "z_channels": 8, "slice_hidden": 28, "latent_channels": 40}
    model = WeConvene(replace(preset(name), **narrow, blocks_a=1, blocks_s=1, hyper_blocks=1))
    with pytest.raises(WeconveneError, match=f"'{name}' has .*slice_attention=True"):
        sealing.seal(model, [np.zeros((64, 64, 3), np.uint8)])


def test_sums_that_may_be_inexact_are_refused() -> None:
    weight = torch.full((1, 4, 3, 3), 200.0)
    with pytest.raises(WeconveneError, match="Layer lower cannot be computed exactly"):
        ExactConv("lower", weight, None, Span.of(8, 8, 2.0**23, 4), 0)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    return Path(shutil.copy(CHECKPOINTS / "lite.safetensors", tmp_path / "lite.safetensors"))


def stated_seal(path: Path) -> dict:
    return read_tensors(path)[1][sealing.SEAL]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda seal: seal["grids"].update({"h_s.head": 3}), "does not have the integers"),
        (lambda seal: seal["grids"].pop("h_s.head"), "knows nothing of h_s.head"),
        (lambda seal: seal["grids"].update({"h_s.head": 3.5}), "seal is damaged"),
        (lambda seal: seal["thresholds"].reverse(), "seal is damaged"),
        (lambda seal: seal["tanh"].__setitem__(0, "1"), "seal is damaged"),
        (lambda seal: seal.pop("wavelets"), "seal is damaged"),
        (lambda seal: seal["wavelets"].pop("5/3"), "has no wavelet 5/3"),
        (lambda seal: seal.update(arithmetic=99), "arithmetic 99"),
        (lambda seal: seal.update(hash="00" * 32), "does not have the integers"),
    ],
)
def test_an_altered_seal_is_refused(sealed: Path, change: Callable[[dict], object], said: str) -> None:
    tensors, description = read_tensors(sealed)
    change(description[sealing.SEAL])
    write_tensors(sealed, tensors, description)
    with pytest.raises(WeconveneError, match=said):
        sealing.read_seal(api.load_model(), sealed)


def test_sealing_again_gives_the_same_hash_and_leaves_the_weights(tmp_path: Path, photo: Image.Image) -> None:
    path = tmp_path / "tiny.safetensors"
    release(stirred(SMALL), path, {"steps": 0})
    before, weights = read_tensors(path)[0], weights_hash(path)
    first, again = (sealing.seal_checkpoint(path, [np.array(photo)]) for _ in range(2))
    assert first == again
    after, description = read_tensors(path)
    assert description[sealing.SEAL][sealing.UNSEALED] == weights.hex()
    assert json.loads(path.with_suffix(".json").read_text())["steps"] == description["steps"] == 0
    whole = unpacked(after)
    assert whole.keys() == before.keys()
    assert all(torch.equal(whole[name], before[name]) for name in before)


def test_damaged_packed_tables_are_refused() -> None:
    state = packed(unpacked(read_tensors(CHECKPOINTS / "lite.safetensors")[0]))
    (name,) = [name for name in state if name.endswith("_packed_cdf")]
    for damaged in (state[name][:-1], state[name].int()):
        with pytest.raises(WeconveneError, match="packed_cdf"):
            unpacked({**state, name: damaged})


def test_an_unsealed_model_says_so(folder: Path) -> None:
    release(stirred(SMALL), folder / "tiny.safetensors", {"steps": 0})
    assert not unpack(api.encode(np.zeros((8, 8, 3), np.uint8), 2, "tiny")).exact
    with pytest.raises(WeconveneError, match="weconvene seal tiny"):
        api.encode(np.zeros((8, 8, 3), np.uint8), 2, "tiny", exact=True)


# --- the arithmetic --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 9), (64, 96)])
def test_convolution_is_the_integer_one(kernel: int, size: tuple[int, int]) -> None:
    weight, bias = 0.1 * torch.randn(6, 5, kernel, kernel), torch.randn(6)
    layer = ExactConv("any", weight, bias, Span.of(8, 0, 2.0**15, 5), 10)
    x = torch.randint(-(2**15), 2**15 + 1, (3, 5, *size))
    columns = F.unfold(x.double(), kernel, padding=kernel // 2).long()  # moves numbers, computes none
    integers = ((on_grid(weight) * 2**18).long().flatten(1) @ columns) + (on_grid(bias) * 2**26).long()[:, None]
    y = layer(x.double())
    assert torch.equal((y * 2.0**16).long().flatten(2), integers)  # unit 10: 26 bits below the point, less 10


@pytest.mark.parametrize("wavelet", ["haar", "5/3", "9/7", "db2"])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 6)])
def test_integer_lifting_is_reversible_and_near_the_real_one(wavelet: str, size: tuple[int, int]) -> None:
    lifting = lifting_of(wavelet, integer_lifting(wavelet))
    x = torch.randint(-(2**15), 2**15, (2, 3, *size)).double()
    bands = split(x, lifting)
    assert torch.equal(join([band.clone() for band in bands], lifting), x)
    plain = replace(scheme(wavelet), low_gain=1.0, high_gain=1.0)
    for band, real in zip(bands, split_axes(x, plain, SPACE, "jpeg2000", "symmetric"), strict=True):
        assert torch.allclose(band, real, rtol=0, atol=32)  # of 2^15
    bits, factor = growth(lifting)
    assert all((band * 2.0**bits == (band * 2.0**bits).round()).all() for band in bands)
    assert max(band.abs().max() for band in bands if band.numel()) <= factor * 2**15
