"""The claims of ``data/claims.csv`` and the table rows that speak to them."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from lab.reproduce.run_records import RunRecord, Tree, experiment_of, finished_runs, writers
from weconvene_core.atomic_files import sha256_of, write_text
from weconvene_core.errors import WeconveneError


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


def _selector(text: str) -> dict[str, str]:
    return {key.strip(): value.strip() for key, _, value in (part.partition("=") for part in text.split(";") if part)}


def _claim(row: dict[str, str]) -> Claim:
    if row["tier"] not in ("R", "F", "I"):
        raise ValueError(f"tier '{row['tier']}' is none of R, F, I")
    typed = {
        "expected": float(row["expected"]) if row["expected"] else None,
        "tolerance": float(row["tolerance"] or 0),
        "select": _selector(row["select"]),
        "command": row.get("command") or "",
        "release": row.get("release") == "yes",
    }
    return Claim(**(row | typed))


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


def accept(tree: Tree) -> list[str]:
    """Expect of the release's own claims what the tables hold now; return what changed, a phrase per claim.

    A claim whose table or row is not there keeps its expectation.

    Raises
    ------
    WeconveneError
        As :func:`read_claims`, or if a selector matches more than one row.
    """
    path, changes = tree.data / "claims.csv", []
    claims = read_claims(path)
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for claim, row in zip(claims, rows, strict=True):
        if claim.release and (text := _value_text(tree, claim)) not in ("", row["expected"]):
            changes.append(f"{claim.id}: {row['expected'] or 'nothing'} -> {text}")
            row["expected"] = text
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())
    return changes


def _value_text(tree: Tree, claim: Claim) -> str:
    """Four digits of what the claim's table holds, an empty string where it holds nothing."""
    try:
        return f"{obtained_value(tree.root / claim.table, claim):.4g}"
    except (NotRun, OSError):
        return ""


def check_table(tree: Tree, claim: Claim, record: RunRecord | None) -> Path:
    """Return the claim's table once it is known that a finished run on this machine wrote it as it stands.

    Raises
    ------
    NotRun
        If the notebook has not finished here, or the table is missing, not its work, or changed since. A claim with a
        command of its own is content with a table that is there, unless a notebook wrote it here.
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
    wanted = ", ".join(f"{key} {value}" for key, value in claim.select.items())
    if not rows:
        raise NotRun(f"{claim.table} has no row with {wanted}")
    if len(rows) > 1:
        raise WeconveneError(f"claim {claim.id} picks {len(rows)} rows of {claim.table}; narrow it in data/claims.csv")
    try:
        return float(rows[0][claim.column])
    except (KeyError, TypeError, ValueError):
        raise NotRun(f"{claim.table} has no number under {claim.column}") from None
