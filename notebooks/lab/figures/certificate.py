"""How close the obtained values come to what is expected of them, as a figure."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lab.figures.style import BLUE, DARK, VERMILION, new_figure, styled, write_beside
from lab.reproduce.certificate import Entry
from weconvene_core.errors import WeconveneError

EDGE = 1.5
"""Misses beyond this many tolerances are drawn here; their numbers are written out."""
UNIT = re.compile(r", (%|dB|points|bits per pixel|kMAC/px|millions|ratio|s\b)")
"""Of a claim's text, which names the unit of its value after a comma."""
SHORT = {"bits per pixel": "bpp", "millions": "M", "ratio": "x"}
COLUMNS = 2


@styled
def margin_figure(rows: Sequence[Entry]) -> Figure:
    """Draw every claim with an expectation: how many tolerances the obtained value lies off, misses in another colour.

    Raises
    ------
    WeconveneError
        If no claim has both an expected and an obtained value.
    """
    judged = [row for row in rows if row.expected and row.obtained and float(row.tolerance) > 0]
    if not judged:
        raise WeconveneError("no claim has an expected and an obtained value yet; run `make reproduce` first.")
    height = -(-len(judged) // COLUMNS)
    figure, cells = new_figure("Obtained against expected values", (12.0, 1.6 + 0.27 * height), columns=COLUMNS)
    for column, axes in enumerate(cells):
        shown = judged[column * height : (column + 1) * height]
        off = [(float(row.obtained) - float(row.expected)) / float(row.tolerance) for row in shown]
        axes.axvspan(-1, 1, color=BLUE, alpha=0.08)
        axes.axvline(0, color=DARK, linewidth=1)
        colours = [BLUE if abs(distance) <= 1 else VERMILION for distance in off]
        axes.scatter(np.clip(off, -EDGE, EDGE), range(len(shown)), c=colours, s=40, zorder=3)
        for place, row in enumerate(shown):
            write_beside(axes, _with_unit(row), place, fontsize=11)
        axes.set_yticks(
            range(len(shown)), [row.claim.partition(":")[0].replace("-", " ") for row in shown], fontsize=11
        )
        axes.set(ylim=(height - 0.4, -0.6), xlim=(-1.1 * EDGE, 1.1 * EDGE))
    figure.supxlabel("Obtained minus expected, in tolerances (shaded: within; right: the value obtained)", fontsize=12)
    return figure


def _with_unit(row: Entry) -> str:
    """Return the value obtained to three digits, with the unit that the claim names."""
    value = f"{float(row.obtained):#.3g}".rstrip(".")
    units = UNIT.findall(row.claim)
    return " ".join([value, *(SHORT.get(unit, unit) for unit in units[-1:])])
