"""Published rate-distortion points (``data/anchors``) and the anchors that BD-rates are taken against."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import pandas as pd

from lab.rd.curves import Curve, Metric
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import ANCHORS

DATASETS: dict[str, tuple[str, int]] = {
    "kodak": ("Kodak", 24),
    "clic2020_professional": ("CLIC 2020 Professional validation", 41),
    "tecnick": ("Tecnick TESTIMAGES", 100),
}
"""Each table of ``data/anchors`` with the title of its images and how many of them its averages run over."""


@dataclass(frozen=True)
class Anchor:
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


def anchor_curve(name: str, metric: Metric = "psnr_rgb") -> Curve:
    """Return the anchor called ``K-A``, ``K-B``, ``C-L``, ``C-T``, ``C-M`` or ``T-L`` (see ``data/anchors/README.md``).

    Raises:
        WeconveneError: an unknown name, or no points of this metric.
    """
    if name not in ANCHOR_NAMES:
        raise WeconveneError(f"Unknown anchor '{name}': choose one of {', '.join(ANCHOR_NAMES)}.")
    anchor = ANCHOR_NAMES[name]
    curve = published_curve(anchor.dataset, anchor.label, metric)
    return Curve(anchor.shown, curve.bpp, curve.value, curve.metric, curve.source, curve.note)


def published_curve(dataset: str, codec_or_label: str, metric: Metric = "psnr_rgb") -> Curve:
    """Return one published curve by its label, or by its codec when that names a single curve of this metric.

    Where CompressAI stores a codec in several trainings, the codec name stands for its pretrained MSE models.

    Args:
        dataset: ``kodak``, ``clic2020_professional`` or ``tecnick``.
        codec_or_label: entry of the ``codec`` or the ``label`` column (:func:`published_labels` lists them).
        metric: ``ms_ssim`` is also found when ``ms_ssim_db`` is asked for, and converted.

    Raises:
        WeconveneError: an unknown table or name, no such metric, or a codec with several curves.
    """
    rows = _table(dataset)
    found = rows[(rows.label == codec_or_label) | (rows.codec == codec_or_label)]
    if found.empty:
        raise WeconveneError(f"No published curve '{codec_or_label}' on {dataset}; published_labels() lists them.")
    if metric == "ms_ssim_db" and metric not in set(found.metric):
        return published_curve(dataset, codec_or_label, "ms_ssim").in_db()
    found = _single(found[found.metric == metric], codec_or_label, dataset, metric)
    first = found.iloc[0]
    return Curve(first.codec, found.bpp.to_numpy(), found.value.to_numpy(), metric, first.source, first.note)


def reference_curve(dataset: str, name: str, metric: Metric = "psnr_rgb") -> Curve:
    """Return an anchor by its name (``K-A``), or any other published curve of the dataset by its label or codec.

    Raises:
        WeconveneError: an anchor of another dataset, or as :func:`published_curve`.
    """
    if name not in ANCHOR_NAMES:
        return published_curve(dataset, name, metric)
    if ANCHOR_NAMES[name].dataset != dataset:
        raise WeconveneError(f"Anchor {name} averages over '{ANCHOR_NAMES[name].dataset}', not over '{dataset}'.")
    return anchor_curve(name, metric)


def anchors_of(dataset: str, metric: Metric = "psnr_rgb") -> list[str]:
    """Return the names of the anchors of these images that have points of this metric, the primary one first.

    None where ``dataset`` is another set of images than those of ``data/anchors``, or a part of one.
    """
    if dataset not in DATASETS:
        return []
    stored: tuple[Metric, ...] = ("ms_ssim", "ms_ssim_db") if metric == "ms_ssim_db" else (metric,)
    labels = {label for kind in stored for _, label in published_labels(dataset, kind)}
    return [name for name, anchor in ANCHOR_NAMES.items() if anchor.dataset == dataset and anchor.label in labels]


def published_labels(dataset: str, metric: Metric = "psnr_rgb") -> list[tuple[str, str]]:
    """Return the ``(codec, label)`` pairs that have points of this metric, in file order.

    Raises:
        WeconveneError: an unknown table.
    """
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
