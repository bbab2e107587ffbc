"""Verdicts are computed from tables that a finished run wrote, and a wrong value is caught."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from lab.reproduce.certificate import certify, read_claims
from lab.reproduce.run_records import REPOSITORY, RunRecord, Tree, write_record
from weconvene_core.atomic_files import sha256_of, write_text
from weconvene_core.errors import WeconveneError

HEADER = "id,claim,tier,paper,expected,tolerance,notebook,table,select,column,cost\n"
OWN = HEADER.replace("\n", ",command\n")
COLUMNS = "claim,tier,paper,expected,obtained,tolerance,verdict,notebook,cell,artifact_sha256,command,cost"
TABLE = "results/tables/bd_rate.csv"
ROWS = "codec,method,bd_rate_pct\nWeConvene,pchip,-8.354\nWeConvene,cubic,-8.4\nlite,pchip,nan\n"


PCHIP = "codec=WeConvene;method=pchip"
CELLS = [
    {"cell_type": "code", "id": "draws", "source": ["x"]},
    {"cell_type": "code", "id": "writes", "source": ["save('bd_rate')"]},
]
ILL_DEFINED = ["c,a claim,X,,,,,,,,\n", "c,a claim,R,,many,,,,,,\n", "c,a claim\n"]


def claim(tier: str = "R", expected: str = "-8.35", tolerance: str = "0.01", select: str = PCHIP) -> str:
    return f"c,a claim,{tier},-9.11,{expected},{tolerance},06_bd_rate,{TABLE},{select},bd_rate_pct,60 h on a GPU\n"


def record(tree: Tree, mode: str = "quick") -> None:
    artifacts = {TABLE: sha256_of(tree.root / TABLE)}
    write_record(tree, RunRecord("06_bd_rate", mode, {}, 12.0, 300.0, "2026-01-01T00:00:00+00:00", artifacts))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    write_text(tmp_path / TABLE, ROWS)
    write_text(tmp_path / "notebooks/06_bd_rate.ipynb", json.dumps({"cells": CELLS}))
    record(Tree(tmp_path))
    return Tree(tmp_path)


def verdict(tree: Tree, line: str, header: str = HEADER) -> tuple[int, dict[str, str]]:
    write_text(tree.data / "claims.csv", header + line)
    code = certify(tree)
    with (tree.results / "certificate.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    return code, row


def test_a_value_within_tolerance_is_reproduced(tree: Tree) -> None:
    code, row = verdict(tree, claim())
    assert (code, row["verdict"], row["obtained"]) == (0, "reproduced", "-8.3540")
    assert row["artifact_sha256"] == sha256_of(tree.root / TABLE)
    assert (row["cell"], row["command"], row["cost"]) == ("writes", "make reproduce MODE=quick", "12 s")


def test_a_tampered_expectation_is_missed_and_fails(tree: Tree) -> None:
    code, row = verdict(tree, claim(expected="-9.11"))
    assert (code, row["verdict"]) == (1, "missed")


def test_a_miss_is_said_aloud(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    verdict(tree, claim(expected="-9.11"))
    assert "MISSED c: expected -9.11 within 0.01, obtained -8.3540" in capsys.readouterr().out


def test_columns_are_those_that_were_asked_for_and_claims_carry_their_name(tree: Tree) -> None:
    _, row = verdict(tree, claim())
    assert ",".join(row) == COLUMNS
    assert row["claim"] == "c: a claim"


def test_the_page_says_the_same_as_the_table(tree: Tree) -> None:
    _, row = verdict(tree, claim(expected="-9.11"))
    text = (tree.results / "certificate.md").read_text(encoding="utf-8")
    assert "Certificate: 1 missed." in text
    (line,) = [line for line in text.splitlines() if line.startswith("| `c` a claim")]
    assert "| -9.11 ± 0.01 | -8.3540 | **missed** |" in line
    for part in (row["command"], row["notebook"], row["cell"], row["cost"], row["artifact_sha256"][:12]):
        assert part in line


def test_two_certificates_of_one_tree_are_the_same_bytes(tree: Tree) -> None:
    verdict(tree, claim())
    names = ("certificate.csv", "certificate.md")
    first = [(tree.results / name).read_bytes() for name in names]
    verdict(tree, claim())
    assert [(tree.results / name).read_bytes() for name in names] == first


def test_a_table_with_a_command_of_its_own_is_evidence_of_a_weaker_kind(tree: Tree) -> None:
    tree.record_path("06_bd_rate").unlink()
    line = claim(tier="F").replace("\n", ",python -m there\n")
    code, row = verdict(tree, line, OWN)
    assert (code, row["verdict"], row["obtained"]) == (0, "stored table agrees", "-8.3540")
    assert (row["command"], row["cost"]) == ("python -m there", "60 h on a GPU")
    assert row["artifact_sha256"] == sha256_of(tree.root / TABLE)
    code, row = verdict(tree, line.replace("-8.35", "-9.35"), OWN)
    assert (code, row["verdict"]) == (1, "missed")
    (tree.root / TABLE).unlink()
    assert verdict(tree, line, OWN)[1]["verdict"] == f"not run: {TABLE} is missing"


def test_a_value_that_is_no_number_is_missed(tree: Tree) -> None:
    assert verdict(tree, claim(select="codec=lite"))[1]["verdict"] == "missed"


def test_without_an_expectation_the_value_is_recorded(tree: Tree) -> None:
    code, row = verdict(tree, claim(expected="", tolerance=""))
    assert (code, row["verdict"], row["obtained"]) == (0, "recorded", "-8.3540")


def test_the_papers_number_is_inspected_only(tree: Tree) -> None:
    code, row = verdict(tree, claim(tier="I"))
    assert (code, row["verdict"], row["obtained"]) == (0, "inspected only", "")


def test_a_full_claim_waits_for_the_full_run(tree: Tree) -> None:
    _, row = verdict(tree, claim(tier="F"))
    assert (row["verdict"], row["cost"]) == ("needs the full run", "60 h on a GPU")
    assert row["command"] == "make reproduce MODE=full"
    record(tree, mode="full")
    assert verdict(tree, claim(tier="F"))[1]["verdict"] == "reproduced"


def test_an_edited_table_is_no_evidence(tree: Tree) -> None:
    write_text(tree.root / TABLE, ROWS.replace("-8.354", "-9.11"))
    code, row = verdict(tree, claim(expected="-9.11"))
    assert (code, row["obtained"]) == (0, "")
    assert row["verdict"] == f"not run: {TABLE} changed after 06_bd_rate wrote it"


def test_a_command_of_its_own_does_not_excuse_an_edited_table_that_a_notebook_wrote_here(tree: Tree) -> None:
    line = claim().replace("\n", ",python -m there\n")
    write_text(tree.root / TABLE, ROWS + "WebP,pchip,70.0\n")
    assert verdict(tree, line, OWN)[1]["verdict"] == f"not run: {TABLE} changed after 06_bd_rate wrote it"
    write_text(tree.root / "notebooks/09_more.ipynb", json.dumps({"cells": []}))
    artifacts = {TABLE: sha256_of(tree.root / TABLE)}  # a later notebook shares the table
    write_record(tree, RunRecord("09_more", "quick", {}, 1.0, 1.0, "2026-01-02T00:00:00+00:00", artifacts))
    assert verdict(tree, line, OWN)[1]["obtained"] == "-8.3540"


def test_missing_pieces_are_named(tree: Tree) -> None:
    assert verdict(tree, claim(select="codec=AVIF"))[1]["verdict"] == f"not run: {TABLE} has no row with codec AVIF"
    (tree.root / TABLE).unlink()
    assert verdict(tree, claim())[1]["verdict"] == f"not run: {TABLE} is missing"
    tree.record_path("06_bd_rate").unlink()
    assert verdict(tree, claim())[1]["verdict"] == "not run: 06_bd_rate has not finished on this machine"


@pytest.mark.parametrize("line", [*ILL_DEFINED, claim(select="codec=WeConvene")])
def test_an_ill_defined_claim_is_refused(tree: Tree, line: str) -> None:
    with pytest.raises(WeconveneError, match=r"data/claims\.csv"):
        verdict(tree, line)


def test_the_projects_claims_are_well_formed() -> None:
    claims = read_claims(REPOSITORY.data / "claims.csv")
    inspected = {c.id: c.paper for c in claims if c.tier == "I"}
    rates = {"paper-kodak": "-12.24", "paper-tecnick": "-15.51", "paper-clic": "-12.97"}
    words = ("paper-resolution", "paper-tasks", "paper-complexity", "paper-two-steps")
    assert inspected == rates | dict.fromkeys(words, "")
    assert len({c.id for c in claims}) == len(claims)
    measured = [c for c in claims if c.tier != "I"]
    assert all(c.table.startswith("results/tables/") and c.select and c.column for c in measured)
    assert all(c.notebook or c.command for c in measured)
