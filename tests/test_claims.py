"""Every claim that a run has to settle names a row of its notebook's table, by the names that codecs have there."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pandas as pd
import pytest

from weconvene_core.codec.api import DEFAULT_MODEL
from weconvene_core.evaluation.anchors import ANCHOR_NAMES, published_labels
from weconvene_core.evaluation.bd_rate import METHODS
from weconvene_core.evaluation.rivals import JPEG_2000_BY_DEFAULT, RIVALS
from weconvene_core.evaluation.tables import BD_COLUMNS, published_bd_table, write_bd_table
from weconvene_core.reproduce.claims import Claim, obtained_value, read_claims
from weconvene_core.reproduce.tree import REPOSITORY

CLAIMS = [claim for claim in read_claims(REPOSITORY.data / "claims.csv") if claim.tier == "R"]
BD = [claim for claim in CLAIMS if claim.notebook == "06_bd_rate"]
PUBLISHED = [claim for claim in BD if claim.select["codec"] in dict(published_labels(claim.select["dataset"]))
             or claim.table.endswith("bd_rate_published.csv")]  # fmt: skip
MEASURED = {DEFAULT_MODEL, *(rival.name for rival in (*RIVALS, JPEG_2000_BY_DEFAULT))}


def named(claims: list[Claim]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("claim", claims, ids=lambda claim: claim.id)


@named(CLAIMS)
def test_the_notebook_exists_and_names_the_table(claim: Claim) -> None:
    path = REPOSITORY.root / "notebooks" / f"{claim.notebook}.ipynb"
    code = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert any(Path(claim.table).name in source for source in code)


@named(BD)
def test_a_bd_rate_is_named_in_full(claim: Claim) -> None:
    assert set(claim.select) == {"dataset", "codec", "anchor", "metric", "method"}
    assert {*claim.select, claim.column} <= set(BD_COLUMNS)
    assert claim.select["method"] in METHODS
    assert claim.select["metric"] in ("psnr_rgb", "ms_ssim_db")


@named([claim for claim in BD if claim not in PUBLISHED])
def test_measured_codecs_go_by_the_names_of_their_tables(claim: Claim) -> None:
    assert claim.select["codec"] in MEASURED
    anchor = claim.select["anchor"]
    assert anchor in MEASURED or ANCHOR_NAMES[anchor].dataset == claim.select["dataset"]


@named(PUBLISHED)
def test_published_points_give_what_the_claim_expects(claim: Claim, tmp_path: Path) -> None:
    dataset, codec, anchor = (claim.select[key] for key in ("dataset", "codec", "anchor"))
    path = write_bd_table(published_bd_table(dataset, [codec], [anchor]), tmp_path / "bd_rate.csv")
    assert obtained_value(path, claim) == pytest.approx(claim.expected, abs=claim.tolerance)
    assert (pd.read_csv(path).images == {"kodak": 24, "clic2020_professional": 41, "tecnick": 100}[dataset]).all()
