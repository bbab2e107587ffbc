"""What each part of 3DM-WeConvene is worth, as figures: over training, comparison by comparison, and claim by claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.applications.study import interval
from lab.figures.style import (
    DARK,
    GREY,
    PALETTE,
    WIDTH,
    apart,
    new_figure,
    note,
    plain_log,
    styled,
    write_beside,
)
from lab.reproduce import certificate
from lab.studies.effects import verdict
from lab.studies.tasks import MATTERS, METRICS, PLAIN

BAND = "#DDDDDD"
ROW, FRAME = 0.34, 1.5  # inches: a line of a forest, and what is above and below all lines
HELPS, HURTS = PALETTE[0], PALETTE[1]
LIMIT = 6.0
"""Effects of claims beyond so many times what matters are cut off, marked by an arrow; their figures stand beside."""


def over_seeds(table: pd.DataFrame, column: str = "bd_rate_pct") -> pd.DataFrame:
    """Return mean, 95 % interval (Student's) and number of seeds by question, variant, reference and step.

    ``table`` holds rows of ``results/tables/effects.csv``.
    """
    rows = []
    for keys, own in table.dropna(subset=column).groupby(["question", "variant", "reference", "step"], sort=False):
        rows.append([*keys, own[column].mean(), *interval(own[column].to_numpy()), len(own)])
    columns = ["question", "variant", "reference", "step", "mean", "low", "high", "seeds"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[3:], float))


def last_steps(table: pd.DataFrame) -> pd.DataFrame:
    """Return of every comparison the rows at its last step."""
    keys = ["question", "variant", "reference"]
    return table[table.step == table.groupby(keys).step.transform("max")]


@styled
def effect_curves_figure(table: pd.DataFrame, title: str, matters: float, lines: Mapping[str, str]) -> Figure:
    """Draw effects over the steps of training: means over the seeds, with their 95 % bands.

    Parameters
    ----------
    table : rows of ``results/tables/effects.csv``.
    title : the message.
    matters : smallest effect that counts (%), shaded.
    lines : what a line is called, by its variant; all are held to the same reference.
    """
    means = over_seeds(table)
    figure, (axes,) = new_figure(title, (WIDTH, 4.2))
    axes.axhspan(-matters, matters, color=BAND, linewidth=0, zorder=0.5)
    axes.axhline(0, color=DARK, linewidth=1)
    ends: dict[str, tuple[float, str]] = {}
    for (variant, name), colour, mark in zip(lines.items(), PALETTE, "os^D", strict=False):
        own = means[means.variant == variant]
        axes.fill_between(own.step, own.low, own.high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(own.step, own["mean"], mark + "-", color=colour, label=name)
        ends[name] = (float(own["mean"].iloc[-1]) if len(own) else np.nan, colour)
    known = {name: end for name, end in ends.items() if np.isfinite(end[0])}
    gap = 0.06 * float(np.ptp(axes.get_ylim()))
    for (name, (_, colour)), height in zip(known.items(), apart([end for end, _ in known.values()], gap), strict=True):
        write_beside(axes, name, height, color=colour)
    plain_log(axes.xaxis, sorted(table.step.unique()))
    axes.set(xlabel="Steps of training (logarithmic)", ylabel="BD-rate (%), below zero: fewer bits")
    note(figure, f"band: 95 % over seeds; shaded: less than {matters:g} %, which does not matter")
    return figure


@styled
def effects_figure(table: pd.DataFrame, title: str, matters: float) -> Figure:
    """Draw every comparison at its last step, one line each, by question; the names read "variant | reference"."""
    means = over_seeds(last_steps(table))
    names = means.variant + "  |  " + means.reference
    spans = means[["low", "high"]].to_numpy()
    return _forest(
        names,
        means["mean"].to_numpy(),
        spans,
        matters,
        title,
        "BD-rate (%), below zero: fewer bits",
        _words(spans, matters, -1),
    )


@styled
def tasks_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw the differences of one task from its plain network; ``table`` holds rows of ``tasks.csv``."""
    rows = table[table.reference == PLAIN]
    task = rows.task.iloc[0]
    spans = rows[["low", "high"]].to_numpy()
    return _forest(
        rows.network,
        rows.difference.to_numpy(),
        spans,
        MATTERS[task],
        title,
        METRICS[task],
        _words(spans, MATTERS[task], +1),
    )


@styled
def answer_figure(evidence: pd.DataFrame, title: str) -> Figure:
    """Draw the evidence of every claim in multiples of the smallest effect that matters, to the right if it supports.

    ``evidence`` has the columns claim, figure (as text), value, low and high, in multiples; what is not known is nan.
    """
    spans = evidence[["low", "high"]].to_numpy()
    words = ["undecided" if np.isnan(low) else _bearing(low, high) for low, high in spans]
    label = "Effect, in multiples of what matters (right: as the paper says)"
    figure = _forest(
        evidence.claim, evidence.value.to_numpy(), spans.clip(-LIMIT, LIMIT), 1.0, title, label, words, LIMIT
    )
    for place, text in enumerate(evidence.figure):
        write_beside(figure.axes[0], text, place, fontsize=10)
    return figure


def _bearing(low: float, high: float) -> str:
    """The certificate's verdict of a claim, as the word of an effect; 1 is what matters."""
    found = certificate.bearing(certificate.Interval(low, low, high), "higher", 1.0)
    if found == certificate.REFUTED:
        return "hurts" if high <= -1 else "no effect that matters"
    return "helps" if found == certificate.SUPPORTED else found


def _words(spans: np.ndarray, matters: float, good: int) -> list[str]:
    """Verdicts of effects of which those in the direction ``good`` (+1 or -1) help."""
    return [
        verdict(*sorted((-good * low, -good * high)), matters) for low, high in spans
    ]  # a rule for what should fall


def _forest(
    names: pd.Series, values: np.ndarray, spans: np.ndarray, matters: float, title: str, label: str,
    words: Sequence[str], limit: float = np.inf,
) -> Figure:  # fmt: skip
    figure, (axes,) = new_figure(title, (WIDTH + 2.0, FRAME + ROW * len(names)))
    axes.axvspan(-matters, matters, color=BAND, linewidth=0, zorder=0.5)
    axes.axvline(0, color=DARK, linewidth=1)
    for place, (value, span, word) in enumerate(zip(values, spans, words, strict=True)):
        _line(axes, place, value, span, word, limit)
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(label)
    note(figure, "bars: 95 %; shaded: too small to matter; hollow: one training, no interval; grey: undecided")
    return figure


def _line(axes: Axes, place: int, value: float, span: np.ndarray, word: str, limit: float) -> None:
    """One effect, in the colour of its verdict."""
    colour = {"helps": HELPS, "hurts": HURTS, "undecided": GREY}.get(word, DARK)
    known = np.isfinite(span).all()
    if known:
        axes.plot(span, [place, place], color=colour, linewidth=3, solid_capstyle="butt")
    face = colour if known else "white"
    marker = "o" if abs(value) <= limit else ">" if value > 0 else "<"
    axes.plot(
        np.clip(value, -limit, limit),
        place,
        marker,
        color=colour,
        markersize=7,
        markerfacecolor=face,
        markeredgewidth=1.5,
    )
