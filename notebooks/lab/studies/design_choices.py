"""The ledger of design choices: every choice, who made it, which switch turns it, and what it was measured to do."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lab.paths import DATA

LEDGER = DATA / "fidelity.csv"
COLUMNS = ["choice", "status", "source", "switch", "default", "alternatives", "measured_effect"]
STATUSES = {
    "stated": "in the paper",
    "inferred": "from the predecessor's description or the authors' other work",
    "ours": "our own choice",
}


def read_ledger() -> pd.DataFrame:
    """Return ``data/fidelity.csv``, one row per design choice, with :data:`COLUMNS`; tests hold it to the switches."""
    return pd.read_csv(LEDGER, keep_default_na=False)[COLUMNS]


def ledger_markdown(ledger: pd.DataFrame, columns: Sequence[str] = ("choice", "status", "switch", "default")) -> str:
    """Return the given columns of the ledger as a Markdown table; switches are set in code type."""
    lines = [f"| {' | '.join(column.replace('_', ' ') for column in columns)} |", "|---" * len(columns) + "|"]
    for row in ledger[list(columns)].to_dict("records"):
        lines.append(f"| {' | '.join(_cell(column, row[column]) for column in columns)} |")
    return "\n".join(lines)


def _cell(column: str, text: str) -> str:
    if column == "switch" and text != "-":
        return ", ".join(f"`{name}`" for name in text.split(";"))
    if column == "measured_effect" and text:
        return f"[{text.rsplit('/', 1)[-1]}]({text})"
    return text.replace("|", "\\|")


def ledger_summary(ledger: pd.DataFrame) -> str:
    """Return one sentence: how many choices there are of each status, and how many have a measurement."""
    counts = ledger.status.value_counts()
    parts = [f"{counts.get(status, 0)} {status} ({meaning})" for status, meaning in STATUSES.items()]
    measured = int((ledger.measured_effect != "").sum())
    return f"{len(ledger)} design choices: {', '.join(parts)}; {measured} of them with a measurement."
