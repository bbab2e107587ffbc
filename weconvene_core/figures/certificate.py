"""How close the obtained values come to what is expected of them, as a figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from weconvene_core.errors import WeconveneError
from weconvene_core.figures.style import PALETTE, style
from weconvene_core.reproduce.certificate import Entry

EDGE = 1.5
"""Misses beyond this many tolerances are drawn here; their numbers are written out."""


def margin_figure(rows: Sequence[Entry]) -> Figure:
    """Draw every claim with an expectation: how many tolerances the obtained value lies off, misses in another colour.

    Raises:
        WeconveneError: no claim has both an expected and an obtained value.
    """
    judged = [row for row in rows if row.expected and row.obtained and float(row.tolerance) > 0]
    if not judged:
        raise WeconveneError("no claim has an expected and an obtained value yet; run `make reproduce` first.")
    off = [(float(row.obtained) - float(row.expected)) / float(row.tolerance) for row in judged]
    with style():
        figure = Figure(figsize=(9.0, 1.4 + 0.3 * len(judged)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvspan(-1, 1, color=PALETTE[0], alpha=0.08)
        axes.axvline(0, color="#333333", linewidth=1)
        colours = [PALETTE[0] if abs(distance) <= 1 else PALETTE[1] for distance in off]
        axes.scatter(np.clip(off, -EDGE, EDGE), range(len(judged)), c=colours, s=40, zorder=3)
        for place, row in enumerate(judged):
            axes.annotate(row.obtained, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=10)
        axes.set_yticks(range(len(judged)), [row.claim.partition(":")[0] for row in judged])
        axes.set_ylim(len(judged) - 0.4, -0.6)
        axes.set_xlim(-1.1 * EDGE, 1.1 * EDGE)
        axes.set_xlabel("Obtained minus expected, in tolerances\n(shaded: reproduced; right: obtained)")
        axes.set_title("Every claim that a number is expected of")
    return figure
