"""The study of what tiles cost."""

from __future__ import annotations

import numpy as np
import pytest

from lab.studies.tiling_cost import borders, tile_costs
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.codec.tile_grid import spans
from weconvene_core.datasets.image_sets import image_set


def test_a_row_compares_tiles_with_the_whole() -> None:
    photo = load_rgb(image_set("default", 1).paths[0]).crop((0, 0, 261, 131))
    (row,) = tile_costs(photo, 3, [128])
    assert row["tiles"] == 6
    assert row["rate_pct"] == pytest.approx(100 * (row["bytes_tiled"] / row["bytes_whole"] - 1))
    assert abs(row["loss_db"]) < 0.1


def test_borders_are_where_tiles_meet() -> None:
    along = borders(263, 389, 128)
    rows, columns = ([part.interior.start for part in spans(length, 128)[1:]] for length in along.shape)
    assert [int(n) for n in np.flatnonzero(along.all(1))] == [at + shift for at in rows for shift in (-2, -1, 0, 1)]
    assert [int(n) for n in np.flatnonzero(along.all(0))] == [at + shift for at in columns for shift in (-2, -1, 0, 1)]
    assert not borders(263, 389, 512).any()
