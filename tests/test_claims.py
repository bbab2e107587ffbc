"""Every claim that a run has to settle names a row of its notebook's table, by the names that codecs have there."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pandas as pd
import pytest

from lab.rd.bd_rate import METHODS
from lab.rd.curves import METRIC_TITLES
from lab.rd.ffmpeg_codecs import FFMPEG_CODECS
from lab.rd.pillow_codecs import CLASSICAL_CODECS, JPEG_2000_BY_DEFAULT, avif
from lab.rd.published_curves import ANCHOR_NAMES, DATASETS, published_labels
from lab.rd.tables import BD_COLUMNS, published_bd_table, write_bd_table
from lab.reproduce.certificate import Claim, accept_claims, obtained_value, read_claims
from lab.reproduce.fill_readme import ANCHORS, expected
from lab.reproduce.run_records import REPOSITORY, Tree
from weconvene_core.atomic_files import write_text
from weconvene_core.codec.api import DEFAULT_MODEL

ALL = read_claims(REPOSITORY.data / "claims.csv")
CLAIMS = [claim for claim in ALL if claim.tier == "R"]
BD = [claim for claim in ALL if Path(claim.table).name in ("bd_rate.csv", "bd_rate_published.csv")]
LABELS = {dataset: dict(published_labels(dataset)) for dataset in DATASETS}
PUBLISHED = [claim for claim in BD if claim.select["codec"] in LABELS.get(claim.select["dataset"], ())
             or claim.table.endswith("bd_rate_published.csv")]  # fmt: skip
LIVE = (*CLASSICAL_CODECS, *FFMPEG_CODECS, JPEG_2000_BY_DEFAULT, avif(tune=None))
MEASURED = {DEFAULT_MODEL, *(rival.name for rival in LIVE)}


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


def test_every_bd_rate_of_the_readme_is_a_claim() -> None:
    keys = ("dataset", "codec", "anchor", "metric")
    claimed = {tuple(claim.select[key] for key in keys) for claim in BD if claim.select["method"] == "pchip"}
    told = expected("bd_rate")
    shown = told[(told.method == "pchip") & ((told.dataset != "kodak") | told.anchor.isin(ANCHORS))]
    assert {("kodak", DEFAULT_MODEL, anchor, metric) for anchor in ANCHORS for metric in METRIC_TITLES} <= claimed
    assert set(shown[list(keys)].itertuples(index=False, name=None)) <= claimed


HEADER = "id,claim,tier,paper,expected,tolerance,notebook,table,select,column,cost,command,release\n"


def test_a_new_release_expects_what_its_tables_hold_and_leaves_other_claims_alone(tmp_path: Path) -> None:
    tree, table = Tree(tmp_path), "results/tables/bd_rate.csv"
    write_text(tmp_path / table, "codec,bd_rate_pct\nlite,17.0123456\nJPEG 2000,57.1\n")
    lines = [
        f'ours,"a claim, with a comma",R,,19.44,0.5,06_bd_rate,{table},codec=lite,bd_rate_pct,,,yes\n',
        f"theirs,a claim,R,,56.6,1.5,06_bd_rate,{table},codec=JPEG 2000,bd_rate_pct,,,\n",
        f"unmeasured,a claim,R,,8.2,0.5,06_bd_rate,{table},codec=VVC,bd_rate_pct,,,yes\n",
    ]
    write_text(tree.data / "claims.csv", HEADER + "".join(lines))
    assert accept_claims(tree) == ["ours: 19.44 -> 17.01"]
    text = (tree.data / "claims.csv").read_text(encoding="utf-8")
    assert text == HEADER + "".join(lines).replace("19.44", "17.01")
    assert accept_claims(tree) == []
