"""The fifty fixed pictures of fine texture: the same everywhere, apart from training's, and told in a summary."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lab.studies import fine_texture
from lab.studies.fine_texture import measure, pictures, summary
from lab.studies.synthetic_pictures import FAMILIES, PATTERNS
from weconvene_core.codec import api


def test_there_are_fifty_different_pictures_always_the_same() -> None:
    drawn, again = pictures(), pictures()
    assert len(drawn) == len({picture.tobytes() for picture in drawn.values()}) == 50
    assert all(np.array_equal(picture, again[name]) for name, picture in drawn.items())
    assert {name.rstrip("0123456789 ") for name in drawn} > {*FAMILIES, *PATTERNS}
    assert any(side % 2 for picture in drawn.values() for side in picture.shape[:2])


def test_known_pictures_are_what_they_are_called() -> None:
    drawn = pictures()
    board = drawn["pixel checkerboard"].astype(int)
    assert (abs(np.diff(board, axis=0)) == 255).all()
    assert (abs(np.diff(board, axis=1)) == 255).all()
    assert (drawn["pixel lines level"][0] == 0).all()
    assert (drawn["pixel lines upright"][:, 1] == 255).all()
    half = drawn["half pixel checkerboard"]
    assert np.ptp(half[:, :128], axis=1).max() == 0
    assert np.array_equal(half[:, 128:], drawn["pixel checkerboard"][:, 128:])


def test_a_picture_is_measured_by_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec that takes every second quality's picture for grey: it falls by what flat grey costs."""
    board = pictures()["pixel checkerboard"][:32, :48]
    grey = Image.new("RGB", (48, 32), (128, 128, 128))
    monkeypatch.setattr(api, "encode", lambda picture, quality, model: bytes([int(quality)]) * int(6 + quality))
    monkeypatch.setattr(api, "decode", lambda file: grey if file[0] % 2 else Image.fromarray(board))
    row = measure(board)
    assert (row["width"], row["height"]) == (48, 32)
    assert row["bpp_2"] == pytest.approx(8 * 8 / (48 * 32))
    assert row["psnr_2"] == fine_texture.MOST_DB
    assert row["psnr_3"] == row["flat_db"] == pytest.approx(6.02, abs=0.05)
    assert row["fall_db"] == row["psnr_2"] - row["psnr_3"]
    assert row["jpeg_bytes"] > 100


def test_the_summary_counts_falls_and_pictures_below_flat_colour() -> None:
    def row(name: str, psnr: list[float], fall: float) -> dict[str, object]:
        values = {f"psnr_{quality}": value for quality, value in enumerate(psnr)}
        return {"picture": name, **values, "fall_db": fall, "flat_db": 8.0, "jpeg_db": 30.0}

    rising, falling = [10.0 + step for step in range(8)], [12.0, 11.0, *6 * [7.5]]
    said = summary(pd.DataFrame([row("good", rising, 0.0), row("bad", falling, 3.5), row("flat", 8 * [9.0], 0.1)]))
    assert "1 of 3 pictures lose more than 0.2 dB" in said
    assert "worst: bad, 3.50 dB" in said
    assert "1 are more than 0.2 dB below their mean colour at some quality, 1 at the finest; lowest: bad, -0.50" in said
