"""The certificate: every claim of ``data/claims.csv`` with its value here and a verdict that is computed, never typed.

Tiers: R is reproduced by this run, F needs ``MODE=full`` or a command of its own, I is the paper's number, inspected
only. ``python -m lab.reproduce.certificate`` writes ``certificate.csv``, ``certificate.md`` and ``manifest.json``.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd

from lab.reproduce.run_records import (
    REPOSITORY,
    RunRecord,
    Tree,
    experiment_of,
    finished_runs,
    read_record,
    write_manifest,
    writers,
)
from weconvene_core.atomic_files import sha256_of, write_text
from weconvene_core.errors import WeconveneError

REPRODUCED, MISSED, RECORDED = "reproduced", "missed", "recorded"
INSPECTED, NEEDS_FULL, NOT_RUN = "inspected only", "needs the full run", "not run"
STORED = "stored table agrees"  # of a table whose own command has run somewhere, not necessarily here
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


class NotRun(Exception):
    """A claim has no value here; the message says why, in a phrase that follows ``not run:``."""


@dataclass(frozen=True)
class Claim:
    """One claim. Values are in the claim's own unit (BD-rates in percent); ``expected`` is None while nobody knows it.

    ``table`` is a path below the root; ``select`` names the one row of it, as column to text; ``column`` holds the
    value. ``cost`` says what a run takes that has not been made here. ``command`` makes the table where no notebook
    does: a long experiment that notebooks only show. ``release`` marks what depends on the shipped weights: ``make
    readme`` expects of later runs what the tables hold then.
    """

    id: str
    claim: str
    tier: str
    paper: str
    expected: float | None
    tolerance: float
    notebook: str
    table: str
    select: dict[str, str]
    column: str
    cost: str
    command: str = ""
    release: bool = False


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


def read_claims(path: Path) -> list[Claim]:
    """Read the claims in the order of the file.

    Raises
    ------
    WeconveneError
        If the file is missing, or a row has a missing or unknown column, tier or number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as exc:
        raise WeconveneError(f"data/{path.name} cannot be read ({exc.strerror}); restore the file") from exc
    claims = []
    for number, row in enumerate(rows, start=2):
        try:
            claims.append(_claim(row))
        except (KeyError, TypeError, ValueError) as exc:
            raise WeconveneError(f"line {number} of data/{path.name} is not a claim: {exc}; correct that line") from exc
    return claims


def _claim(row: dict[str, str]) -> Claim:
    if row["tier"] not in TIERS:
        raise ValueError(f"tier '{row['tier']}' is none of {', '.join(TIERS)}")
    pairs = (part.partition("=") for part in row["select"].split(";") if part)
    typed = {
        "expected": float(row["expected"]) if row["expected"] else None,
        "tolerance": float(row["tolerance"] or 0),
        "select": {key.strip(): value.strip() for key, _, value in pairs},
        "command": row.get("command") or "",
        "release": row.get("release") == "yes",
    }
    return Claim(**(row | typed))


def obtained_value(path: Path, claim: Claim) -> float:
    """Return the number in the claim's row and column.

    Raises
    ------
    NotRun
        If there is no such row, or no number there.
    WeconveneError
        If more than one row matches, so that the claim is not well defined.
    """
    with path.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if all(row.get(k) == v for k, v in claim.select.items())]
    if not rows:
        wanted = ", ".join(f"{key} {value}" for key, value in claim.select.items())
        raise NotRun(f"{claim.table} has no row with {wanted}")
    if len(rows) > 1:
        raise WeconveneError(f"claim {claim.id} picks {len(rows)} rows of {claim.table}; narrow it in data/claims.csv")
    try:
        return float(rows[0][claim.column])
    except (KeyError, TypeError, ValueError):
        raise NotRun(f"{claim.table} has no number under {claim.column}") from None


def accept_claims(tree: Tree = REPOSITORY) -> list[str]:
    """Expect of the release's own claims what the tables hold now; return what changed, a phrase per claim.

    A claim whose table or row is not there keeps its expectation.

    Raises
    ------
    WeconveneError
        As :func:`read_claims`, or if a selector matches more than one row.
    """
    path, changes = tree.data / "claims.csv", []
    claims, table = read_claims(path), pd.read_csv(path, dtype=str, keep_default_na=False)
    for place, claim in enumerate(claims):
        try:
            text = f"{obtained_value(tree.root / claim.table, claim):.4g}" if claim.release else ""
        except (NotRun, OSError):
            continue
        before = table.expected[place]
        if text not in ("", before):
            changes.append(f"{claim.id}: {before or 'nothing'} -> {text}")
            table.loc[place, "expected"] = text
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
    return changes


def _trusted_table(tree: Tree, claim: Claim, record: RunRecord | None) -> Path:
    """Return the claim's table once it is known that a finished run on this machine wrote it as it stands.

    A claim with a command of its own is content with a table that is there, unless a notebook wrote it here. Whatever
    else is missing is said by :class:`NotRun`.
    """
    path = tree.root / claim.table
    if record is None and not claim.command:
        raise NotRun(f"{claim.notebook} has not finished on this machine")
    if not path.is_file():
        raise NotRun(f"{claim.table} is missing")
    if not claim.command and claim.table not in record.artifacts:
        raise NotRun(f"{claim.notebook} did not write {claim.table}")
    # several notebooks may share a table: the last one that wrote it here says how it has to look
    owner = writers(finished_runs(tree)).get(claim.table) if path.name not in experiment_of() else None
    if owner and sha256_of(path) != owner.artifacts[claim.table]:
        raise NotRun(f"{claim.table} changed after {owner.notebook} wrote it")
    return path


def judge(claim: Claim, obtained: float) -> str:
    """Return the verdict on a value that was obtained: ``recorded`` while nothing is expected of it yet."""
    if claim.expected is None:
        return RECORDED
    close = math.isfinite(obtained) and abs(obtained - claim.expected) <= claim.tolerance
    return REPRODUCED if close else MISSED


def _measure(tree: Tree, claim: Claim, record: RunRecord | None) -> tuple[str, str]:
    """Return (verdict, obtained) of a claim."""
    if claim.tier == "I":
        return INSPECTED, ""
    if claim.tier == "F" and not claim.command and (record is None or record.mode != "full"):
        return NEEDS_FULL, ""
    try:
        value = obtained_value(_trusted_table(tree, claim, record), claim)
    except NotRun as why:
        return f"{NOT_RUN}: {why}", ""
    verdict = judge(claim, value)
    return STORED if claim.command and verdict == REPRODUCED else verdict, f"{value:.4f}"


def _writing_cell(tree: Tree, claim: Claim) -> str:
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


def _entry(tree: Tree, claim: Claim) -> Entry:
    """Judge one claim against the tables that finished runs on this machine wrote."""
    record = read_record(tree, claim.notebook) if claim.notebook else None
    verdict, obtained = _measure(tree, claim, record)
    mode = "full" if claim.tier == "F" else record.mode if record else "quick"
    return Entry(
        claim=f"{claim.id}: {claim.claim}",
        tier=claim.tier,
        paper=claim.paper,
        expected="" if claim.expected is None else f"{claim.expected:g}",
        obtained=obtained,
        tolerance="" if claim.expected is None else f"{claim.tolerance:g}",
        verdict=verdict,
        notebook=claim.notebook,
        cell="" if verdict == INSPECTED else _writing_cell(tree, claim),
        artifact_sha256=sha256_of(tree.root / claim.table) if obtained else "",
        command="" if verdict == INSPECTED else claim.command or f"make reproduce MODE={mode}",
        cost=f"{record.seconds:.0f} s" if obtained and record and not claim.command else claim.cost,
    )


def entries(tree: Tree = REPOSITORY) -> list[Entry]:
    """Judge every claim.

    Raises
    ------
    WeconveneError
        If ``data/claims.csv`` is missing or malformed, or a selector matches more than one row.
    """
    return [_entry(tree, claim) for claim in read_claims(tree.data / "claims.csv")]


def _summary(rows: Sequence[Entry]) -> str:
    counts = Counter(row.verdict.split(":")[0] for row in rows)
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


def page(rows: Sequence[Entry]) -> str:
    """Return the certificate in Markdown, one table per tier."""
    parts = ["# Certificate\n", f"Certificate: {_summary(rows)}.\n", PREAMBLE]
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
    table = pd.DataFrame([asdict(row) for row in rows], columns=[field.name for field in fields(Entry)])
    write_text(tree.results / "certificate.csv", table.to_csv(index=False, lineterminator="\n"))
    write_text(tree.results / "certificate.md", page(rows))
    for row in rows:
        name = row.claim.partition(":")[0]
        if row.verdict == MISSED:
            print(f"MISSED {name}: expected {row.expected} within {row.tolerance}, obtained {row.obtained}")
        elif row.obtained or row.verdict.startswith(NOT_RUN):
            print(f"{row.verdict} {name}" + (f": {row.obtained}" if row.obtained else ""))
    print(f"results/certificate.csv, certificate: {_summary(rows)}")
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
