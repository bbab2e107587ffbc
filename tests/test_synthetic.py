"""Synthetic pictures in training: drawn from their generator alone, in every family, and mixed into the batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.crops import Sampler, cut, draw_crops
from weconvene_core.training.distributed import ProcessGroup
from weconvene_core.training.images import ImagePool
from weconvene_core.training.synthetic import FAMILIES, MIX, draw
from weconvene_core.training.textures import PATTERNS, texture

CPU = torch.device("cpu")
PHASE = Stage("p", 4, 1e-3, 1e-4, batch=64, crop=32)
GREEN = np.tile(np.array([1, 201, 3], np.uint8), (40, 60, 1))
CONFIG = TrainConfig("tiny", (PHASE,), "unused", seed=5)


def batch(share: float, step: int = 3, team: ProcessGroup | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    sampler = Sampler(ImagePool((GREEN,), ()), replace(CONFIG, synthetic_share=share), CPU)
    return sampler.draw(step, PHASE, team or ProcessGroup())


def of_photographs(x: torch.Tensor) -> torch.Tensor:
    """Which pictures of a batch are crops of the only photograph there is."""
    return (x == torch.from_numpy(GREEN[0, 0]).div(255)[:, None, None]).flatten(1).all(1)


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_come_from_their_generator_alone(family: str) -> None:
    pictures = [np.asarray(FAMILIES[family](np.random.default_rng(seed), 64)) for seed in (*range(12), *range(12))]
    assert {(picture.shape, picture.dtype) for picture in pictures} == {((64, 64, 3), np.dtype(np.uint8))}
    assert all(np.array_equal(one, again) for one, again in zip(pictures[:12], pictures[12:], strict=True))
    assert len({picture.tobytes() for picture in pictures}) == 12
    assert np.mean([picture.std() for picture in pictures]) > 20


@pytest.mark.parametrize("side", [32, 97, 256])
def test_pictures_have_any_side(side: int) -> None:
    assert all(draw(np.random.default_rng(seed), side).shape == (side, side, 3) for seed in range(30))
    assert sum(MIX.values()) == pytest.approx(1)


@pytest.mark.parametrize("kind", PATTERNS)
def test_patterns_span_their_range(kind: str) -> None:
    planes = [PATTERNS[kind](np.random.default_rng(seed), 50) for seed in range(40)]
    assert {plane.shape for plane in planes} == {(50, 50)}
    assert min(plane.min() for plane in planes) >= 0
    assert max(plane.max() for plane in planes) <= 1
    assert np.ptp(planes, axis=(1, 2)).max() > 0.9
    assert texture(np.random.default_rng(0), 50, kind).shape == (50, 50, 3)


def test_batches_without_synthetic_pictures_are_those_of_before() -> None:
    image = np.random.default_rng(0).integers(256, size=(40, 60, 3), dtype=np.uint8)
    x, quality = Sampler(ImagePool((image,), ()), CONFIG, CPU).draw(3, PHASE, ProcessGroup())
    rng = np.random.default_rng([CONFIG.seed, 3])
    rng.integers(2**62)
    assert torch.equal(x, cut([torch.from_numpy(image)], draw_crops([image], PHASE.batch, PHASE.crop, rng), 32))
    assert np.array_equal(quality, rng.uniform(0, 7, PHASE.batch).astype(np.float32))


def test_a_share_of_the_crops_is_synthetic_and_all_else_stays() -> None:
    (x, quality), noise = batch(0.0), torch.rand(3)
    (mixed, same_quality), same_noise = batch(0.5), torch.rand(3)
    assert torch.equal(quality, same_quality)
    assert torch.equal(noise, same_noise)
    kept = of_photographs(mixed)
    assert torch.equal(mixed[kept], x[kept])
    assert 16 < kept.sum() < 48
    assert of_photographs(batch(0.05)[0]).sum() > 54
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= mixed.min() < mixed.max() <= 1


def test_synthetic_pictures_are_the_same_again_and_in_any_number_of_processes() -> None:
    mixed, _ = batch(0.5)
    assert torch.equal(batch(0.5)[0], mixed)
    assert torch.equal(torch.cat([batch(0.5, team=ProcessGroup(rank, 4))[0] for rank in range(4)]), mixed)
    other, _ = batch(0.5, step=4)
    both = ~of_photographs(mixed) & ~of_photographs(other)
    assert not (mixed[both] == other[both]).flatten(1).all(1).any()
