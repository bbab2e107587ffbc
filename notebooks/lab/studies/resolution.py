"""Does the gain grow with resolution? The same photographs at several scales, through our files and live codecs.

``python -m lab.studies.resolution [--limit N]`` measures the available high-resolution photographs at four scales, and
Kodak as it is, and writes ``results/tables/resolution.csv`` (BD-rates) and ``resolution_points.csv``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lab.rd.curves import MEAN, METRIC_TITLES, VALUE_COLUMN, Metric
from lab.rd.measure import CACHE, ImageCodec
from lab.rd.our_codec import QUALITIES, FileCodec
from lab.rd.pillow_codecs import JPEG_2000, avif
from lab.rd.tables import bd_table
from lab.studies.larger_sets import measure_sets
from lab.studies.runner import TABLES, save
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import ImageSet, image_set
from weconvene_core.errors import WeconveneError

SCALED = CACHE.parent / "scaled"
SCALES = (1, 2, 4, 8)
BLOCK = 256
"""Photographs are cut to multiples of this, so that no scale pays for padding to our blocks of 32 pixels."""
OTHERS = (JPEG_2000, avif())


def at_scale(images: ImageSet, scale: int, folder: Path = SCALED) -> ImageSet:
    """Return the photographs shrunk by ``scale`` (Lanczos) after cutting their middle to multiples of 256 pixels.

    The files are kept as PNG under ``folder``; the set is called ``NAME-1/SCALE``.

    Raises
    ------
    WeconveneError
        For a photograph with a side under 256 pixels.
    """
    target = folder / images.name / str(scale)
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for path in images.paths:
        picture = load_rgb(path)
        width, height = (side // BLOCK * BLOCK for side in picture.size)
        if not (width and height):
            raise WeconveneError(f"{path} has {picture.width}x{picture.height} pixels; use sides of {BLOCK} or more.")
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        picture = picture.crop((left, top, left + width, top + height))
        paths.append(target / f"{path.stem}.png")
        picture.resize((width // scale, height // scale), Image.Resampling.LANCZOS).save(paths[-1])
    name, label = (f"{text}-1/{scale}" for text in (images.name, images.label))
    return replace(images, name=name, label=label, paths=tuple(paths))


def header_bytes(codecs: Sequence[tuple[str, ImageCodec, float]]) -> dict[str, int]:
    """Return the bytes of a flat 32x32 picture's file from (name, codec, its lowest quality): what headers cost."""
    flat = Image.new("RGB", (32, 32), (128, 128, 128))
    return {name: len(codec.encode(flat, quality)) for name, codec, quality in codecs}


def resolution_table(points: pd.DataFrame, ours: str, headers: Mapping[str, int], samples: int = 500) -> pd.DataFrame:
    """Return our BD-rate against every live codec on every set, with intervals over the images drawn in pairs.

    By PSNR, and by MS-SSIM on sets whose pictures all have 161 pixels a side. Columns are those of ``bd_table``,
    ``megapixels`` of the mean image, and ``bare_pct``, the BD-rate without the bytes of ``headers``.
    """
    bare = points.assign(bpp=points.bpp - 8e-6 * points.codec.map(headers) / points.megapixels)
    tables = []
    for metric, dataset in product(METRIC_TITLES, dict.fromkeys(points.dataset)):
        own, without_headers = (table[table.dataset == dataset] for table in (points, bare))
        if own[VALUE_COLUMN[metric]].isna().any():
            continue
        table = _against_all(own, ours, metric, samples)
        table["bare_pct"] = _against_all(without_headers, ours, metric, samples=2).bd_rate_pct
        tables.append(table.assign(megapixels=own[own.image == MEAN].megapixels.iloc[0]))
    return pd.concat(tables, ignore_index=True)


def _against_all(points: pd.DataFrame, ours: str, metric: Metric, samples: int) -> pd.DataFrame:
    table = bd_table(points, [name for name in dict.fromkeys(points.codec) if name != ours], metric, samples=samples)
    return table[(table.codec == ours) & (table.method == "pchip")].reset_index(drop=True)


def main() -> None:
    """Measure the available photographs."""
    parser = argparse.ArgumentParser(description="Measure how the BD-rate changes with the resolution.")
    parser.add_argument("--set", default="clic", help="set of high-resolution photographs (clic)")
    parser.add_argument("--limit", type=int, help="take only the first photographs")
    options = parser.parse_args()
    photographs, codec = image_set(options.set, options.limit), FileCodec()
    sets = [*(at_scale(photographs, scale) for scale in SCALES), image_set("kodak", options.limit)]
    points = measure_sets(sets, codec, OTHERS).drop(columns="weights")
    for images in sets:
        sizes = {path.name: np.prod(load_rgb(path).size) / 1e6 for path in images.paths}
        sizes[MEAN], own = np.mean([*sizes.values()]), points.dataset == images.name
        points.loc[own, "megapixels"] = points[own].image.map(sizes)
    save(points, TABLES / "resolution_points.csv", "%.6f")
    headers = header_bytes([(codec.model, codec, QUALITIES[0]), *((c.name, c, c.qualities[0]) for c in OTHERS)])
    table = resolution_table(points, codec.model, headers).assign(weights=codec.weights())
    save(table, TABLES / "resolution.csv")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
