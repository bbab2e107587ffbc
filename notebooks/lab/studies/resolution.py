"""Does the gain grow with resolution? The same photographs at several scales, through our files and live codecs.

``python -m lab.studies.resolution [--set NAME] [--limit N]`` measures a set of high-resolution photographs at four
scales, crops of theirs, and Kodak as it is. It writes ``resolution_points.csv``, ``resolution.csv`` (BD-rates), and
``resolution_change.csv`` (by how much they change, with paired intervals); rows of other sets stay. ``--kept`` takes
the points that are there and only compares.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lab.paths import read_table, save_table
from lab.rd.bd_rate import bd_rate, bootstrap_draws
from lab.rd.curves import MEAN, METRIC_TITLES, VALUE_COLUMN, Metric, image_curves
from lab.rd.ffmpeg_codecs import VVC
from lab.rd.measure import CACHE, ImageCodec
from lab.rd.our_codec import QUALITIES, FileCodec
from lab.rd.pillow_codecs import JPEG_2000, available, avif, measure_available
from lab.rd.tables import bd_table
from lab.studies.larger_sets import measure_sets
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import ImageSet, MissingSetError, image_set
from weconvene_core.errors import WeconveneError

SCALED = CACHE.parent / "scaled"
SCALES, SHRUNK = (1, 2, 4, 8), 4
"""How much photographs are shrunk, and the scale that changes are told from: the smallest with MS-SSIM."""
BLOCK = 256
"""Photographs are cut to multiples of this, so that no scale pays for padding to our blocks of 32 pixels."""
OTHERS = (JPEG_2000, avif())
ANCHOR = replace(VVC, qualities=(40.0, 36.0, 33.0, 30.0, 27.0))
"""What the paper's claim is about; needs the extra ``codecs``, and takes minutes a photograph."""
CHANGE_COLUMNS = ["dataset", "anchor", "metric", "change_pct", "ci_low", "ci_high", "images", "control"]


def at_scale(images: ImageSet, scale: int, folder: Path = SCALED) -> ImageSet:
    """Return the photographs shrunk by ``scale`` (Lanczos) after cutting their middle to multiples of 256 pixels.

    The files are kept as PNG under ``folder``; the set is called ``NAME-1/SCALE``.

    Raises
    ------
    WeconveneError
        For a photograph with a side under 256 pixels.
    """

    def shrink(picture: Image.Image) -> Image.Image:
        return picture.resize([side // scale for side in picture.size], Image.Resampling.LANCZOS)

    return _changed(images, f"-1/{scale}", folder / images.name / str(scale), shrink)


def cropped(images: ImageSet, scale: int, folder: Path = SCALED) -> ImageSet:
    """Return the middles of the photographs at full size, of as many pixels as :func:`at_scale` leaves.

    They are the control: detail as in the photographs, pixels as in the shrunk copies, but less of the scene. The set
    is called ``NAME-crops/SCALE``.
    """

    def crop(picture: Image.Image) -> Image.Image:
        return _middle(picture, *(side // scale for side in picture.size))

    return _changed(images, f"-crops/{scale}", folder / images.name / f"crops{scale}", crop)


def _changed(images: ImageSet, suffix: str, target: Path, change: Callable[[Image.Image], Image.Image]) -> ImageSet:
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for path in images.paths:
        picture = load_rgb(path)
        width, height = (side // BLOCK * BLOCK for side in picture.size)
        if not (width and height):
            raise WeconveneError(f"{path} has {picture.width}x{picture.height} pixels; use sides of {BLOCK} or more.")
        paths.append(target / f"{path.stem}.png")
        change(_middle(picture, width, height)).save(paths[-1])
    return replace(images, name=images.name + suffix, label=images.label + suffix, paths=tuple(paths))


def _middle(picture: Image.Image, width: int, height: int) -> Image.Image:
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def header_bytes(codecs: Sequence[tuple[str, ImageCodec, float]]) -> dict[str, int]:
    """Return the bytes of a flat 32x32 picture's file from (name, codec, its lowest quality): what headers cost."""
    flat = Image.new("RGB", (32, 32), (128, 128, 128))
    return {name: len(codec.encode(flat, quality)) for name, codec, quality in codecs}


def resolution_table(points: pd.DataFrame, ours: str, headers: Mapping[str, int], samples: int = 1000) -> pd.DataFrame:
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


def change_table(
    points: pd.DataFrame, ours: str, scale: int = SHRUNK, samples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Return by how many points our BD-rate against every live codec changes with the size of the same photographs.

    Every draw takes the same photographs at both sizes and of both codecs, so the interval is that of the change.

    Parameters
    ----------
    points : as :func:`main` writes them, of any number of sets.
    scale : by which the small copies are shrunk, and to whose size the crops are cut.

    Returns
    -------
    pd.DataFrame
        ``CHANGE_COLUMNS``. Below zero the gain is larger at the second size. ``control`` says what is compared:
        ``none``, shrunk copies to full size; ``crops``, crops to full size, where detail stays and only pixels and
        scene change; ``equal pixels``, shrunk copies to crops, where pixels stay and detail changes. What was not
        measured has no row.
    """
    rows = []
    for name in dict.fromkeys(points.dataset[points.dataset.str.endswith("-1/1")].str.removesuffix("-1/1")):
        small, crops, full = f"{name}-1/{scale}", f"{name}-crops/{scale}", f"{name}-1/1"
        pairs = {"none": (small, full), "crops": (crops, full), "equal pixels": (small, crops)}
        for metric, (control, sizes) in product(METRIC_TITLES, pairs.items()):
            both = points[points.dataset.isin(sizes)]
            if both.dataset.nunique() < len(sizes) or both[VALUE_COLUMN[metric]].isna().any():
                continue
            for anchor in [codec for codec in dict.fromkeys(both.codec) if codec != ours]:
                found = _change(both, sizes, ours, anchor, metric, samples, seed)
                rows.append({"dataset": name, "anchor": anchor, "metric": metric, "control": control} | found)
    return pd.DataFrame(rows, columns=CHANGE_COLUMNS)


def _change(
    points: pd.DataFrame, sizes: tuple[str, str], ours: str, anchor: str, metric: Metric, samples: int, seed: int
) -> dict[str, float]:
    pairs = [[image_curves(points, codec, metric, name) for codec in (anchor, ours)] for name in sizes]
    means = [bd_rate(*(curves.averaged() for curves in pair)).bd_rate_pct for pair in pairs]
    drawn = [bootstrap_draws(*pair, samples=samples, seed=seed) for pair in pairs]
    low, high = np.nanpercentile(drawn[1] - drawn[0], [2.5, 97.5])
    return {"change_pct": means[1] - means[0], "ci_low": low, "ci_high": high, "images": pairs[0][0].images}


def measured_points(photographs: ImageSet, codec: FileCodec) -> pd.DataFrame:
    """Measure the photographs at every scale, crops of theirs, and Kodak if it is available.

    VVC is measured where the change is told from: at full size, at the size of ``SHRUNK``, and on crops.
    """
    sets = [*(at_scale(photographs, scale) for scale in SCALES), cropped(photographs, SHRUNK)]
    with suppress(MissingSetError):
        sets.append(image_set("kodak"))
    tables = [measure_sets(sets, codec, OTHERS).drop(columns="weights")]
    told_from = [images for images in sets if images.name.endswith(("-1/1", f"-1/{SHRUNK}", f"-crops/{SHRUNK}"))]
    points = pd.concat([*tables, *(measure_available(images, (ANCHOR,)) for images in told_from)], ignore_index=True)
    for images in sets:
        sizes = {path.name: np.prod(load_rgb(path).size) / 1e6 for path in images.paths}
        sizes[MEAN], own = np.mean([*sizes.values()]), points.dataset == images.name
        points.loc[own, "megapixels"] = points[own].image.map(sizes)
    return points


def main() -> None:
    """Measure the available photographs, or compare the kept points."""
    parser = argparse.ArgumentParser(description="Measure how the BD-rate changes with the resolution.")
    parser.add_argument("--set", default="clic", help="set of high-resolution photographs (clic)")
    parser.add_argument("--limit", type=int, help="take only the first photographs")
    parser.add_argument("--kept", action="store_true", help="compare the points that are kept, and measure none")
    options, codec = parser.parse_args(), FileCodec()
    if options.kept:
        points = read_table("resolution_points")
    else:
        points = measured_points(image_set(options.set, options.limit), codec)
        save_table(points, "resolution_points", replaces="dataset")
        others = [(other.name, other, other.qualities[0]) for other in available((*OTHERS, ANCHOR))]
        headers = header_bytes([(codec.model, codec, QUALITIES[0]), *others])
        table = resolution_table(points, codec.model, headers).assign(weights=codec.weights())
        save_table(table, "resolution", 4, replaces="dataset")
        print(table.to_string(index=False))
    changes = change_table(points, codec.model)
    save_table(changes, "resolution_change", 4, replaces="dataset")
    print(changes.to_string(index=False))


if __name__ == "__main__":
    main()
