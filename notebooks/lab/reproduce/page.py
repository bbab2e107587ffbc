"""The certificate as a page to read: ``results/certificate.md``."""

from __future__ import annotations

from collections.abc import Sequence

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

Row = dict[str, str]


def page(rows: Sequence[Row], summary: str) -> str:
    """Return the page in Markdown, one table per tier.

    Args:
        rows: the rows of ``results/certificate.csv``.
        summary: the verdicts, counted.
    """
    parts = ["# Certificate\n", f"{summary[0].upper()}{summary[1:]}.\n", PREAMBLE]
    for tier, title in TIERS.items():
        chosen = [row for row in rows if row["tier"] == tier]
        if chosen:
            lines = [_line(HEADS), _line(["---"] * len(HEADS)), *(_line(_cells(row)) for row in chosen)]
            parts.append(f"## {title}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _cells(row: Row) -> list[str]:
    name, _, text = row["claim"].partition(": ")
    expected = f"{row['expected']} ± {row['tolerance']}" if row["expected"] else ""
    place = f"`{row['command']}`" if row["command"] else ""
    place += f"; {row['notebook']}" if row["notebook"] else ""
    place += f", cell `{row['cell']}`" if row["cell"] else ""
    verdict = f"**{row['verdict']}**" if row["verdict"] == "missed" else row["verdict"]
    artifact = f"`{row['artifact_sha256'][:12]}`" if row["artifact_sha256"] else ""
    return [f"`{name}` {text}", row["paper"], expected, row["obtained"], verdict, place, artifact, row["cost"]]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
