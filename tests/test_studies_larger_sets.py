"""Larger photographs: which sets are taken, what is measured on them, and that those of other weights are left out."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from lab.paths import save_table
from lab.rd.curves import MEAN, POINT_COLUMNS
from lab.rd.measure import measure
from lab.rd.our_codec import FileCodec
from lab.rd.pillow_codecs import WEBP, measure_available
from lab.studies import larger_sets, latent_refinement
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import WeconveneError

QUALITIES = (0.0, 7.0)


@pytest.fixture
def clic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with two loose pictures in place of CLIC's."""
    folder = tmp_path / "data" / "clic"
    folder.mkdir(parents=True)
    photo = load_rgb(image_set("default").paths[0])
    for i in range(2):
        photo.crop((40 * i, 0, 40 * i + 192, 192)).save(folder / f"{i}.png")
    monkeypatch.setenv("WECONVENE_DATA", str(folder.parent))
    monkeypatch.setenv("WECONVENE_CACHE", str(tmp_path / "downloads"))
    return folder


def test_what_is_at_hand_is_measured_whole_and_goes_by_its_number(
    clic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latent_refinement, "QUALITIES", QUALITIES)
    monkeypatch.setattr(latent_refinement, "measure", partial(measure, folder=tmp_path / "kept"))
    monkeypatch.setattr(larger_sets, "measure_available", partial(measure_available, folder=tmp_path / "kept"))
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # no processes for two small pictures
    monkeypatch.setattr(larger_sets, "SETS", ("clic", "tecnick"))
    with pytest.warns(UserWarning, match="not measured: Image set 'tecnick' is not available: put it into") as said:
        sets = larger_sets.available_sets()
    assert len(said) == 1  # nothing is said of what is there
    assert [images.name for images in sets] == ["clic-2images"]
    codec = FileCodec(folder=tmp_path / "files")
    points = larger_sets.measure_sets(sets, codec, (WEBP,))
    ours = points[(points.codec == codec.model) & (points.image == "1.png")]
    photo = load_rgb(clic / "1.png")
    assert ours.bpp.tolist() == [8 * len(codec.file(photo, q)) / (192 * 192) for q in QUALITIES]
    assert set(points.image) == {"0.png", "1.png", MEAN}
    assert set(points.codec) == {codec.model, "WebP"}


def test_nothing_at_hand_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WECONVENE_DATA", raising=False)
    monkeypatch.setenv("WECONVENE_CACHE", str(tmp_path))
    with pytest.warns(UserWarning, match="Left out, not measured") as said:
        assert larger_sets.available_sets() == []
    texts = [str(warning.message) for warning in said]
    assert len(texts) == len(larger_sets.SETS)
    assert all(name in text and text.count(". ") == 0 for name, text in zip(larger_sets.SETS, texts, strict=True))
    with pytest.raises(WeconveneError, match="None of clic, clic2025, tecnick is available"):
        larger_sets.measure_sets([], FileCodec())


def test_points_of_other_weights_are_left_out_with_a_word(own_results: Path) -> None:
    rows = [["clic-9images", MEAN, codec, 1.0, 0.1, 30.0, 0.9, 1.0, 1.0] for codec in ("lite", "WebP")]
    table = pd.DataFrame(rows, columns=POINT_COLUMNS)
    assert larger_sets.larger_points().empty
    save_table(table.assign(weights=FileCodec().weights()), larger_sets.TABLE)
    assert larger_sets.larger_points().codec.tolist() == ["lite", "WebP"]
    save_table(table.assign(weights="0" * 12), larger_sets.TABLE)
    with pytest.warns(UserWarning, match="'lite' is left out on clic-9images"):
        assert larger_sets.larger_points().codec.tolist() == ["WebP"]
