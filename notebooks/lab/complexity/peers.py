"""Our codec on Kodak beside learned and classical ones: rate against VTM's, and what decoding costs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.complexity.models import ZOO_QUALITY
from lab.complexity.tables import kmac_per_pixel, parameters_m, published_complexity, widest
from lab.rd.bd_rate import bd_rate
from lab.rd.curves import METRIC_TITLES, Curve, Metric, averaged_curve
from lab.rd.published_curves import LEARNED, PREDECESSOR, anchor_curve, paper_range, published_curve, published_labels
from lab.studies.latent_refinement import PLAIN, REFINED
from lab.studies.video_intra_codecs import one_of_each

DATASET, ANCHOR, SIZE = "kodak", "K-A", (512, 768)
"""The images, the published anchor, and (height, width) of a picture."""
ITS_PRESET = "paper-2d"
CLAIM, CLAIM_PCT = "3DM-WeConvene (claim, against VVC)", -12.24
"""The paper's abstract (arXiv 2504.04658), on Kodak."""
CLAIM_SOURCE = "the paper's abstract; its anchor and points are not in what we could read"
COLUMNS = [
    *("codec", "bd_rate_pct_all", "bd_rate_pct_paper_range", "bd_rate_ms_ssim_pct"),
    *("params_m", "kmac_px_decode", "decode_s", "params_m_widest", "kmac_px_decode_widest", "source"),
]


def peers_table(points: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per codec, ours first, then learned, then classical: rate against K-A, and cost of decoding.

    Parameters
    ----------
    points
        On Kodak (``POINT_COLUMNS``): of our codec, with and without search in the encoder, and of live ones.
    costs
        As :func:`lab.complexity.tables.measure_costs` returns them.

    Returns
    -------
    pd.DataFrame
        ``COLUMNS``. BD-rates in percent: by PSNR over all rates and within ``paper_range``, and by MS-SSIM.
        Parameters are in millions; costs are of a picture of 768x512, in thousands of MACs per pixel and in seconds.
        ``widest`` are those of the networks for the highest rates, where a codec has several. What is not known is nan.
    """
    timed = costs[costs.image == f"{SIZE[1]}x{SIZE[0]}"].set_index("model").decode_ms / 1e3
    rows = [_ours(points, name, timed) for name in (PLAIN, REFINED) if name in set(points.codec)]
    rows += [_of_compressai(name, timed) for name in LEARNED]
    rows += [_predecessor(timed), {"codec": CLAIM, "bd_rate_pct_all": CLAIM_PCT, "source": CLAIM_SOURCE}]
    rows += [_live(points, name) for name in one_of_each(points.codec)]
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def published(name: str, metric: Metric = "psnr_rgb") -> Curve | None:
    """Return the published curve of a codec on Kodak, or None where it has none by this metric."""
    known = {codec for codec, _ in published_labels(DATASET, "ms_ssim" if metric == "ms_ssim_db" else metric)}
    return published_curve(DATASET, name, metric) if name in known else None


def _rates(psnr: Curve, similar: Curve | None) -> dict[str, float]:
    anchor = anchor_curve(ANCHOR)
    return {
        "bd_rate_pct_all": bd_rate(anchor, psnr).bd_rate_pct,
        "bd_rate_pct_paper_range": bd_rate(anchor, psnr, within=paper_range()).bd_rate_pct,
        "bd_rate_ms_ssim_pct": bd_rate(anchor_curve(ANCHOR, "ms_ssim_db"), similar).bd_rate_pct if similar else np.nan,
    }


def _cost(params: float, kmac: float, seconds: float) -> dict[str, float]:
    return {"params_m": params, "kmac_px_decode": kmac, "decode_s": seconds}


def _live(points: pd.DataFrame, name: str) -> dict[str, object]:
    """Return the BD-rates of a codec that was measured here."""
    curves = [averaged_curve(points, name, metric, DATASET) for metric in METRIC_TITLES]
    return {"codec": name} | _rates(*curves) | {"source": "files measured here, one setting per codec"}


def _ours(points: pd.DataFrame, name: str, timed: pd.Series) -> dict[str, object]:
    params, kmac = parameters_m(PLAIN), kmac_per_pixel(PLAIN, SIZE)[1]
    said = "our files; counted and timed in this run"
    if name == REFINED:
        said = f"as {PLAIN}; its encoder searched for better files, the decoder is the same"
    return _live(points, name) | _cost(params, kmac, timed.get(PLAIN, np.nan)) | {"source": said}


def _of_compressai(name: str, timed: pd.Series) -> dict[str, object]:
    wide = dict(zip(("params_m_widest", "kmac_px_decode_widest"), widest(name), strict=True))
    cost = _cost(parameters_m(name), kmac_per_pixel(name, SIZE)[1], timed.get(name, np.nan))
    said = f"published points of CompressAI; its network for quality {ZOO_QUALITY} counted and timed in this run"
    return {"codec": name} | _rates(published(name), published(name, "ms_ssim_db")) | cost | wide | {"source": said}


def _predecessor(timed: pd.Series) -> dict[str, object]:
    counted = published_complexity().set_index("model").loc["WeConvene (2-D)"]
    middle = (counted.params_m_low + counted.params_m_high) / 2
    cost = _cost(middle, kmac_per_pixel(ITS_PRESET, SIZE)[1], timed.get(ITS_PRESET, np.nan))
    said = f"its authors' points; parameters as published; decoder of our {ITS_PRESET} counted and timed, if at all"
    rates = _rates(published(PREDECESSOR), published(PREDECESSOR, "ms_ssim_db"))
    return {"codec": PREDECESSOR} | rates | cost | {"source": said}
