"""The answer in one figure: rate beside VTM's over quality, and over what decoding costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from lab.figures.style import (
    BLUE,
    DARK,
    GREY,
    SHADE,
    apart,
    codec_looks,
    new_figure,
    plain_log,
    shown_name,
    styled,
    write,
)
from lab.rd.bd_rate import Range, common_range, log_rate
from lab.rd.curves import Curve

RATIOS = (0.8, 0.9, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
SHORT = {"AV1 4:4:4 (libaom, speed 2)": "AV1", "HEVC 4:4:4 (x265)": "HEVC", "VVC 4:2:0 (vvenc)": "VVC 4:2:0",
         "AVIF speed 6": "AVIF (speed 6)"}  # fmt: skip
"""Names with room in a panel; the tables say the settings."""
NAMES = "#666666"
LABEL = 10.5
"""Points of a name's letters: still readable when the figure is shown at 900 pixels."""


@styled
def overview_figure(
    anchor: Curve, live: Sequence[Curve], learned: Sequence[Curve], peers: pd.DataFrame, ours: str, within: Range
) -> Figure:
    """Draw the rate of every codec over the anchor's at equal PSNR, and BD-rates over the cost of decoding.

    Parameters
    ----------
    live, learned
        Curves by PSNR: measured here, in the colours of their codecs, and published ones of learned codecs, in grey.
    peers
        As :func:`lab.complexity.peers.peers_table` returns it; rows without a cost are not drawn.
    ours
        Name that ours begin with.
    within
        Range of quality in dB that is shaded: where the authors' own points lie.
    """
    figure, (left, right) = new_figure("", (11.0, 5.3), columns=2, width_ratios=(1.25, 1.0))
    draw_ratios(left, anchor, live, learned, ours)
    left.axvspan(*within, color=SHADE, zorder=0)
    low, high = within
    text = f"authors' own points:\n{low:.2f} to {high:.2f} dB"
    write(left, text, (low, 0.0), (4, 16), xycoords=("data", "axes fraction"), color=DARK, fontsize=9)
    _costs(right, peers.dropna(subset=["bd_rate_pct_all", "kmac_px_decode"]), ours)
    left.set_title(f"Rate at equal PSNR, {anchor.codec} = 1", fontsize=13)
    right.set_title("Rate over the cost of decoding", fontsize=13)
    return figure


def draw_ratios(
    axes: Axes, anchor: Curve, live: Sequence[Curve], learned: Sequence[Curve], ours: str, end: float | None = None
) -> None:
    """Draw rates over the anchor's at equal quality; the names stand right of the axes, as high as the lines end.

    ``live`` curves have the colours of their codecs, ``learned`` ones are grey. The lines stop at ``end`` dB.
    """
    looks, ends = codec_looks([curve.codec for curve in live]), []
    dashes = iter(((0, (5, 2)), (0, (1.2, 1.4)), (0, (6, 1.6, 1.4, 1.6)), (0, (10, 2))))
    axes.axhline(1.0, color=DARK, linewidth=1.2)
    for curve in (*live, *learned):
        low, high = common_range([anchor, curve])
        quality = np.linspace(low, min(high, end or high), 300)
        ratio = 10 ** (log_rate(curve)(quality) - log_rate(anchor)(quality))
        colour, dash = looks.get(curve.codec, (GREY, None))
        main = curve.codec.startswith(ours)
        axes.plot(quality, ratio, color=colour, linestyle=dash or next(dashes), linewidth=3.2 if main else 1.7,
                  zorder=3 if main else 2)  # fmt: skip
        ends.append((quality[-1], ratio[-1], colour if curve.codec in looks else NAMES, curve.codec, main))
    plain_log(axes.yaxis, RATIOS)
    low, high = axes.get_ylim()
    heights = 10 ** apart([np.log10(end[1]) for end in ends], 0.053 * np.log10(high / low))
    right = axes.get_xlim()[1]
    for (x, y, colour, codec, main), height in zip(ends, heights, strict=True):
        axes.plot([x, right], [y, height], color=colour, linewidth=0.6, clip_on=False)
        name = SHORT.get(codec, shown_name(codec))
        weight = "bold" if main else "normal"
        write(
            axes, name, (right, height), (4, 0), color=colour, fontsize=LABEL, fontweight=weight, annotation_clip=False
        )
    axes.set(xlabel="PSNR on Kodak (dB)", ylabel="Rate over VTM's (logarithmic)", xlim=(None, right))


def _costs(axes: Axes, peers: pd.DataFrame, ours: str) -> None:
    """Draw each codec as a dot, and a line to its widest network where it has several."""
    axes.axhline(0.0, color=DARK, linewidth=1.2)
    write(axes, "VTM-9.1 (K-A)", (1.0, 0.0), (0, 8), xycoords=("axes fraction", "data"), ha="right", fontsize=9)
    for row in peers.itertuples():
        main = row.codec.startswith(ours)
        colour = BLUE if main else GREY
        last = row.kmac_px_decode_widest if np.isfinite(row.kmac_px_decode_widest) else row.kmac_px_decode
        axes.plot([row.kmac_px_decode, last], 2 * [row.bd_rate_pct_all], "o-", color=colour,
                  markersize=10 if main else 8, linewidth=1.7)  # fmt: skip
        look = {"color": colour if main else NAMES, "fontsize": LABEL, "fontweight": "bold" if main else "normal"}
        place = (np.sqrt(row.kmac_px_decode * last), row.bd_rate_pct_all)
        write(axes, f"{shown_name(row.codec)} {row.bd_rate_pct_all:+.1f} %", place, (0, 13), ha="center", **look)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator((20, 50, 100, 200, 500, 1000)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(x=0.45, y=0.16)
    axes.set(xlabel="Decoder, kMAC per pixel (logarithmic);\nline: to the network of its highest rate",
             ylabel="BD-rate against VTM-9.1 (%)")  # fmt: skip
