"""The ledger of design choices: every choice, who made it, which switch turns it, and what it was measured to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import pandas as pd

from weconvene_core.errors import WeconveneError
from weconvene_core.model.config import ModelConfig
from weconvene_core.paths import DATA
from weconvene_core.training.config import Stage, TrainConfig

LEDGER = DATA / "fidelity.csv"
COLUMNS = ["choice", "status", "source", "switch", "default", "alternatives", "measured_effect"]
STATUSES = {
    "stated": "in the paper",
    "inferred": "from the predecessor's description or the authors' other work",
    "ours": "our own choice",
}
RECORDS = {"Phase": Stage, "TrainConfig": TrainConfig, "ModelConfig": ModelConfig}
"""Where a switch ``Record.field`` lives; a switch without record is a field of ``ModelConfig``."""


def read_ledger() -> pd.DataFrame:
    """Return ``data/fidelity.csv``, one row per design choice, with :data:`COLUMNS`.

    Raises
    ------
    WeconveneError
        If the file is missing or unreadable, a column is missing, or a row has an unknown status or switch.
    """
    try:
        ledger = pd.read_csv(LEDGER, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise WeconveneError(f"data/{LEDGER.name} cannot be read ({error}); restore it, as with git.") from error
    if list(ledger) != COLUMNS:
        raise WeconveneError(f"data/{LEDGER.name} has columns {', '.join(ledger)}; they must be {', '.join(COLUMNS)}.")
    for row in ledger.itertuples():
        if row.status not in STATUSES:
            raise WeconveneError(f"{row.choice!r} has status={row.status!r}; use one of {', '.join(STATUSES)}.")
        for switch in switches_of(row.switch):
            record, _, name = switch.partition(".")
            if record not in RECORDS or name not in {field.name for field in fields(RECORDS[record])}:
                raise WeconveneError(
                    f"{row.choice!r} names the switch {switch}, which does not exist; name a field or '-'."
                )
    return ledger


def switches_of(cell: str) -> list[str]:
    """Return the switches of one cell as ``Record.field``; ``-`` is none."""
    names = [] if cell == "-" else cell.split(";")
    return [name if "." in name else f"ModelConfig.{name}" for name in names]


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
