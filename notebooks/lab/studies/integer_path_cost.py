"""The price of exactness: rate, quality and decoding time of the exact path beside floating point, by real files.

``python -m lab.studies.integer_path_cost rates`` and ``... times`` (on an idle machine) write their rows of
``results/tables/exactness.csv``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm import tqdm

from lab.rd.bd_rate import bd_rate
from lab.rd.curves import MEAN, averaged_curve
from lab.rd.measure import measure
from weconvene_core.codec import api
from weconvene_core.datasets.image_sets import ImageSet, load_rgb, test_set
from weconvene_core.entropy import tables_of
from weconvene_core.entropy.coding_steps import quantise
from weconvene_core.entropy.range_coder import Decoder, Encoder
from weconvene_core.entropy.slices import Prediction
from weconvene_core.image_tensors import from_8_bit, pad
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.paths import RESULTS

TABLE = RESULTS / "tables" / "exactness.csv"
COLUMNS = ["figure", "images", "threads", "quality", "float", "exact", "price", "bar"]
QUALITIES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
TIMED_QUALITIES = (1.0, 3.0, 6.0)
ALL = "all"
FLOAT, EXACT = "float", "exact"
MOST_BD_RATE, MOST_TIME, LEAST_SYMBOLS = 0.5, 1.5, 5.0  # percent, ratio, millions a second


@dataclass(frozen=True)
class PathCodec:
    """A released model with one of its two entropy paths, behind the protocol ``ImageCodec``."""

    exact: bool
    model: str = api.DEFAULT_MODEL

    def encode(self, image: Image.Image, quality: float) -> bytes:
        """Return the file of an RGB picture."""
        return api.encode(image, quality, self.model, exact=self.exact)

    def decode(self, data: bytes) -> Image.Image:
        """Return the picture of a file."""
        return api.decode(data)


def rates(images: ImageSet, qualities: Sequence[float] = QUALITIES, model: str = api.DEFAULT_MODEL) -> pd.DataFrame:
    """Return bits per pixel and PSNR of both paths at every quality, and the exact path's BD-rate against the other.

    Raises
    ------
    WeconveneError
        If the model is not calibrated, or the curves have no BD-rate.
    """
    paths = {name: PathCodec(name == EXACT, model) for name in (FLOAT, EXACT)}
    processes = os.cpu_count() or 1
    points = pd.concat([measure(path, name, images, qualities, processes=processes) for name, path in paths.items()])
    means = points[points.image == MEAN].set_index(["codec", "quality"])
    rows = []
    for quality in qualities:
        found = [means.loc[(name, quality)] for name in (FLOAT, EXACT)]
        rows.append(["bits per pixel", quality, *(row.bpp for row in found), 100 * (found[1].bpp / found[0].bpp - 1)])
        rows.append(["PSNR, dB", quality, *(row.psnr_db for row in found), found[1].psnr_db - found[0].psnr_db])
    price = bd_rate(averaged_curve(points, FLOAT), averaged_curve(points, EXACT)).bd_rate_pct
    rows.append(["BD-rate, %", ALL, 0.0, price, price, MOST_BD_RATE])
    return _table(rows, len(images))


def times(
    images: ImageSet, qualities: Sequence[float] = TIMED_QUALITIES, model: str = api.DEFAULT_MODEL, rounds: int = 5
) -> pd.DataFrame:
    """Return the decoding times of both paths, taken in turn, and the coder's speed on one core.

    A time is the median over images of an image's median over ``rounds``; the price is the ratio of the two paths.
    """
    rows = []
    for quality in qualities:
        found = {FLOAT: list[float](), EXACT: list[float]()}
        for path in tqdm(images.paths, desc=f"quality {quality:g}"):
            picture = load_rgb(path)
            files = {name: api.encode(picture, quality, model, exact=name == EXACT) for name in found}
            for name, ms in _in_turn({name: _decoding(data) for name, data in files.items()}, rounds).items():
                found[name].append(ms)
        medians = [statistics.median(found[name]) for name in (FLOAT, EXACT)]
        rows.append(["decoding, ms", quality, *medians, medians[1] / medians[0]])
    rows.append(["decoding, ratio", ALL, 1.0, *[statistics.median(row[4] for row in rows)] * 2, MOST_TIME])
    speeds = symbol_speeds(api.load_model(model, exact=True), load_rgb(images.paths[0]))
    for name, speed in zip(("coded", "decoded"), speeds, strict=True):
        rows.append([f"symbols {name}, million/s", max(qualities), np.nan, speed, np.nan, LEAST_SYMBOLS])
    return _table(rows, len(images))


def _decoding(data: bytes) -> Callable[[], object]:
    return lambda: api.decode(data)


def _in_turn(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each call; they are made in turn, after one round that does not count."""
    seconds = {name: list[float]() for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    return {name: 1e3 * statistics.median(found[1:]) for name, found in seconds.items()}


@torch.no_grad()
def symbol_speeds(model: WeConvene, picture: Image.Image, rounds: int = 5) -> tuple[float, float]:
    """Return how many million symbols of a picture's y the coder writes, and reads, in a second on one core."""
    pushes: list[tuple[np.ndarray, np.ndarray]] = []

    def keep(group: str, prediction: Prediction, target: torch.Tensor | None) -> torch.Tensor:
        assert target is not None
        residual, indexes = quantise(prediction, target)
        coded = indexes > 0
        pushes.append((residual[coded].int().numpy(), indexes[coded].numpy()))
        return residual

    x = pad(from_8_bit(np.asarray(picture)), model.config.stride)
    at = torch.tensor([model.config.qualities[1]])
    model.run_entropy_model(*model.analyse(x, at), at, keep)
    tables, count = tables_of(model.conditional), sum(len(symbols) for symbols, _ in pushes)

    def write() -> bytes:
        encoder = Encoder()
        for symbols, indexes in pushes:
            encoder.push(symbols, indexes, tables)
        return encoder.finish()

    data = write()

    def read() -> None:
        decoder = Decoder(data)
        for _, indexes in pushes:
            decoder.pop(indexes, tables)

    ms = _in_turn({"write": write, "read": read}, rounds)
    return count / ms["write"] / 1e3, count / ms["read"] / 1e3


def _table(rows: Sequence[list[object]], images: int) -> pd.DataFrame:
    """Rows of (figure, quality, float, exact, price[, bar])."""
    columns = [name for name in COLUMNS if name not in ("images", "threads")]
    table = pd.DataFrame([dict(zip(columns, row, strict=False)) for row in rows])
    return table.assign(images=images, threads=torch.get_num_threads()).reindex(columns=COLUMNS)


def main() -> None:
    """Measure what is asked for, and put its rows in place of earlier ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("rates", "times"))
    parser.add_argument("--images", type=int, help="only the first N images")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = (rates if arguments.what == "rates" else times)(test_set(arguments.images))
    if TABLE.is_file():
        old = pd.read_csv(TABLE)
        found = pd.concat([old[~old.figure.isin(found.figure)], found])
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    found.to_csv(TABLE, index=False, float_format="%.5g")
    print(found.to_string(index=False))


if __name__ == "__main__":
    main()
