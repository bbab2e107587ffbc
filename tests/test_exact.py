"""The exact path: the same file gives the same y_hat, whatever computes it."""

from __future__ import annotations

import copy
import hashlib
import os
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from names_of_release import name_in_release
from PIL import Image
from torch import Tensor

from lab.paths import ROOT
from lab.rd.metrics import psnr_rgb
from weconvene_core.codec import api
from weconvene_core.codec.container import unpack
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.entropy import DecodeMode
from weconvene_core.entropy.slices import SlicePrediction
from weconvene_core.errors import CorruptFileError
from weconvene_core.exact import calibrate
from weconvene_core.image_tensors import from_8_bit
from weconvene_core.model.presets import preset
from weconvene_core.model.weconvene import WeConvene

OTHER_PYTHON = "WECONVENE_OTHER_PYTHON"
"""Names an interpreter of another environment, say with the oldest torch, that is to decode the same files."""
HASHES = "import sys; from pathlib import Path; from weconvene_core.codec.api import latent_hash\n" + (
    "for name in sys.argv[1:]: print(latent_hash(Path(name).read_bytes()))"
)
NOISE = 1e-4
PINNED = "aa955f69b4ef9bc968caac54c792801d8f3deb89fcb96393461f40942eedebb8"
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


@pytest.mark.slow
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
        after, hashed_again = api.decode(data), api.latent_hash(data)
    except CorruptFileError:
        return
    assert hashed_again != hashed
    assert psnr_rgb(before, after) < 30


def test_a_batch_of_eight_is_what_one_is(photo: Image.Image) -> None:
    """The same streams decoded once, and eight times at once."""
    model, x = api.load_model(exact=True), from_8_bit(np.asarray(photo))
    coded = model.compress(x, 4.0)
    streams = {name: strings[0] for name, strings in zip(("y_lf", "y_hf"), coded["strings"], strict=False)}
    z = model.entropy_bottleneck.read(coded["strings"][2][0], model.z_size(coded["shape"]))

    def decoded(count: int) -> tuple[Tensor, Tensor]:
        read = DecodeMode(model.tables, streams)

        def step(group: str, prediction: SlicePrediction, target: Tensor | None) -> Tensor:
            assert all(torch.equal(indexes, prediction.indexes[0]) for indexes in prediction.indexes)
            first = replace(prediction, level=prediction.level[:1], raw=prediction.raw[:1])
            return read(group, first, None).expand(count, -1, -1, -1)

        with torch.no_grad():
            at = torch.full((count,), 4.0)
            return model.code_latents(at, step, z_hat=z.expand(count, -1, -1, -1))[:2]

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
            place = torch.arange(parameter.numel()) * 7919 + zlib.crc32(name_in_release(name).encode())
            scale = 2.0**-12 if parameter.ndim == 4 else 2.0**-9
            parameter.copy_(((place % 509 - 254) * scale).view(parameter.shape))
            if name.endswith("scale_bias"):
                parameter.add_(1.0)
    draft = calibrate.uncalibrated(config)
    calibrate.exact_model(model, draft)  # asks for all quantizers
    spec = replace(draft, activation_bits=dict.fromkeys(draft.quantizers, 10), quantizers={})
    exact = calibrate.exact_model(model, spec)
    z = ((torch.arange(2 * config.z_channels * 6) * 31) % 13 - 6).view(2, config.z_channels, 2, 3).float()

    def step(group: str, prediction: SlicePrediction, target: Tensor | None) -> Tensor:
        noise = (torch.arange(prediction.mean.numel()) * 137 % 7 - 3).view(prediction.mean.shape)
        return torch.where(prediction.indexes > 20, noise, 0).double()

    with torch.no_grad():
        lf, hf = exact.charm(exact.h_s(z, torch.tensor([1.234, 5.678])), step)
    assert 5 < lf.abs().max() < 100
    assert hf.abs().max() > 1
    assert hashlib.sha256(lf.numpy().tobytes() + hf.numpy().tobytes()).hexdigest() == PINNED
