"""Pictures on their way into a model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from weconvene_core.image_tensors import from_8_bit, to_8_bit

PIXELS = np.random.default_rng(0).integers(0, 256, (37, 21, 3), dtype=np.uint8)
LAYOUTS = {
    "whole": PIXELS,
    "window": PIXELS[3:30, 5:],
    "backwards": PIXELS[::-1, ::-1],
    "by columns": np.asfortranarray(PIXELS),
}


@pytest.mark.parametrize("picture", LAYOUTS.values(), ids=LAYOUTS)
def test_pictures_become_batches_and_come_back(picture: np.ndarray) -> None:
    x = from_8_bit(picture)
    assert (x.shape, x.dtype) == ((1, 3, *picture.shape[:2]), torch.float32)
    assert x[0, 2, 4, 7].item() == np.float32(picture[4, 7, 2]) / np.float32(255)
    assert x.is_contiguous(memory_format=torch.channels_last)  # which layers' speed, and their last bits, depend on
    np.testing.assert_array_equal(to_8_bit(x), picture)


def test_a_batch_is_a_copy() -> None:
    picture = PIXELS.copy()
    picture.flags.writeable = False  # as Pillow's arrays are
    from_8_bit(picture).zero_()
    np.testing.assert_array_equal(picture, PIXELS)
