"""Turned pictures come back as they were, and an encoder that looks longer finds better files, the same every time."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from weconvene_core.codec import api, effort
from weconvene_core.codec.container import ORIENTATIONS, unpack
from weconvene_core.codec.effort import EFFORTS, best_orientation
from weconvene_core.codec.floor import loss_of
from weconvene_core.codec.orientation import turned, turned_back
from weconvene_core.datasets.image_sets import image_set, load_rgb


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.asarray(load_rgb(image_set("default", 1).paths[0]).crop((20, 20, 220, 165)))


def turn_by(monkeypatch: pytest.MonkeyPatch, orientation: int) -> None:
    monkeypatch.setattr(api, "best_orientation", lambda *_: orientation)


def file_loss(data: bytes, picture: np.ndarray, quality: float) -> float:
    return loss_of(len(data), picture, np.asarray(api.decode(data)), quality)


def test_the_code_mirrors_then_flips_then_transposes() -> None:
    picture = np.arange(18).reshape(2, 3, 3)
    np.testing.assert_array_equal(turned(picture, 1), picture[:, ::-1])
    np.testing.assert_array_equal(turned(picture, 2), picture[::-1])
    np.testing.assert_array_equal(turned(picture, 5), picture[:, ::-1].transpose(1, 0, 2))
    assert len({turned(picture, i).tobytes() + bytes(turned(picture, i).shape) for i in range(ORIENTATIONS)}) == 8
    for i in range(ORIENTATIONS):
        np.testing.assert_array_equal(turned_back(turned(picture, i), i), picture)


@pytest.mark.parametrize("tile", [0, 128])
@pytest.mark.parametrize("orientation", range(1, ORIENTATIONS))
def test_a_turned_picture_is_coded_as_it_lies_and_comes_back(
    photo: np.ndarray, orientation: int, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lying = api.encode(turned(photo, orientation), 5, tile=tile)
    turn_by(monkeypatch, orientation)
    data = api.encode(photo, 5, tile=tile)
    container = unpack(data)
    assert (container.orientation, container.width, container.height) == (orientation, 200, 145)
    assert container.streams == unpack(lying).streams
    assert api.latent_hash(data) == api.latent_hash(lying)
    begun = len(data) - 10
    for mine, its in (
        (api.decode(data), api.decode(lying)),
        (api.preview(data), api.preview(lying)),
        (api.preview(data[:begun], api.ALL), api.preview(lying[:begun], api.ALL)),
        (list(api.decode_progressive(data))[2], list(api.decode_progressive(lying))[2]),
        (Image.open(io.BytesIO(data)), Image.open(io.BytesIO(lying))),
    ):
        np.testing.assert_array_equal(np.asarray(mine), turned_back(np.asarray(its), orientation))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_alpha_and_profile_are_not_turned(photo: np.ndarray, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.fromarray(photo[:60, :90]).convert(mode)
    picture.info["icc_profile"] = b"a profile"
    if mode.endswith("A"):
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    turn_by(monkeypatch, 6)
    back = api.decode(api.encode(picture, 5))
    assert (back.mode, back.size, back.info["icc_profile"]) == (mode, (90, 60), b"a profile")
    assert np.abs(np.subtract(back, picture, dtype=float)).mean() < 6
    if mode.endswith("A"):
        assert back.getchannel("A").tobytes() == picture.getchannel("A").tobytes()


def test_the_orientation_is_the_one_with_the_best_file(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = api.encode(photo, 4, effort=1)
    losses = []
    for orientation in range(EFFORTS[1].orientations):
        turn_by(monkeypatch, orientation)
        losses.append(file_loss(api.encode(photo, 4), photo, 4))
    assert file_loss(chosen, photo, 4) <= 1.001 * min(losses)
    assert max(losses) > 1.001 * min(losses)


def test_large_pictures_are_estimated_tile_by_tile(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sides of what is estimated at once keep to the tile with its margins; all tiles count."""
    seen = []

    def loss(_: object, x: object, quality: object) -> float:
        seen.append(tuple(x.shape[2:]))
        return float(x[0, 0, 0, 0])

    monkeypatch.setattr(effort, "_loss", loss)
    dark = np.tile(np.linspace(255, 0, 500, dtype=np.uint8)[None, :, None], (300, 1, 3))  # darkest at the right
    assert best_orientation(api.load_model(), dark, 3.0, EFFORTS[3], 128) in (1, 3, 5, 7)
    assert len(seen) == 8 * 3 * 4
    assert max(map(max, seen)) <= 128 + 2 * 64


def test_more_effort_never_loses_and_repeats_itself(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "EFFORTS", (*EFFORTS[:3], replace(EFFORTS[3], passes=6)))  # a matter of seconds
    part = photo[:96, :128]
    files = [api.encode(part, 4, effort=level) for level in range(4)]
    losses = [file_loss(data, part, 4) for data in files]
    assert losses[1] <= 1.001 * losses[0]  # the estimate is of the network in floating point
    assert losses[2] <= losses[1]
    assert losses[3] < 1.001 * losses[2]
    assert files[3] == api.encode(part, 4, effort=3)


def test_effort_does_not_lose_the_floor() -> None:
    checks = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    losses = [file_loss(api.encode(checks, 5, effort=level), checks, 5) for level in (0, 1)]
    assert losses[1] <= losses[0]
