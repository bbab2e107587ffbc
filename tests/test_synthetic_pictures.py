"""Synthetic pictures: drawn from their generator alone, in every family, and written to a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.studies.synthetic_pictures import FAMILIES, MIX, PATTERNS, write


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_come_from_their_generator_alone(family: str) -> None:
    pictures = [np.asarray(FAMILIES[family](np.random.default_rng(seed), 64)) for seed in (*range(12), *range(12))]
    assert {(picture.shape, picture.dtype) for picture in pictures} == {((64, 64, 3), np.dtype(np.uint8))}
    assert all(np.array_equal(one, again) for one, again in zip(pictures[:12], pictures[12:], strict=True))
    assert len({picture.tobytes() for picture in pictures}) == 12
    assert np.mean([picture.std() for picture in pictures]) > 20


@pytest.mark.parametrize("side", [32, 97, 256])
def test_pictures_have_any_side(side: int) -> None:
    for draw in FAMILIES.values():
        assert all(draw(np.random.default_rng(seed), side).shape == (side, side, 3) for seed in range(8))
    assert sum(MIX.values()) == pytest.approx(1)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_span_their_range(pattern: Callable[[np.random.Generator, int], np.ndarray]) -> None:
    planes = [pattern(np.random.default_rng(seed), 50) for seed in range(40)]
    assert {plane.shape for plane in planes} == {(50, 50)}
    assert min(plane.min() for plane in planes) >= 0
    assert max(plane.max() for plane in planes) <= 1
    assert np.ptp(planes, axis=(1, 2)).max() > 0.9


def test_a_folder_of_pictures_grows_without_changing(tmp_path: Path) -> None:
    write(tmp_path / "few", 3, 48)
    write(tmp_path / "more", 5, 48)
    few, more = (sorted((tmp_path / name).iterdir()) for name in ("few", "more"))
    assert [path.name for path in few] == [path.name for path in more][:3]
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(few, more, strict=False))
    with Image.open(more[4]) as image:
        assert (image.size, image.mode) == ((48, 48), "RGB")
