"""The price of exactness: rate, quality and decoding time of the exact path beside floating point, by real files.

``python -m lab.studies.integer_path_cost rates`` and ``... times`` (on an idle machine) write their rows of
``results/tables/exactness.csv``.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm import tqdm

from lab.complexity.latency import medians
from lab.entropy_analysis.slice_bits import calls
from lab.paths import save_table
from lab.rd.bd_rate import bd_rate
from lab.rd.curves import MEAN, averaged_curve
from lab.rd.measure import measure
from weconvene_core.codec import api
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import ImageSet, test_set
from weconvene_core.entropy.range_coder import Decoder, Encoder
from weconvene_core.model.weconvene import WeConvene

TABLE = "exactness"
MEASURED = ["figure", "quality", "float", "exact", "price", "bar"]
COLUMNS = ["figure", "images", "threads", *MEASURED[1:]]
QUALITIES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
TIMED_QUALITIES = (1.0, 3.0, 6.0)
FLOAT, EXACT = "float", "exact"
MOST_BD_RATE, MOST_TIME, LEAST_SYMBOLS = 0.5, 1.5, 5.0  # percent, ratio, millions a second: the column ``bar``
ROUNDS = 5


@dataclass(frozen=True)
class PathCodec:
    """A released model with one of its two entropy paths, behind the protocol ``ImageCodec``."""

    exact: bool

    def encode(self, image: Image.Image, quality: float) -> bytes:
        """Return the file of an RGB picture."""
        return api.encode(image, quality, exact=self.exact)

    def decode(self, data: bytes) -> Image.Image:
        """Return the picture of a file."""
        return api.decode(data)


def rates(images: ImageSet) -> list[list[object]]:
    """Return bits per pixel and PSNR of both paths at every quality, and the exact path's BD-rate against the other."""
    points = pd.concat(
        [measure(PathCodec(name == EXACT), name, images, QUALITIES, processes=None) for name in (FLOAT, EXACT)]
    )
    means = points[points.image == MEAN].set_index(["codec", "quality"])
    rows = []
    for quality in QUALITIES:
        plain, exact = (means.loc[(name, quality)] for name in (FLOAT, EXACT))
        rows.append(["bits per pixel", quality, plain.bpp, exact.bpp, 100 * (exact.bpp / plain.bpp - 1), np.nan])
        rows.append(["PSNR, dB", quality, plain.psnr_db, exact.psnr_db, exact.psnr_db - plain.psnr_db, np.nan])
    price = bd_rate(averaged_curve(points, FLOAT), averaged_curve(points, EXACT)).bd_rate_pct
    return [*rows, ["BD-rate, %", "all", 0.0, price, price, MOST_BD_RATE]]


def times(images: ImageSet) -> list[list[object]]:
    """Return the decoding times of both paths, taken in turn, and the coder's speed on one core.

    A time is the median over images of an image's median over rounds; the price is the ratio of the two paths.
    """
    rows = []
    for quality in TIMED_QUALITIES:
        found = []
        for path in tqdm(images.paths, desc=f"quality {quality:g}"):
            picture = load_rgb(path)
            files = {name: PathCodec(name == EXACT).encode(picture, quality) for name in (FLOAT, EXACT)}
            decoding = {name: lambda data=data: api.decode(data) for name, data in files.items()}
            found.append(medians(decoding, ROUNDS, warm_up=1))
        plain, exact = (statistics.median(each[name] for each in found) for name in (FLOAT, EXACT))
        rows.append(["decoding, ms", quality, plain, exact, exact / plain, np.nan])
    ratio = statistics.median(row[4] for row in rows)
    rows.append(["decoding, ratio", "all", 1.0, ratio, ratio, MOST_TIME])
    speeds = symbol_speeds(api.load_model(exact=True), load_rgb(images.paths[0]))
    for name, speed in zip(("coded", "decoded"), speeds, strict=True):
        rows.append([f"symbols {name}, million/s", max(TIMED_QUALITIES), np.nan, speed, np.nan, LEAST_SYMBOLS])
    return rows


def symbol_speeds(model: WeConvene, picture: Image.Image) -> tuple[float, float]:
    """Return how many million symbols of a picture's y the range coder writes, and reads, in a second on one core."""
    pushes, tables = [], model.tables
    for call in calls(model, np.asarray(picture), model.config.qualities[1]):
        coded = call.indexes > 0
        pushes.append((call.residual[coded].int().numpy(), call.indexes[coded].numpy()))

    def write() -> bytes:
        encoder = Encoder()
        for symbols, indexes in pushes:
            encoder.push(symbols, indexes, tables)
        return encoder.finish()

    def read() -> None:
        decoder = Decoder(data)
        for _, indexes in pushes:
            decoder.pop(indexes, tables)

    data, count = write(), sum(len(symbols) for symbols, _ in pushes)
    ms = medians({"write": write, "read": read}, ROUNDS, warm_up=1)
    return count / ms["write"] / 1e3, count / ms["read"] / 1e3


def main() -> None:
    """Measure what is asked for, and put its rows in place of earlier ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("rates", "times"))
    parser.add_argument("--images", type=int, help="only the first N images")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    images = test_set(arguments.images)
    found = pd.DataFrame((rates if arguments.what == "rates" else times)(images), columns=MEASURED)
    found = found.assign(images=len(images), threads=torch.get_num_threads())[COLUMNS]
    save_table(found, TABLE, "%.5g", replaces="figure")
    print(found.to_string(index=False))


if __name__ == "__main__":
    main()
