"""Result tables: BD-rates of measured codecs with their intervals, and the merging of new rows into files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lab.rd.bd_rate import METHODS, BDRate, Range, bd_rate
from lab.rd.bootstrap import Draws, interval
from lab.rd.curves import Curve, ImageCurves, Metric
from lab.rd.points import MEAN, POINT_COLUMNS, image_curves, only_dataset
from lab.rd.published_curves import ANCHOR_NAMES, DATASETS, anchor_curve, published_curve, reference_curve
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import RESULTS

RD_POINTS = RESULTS / "tables" / "rd_points.csv"
BD_RATES = RESULTS / "tables" / "bd_rate.csv"
BD_COLUMNS = [
    *("dataset", "images", "codec", "anchor", "metric", "method"),
    *("bd_rate_pct", "ci_low", "ci_high", "overlap_pct", "points"),
    *("low_db", "high_db"),
]


def write_points(points: pd.DataFrame, path: Path = RD_POINTS) -> Path:
    """Merge measured points into the table at ``path``: rows of the same dataset and codec are replaced.

    Raises:
        WeconveneError: the folder cannot be written.
    """
    return _merge(points, path, POINT_COLUMNS)


def read_points(path: Path = RD_POINTS) -> pd.DataFrame:
    """Return the measured points that :func:`write_points` wrote.

    Raises:
        WeconveneError: the table is missing or has other columns.
    """
    try:
        return pd.read_csv(path)[POINT_COLUMNS]
    except (OSError, KeyError, ValueError) as error:
        raise WeconveneError(f"{path} is no table of measured points ({error}): run notebook 05 first.") from error


def bd_table(
    points: pd.DataFrame,
    anchors: Sequence[str],
    metric: Metric = "psnr_rgb",
    dataset: str | None = None,
    samples: int = 500,
    seed: int = 0,
    within: Range | None = None,
) -> pd.DataFrame:
    """Return the BD-rate of every measured codec against every anchor by every interpolation, with 95 % intervals.

    Args:
        points: table with ``POINT_COLUMNS``.
        anchors: names of published anchors (``K-A`` ...) or of codecs in ``points`` (live anchors).
        metric: ``psnr_rgb`` or ``ms_ssim_db``.
        dataset: needed when ``points`` holds several.
        samples: bootstrap draws over images.
        seed: seed of the draws.
        within: quality range in dB to stay in (see :func:`lab.rd.bd_rate.common_range`).

    Returns:
        A table with ``BD_COLUMNS``; where a pair has no BD-rate the numbers are nan and a warning says why. ``points``
        counts those of the tested codec; intervals need two images.

    Raises:
        WeconveneError: a published anchor of other images than those measured, or an unknown anchor.
    """
    dataset = only_dataset(points, dataset)
    here = points[points.dataset == dataset]
    tests = {codec: Draws(image_curves(here, codec, metric), samples, seed) for codec in dict.fromkeys(here.codec)}
    references = {
        anchor: tests.get(anchor) or Draws(_reference(here, anchor, metric, dataset), samples, seed)
        for anchor in anchors
    }
    rows = []
    for codec, test in tests.items():
        for anchor, reference in references.items():
            if anchor != codec:
                rows += _bd_rows(test, anchor, reference, within)
    table = pd.DataFrame(rows, columns=[c for c in BD_COLUMNS if c not in ("dataset", "metric")])
    metric_shown = "ms_ssim_db" if metric == "ms_ssim" else metric
    return table.assign(dataset=dataset, metric=metric_shown)[BD_COLUMNS]


def published_bd_table(
    dataset: str, codecs: Sequence[str], anchors: Sequence[str], metric: Metric = "psnr_rgb"
) -> pd.DataFrame:
    """Return the BD-rate of published curves against anchors or other published curves, by every interpolation.

    Args:
        dataset: ``kodak``, ``clic2020_professional`` or ``tecnick``.
        codecs: labels or codecs as :func:`lab.rd.published_curves.published_curve` takes them.
        anchors: anchors of this dataset, or labels as above.
        metric: ``psnr_rgb`` or ``ms_ssim_db``.

    Returns:
        A table with ``BD_COLUMNS``, without intervals: averages are all that was published.

    Raises:
        WeconveneError: an unknown name, an anchor of another dataset, or curves that have no BD-rate.
    """
    rows = []
    for codec in codecs:
        test = published_curve(dataset, codec, metric)
        for anchor in anchors:
            reference = reference_curve(dataset, anchor, metric)
            for method in METHODS:
                row = {"codec": codec, "anchor": anchor, "method": method, "points": len(test)}
                rows.append(row | _figures(bd_rate(reference, test, method)))
    table = pd.DataFrame(rows).assign(dataset=dataset, images=DATASETS[dataset][1], metric=metric)
    return table.reindex(columns=BD_COLUMNS)


def image_bd_rates(points: pd.DataFrame, codec: str, anchor: str, metric: Metric = "psnr_rgb") -> pd.Series:
    """Return one BD-rate per image (percent, PCHIP) of a measured codec against another, indexed by the image's name.

    Images on which the two curves have no BD-rate are left out with a warning that says why.

    Raises:
        WeconveneError: no such codec, several datasets, or a codec that was not measured alike on all images.
    """
    names = sorted(set(points[points.codec == codec].image) - {MEAN})
    test, reference = image_curves(points, codec, metric), image_curves(points, anchor, metric)
    found = {}
    for i, name in enumerate(names):
        one, other = (Curve(c.codec, c.bpp[i], c.value[i], c.metric) for c in (reference, test))
        try:
            found[name] = bd_rate(one, other).bd_rate_pct
        except WeconveneError as error:
            warnings.warn(f"{name}: {error}", stacklevel=2)
    return pd.Series(found, name="bd_rate_pct", dtype=float)


def write_bd_table(table: pd.DataFrame, path: Path = BD_RATES) -> Path:
    """Merge BD-rates into the table at ``path``: rows of the same dataset, codec, anchor and metric are replaced.

    Raises:
        WeconveneError: the folder cannot be written.
    """
    return _merge(table, path, BD_COLUMNS, ("dataset", "codec", "anchor", "metric"))


def _reference(points: pd.DataFrame, anchor: str, metric: Metric, dataset: str) -> Curve | ImageCurves:
    if anchor not in ANCHOR_NAMES:
        return image_curves(points, anchor, metric)
    wanted = ANCHOR_NAMES[anchor].dataset
    if wanted != dataset:
        raise WeconveneError(f"Anchor {anchor} averages over all of '{wanted}'; these points are of '{dataset}'.")
    return anchor_curve(anchor, "ms_ssim_db" if metric == "ms_ssim" else metric)


def change_with_scale(table: pd.DataFrame, anchor: str, metric: Metric = "psnr_rgb") -> tuple[float, bool]:
    """Return by how many points the BD-rate changes from the smallest to the largest scale, and whether it is certain.

    Negative: the gain grows with resolution. Certain means that the two intervals do not overlap.

    Raises:
        WeconveneError: fewer than two scales against this anchor by this metric.
    """
    rows = table[(table.anchor == anchor) & (table.metric == metric) & table.dataset.str.contains("-1/")]
    rows = rows.dropna(subset="bd_rate_pct").sort_values("megapixels")
    if len(rows) < 2:
        raise WeconveneError(f"{len(rows)} scales against '{anchor}' by {metric} show no change: measure at least two.")
    small, large = rows.iloc[0], rows.iloc[-1]
    certain = large.ci_high < small.ci_low or small.ci_high < large.ci_low
    return float(large.bd_rate_pct - small.bd_rate_pct), bool(certain)


def _bd_rows(test: Draws, anchor: str, reference: Draws, within: Range | None) -> list[dict[str, object]]:
    rows = []
    for method in METHODS:
        row: dict[str, object] = {"images": test.images, "codec": test.curves.codec, "anchor": anchor, "method": method}
        row["points"] = test.curves.bpp.shape[-1]
        try:
            row |= _figures(bd_rate(_average(reference), _average(test), method, within))
            if (test.images or 0) > 1:
                found = interval(reference, test, method, within=within)
                row |= {"ci_low": found.low, "ci_high": found.high}
        except WeconveneError as error:
            warnings.warn(str(error), stacklevel=3)
        rows.append(row)
    return rows


def _average(draws: Draws) -> Curve:
    return draws.curves if isinstance(draws.curves, Curve) else draws.curves.averaged()


def _figures(found: BDRate) -> dict[str, float]:
    kept = ("bd_rate_pct", "overlap_pct", "low_db", "high_db")
    return {name: getattr(found, name) for name in kept}


def _merge(new: pd.DataFrame, path: Path, columns: list[str], keys: tuple[str, ...] = ("dataset", "codec")) -> Path:
    if path.is_file():
        old = pd.read_csv(path)
        replaced = pd.MultiIndex.from_frame(new[list(keys)])
        old = old[~pd.MultiIndex.from_frame(old[list(keys)]).isin(replaced)]
        new = pd.concat([old, new], ignore_index=True) if len(old) else new
    partial = path.with_suffix(".csv.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new[columns].to_csv(partial, index=False, float_format="%.6f", lineterminator="\n")
        os.replace(partial, path)  # a killed run leaves the old table whole
    except OSError as error:
        raise WeconveneError(f"Cannot write {path} ({error}): check the permissions of the folder.") from error
    return path
