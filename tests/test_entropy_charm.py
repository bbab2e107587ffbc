"""The coarsest LL band in four passes: every position once, from what is known by then, decoded as it was encoded."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lab.entropy_analysis.slice_bits import passes_joined
from weconvene_core.entropy.charm import (
    SliceLayout,
    WaveletCharm,
    code_polyphase_passes,
    pass_positions,
    slice_shapes,
)
from weconvene_core.entropy.slices import SliceNetwork, SlicePrediction
from weconvene_core.errors import WeconveneError
from weconvene_core.model.presets import preset

SIZES = [(1, 1), (1, 5), (4, 1), (2, 2), (5, 7)]


class Recorder:
    """Keeps the mean of every pass and decodes exactly what is there."""

    def __init__(self) -> None:
        self.means: list[Tensor] = []

    def __call__(self, group: str, prediction: SlicePrediction, target: Tensor | None) -> Tensor:
        assert target is not None
        self.means.append(prediction.mean)
        return target - prediction.mean


def network() -> SliceNetwork:
    torch.manual_seed(0)
    made = SliceNetwork(2 + 3 + 4, 3, 8)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        made.lrp[-1].weight.zero_()
        made.lrp[-1].bias.zero_()
    return made


@pytest.mark.parametrize("size", SIZES)
def test_the_passes_cover_a_band_once(size: tuple[int, int]) -> None:
    band = torch.arange(size[0] * size[1], dtype=torch.float32).view(1, 1, *size)
    parts = [band[..., *at] for at in pass_positions(*size)]
    assert all(part.numel() for part in parts)
    assert torch.equal(passes_joined(parts, *size), band)
    assert sum(part.numel() for part in parts) == band.numel()


@pytest.mark.parametrize("size", SIZES)
def test_a_band_without_loss_comes_back(size: tuple[int, int]) -> None:
    features, band = torch.randn(2, 2, *size), torch.randn(2, 3, *size)
    decoded = code_polyphase_passes(network(), features, Recorder(), band)
    torch.testing.assert_close(decoded, band)


def test_a_pass_sees_the_ones_before_and_no_other() -> None:
    """Changing the first pass's positions moves every later mean; changing the last one's moves none."""
    features, band = torch.zeros(1, 2, 4, 4), torch.randn(1, 3, 4, 4)
    first, last = pass_positions(4, 4)[0], pass_positions(4, 4)[-1]

    def means(changed: object = None) -> list[Tensor]:
        moved, step = band.clone(), Recorder()
        if changed is not None:
            moved[..., *changed] += 5
        code_polyphase_passes(network(), features, step, moved)
        return step.means

    plain = means()
    assert [torch.equal(a, b) for a, b in zip(plain, means(first), strict=True)] == [True, False, False, False]
    assert all(torch.equal(a, b) for a, b in zip(plain, means(last), strict=True))


def test_the_gradient_runs_through_all_passes() -> None:
    features, band = torch.randn(1, 2, 4, 4, requires_grad=True), torch.randn(1, 3, 4, 4)
    step = Recorder()
    code_polyphase_passes(network(), features, step, band)
    step.means[-1].sum().backward()
    assert features.grad is not None
    assert features.grad.abs().sum() > 0


def test_its_network_is_one_more() -> None:
    layout = SliceLayout((3, 9), (36,), ll_levels=2, ll_passes=True)
    assert slice_shapes(layout, 10)[:3] == [(10 + 3 + 4, 3), (10 + 3, 9), (10 + 3, 9)]
    charm = WaveletCharm(layout, 10, lambda seen, coded: SliceNetwork(seen, coded, 8))
    assert len(charm.ll_slices) == 3


def test_it_needs_the_shortcuts_band() -> None:
    with pytest.raises(WeconveneError, match="ll_passes=True needs shortcut=True"):
        replace(preset("paper"), ll_passes=True)
