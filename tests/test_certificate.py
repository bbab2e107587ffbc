"""Verdicts are computed from tables by rules, and a wrong number is named in every part of the certificate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from lab.reproduce.certificate import (
    DEVIATES,
    DIFFERS,
    NOTHING,
    OPEN,
    PARTS,
    REFUTED,
    REPRODUCED,
    SAME,
    SUPPORTED,
    UNTESTED,
    Interval,
    bearing,
    certify,
    failures,
    measured,
    page,
    read_claims,
    rows,
)
from lab.reproduce.run_records import REPOSITORY, RunRecord, Tree, write_record
from weconvene_core.atomic_files import sha256_of, write_text
from weconvene_core.errors import WeconveneError

PIECE = {"what": "layer", "table": "gains", "where": {"variant": "layer"}, "column": "bd_rate_pct", "over": "seed",
         "unit": "%", "claims": "lower", "matters": 1}  # fmt: skip
PAPER = {"id": "layer", "claim": "It helps.", "how": "A trial.", "budget": "10 steps", "evidence": [PIECE]}
LALIC = {"dataset": "kodak", "codec": "LALIC", "anchor": "K-A", "stated": -15.26, "source": "abstract"}
GAINS = "variant,seed,bd_rate_pct\nlayer,0,-3.0\nlayer,1,-3.2\nlayer,2,-2.9\nother,0,5.0\n"
RATES = "image,quality,bpp,psnr_db\na,1,0.25,30\nb,1,0.5,32\n"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    write_text(tree.published / "tables/gains.csv", GAINS)
    for folder in (tree.published, tree.results):
        write_text(folder / "tables/rates.csv", RATES)
    claim(tree, lambda claims: None)
    return tree


def claim(tree: Tree, change: Callable[[dict[str, Any]], None]) -> None:
    rates = {"keys": ["image", "quality"], "tolerance": {"bpp": 0.001}}
    piece = {name: dict(value) if isinstance(value, dict) else value for name, value in PIECE.items()}
    claims = {"paper": [PAPER | {"evidence": [piece]}], "published": [dict(LALIC)], "within": 0.01}
    claims["release"] = {"rates": rates}
    change(claims)
    write_text(tree.data / "claims.yaml", yaml.safe_dump(claims))


def verdicts(tree: Tree) -> dict[str, str]:
    return {row.part: row.verdict for row in rows(tree)}


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-4, -2, SUPPORTED), (-0.6, -0.2, REFUTED), (-3, 0, OPEN), (-0.1, 0.1, REFUTED), (2, 4, REFUTED),
     (-1, -1, SUPPORTED), (-np.inf, np.inf, OPEN)],
)  # fmt: skip
def test_the_rule(low: float, high: float, expected: str) -> None:
    assert bearing(Interval((low + high) / 2, low, high), "lower", matters=1) == expected
    assert bearing(Interval((low + high) / 2, -high, -low), "higher", matters=1) == expected
    assert bearing(Interval((low + high) / 2, 7 + low, 7 + high), "lower", matters=1, against=7) == expected


def test_an_interval_over_seeds_is_students() -> None:
    table = pd.DataFrame({"variant": "layer", "seed": [0, 1, 2], "bd_rate_pct": [-3.0, -3.2, -2.9]})
    found = measured(table, PIECE)
    half = 4.302653 * np.std([-3.0, -3.2, -2.9], ddof=1) / np.sqrt(3)  # t of 97.5 % at two degrees of freedom
    assert found == pytest.approx((-3.03333, -3.03333 - half, -3.03333 + half), abs=1e-4)
    once = measured(table[:1], PIECE)
    assert bearing(once, "lower", 1) == OPEN


def test_all_is_well_where_nothing_was_touched(tree: Tree) -> None:
    assert verdicts(tree) == {"paper": SUPPORTED, "published": REPRODUCED, "release": SAME}
    assert certify(tree) == []
    assert pd.read_csv(tree.results / "certificate.csv").part.tolist() == list(PARTS)


def test_a_tampered_number_is_named_in_each_part(tree: Tree) -> None:
    certify(tree)
    (tree.results / "certificate.csv").rename(tree.published / "certificate.csv")
    write_text(tree.published / "tables/gains.csv", GAINS.replace("-3.2", "-0.2"))
    assert verdicts(tree)["paper"] == OPEN
    assert any("layer is now 'undecided'" in said for said in failures(rows(tree), tree))
    write_text(tree.published / "tables/gains.csv", GAINS.replace("-3", "+3").replace("-2.9", "2.9"))
    assert verdicts(tree)["paper"] == REFUTED
    claim(tree, lambda claims: claims["published"][0].update(stated=-15.4))
    assert verdicts(tree)["published"] == DEVIATES
    write_text(tree.published / "tables/rates.csv", RATES.replace("0.25", "0.252"))
    assert verdicts(tree)["release"] == DIFFERS
    said = certify(tree)
    assert len(said) == 3
    assert said[0].startswith("rates differs from the release: 2 of 2 rows; bpp off by 0.002")


@pytest.mark.parametrize("own", [RATES.replace("0.25", ""), RATES.replace("0.25", "inf")])
def test_a_number_that_is_none_is_a_difference(tree: Tree, own: str) -> None:
    write_text(tree.results / "tables/rates.csv", own)
    assert verdicts(tree)["release"] == DIFFERS


def test_other_pictures_and_missing_tables_compare_with_nothing(tree: Tree) -> None:
    write_text(tree.results / "tables/rates.csv", RATES.replace("\na", "\nc").replace("\nb", "\nd"))
    assert verdicts(tree)["release"] == NOTHING
    (tree.results / "tables/rates.csv").unlink()
    assert verdicts(tree)["release"] == NOTHING
    assert certify(tree) == []


def test_a_table_that_is_not_there_yet_decides_nothing_and_a_damaged_one_is_named(tree: Tree) -> None:
    (tree.published / "tables/gains.csv").unlink()
    assert verdicts(tree)["paper"] == OPEN
    (tree.published / "tables/gains.csv").write_bytes(b"")
    with pytest.raises(WeconveneError, match=r"results/tables/gains\.csv cannot be read .* restore it"):
        rows(tree)


def test_a_certificate_of_the_release_that_is_none_is_named(tree: Tree) -> None:
    write_text(tree.published / "certificate.csv", "claim,tier\na,R\n")
    with pytest.raises(WeconveneError, match=r"results/certificate\.csv is no certificate"):
        certify(tree)


def test_without_evidence_a_claim_is_untested(tree: Tree) -> None:
    claim(tree, lambda claims: claims["paper"][0].update(evidence=[]))
    assert verdicts(tree)["paper"] == UNTESTED


@pytest.mark.parametrize(("variant", "there"), [("layer", 3), ("absent", 0)])
def test_evidence_that_lacks_seeds_decides_nothing_and_says_so(tree: Tree, variant: str, there: int) -> None:
    def wanted(claims: dict[str, Any], seeds: int) -> None:
        claims["paper"][0]["evidence"][0].update(rows=seeds, where={"variant": variant})

    claim(tree, lambda claims: wanted(claims, 4))
    assert verdicts(tree)["paper"] == OPEN
    assert f"layer: {there} of 4 seeds have been run" in rows(tree)[0].figure
    if there:
        claim(tree, lambda claims: wanted(claims, there))
        assert verdicts(tree)["paper"] == SUPPORTED


def test_pieces_that_disagree_leave_a_claim_undecided(tree: Tree) -> None:
    other = PIECE | {"where": {"variant": "other"}, "claims": "higher"}
    other.pop("over")
    claim(tree, lambda claims: claims["paper"][0]["evidence"].append(other))
    assert verdicts(tree)["paper"] == SUPPORTED
    claim(tree, lambda claims: claims["paper"][0]["evidence"].append(other | {"claims": "lower"}))
    assert verdicts(tree)["paper"] == OPEN


def test_evidence_comes_from_full_runs(tree: Tree) -> None:
    own = tree.results / "tables/gains.csv"
    write_text(own, GAINS.replace("-3", "+3").replace("-2.9", "2.9"))

    def ran(mode: str) -> None:
        written = {tree.relative(own): sha256_of(own)}
        write_record(tree, RunRecord("01_gains", mode, {}, 1.0, 1.0, "2026-01-01T00:00:00+00:00", written))

    write_text(tree.root / "notebooks/01_gains.ipynb", "{}")
    ran("quick")
    assert verdicts(tree)["paper"] == SUPPORTED
    ran("full")
    assert verdicts(tree)["paper"] == REFUTED


@pytest.mark.parametrize(
    "change",
    [
        lambda claims: claims.pop("within"),
        lambda claims: claims["paper"][0].pop("how"),
        lambda claims: claims["paper"][0]["evidence"][0].update(column="absent"),
        lambda claims: claims["paper"][0]["evidence"][0].update(where={}),  # two rows of one seed
        lambda claims: claims["published"][0].update(more="than is known"),
    ],
)
def test_an_ill_defined_claim_is_refused(tree: Tree, change: Callable[[dict[str, Any]], None]) -> None:
    claim(tree, change)
    with pytest.raises(WeconveneError, match=r"data/claims\.yaml"):
        rows(tree)


def test_the_page_has_every_row_and_folds_the_comparison_with_the_release(tree: Tree) -> None:
    found = rows(tree)
    text = page(found)
    assert all(f"| {row.claim} | {row.how} | {row.figure} | **{row.verdict}** |" in text for row in found)
    assert text.index("<details>") > text.index("LALIC")


def test_the_projects_own_claims_are_answered() -> None:
    claims, workflow = read_claims(), yaml.safe_load((REPOSITORY.root / "notebooks/workflow.yaml").read_text())
    jobs = [*workflow["notebooks"].values(), *workflow["experiments"].values()]
    made = {table for job in jobs for table in job.get("tables", ())}
    assert len({claim["id"] for claim in claims["paper"]}) == len(claims["paper"])
    for piece in (piece for claim in claims["paper"] for piece in claim["evidence"]):
        assert piece["matters"] > 0  # so that neither a null nor a changed sign supports a claim
        assert piece["claims"] in ("higher", "lower")
        assert piece["table"] in made
        path = REPOSITORY.published / "tables" / f"{piece['table']}.csv"
        if path.is_file():
            named = {*piece["where"], *(piece[key] for key in ("column", "over", "low", "high") if key in piece)}
            assert named <= {*pd.read_csv(path).columns}
    assert {row.part for row in rows()} == {*PARTS}
