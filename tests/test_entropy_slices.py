"""Luma before chroma in a slice: every channel once, decoded as it was encoded; only chroma sees the difference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lab.complexity.count_macs import slice_macs
from lab.entropy_analysis.context_ablation import context_gains
from lab.entropy_analysis.slice_bits import calls, coded_slices
from weconvene_core.codec.tile_coder import TruncatedDecodeMode
from weconvene_core.entropy import EncodeMode
from weconvene_core.entropy.slices import SliceNetwork, SlicePrediction, chroma_of, code_slice, interleaved, luma_of
from weconvene_core.errors import WeconveneError
from weconvene_core.exact.calibrate import calibrate, exact_model
from weconvene_core.model.checkpoint import load_start, release
from weconvene_core.model.presets import preset
from weconvene_core.model.weconvene import WeConvene

CONFIG = replace(preset("tiny"), luma_first=True, ll_passes=True)


class Recorder:
    """Keeps the mean of every call and decodes whole numbers."""

    def __init__(self) -> None:
        self.means: list[Tensor] = []

    def __call__(self, group: str, prediction: SlicePrediction, target: Tensor | None) -> Tensor:
        assert target is not None
        self.means.append(prediction.mean)
        return (target - prediction.mean).round()


def network(trained: bool) -> SliceNetwork:
    torch.manual_seed(0)
    made = SliceNetwork(5, 6, 8, luma_first=True)
    if trained:
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return made


@pytest.fixture(scope="module")
def model() -> WeConvene:
    torch.manual_seed(1)
    made = WeConvene(CONFIG).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    made.update(force=True)
    return made


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    ramp = np.linspace(0, 255, 96)[None, :, None] * np.linspace(0.2, 1, 64)[:, None, None]
    noise = np.random.default_rng(0).normal(0, 12, (64, 96, 3))
    return (ramp + noise).clip(0, 255).astype(np.uint8)


def test_channels_come_back_in_their_order() -> None:
    x = torch.arange(12.0).view(1, 12, 1, 1)
    assert luma_of(x).flatten().tolist() == [0, 3, 6, 9]
    assert chroma_of(x).flatten().tolist() == [1, 2, 4, 5, 7, 8, 10, 11]
    assert torch.equal(interleaved(luma_of(x), chroma_of(x)), x)


def test_luma_moves_chromas_mean_and_nothing_else() -> None:
    context, target = torch.randn(2, 5, 4, 4), 3 * torch.randn(2, 6, 4, 4)
    moved = target.clone()
    moved[:, 0] += 7  # a luma channel
    steps = Recorder(), Recorder()
    for step, slice_ in zip(steps, (target, moved), strict=True):
        code_slice(network(trained=True), context, step, "y_lf", slice_)
    (luma, chroma), (same_luma, other_chroma) = (step.means for step in steps)
    assert torch.equal(luma, same_luma)
    assert not torch.allclose(chroma, other_chroma)
    assert [part.shape[1] for part in (luma, chroma)] == [2, 4]


def test_an_untrained_head_changes_nothing() -> None:
    context, target = torch.randn(2, 5, 4, 4), 3 * torch.randn(2, 6, 4, 4)
    made = network(trained=False)
    split = code_slice(made, context, Recorder(), "y_lf", target)
    made.luma_first = False
    torch.testing.assert_close(code_slice(made, context, Recorder(), "y_lf", target), split)


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (40, 150)])
def test_a_file_decodes_as_it_was_encoded(model: WeConvene, size: tuple[int, int]) -> None:
    x = torch.rand(1, 3, *size)
    coded = model.compress(x, 4.0)
    decoded = model.decompress(coded["strings"], coded["shape"], 4.0)["x_hat"][..., : size[0], : size[1]]
    padded = torch.nn.functional.pad(x, (0, -size[1] % 32, 0, -size[0] % 32), mode="replicate")
    estimate = model(padded, 4.0)["x_hat"].clamp(0, 1)[..., : size[0], : size[1]]
    torch.testing.assert_close(estimate, decoded, atol=1e-4, rtol=0)


@torch.no_grad()
def test_the_exact_path_codes_luma_first_too(model: WeConvene, picture: np.ndarray) -> None:
    """Its file decodes to what its encoder had, and its rate is that of floating point but for a fraction."""
    exact = exact_model(model, calibrate(model, [picture]))
    assert any("chroma" in name for name, _ in exact.charm.named_modules())
    x = torch.tensor(picture).permute(2, 0, 1)[None].float() / 255
    coded, rough = exact.compress(x, 3.0), model.compress(x, 3.0)
    at = torch.tensor([3.0])
    expected = exact.code_latents(at, EncodeMode(exact.tables), *exact.analyse(x, at))[:2]
    decoded = exact.decompress(coded["strings"], coded["shape"], 3.0)["x_hat"]
    assert torch.equal(decoded, exact.synthesise(*expected, at).clamp(0, 1))
    sizes = [sum(len(stream[0]) for stream in made["strings"]) for made in (coded, rough)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


@torch.no_grad()
def test_a_cut_stream_gives_whole_slices(model: WeConvene, picture: np.ndarray) -> None:
    """The decoder counts slices, each of two calls; half a slice is used and not counted."""
    x, at = torch.tensor(picture).permute(2, 0, 1)[None].float() / 255, torch.tensor([3.0])
    step = EncodeMode(model.tables)
    z_hat = model.code_latents(at, step, *model.analyse(x, at)).z_hat
    streams, found = step.streams(), []
    for wanted in (0, 2, 4):
        whole = {group: (stream, False) for group, stream in streams.items()}
        read = TruncatedDecodeMode(step.tables, whole, wanted, CONFIG.calls_per_slice)
        model.code_latents(at, read, z_hat=z_hat)
        found.append(read.decoded)
    assert found == [0, 2, 4]


def test_tables_name_slices_not_calls(model: WeConvene, picture: np.ndarray) -> None:
    plain = WeConvene(replace(CONFIG, luma_first=False)).eval()
    names = [coded.name for coded in coded_slices(model, picture, 3.0)]
    assert names == [coded.name for coded in coded_slices(plain, picture, 3.0)]
    widths = slice_macs(model, 64, 96)["channels coded"].tolist()
    assert [len(coded.bits) for coded in coded_slices(model, picture, 3.0)] == widths
    assert [call.name for call in calls(model, picture, 3.0)][-4:] == names[-4:]
    gains = context_gains(model, picture, 3.0)
    assert gains["slice"].tolist() == names
    assert gains.saved_by_luma.abs().sum() > 0
    assert (context_gains(plain, picture, 3.0).saved_by_luma == 0).all()


def test_training_goes_on_from_weights_without_it(tmp_path: Path) -> None:
    torch.manual_seed(2)
    old = WeConvene(replace(CONFIG, luma_first=False))
    release(old, tmp_path / "old.safetensors", {})
    made = WeConvene(CONFIG)
    load_start(made, tmp_path / "old.safetensors")
    assert made.charm.slices[0].chroma[-1].weight.abs().sum() == 0
    other = WeConvene(replace(CONFIG, ll_passes=False))
    with pytest.raises(WeconveneError, match="another architecture"):
        load_start(other, tmp_path / "old.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slice_order": "band"}, "luma_first=True needs shortcut=True with slice_order"),
        ({"lf_slices": (3, 10, 17, 18)}, "slices of whole positions"),
    ],
)
def test_it_needs_alternating_colours(changes: dict, message: str) -> None:
    with pytest.raises(WeconveneError, match=message):
        replace(CONFIG, **changes)
