"""Synthetic pictures: drawn from their generator alone, in every family, and written to a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.studies.synthetic_pictures import FAMILIES, MIX, write


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", [64, 97])
def test_pictures_come_from_their_generator_alone(family: str, side: int) -> None:
    pictures = [np.asarray(FAMILIES[family](np.random.default_rng(seed), side)) for seed in (*range(12), *range(12))]
    assert {(picture.shape, picture.dtype) for picture in pictures} == {((side, side, 3), np.dtype(np.uint8))}
    assert all(np.array_equal(one, again) for one, again in zip(pictures[:12], pictures[12:], strict=True))
    assert len({picture.tobytes() for picture in pictures}) == 12
    assert np.mean([picture.std() for picture in pictures]) > 20


def test_a_folder_of_pictures_grows_without_changing(tmp_path: Path) -> None:
    assert sum(MIX.values()) == pytest.approx(1)
    write(tmp_path / "few", 3, 48)
    write(tmp_path / "more", 5, 48)
    few, more = (sorted((tmp_path / name).iterdir()) for name in ("few", "more"))
    assert [path.name for path in few] == [path.name for path in more][:3]
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(few, more, strict=False))
    with Image.open(more[4]) as image:
        assert (image.size, image.mode) == ((48, 48), "RGB")
