"""The study of the encoder's effort: its tables, and that only files of today's weights count."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lab.paths import save_table
from lab.rd.curves import POINT_COLUMNS, with_means
from lab.rd.our_codec import FileCodec
from lab.studies import latent_refinement as evaluation
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return load_rgb(image_set("default", 1).paths[0]).crop((0, 0, 263, 197))


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


def test_points_of_other_weights_are_left_out(own_results: Path) -> None:
    columns = dict.fromkeys(POINT_COLUMNS, 1.0) | {"codec": evaluation.REFINED, "dataset": "kodak"}
    assert evaluation.kept_refined().empty
    save_table(pd.DataFrame([columns | {"weights": FileCodec().weights()}]), evaluation.POINTS)
    assert len(evaluation.kept_refined()) == 1
    save_table(pd.DataFrame([columns | {"weights": "0" * 12}]), evaluation.POINTS)
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
