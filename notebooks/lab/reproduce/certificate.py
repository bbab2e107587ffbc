"""The certificate: every claim of ``data/claims.csv`` with its value here and a verdict that is computed, never typed.

Tiers: R is reproduced by this run, F needs ``MODE=full`` or a command of its own, I is the paper's number, inspected
only. ``results/certificate.csv`` is the table, ``results/certificate.md`` the page.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lab.reproduce.claims import Claim, NotRun, check_table, obtained_value, read_claims
from lab.reproduce.page import page
from lab.reproduce.run_records import REPOSITORY, Stamp, Tree, read_stamp
from weconvene_core.atomic_files import sha256_of, write_text

REPRODUCED, MISSED, RECORDED = "reproduced", "missed", "recorded"
INSPECTED, NEEDS_FULL, NOT_RUN = "inspected only", "needs the full run", "not run"
STORED = "stored table agrees"
"""Of a table whose own command has run somewhere, not necessarily here."""


@dataclass(frozen=True)
class Entry:
    """One row of ``results/certificate.csv``; every value is text, empty where there is none.

    ``claim`` is the claim's name, a colon, and what is claimed.
    """

    claim: str
    tier: str
    paper: str
    expected: str
    obtained: str
    tolerance: str
    verdict: str
    notebook: str
    cell: str
    artifact_sha256: str
    command: str
    cost: str


def judge(claim: Claim, obtained: float) -> str:
    """Return the verdict on a value that was obtained: ``recorded`` while nothing is expected of it yet."""
    if claim.expected is None:
        return RECORDED
    close = math.isfinite(obtained) and abs(obtained - claim.expected) <= claim.tolerance
    return REPRODUCED if close else MISSED


def writing_cell(tree: Tree, claim: Claim) -> str:
    """Return the id of the first code cell that names the claim's table in its notebook, or an empty string."""
    try:
        cells = json.loads((tree.root / "notebooks" / f"{claim.notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError):
        return ""
    code = [(cell.get("id", ""), "".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]
    table = Path(claim.table)
    # the whole name first; a cell may fill in the mode
    names = (table.name, table.stem, table.stem.removesuffix("_full"))
    named = [i for name in names for i, source in code if name in source]
    return named[0] if named else ""


def _measure(tree: Tree, claim: Claim, stamp: Stamp | None) -> tuple[str, str]:
    """Return (verdict, obtained) of a claim that rests on a table."""
    if claim.tier == "F" and not claim.command and (stamp is None or stamp.mode != "full"):
        return NEEDS_FULL, ""
    try:
        value = obtained_value(check_table(tree, claim, stamp), claim)
    except NotRun as why:
        return f"{NOT_RUN}: {why}", ""
    verdict = judge(claim, value)
    return STORED if claim.command and verdict == REPRODUCED else verdict, f"{value:.4f}"


def entry(tree: Tree, claim: Claim) -> Entry:
    """Judge one claim against the tables that finished runs on this machine wrote."""
    stamp = read_stamp(tree, claim.notebook) if claim.notebook else None
    inspected = claim.tier == "I"
    verdict, obtained = (INSPECTED, "") if inspected else _measure(tree, claim, stamp)
    table = tree.root / claim.table
    mode = "full" if claim.tier == "F" else stamp.mode if stamp else "quick"
    command = claim.command or f"make reproduce MODE={mode}"
    return Entry(
        claim=f"{claim.id}: {claim.claim}",
        tier=claim.tier,
        paper=claim.paper,
        expected="" if claim.expected is None else f"{claim.expected:g}",
        obtained=obtained,
        tolerance="" if claim.expected is None else f"{claim.tolerance:g}",
        verdict=verdict,
        notebook=claim.notebook,
        cell="" if inspected else writing_cell(tree, claim),
        artifact_sha256=sha256_of(table) if obtained else "",
        command="" if inspected else command,
        cost=f"{stamp.seconds:.0f} s" if obtained and stamp and not claim.command else claim.cost,
    )


def entries(tree: Tree = REPOSITORY) -> list[Entry]:
    """Judge every claim.

    Raises:
        WeconveneError: ``data/claims.csv`` is missing or malformed, or a selector matches more than one row.
    """
    return [entry(tree, claim) for claim in read_claims(tree.data / "claims.csv")]


def write(tree: Tree, rows: list[Entry]) -> Path:
    """Write ``results/certificate.csv``, one row per claim, and the page beside it; return the table's path."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [f.name for f in fields(Entry)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    path = tree.results / "certificate.csv"
    write_text(path, buffer.getvalue())
    write_text(path.with_suffix(".md"), page([asdict(row) for row in rows], summary(rows)))
    return path


def summary(rows: list[Entry]) -> str:
    """Return the verdicts counted in one phrase, such as ``certificate: 2 reproduced, 3 inspected only``."""
    counts = Counter(row.verdict.split(":")[0] for row in rows)
    return "certificate: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


def report(rows: list[Entry]) -> None:
    """Print the verdicts that need a reader's eye, then the counts."""
    for row in rows:
        name = row.claim.partition(":")[0]
        if row.verdict == MISSED:
            print(f"MISSED {name}: expected {row.expected} within {row.tolerance}, obtained {row.obtained}")
        elif row.obtained or row.verdict.startswith(NOT_RUN):
            print(f"{row.verdict} {name}" + (f": {row.obtained}" if row.obtained else ""))
    print(f"results/certificate.csv, {summary(rows)}")


def exit_code(rows: list[Entry]) -> int:
    """Return 1 when a claim was measured and missed, else 0."""
    return int(any(row.verdict == MISSED for row in rows))


def certify(tree: Tree = REPOSITORY) -> int:
    """Judge every claim, write ``results/certificate.csv``, print the verdicts, and return the process's exit code.

    Raises:
        WeconveneError: as ``entries``.
    """
    rows = entries(tree)
    write(tree, rows)
    report(rows)
    return exit_code(rows)
