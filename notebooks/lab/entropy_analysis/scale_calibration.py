"""Is the conditional distribution well calibrated? Coded symbols against the scales that were predicted for them.

Residuals are counted by their coding table. From the counts follows what the same symbols would cost with better
tables, and by which constant factor the network's scales are off.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from lab.entropy_analysis.slice_bits import Call, calls
from weconvene_core.entropy import LIKELIHOODS
from weconvene_core.entropy.distributions import Likelihood, scale_table
from weconvene_core.layers.wavelet_shortcut import COLOURS
from weconvene_core.model.weconvene import WeConvene

FACTORS = tuple(2 ** (k / 32) for k in range(-32, 33))
PRIOR = 64.0  # symbols that the Laplacian is worth beside other pictures' counts: rare symbols keep a share
COUNTS = ["slice", "index", "symbol", "count"]


def symbol_counts(coded: Sequence[Call]) -> pd.DataFrame:
    """Count the residuals of one picture by slice, table index and value; index 0 stands for "certainly zero"."""
    rows = []
    for call in coded:
        pairs = torch.stack([call.indexes.flatten(), call.residual.flatten().long()])
        found, counts = torch.unique(pairs, dim=1, return_counts=True)
        rows += [(call.name, *row) for row in zip(*found.tolist(), counts.tolist(), strict=True)]
    return pd.DataFrame(rows, columns=COUNTS)


def chroma_bits(coded: Sequence[Call], likelihood: Likelihood) -> pd.DataFrame:
    """Return by slice the bits of one picture's chroma, as coded and where the luma beside it had been known.

    Without ``luma_first`` all colours of a position are coded at once, and chroma never sees the luma of its own slice.
    Here each chroma component is predicted from the decoded residual of the luma in the same band and position, by one
    slope per call where that helps: a bound from below of what a network could make of it. Colours alternate from
    channel to channel.
    """
    rows = []
    for call in coded:
        tensors = call.indexes, call.scale, call.target - call.mean, call.residual
        parts = (t[0].unflatten(0, (-1, COLOURS)).transpose(0, 1) for t in tensors)
        indexes, scale, offset, residual = parts  # (3, bands, h, w)
        for colour in range(1, COLOURS):
            known, left = indexes[colour] > 0, offset[colour]
            slope = (residual[0] * left / scale[colour] ** 2).sum() / (residual[0] / scale[colour]).square().sum()
            predicted = left - slope.nan_to_num() * residual[0]
            chances = (likelihood(t.round(), scale[colour])[known] for t in (left, predicted))
            spent, less = (-chance.double().log2().sum().item() for chance in chances)
            rows.append((call.name, spent, min(spent, less)))
    return pd.DataFrame(rows, columns=["slice", "chroma_bits", "luma_known_bits"])


def calibration_table(model: WeConvene, pictures: Sequence[np.ndarray], qualities: Sequence[float]) -> pd.DataFrame:
    """Return :func:`table_costs` of pictures (H, W, 3) uint8, and what luma would tell of chroma.

    Two more columns: ``chroma_bpp``, and the percentage of it that :func:`chroma_bits` would save.
    """
    likelihood, counts, chroma = LIKELIHOODS[model.config.distribution], [], []
    for quality in qualities:
        for number, picture in enumerate(pictures):
            coded = calls(model, picture, quality)
            counts.append(symbol_counts(coded).assign(quality=quality, picture=number))
            chroma.append(chroma_bits(coded, likelihood).assign(quality=quality))
    pixels = sum(picture.shape[0] * picture.shape[1] for picture in pictures)
    sums = pd.concat(chroma).groupby(["quality", "slice"], sort=False).sum()
    saved = 100 * (1 - sums.luma_known_bits / sums.chroma_bits.where(sums.chroma_bits > 0))
    more = pd.DataFrame({"chroma_bpp": sums.chroma_bits / pixels, "luma_saves_pct": saved.fillna(0.0)})
    return table_costs(pd.concat(counts, ignore_index=True), pixels, likelihood).join(more, on=["quality", "slice"])


def table_costs(counts: pd.DataFrame, pixels: int, likelihood: Likelihood) -> pd.DataFrame:
    """Return, by quality and slice, what the symbols cost and what better tables would save.

    ``counts`` holds rows of :func:`symbol_counts` with their ``quality`` and ``picture``, of two pictures or more, and
    ``pixels`` counts those of all pictures together.

    Returns
    -------
    ``coded_pct`` of the coefficients are not certainly zero; ``bpp`` as coded; ``entropy_bpp``
    with each table replaced by these very symbols' histogram (a bound: such tables know what they code);
    ``held_out_bpp`` with the histogram of the other pictures; ``best_factor`` on all scales of the slice, and what it
    would save.
    """
    rows = []
    for (quality, name), part in counts.groupby(["quality", "slice"], sort=False):
        coded = part[part["index"] > 0]
        count, promised = coded["count"], _promised(coded, likelihood)
        sums = (coded.groupby(["index", *more])["count"].transform("sum") for more in ([], ["symbol"], ["picture"]))
        of_table, of_symbol, of_picture = sums
        held_out = (of_symbol - count + PRIOR * promised) / (of_table - of_picture + PRIOR)
        chances = [promised, of_symbol / of_table, held_out, *(_promised(coded, likelihood, f) for f in FACTORS)]
        spent, ideal, others, *by_factor = (float(-(count * np.log2(chance)).sum()) for chance in chances)
        ideal_saves, others_save, factor_saves = (100 * (1 - bits / max(spent, 1e-9))
                                                  for bits in (ideal, others, min(by_factor)))  # fmt: skip
        rows.append({
            "quality": quality, "slice": name, "coded_pct": 100 * count.sum() / part["count"].sum(),
            "bpp": spent / pixels,
            "entropy_bpp": ideal / pixels, "entropy_saves_pct": ideal_saves,
            "held_out_bpp": others / pixels, "held_out_saves_pct": others_save,
            "best_factor": FACTORS[int(np.argmin(by_factor))], "factor_saves_pct": factor_saves,
        })  # fmt: skip
    return pd.DataFrame(rows)


def _promised(coded: pd.DataFrame, likelihood: Likelihood, factor: float = 1.0) -> pd.Series:
    """The probability of every symbol by its table, whose scale is multiplied by ``factor``."""
    scale = factor * torch.tensor(scale_table(), dtype=torch.float64)[torch.tensor(coded["index"].to_numpy())]
    chance = likelihood(torch.tensor(coded.symbol.to_numpy(), dtype=torch.float64), scale)
    return pd.Series(chance.numpy(), index=coded.index)
