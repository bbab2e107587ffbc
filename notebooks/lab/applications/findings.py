"""What the four studies found, in one line each: the README's table of them."""

from __future__ import annotations

import pandas as pd

from lab.applications.pairs import EQUAL_MACS, EQUAL_PARAMETERS
from lab.applications.study import TABLE
from weconvene_core.errors import WeconveneError

FIGURES = {
    "denoising": "PSNR at sigma 25 (dB)",
    "classification": "accuracy (%)",
    "segmentation": "mean IoU (%)",
    "video": "bits saved over intra (%)",
}
"""The figure of each study that stands for it; higher is better in all of them."""
MODE = "full"


def findings(table: pd.DataFrame | None = None) -> str:
    """Return a Markdown table: each study's figure, plain and 3DM-WeConv, by full runs, at equal parameters and MACs.

    Raises:
        WeconveneError: a study has no full run in the table.
    """
    table = pd.read_csv(TABLE) if table is None else table
    lines = [
        "| study | figure (seeds) | plain | 3DM-WeConv, equal parameters | 3DM-WeConv, equal MACs | found |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_line(table, task, figure) for task, figure in FIGURES.items())])


def _line(table: pd.DataFrame, task: str, figure: str) -> str:
    rows = table[(table.task == task) & (table["mode"] == MODE)].set_index("metric")
    try:
        pair = [rows.loc[f"{figure}, {name.rpartition(', ')[2]}"] for name in (EQUAL_PARAMETERS, EQUAL_MACS)]
    except KeyError as error:
        raise WeconveneError(f"{TABLE.name} has no full run of {task}: make reproduce MODE=full.") from error
    cells = [f"{row.difference:+.2f} ({row.ci_low:+.2f} to {row.ci_high:+.2f})" for row in pair]
    verdicts = "; ".join(dict.fromkeys(_verdict(row) for row in pair))  # once where both say the same
    return f"| {task} | {figure} ({pair[0].seeds}) | {pair[0].plain:.2f} | {' | '.join(cells)} | {verdicts} |"


def _verdict(row: pd.Series) -> str:
    """Say which is better, if the interval lets anything be said."""
    if row.ci_low > 0:
        return "better"
    return "worse" if row.ci_high < 0 else "no difference beyond the interval"
