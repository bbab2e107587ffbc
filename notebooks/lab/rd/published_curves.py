"""Published rate-distortion points (``data/anchors``) and the anchors that BD-rates are taken against."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import pandas as pd

from lab.paths import ANCHORS
from lab.rd.curves import Curve, Metric
from weconvene_core.errors import WeconveneError

DATASETS: dict[str, tuple[str, int]] = {
    "kodak": ("Kodak", 24),
    "clic2020_professional": ("CLIC 2020 Professional validation", 41),
    "tecnick": ("Tecnick TESTIMAGES", 100),
}
"""Each table of ``data/anchors`` with the title of its images and how many of them its averages run over."""


class Anchor(NamedTuple):
    """A named anchor: the table it sits in, the label of its rows, and the name that figures show."""

    dataset: str
    label: str
    shown: str


ANCHOR_NAMES: dict[str, Anchor] = {
    "K-A": Anchor("kodak", "vtm", "VTM-9.1 (K-A)"),
    "K-B": Anchor("kodak", "VTM-9.1 (LALIC)", "VTM-9.1 (K-B)"),
    "C-L": Anchor("clic2020_professional", "VTM-9.1 (LALIC)", "VTM-9.1 (C-L)"),
    "C-T": Anchor("clic2020_professional", "VTM-12.1 (TCM authors)", "VTM-12.1 (C-T)"),
    "C-M": Anchor("clic2020_professional", "VTM (C3 baselines)", "VTM-17 (C-M)"),
    "T-L": Anchor("tecnick", "VTM-9.1 (LALIC)", "VTM-9.1 (T-L)"),
}
"""The anchors; ``data/anchors/README.md`` says where each comes from."""
LEARNED = ("bmshj2018-hyperprior", "mbt2018-mean", "cheng2020-anchor")
"""Learned peers: models of CompressAI with published curves and open code."""
PREDECESSOR = "WeConvene"
"""The 2-D model of the paper's authors, the only one of theirs with published points."""


def anchor_curve(name: str, metric: Metric = "psnr_rgb") -> Curve:
    """Return the curve of one of ``ANCHOR_NAMES``.

    Raises
    ------
    WeconveneError
        If the name is unknown, or there are no points of this metric.
    """
    if name not in ANCHOR_NAMES:
        raise WeconveneError(f"Unknown anchor '{name}': choose one of {', '.join(ANCHOR_NAMES)}.")
    return published_curve(ANCHOR_NAMES[name].dataset, name, metric)


def published_curve(dataset: str, name: str, metric: Metric = "psnr_rgb") -> Curve:
    """Return a published curve by the name of an anchor, by its label, or by a codec that has one curve of this metric.

    Where CompressAI stores a codec in several trainings, the codec name stands for its pretrained MSE models.
    ``ms_ssim_db`` is the dB of the published mean MS-SSIM, as everything here is measured. Published dB are not taken:
    those of which the definition can be checked are means of dB, which differ by points of BD-rate.

    Raises
    ------
    WeconveneError
        If the table or the name is unknown, there is no such metric (or only in dB), the codec has several curves, or
        the anchor belongs to another dataset.
    """
    anchor = ANCHOR_NAMES.get(name)
    if anchor and anchor.dataset != dataset:
        raise WeconveneError(f"Anchor {name} averages over all of '{anchor.dataset}'; these points are of '{dataset}'.")
    wanted, rows = anchor.label if anchor else name, _table(dataset)
    found = rows[(rows.label == wanted) | (rows.codec == wanted)]
    if found.empty:
        raise WeconveneError(f"No published curve '{name}' on {dataset}; published_labels() lists them.")
    if metric == "ms_ssim_db":
        if "ms_ssim" not in set(found.metric) and metric in set(found.metric):
            raise WeconveneError(
                f"'{name}' has MS-SSIM in dB alone; whether as dB of the mean or mean of dB is not known, so it cannot "
                "be compared: use PSNR."
            )
        return published_curve(dataset, name, "ms_ssim").in_db()
    found = _single(found[found.metric == metric], wanted, dataset, metric)
    first, rates, values = found.iloc[0], found.bpp.to_numpy(), found.value.to_numpy()
    return Curve(anchor.shown if anchor else first.codec, rates, values, metric, first.source, first.note)


def paper_range() -> tuple[float, float]:
    """Return the range of PSNR in dB that the authors' own published points cover on Kodak."""
    value = published_curve("kodak", PREDECESSOR).value
    return float(value[0]), float(value[-1])


def anchors_of(dataset: str, metric: Metric = "psnr_rgb") -> list[str]:
    """Return the names of the anchors of these images that have points of this metric, the primary one first.

    There are none where ``dataset`` is another set of images than those of ``data/anchors``, or a part of one.
    """
    if dataset not in DATASETS:
        return []
    labels = {label for _, label in published_labels(dataset, "ms_ssim" if metric == "ms_ssim_db" else metric)}
    return [name for name, anchor in ANCHOR_NAMES.items() if anchor.dataset == dataset and anchor.label in labels]


def published_labels(dataset: str, metric: Metric = "psnr_rgb") -> list[tuple[str, str]]:
    """Return the ``(codec, label)`` pairs that have points of this metric, in file order."""
    rows = _table(dataset)
    pairs = rows[rows.metric == metric][["codec", "label"]].drop_duplicates()
    return list(pairs.itertuples(index=False, name=None))


def _single(found: pd.DataFrame, name: str, dataset: str, metric: str) -> pd.DataFrame:
    labels = list(dict.fromkeys(found.label))
    if not labels:
        raise WeconveneError(f"'{name}' has no published {metric} points on {dataset}.")
    if len(labels) > 1:
        labels = [label for label in labels if label == name or "_mse_" in label]
    if len(labels) != 1:
        raise WeconveneError(
            f"'{name}' names several curves on {dataset}; choose a label: {', '.join(dict.fromkeys(found.label))}."
        )
    return found[found.label == labels[0]]


@lru_cache(maxsize=len(DATASETS))
def _table(dataset: str) -> pd.DataFrame:
    if dataset not in DATASETS:
        raise WeconveneError(f"No published points for '{dataset}': choose one of {', '.join(DATASETS)}.")
    path = ANCHORS / f"{dataset}.csv"
    if not path.is_file():
        raise WeconveneError(f"The table {path} is missing: restore data/anchors from the repository.")
    return pd.read_csv(path, keep_default_na=False, dtype={"bpp": float, "value": float})
