"""The certificate: every claim of ``data/claims.csv`` with its value here and a verdict that is computed, never typed.

Tiers: R is reproduced by this run, F needs ``MODE=full`` or a command of its own, I is the paper's number, inspected
only. ``python -m lab.reproduce.certificate`` writes ``results/manifest.json``, ``results/certificate.csv`` (the table)
and ``results/certificate.md`` (the page).
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lab.reproduce.claims import Claim, NotRun, check_table, obtained_value, read_claims
from lab.reproduce.provenance import write_manifest
from lab.reproduce.run_records import REPOSITORY, RunRecord, Tree, read_record
from weconvene_core.atomic_files import sha256_of, write_text
from weconvene_core.errors import WeconveneError

REPRODUCED, MISSED, RECORDED = "reproduced", "missed", "recorded"
INSPECTED, NEEDS_FULL, NOT_RUN = "inspected only", "needs the full run", "not run"
STORED = "stored table agrees"
"""Of a table whose own command has run somewhere, not necessarily here."""
TIERS = {
    "R": "Reproduced by `make reproduce` (tier R)",
    "F": "Needs the full run or a command of its own (tier F)",
    "I": "The paper's numbers, inspected only (tier I)",
}
HEADS = ("claim", "paper", "expected", "obtained", "verdict", "made by", "artifact", "cost")
PREAMBLE = """\
Every verdict is computed from the tables of a finished run, never typed: a missed expectation ends `make reproduce`
with an error. `expected` and its tolerance stand in `data/claims.csv`. `paper` is what the authors state; where a value
of ours stands beside it, the two are different quantities unless the claim says otherwise. The same rows for machines:
`certificate.csv`.
"""


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
    return next((i for name in names for i, source in code if name in source), "")


def _measure(tree: Tree, claim: Claim, record: RunRecord | None) -> tuple[str, str]:
    """Return (verdict, obtained) of a claim that rests on a table."""
    if claim.tier == "F" and not claim.command and (record is None or record.mode != "full"):
        return NEEDS_FULL, ""
    try:
        value = obtained_value(check_table(tree, claim, record), claim)
    except NotRun as why:
        return f"{NOT_RUN}: {why}", ""
    verdict = judge(claim, value)
    return STORED if claim.command and verdict == REPRODUCED else verdict, f"{value:.4f}"


def entry(tree: Tree, claim: Claim) -> Entry:
    """Judge one claim against the tables that finished runs on this machine wrote."""
    record = read_record(tree, claim.notebook) if claim.notebook else None
    inspected = claim.tier == "I"
    verdict, obtained = (INSPECTED, "") if inspected else _measure(tree, claim, record)
    mode = "full" if claim.tier == "F" else record.mode if record else "quick"
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
        artifact_sha256=sha256_of(tree.root / claim.table) if obtained else "",
        command="" if inspected else command,
        cost=f"{record.seconds:.0f} s" if obtained and record and not claim.command else claim.cost,
    )


def entries(tree: Tree = REPOSITORY) -> list[Entry]:
    """Judge every claim.

    Raises
    ------
    WeconveneError
        If ``data/claims.csv`` is missing or malformed, or a selector matches more than one row.
    """
    return [entry(tree, claim) for claim in read_claims(tree.data / "claims.csv")]


def summary(rows: Sequence[Entry]) -> str:
    """Return the verdicts counted in one phrase, such as ``certificate: 2 reproduced, 3 inspected only``."""
    counts = Counter(row.verdict.split(":")[0] for row in rows)
    return "certificate: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


def page(rows: Sequence[Entry]) -> str:
    """Return the certificate in Markdown, one table per tier."""
    parts = ["# Certificate\n", f"C{summary(rows)[1:]}.\n", PREAMBLE]
    for tier, title in TIERS.items():
        lines = [_line(_cells(row)) for row in rows if row.tier == tier]
        if lines:
            parts.append("\n".join([f"## {title}\n", _line(HEADS), _line(["---"] * len(HEADS)), *lines]) + "\n")
    return "\n".join(parts)


def _cells(row: Entry) -> list[str]:
    name, _, text = row.claim.partition(": ")
    expected = f"{row.expected} ± {row.tolerance}" if row.expected else ""
    place = f"`{row.command}`" if row.command else ""
    place += f"; {row.notebook}" if row.notebook else ""
    place += f", cell `{row.cell}`" if row.cell else ""
    verdict = f"**{row.verdict}**" if row.verdict == MISSED else row.verdict
    artifact = f"`{row.artifact_sha256[:12]}`" if row.artifact_sha256 else ""
    return [f"`{name}` {text}", row.paper, expected, row.obtained, verdict, place, artifact, row.cost]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def certify(tree: Tree = REPOSITORY) -> int:
    """Judge every claim, write the table and the page, and print the verdicts that need a reader's eye.

    Returns
    -------
    int
        1 when a claim was measured and missed, else 0: the process's exit code.

    Raises
    ------
    WeconveneError
        As :func:`entries`.
    """
    rows = entries(tree)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [f.name for f in fields(Entry)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_text(tree.results / "certificate.csv", buffer.getvalue())
    write_text(tree.results / "certificate.md", page(rows))
    for row in rows:
        name = row.claim.partition(":")[0]
        if row.verdict == MISSED:
            print(f"MISSED {name}: expected {row.expected} within {row.tolerance}, obtained {row.obtained}")
        elif row.obtained or row.verdict.startswith(NOT_RUN):
            print(f"{row.verdict} {name}" + (f": {row.obtained}" if row.obtained else ""))
    print(f"results/certificate.csv, {summary(rows)}")
    return int(any(row.verdict == MISSED for row in rows))


def main() -> int:
    """Write the manifest and the certificate; missed claims are for the rule after this one to refuse."""
    try:
        write_manifest()
        certify()
    except WeconveneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
