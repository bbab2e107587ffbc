"""An encoder that searches: smaller losses in real files, nothing new for decoders, and never a loss."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from weconvene_core.cli.main import main
from weconvene_core.codec import api, latent_refinement
from weconvene_core.codec.container import ORIENTATIONS, unpack
from weconvene_core.codec.latent_refinement import CELLS, EFFORTS, Refinement, best_orientation, refining_cell
from weconvene_core.codec.pictures import load_rgb, turned, turned_back
from weconvene_core.codec.plain_coding import rate_distortion_loss
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import WeconveneError
from weconvene_core.image_tensors import from_8_bit


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.asarray(load_rgb(image_set("default", 1).paths[0]).crop((20, 20, 180, 141)))


def file_loss(data: bytes, picture: np.ndarray, quality: float) -> float:
    return rate_distortion_loss(len(data), picture, np.asarray(api.decode(data)), quality)


@lru_cache
def file_of(effort: int) -> bytes:
    """Return the file of the photograph at quality 4: made once for several tests."""
    picture = load_rgb(image_set("default", 1).paths[0]).crop((20, 20, 180, 141))
    return api.encode(picture, 4, effort=effort)


def turn_by(monkeypatch: pytest.MonkeyPatch, orientation: int) -> None:
    """Make every encoder with an effort turn the picture, and do nothing else."""
    monkeypatch.setattr(api, "best_orientation", lambda *_: orientation)


@pytest.mark.parametrize(("orientation", "tile"), [*((i, 0) for i in range(1, ORIENTATIONS)), (5, 128), (6, 128)])
def test_a_turned_picture_is_coded_as_it_lies_and_comes_back(
    photo: np.ndarray, orientation: int, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lying = api.encode(turned(photo, orientation), 5, tile=tile)
    turn_by(monkeypatch, orientation)
    data = api.encode(photo, 5, tile=tile, effort=1)
    container = unpack(data)
    assert (container.orientation, container.width, container.height) == (orientation, 160, 121)
    assert container.streams == unpack(lying).streams
    assert api.latent_hash(data) == api.latent_hash(lying)
    begun = len(data) - 10
    for mine, its in (
        (api.decode(data), api.decode(lying)),
        (api.preview(data[:begun], api.ALL), api.preview(lying[:begun], api.ALL)),
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
    back = api.decode(api.encode(picture, 5, effort=1))
    assert (back.mode, back.size, back.info["icc_profile"]) == (mode, (90, 60), b"a profile")
    assert np.abs(np.subtract(back, picture, dtype=float)).mean() < 6
    if mode.endswith("A"):
        assert back.getchannel("A").tobytes() == picture.getchannel("A").tobytes()


def test_the_orientation_is_the_one_with_the_best_file(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, losses = file_loss(file_of(1), photo, 4), []
    for orientation in range(EFFORTS[1][0]):
        turn_by(monkeypatch, orientation)
        losses.append(file_loss(api.encode(photo, 4, effort=1), photo, 4))
    assert chosen <= 1.001 * min(losses)
    assert max(losses) > 1.001 * min(losses)


def test_large_pictures_are_estimated_tile_by_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sides of what is estimated at once keep to the padded tile; all tiles count."""
    seen = []

    def loss(self: Refinement, y: torch.Tensor, x: torch.Tensor, quality: torch.Tensor) -> float:
        seen.append(tuple(x.shape[2:]))
        return float(x[0, 0, 0, 0])

    monkeypatch.setattr(Refinement, "loss", loss)
    monkeypatch.setattr(Refinement, "start", lambda *_: None)
    dark = np.tile(np.linspace(255, 0, 500, dtype=np.uint8)[None, :, None], (300, 1, 3))  # darkest at the right
    assert best_orientation(api.load_model(), dark, 3.0, 8, 128) in (1, 3, 5, 7)
    assert len(seen) == 8 * 3 * 4
    assert max(map(max, seen)) <= 128 + 2 * 64


@pytest.mark.slow
def test_more_effort_never_loses_and_repeats_itself(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent_refinement, "EFFORTS", (*EFFORTS[:3], (8, 6)))  # some seconds
    files = [api.encode(photo, 4, effort=level) for level in range(4)]
    losses = [file_loss(data, photo, 4) for data in files]
    assert losses[1] <= 1.001 * losses[0]  # the estimate is of the network in floating point
    assert losses[2] <= 1.001 * losses[1]
    assert losses[3] <= 1.001 * losses[2]
    assert losses[3] < 0.99 * losses[0]
    assert files[3] == api.encode(photo, 4, effort=3)


def test_effort_keeps_plain_coding_where_that_is_better() -> None:
    checks = (255 * (np.indices((64, 64)).sum(0) % 2)).astype(np.uint8)[..., None].repeat(3, 2)
    losses = [file_loss(api.encode(checks, 5, effort=level), checks, 5) for level in (0, 1)]
    assert losses[1] <= losses[0]


def test_refined_files_are_better_and_decode_like_others(photo: np.ndarray) -> None:
    assert file_loss(file_of(2), photo, 4) < 0.99 * file_loss(file_of(0), photo, 4)
    assert len(file_of(2)) < len(file_of(0))
    assert unpack(file_of(2)).exact


def test_no_passes_are_what_g_a_gives() -> None:
    model, x, at = api.load_model(), torch.rand(1, 3, 64, 96), torch.tensor([3.0])
    with torch.no_grad():
        expected = model.analyse(x, at)
    for found, wanted in zip(Refinement(model)(x, at), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_the_estimate_that_decides_is_what_the_file_costs(photo: np.ndarray) -> None:
    model, at = api.load_model(), torch.tensor([4.0])
    x = from_8_bit(turned(photo, unpack(file_of(2)).orientation))
    refined = torch.cat(Refinement(model, EFFORTS[2][1])(x, at), 1)
    header = 8 * (len(file_of(2)) - sum(map(len, unpack(file_of(2)).streams)))
    expected = file_loss(file_of(2), photo, 4) - header
    assert Refinement(model).loss(refined, x, at) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("step", [1e4, float("nan")])
def test_what_went_astray_is_not_used(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    expected = file_of(1)
    monkeypatch.setattr(latent_refinement, "STEP", step)
    monkeypatch.setattr(latent_refinement, "LIMIT", 1e4)
    assert api.encode(photo, 4, effort=2) == expected


@pytest.mark.slow
def test_less_memory_means_smaller_cells_and_hardly_larger_files() -> None:
    assert [refining_cell(api.load_model(), limit) for limit in (2048, 500, 130)] == list(CELLS)
    large = np.asarray(load_rgb(image_set("default", 1).paths[0]).crop((0, 40, 416, 200)))
    losses = [file_loss(api.encode(large, 4, effort=2, max_memory=limit), large, 4) for limit in (2048, 130)]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    assert losses[1] < file_loss(api.encode(large, 4, max_memory=130), large, 4)


def test_tiles_are_refined_too(photo: np.ndarray) -> None:
    plain, refined = (api.encode(photo, 3, tile=128, effort=effort) for effort in (0, 2))
    assert unpack(refined).tile == 128
    assert file_loss(refined, photo, 3) < file_loss(plain, photo, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"effort": -1}, "effort=-1: choose 0 .*, 1, 2 or 3"),
        ({"effort": 4}, "effort=4"),
        ({"effort": 2, "max_memory": 60}, "Refining takes [0-9]+ MiB of working memory at least, and 60 are allowed"),
        (
            {"effort": 1, "model": "lite_msssim"},
            "was tuned for ms_ssim, and effort=1 minimises squared error",
        ),
    ],
)
def test_effort_that_cannot_be_made_is_refused(photo: np.ndarray, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(WeconveneError, match=message):
        api.encode(photo, 3, **arguments)


def test_the_command_line_and_pillow_make_an_effort(photo: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(photo).save(tmp_path / "photo.png")
    line = ["encode", str(tmp_path / "photo.png"), str(tmp_path / "a.wcv"), "--quality", "4", "--effort", "2"]
    assert main(line) == 0
    Image.fromarray(photo).save(tmp_path / "b.wcv", quality=4, effort=2)
    assert (tmp_path / "a.wcv").read_bytes() == (tmp_path / "b.wcv").read_bytes() == file_of(2)
