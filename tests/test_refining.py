"""Refined latents: smaller losses in real files, nothing new for decoders, and never a loss."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lab.figures.rates import effort_figure
from lab.rd.curves import POINT_COLUMNS, with_means
from lab.rd.our_codec import FileCodec
from lab.studies import latent_refinement as evaluation
from weconvene_core.cli.main import main
from weconvene_core.codec import api, floor, latent_refinement
from weconvene_core.codec.analysis import CELLS, refining_cell
from weconvene_core.codec.container import unpack
from weconvene_core.codec.effort import EFFORTS
from weconvene_core.codec.latent_refinement import Refinement
from weconvene_core.codec.orientation import turned
from weconvene_core.codec.tile_grid import HALO, TILE_EDGES, UNIT, cells, spans
from weconvene_core.datasets.image_sets import image_set, load_rgb
from weconvene_core.errors import WeconveneError
from weconvene_core.image_tensors import from_8_bit


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return load_rgb(image_set("default", 1).paths[0]).crop((0, 0, 263, 197))


def loss_of(data: bytes, photo: Image.Image, quality: float) -> float:
    return floor.loss_of(len(data), np.asarray(photo), np.asarray(api.decode(data)), quality)


@pytest.mark.parametrize("quality", [2.0, 5.0])
def test_refined_files_are_better_and_decode_like_others(photo: Image.Image, quality: float) -> None:
    plain, refined = (api.encode(photo, quality, effort=effort) for effort in (0, 2))
    assert loss_of(refined, photo, quality) < 0.99 * loss_of(plain, photo, quality)
    assert len(refined) < len(plain)
    assert unpack(refined).exact
    assert refined == api.encode(photo, quality, effort=2)
    assert plain == api.encode(photo, quality)


def test_no_passes_are_what_g_a_gives() -> None:
    model, x, at = api.load_model(), torch.rand(1, 3, 64, 96), torch.tensor([3.0])
    with torch.no_grad():
        expected = model.analyse(x, at)
    for found, wanted in zip(Refinement(model, 0)(x, at), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_the_estimate_that_decides_is_what_the_file_costs(photo: Image.Image) -> None:
    model, at = api.load_model(), torch.tensor([4.0])
    data = api.encode(photo, 4, effort=2)
    x = from_8_bit(turned(np.asarray(photo), unpack(data).orientation))
    refined = torch.cat(Refinement(model, EFFORTS[2].passes)(x, at), 1)
    estimated = Refinement(model, 0).loss(refined, x, at)
    assert estimated == pytest.approx(loss_of(data, photo, 4.0), rel=0.02)  # the header


@pytest.mark.parametrize("step", [1e4, float("nan")])
def test_what_went_astray_is_not_used(photo: Image.Image, monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    plain = api.encode(photo, 2, effort=1)
    monkeypatch.setattr(latent_refinement, "STEP", step)
    monkeypatch.setattr(latent_refinement, "LIMIT", 1e4)
    assert api.encode(photo, 2, effort=2) == plain


@settings(deadline=None)
@given(st.integers(1, 9000), st.sampled_from(TILE_EDGES), st.sampled_from((0, *CELLS)))
def test_cells_cover_every_tile_with_the_margins_of_tiles(length: int, tile: int, side: int) -> None:
    for span in spans(length, tile):
        parts = cells(span, length, side)
        assert [part.start for part in parts] == [span.start, *(part.stop for part in parts[:-1])]
        assert parts[-1].stop == span.stop
        for part in parts:
            assert part.start % UNIT == 0
            assert part.stop - part.start <= (side or length)
            assert (part.low, part.high) == (max(0, part.start - HALO), min(length, part.stop + HALO))


def test_less_memory_means_smaller_cells_and_hardly_larger_files(photo: Image.Image) -> None:
    model = api.load_model()
    assert [refining_cell(model, limit) for limit in (2048, 500, 130)] == list(CELLS)
    large = photo.resize((416, 160))
    losses = [loss_of(api.encode(large, 4, effort=2, max_memory=limit), large, 4.0) for limit in (2048, 130)]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    assert losses[1] < loss_of(api.encode(large, 4, max_memory=130), large, 4.0)


def test_tiles_are_refined_too(photo: Image.Image) -> None:
    plain, refined = (api.encode(photo, 3, tile=128, effort=effort) for effort in (0, 2))
    assert loss_of(refined, photo, 3.0) < loss_of(plain, photo, 3.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"effort": -1}, "effort=-1: choose 0 .*, 1, 2 or 3"),
        ({"effort": 4}, "effort=4"),
        ({"effort": 2, "max_memory": 60}, "Refining takes [0-9]+ MiB of working memory at least, and 60 are allowed"),
        ({"effort": 1, "model": "lite_msssim"}, "was tuned for ms_ssim, and effort=1 minimises squared error"),
    ],
)
def test_effort_that_cannot_be_made_is_refused(photo: Image.Image, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(WeconveneError, match=message):
        api.encode(photo, 3, **arguments)


def test_the_command_line_and_pillow_make_an_effort(photo: Image.Image, tmp_path: Path) -> None:
    photo.save(tmp_path / "photo.png")
    line = ["encode", str(tmp_path / "photo.png"), str(tmp_path / "a.wcv"), "--quality", "3", "--effort", "2"]
    assert main(line) == 0
    photo.save(tmp_path / "b.wcv", quality=3, effort=2)
    expected = api.encode(photo, 3, effort=2)
    assert (tmp_path / "a.wcv").read_bytes() == (tmp_path / "b.wcv").read_bytes() == expected


def test_refined_files_are_kept_apart_from_plain_ones() -> None:
    states = {FileCodec(effort=effort).state() for effort in (0, 2, 3)}
    assert len(states) == 3
    assert FileCodec().state() == FileCodec(effort=0).state()


@pytest.mark.slow
def test_the_table_of_efforts_compares_files(photo: Image.Image) -> None:
    pictures = [np.asarray(photo), np.asarray(photo)[:, ::-1]]
    table = evaluation.by_effort(pictures, (0, 2), (0.0, 2.0, 4.0, 6.0))
    assert list(table.effort) == [2, 2]
    assert set(table.metric) == {"psnr_rgb", "ms_ssim_db"}
    assert table.set_index("metric").bd_rate_pct["psnr_rgb"] < -1
    assert (table.times_as_long > 1).all()
    figure = effort_figure(table, "one photograph")
    drawn = {entry.get_label(): list(entry.lines[0].get_ydata()) for entry in figure.axes[0].containers}
    by_metric = table.groupby("metric").bd_rate_pct.apply(list)
    assert drawn == {"by PSNR": by_metric["psnr_rgb"], "by MS-SSIM": by_metric["ms_ssim_db"]}


def test_points_of_other_weights_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = dict.fromkeys(POINT_COLUMNS, 1.0) | {"codec": evaluation.REFINED, "dataset": "kodak"}
    path = tmp_path / "points.csv"
    monkeypatch.setattr(evaluation, "POINTS", path)
    assert evaluation.kept_refined().empty
    pd.DataFrame([columns | {"weights": FileCodec().weights()}]).to_csv(path, index=False)
    assert len(evaluation.kept_refined()) == 1
    pd.DataFrame([columns | {"weights": "0" * 12}]).to_csv(path, index=False)
    with pytest.warns(UserWarning, match="'lite refined' is left out on kodak: .*studies.latent_refinement kodak"):
        assert evaluation.kept_refined().empty


def test_refined_files_are_compared_with_plain_ones_and_everything_else() -> None:
    """A codec whose files are a tenth smaller at equal quality is 10 % better against itself."""
    images, rows = image_set("default", 2), []
    for name, share in (("lite", 1.0), ("lite refined", 0.9), ("WebP", 1.5)):
        for image, quality in product(("a", "b"), range(4)):
            numbers = {"bpp": share * 0.2 * 2**quality, "psnr_db": 30 + 2 * quality, "ms_ssim": 0.9 + 0.02 * quality}
            rows.append({"dataset": images.name, "image": image, "codec": name, "quality": quality, **numbers})
    points = with_means(rows)
    table = evaluation.compare(images, points, ("lite", "lite refined"))
    found = table[table.metric == "psnr_rgb"].set_index(["codec", "anchor"]).bd_rate_pct
    assert set(found.index) == {("lite refined", "lite"), ("lite refined", "WebP"), ("lite", "WebP")}
    np.testing.assert_allclose(found["lite refined", "lite"], -10, atol=1e-6)
    np.testing.assert_allclose(found["lite refined", "WebP"], -40, atol=1e-6)
