"""Tables of BD-rates: of measured codecs with their intervals, of published curves, and image by image."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import product

import pandas as pd

from lab.rd.bd_rate import METHODS, BDRate, Range, bd_rate, bootstrap_bd_rate
from lab.rd.curves import MEAN, Curve, ImageCurves, Metric, image_curves, only_dataset
from lab.rd.published_curves import ANCHOR_NAMES, DATASETS, published_curve
from weconvene_core.errors import WeconveneError

BD_COLUMNS = [
    *("dataset", "images", "codec", "anchor", "metric", "method"),
    *("bd_rate_pct", "ci_low", "ci_high", "overlap_pct", "points"),
    *("low_db", "high_db"),
]


def bd_table(
    points: pd.DataFrame,
    anchors: Sequence[str],
    metric: Metric = "psnr_rgb",
    dataset: str | None = None,
    samples: int = 1000,
    seed: int = 0,
    within: Range | None = None,
) -> pd.DataFrame:
    """Return the BD-rate of every measured codec against every anchor by every interpolation.

    Against codecs of ``points`` the headline's interpolation has a 95 % interval over the images, drawn in pairs.
    Published anchors are averages: against them there is none.

    Parameters
    ----------
    points
        Table with ``POINT_COLUMNS``.
    anchors
        Names of published anchors (``K-A`` ...) or of codecs in ``points``.
    metric
        ``psnr_rgb`` or ``ms_ssim_db``.
    dataset
        Needed when ``points`` holds several.
    samples, seed
        Bootstrap draws over the images, and the seed of these draws.
    within
        Quality range in dB to stay in (see :func:`lab.rd.bd_rate.common_range`).

    Returns
    -------
    pd.DataFrame
        ``BD_COLUMNS``. A pair without BD-rate has nan, and a warning says why. ``points`` counts those of the tested
        codec. Intervals need two images, and are nan where there is none.

    Raises
    ------
    WeconveneError
        If a published anchor averages over other images than those measured, or an anchor is unknown.
    """
    dataset = only_dataset(points, dataset)
    here = points[points.dataset == dataset]
    metric = "ms_ssim_db" if metric == "ms_ssim" else metric
    tests = {codec: image_curves(here, codec, metric) for codec in dict.fromkeys(here.codec)}
    references = {
        name: published_curve(dataset, name, metric) if name in ANCHOR_NAMES
        else tests.get(name) or image_curves(here, name, metric)  # which refuses an unknown name
        for name in anchors
    }  # fmt: skip
    rows = []
    for (codec, test), (anchor, reference), method in product(tests.items(), references.items(), METHODS):
        if codec == anchor:
            continue
        row = {"images": test.images, "codec": codec, "anchor": anchor, "method": method, "points": test.bpp.shape[1]}
        try:
            paired = isinstance(reference, ImageCurves)
            fixed = reference.averaged() if paired else reference
            row |= _numbers(bd_rate(fixed, test.averaged(), method, within))
            if paired and method == METHODS[0] and test.images > 1:
                low, high = bootstrap_bd_rate(reference, test, method, samples, seed, within=within)
                row |= {"ci_low": low, "ci_high": high}
        except WeconveneError as error:
            warnings.warn(str(error), stacklevel=2)
        rows.append(row)
    return pd.DataFrame(rows).assign(dataset=dataset, metric=metric).reindex(columns=BD_COLUMNS)


def published_bd_table(
    dataset: str, codecs: Sequence[str], anchors: Sequence[str], metric: Metric = "psnr_rgb"
) -> pd.DataFrame:
    """Return the BD-rate of published curves against others, by names as ``published_curve`` takes them.

    The table has ``BD_COLUMNS`` without intervals: averages are all that was published.

    Raises
    ------
    WeconveneError
        If a name is unknown, an anchor belongs to another dataset, or curves have no BD-rate.
    """
    rows = []
    for codec, anchor, method in product(codecs, anchors, METHODS):
        reference, test = (published_curve(dataset, name, metric) for name in (anchor, codec))
        row = {"codec": codec, "anchor": anchor, "method": method, "points": len(test)}
        rows.append(row | _numbers(bd_rate(reference, test, method)))
    table = pd.DataFrame(rows).assign(dataset=dataset, images=DATASETS[dataset][1], metric=metric)
    return table.reindex(columns=BD_COLUMNS)


def image_bd_rates(points: pd.DataFrame, codec: str, anchor: str, metric: Metric = "psnr_rgb") -> pd.Series:
    """Return one BD-rate per image (percent, PCHIP) of a measured codec against another, indexed by the image's name.

    Images on which the two curves have no BD-rate are left out with a warning that says why."""
    names = sorted(set(points[points.codec == codec].image) - {MEAN})
    pair, found = [image_curves(points, name, metric) for name in (anchor, codec)], {}
    for i, name in enumerate(names):
        try:
            found[name] = bd_rate(*(Curve(c.codec, c.bpp[i], c.value[i], c.metric) for c in pair)).bd_rate_pct
        except WeconveneError as error:
            warnings.warn(f"{name}: {error}", stacklevel=2)
    return pd.Series(found, name="bd_rate_pct", dtype=float)


def _numbers(found: BDRate) -> dict[str, float]:
    return {name: getattr(found, name) for name in ("bd_rate_pct", "overlap_pct", "low_db", "high_db")}
