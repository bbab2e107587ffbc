"""Very fine texture, text, drawings and screens: fifty fixed pictures, by real files at every quality.

``python -m lab.studies.fine_texture [MODEL]`` writes ``results/tables/fine_texture.csv`` and says how
many pictures get worse with more bits, and how many come out worse than one flat colour. Training draws such pictures
as well (see :mod:`lab.studies.synthetic_pictures`), never from these seeds.
"""

from __future__ import annotations

import argparse
import hashlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from lab.rd.metrics import bpp, psnr_rgb
from lab.rd.our_codec import QUALITIES, FileCodec
from lab.studies.synthetic_pictures import FAMILIES, PATTERNS, texture
from weconvene_core.codec import api
from weconvene_core.paths import RESULTS

TABLE = RESULTS / "tables" / "fine_texture.csv"
SIDE = 256
SIZES = ((256, 256), (256, 256), (255, 253), (193, 256), (130, 161))
"""Heights and widths in pixels of the random pictures, in turn."""
RANDOM = {**dict.fromkeys(PATTERNS, 2), "text": 6, "drawing": 4, "screen": 6, "texture": 3}
"""How many random pictures there are of each kind."""
JPEG_QUALITY = 75
TOLERANCE_DB = 0.2
"""A smaller loss, from one quality to the next or against flat colour, does not count: rounding decides over it."""
MOST_DB = 100.0
"""Stands for the PSNR of a picture that comes back without any loss, which has none."""

Picture = NDArray[np.uint8]


def pictures() -> dict[str, Picture]:
    """Return the fifty pictures by name, (H, W, 3) uint8; the part of a name before its number is the kind."""
    drawn = {}
    kinds = [kind for kind, count in RANDOM.items() for _ in range(count)]
    for number, kind in enumerate(kinds):
        rng = np.random.default_rng([2026, number, 2])  # training's seeds end in 1
        picture = texture(rng, SIDE, kind) if kind in PATTERNS else np.asarray(FAMILIES[kind](rng, SIDE))
        height, width = SIZES[number % len(SIZES)]
        drawn[f"{kind} {kinds[:number].count(kind) + 1}"] = np.ascontiguousarray(picture[:height, :width])
    return {**_explicit(), **drawn}


def _explicit() -> dict[str, Picture]:
    """Pictures of full contrast that need no drawing of lots, and mixed ones: half a gradient, half a texture."""
    y, x = np.mgrid[:SIDE, :SIDE]
    rng = np.random.default_rng([2026, 0, 3])
    dots = np.cos(0.9 * (x + y)) + np.cos(0.9 * (x - y))
    planes = {
        "pixel checkerboard": (x + y) % 2 * 255,
        "pixel lines level": y % 2 * 255,
        "pixel lines upright": x % 2 * 255,
        "pixel lines diagonal": ((x + y) % 3 == 0) * 255,
        "full noise": rng.integers(256, size=(SIDE, SIDE)),
        "printed ramp": (x / 64 - 2 > dots) * 255,
    }
    dithered = np.asarray(_ramp(SIDE, SIDE).convert("1").convert("L"))
    halves = {**{name: planes[name] for name in ("pixel checkerboard", "pixel lines upright", "full noise")},
              "dithered ramp": dithered}  # fmt: skip
    mixed = {f"half {name}": np.where(x < SIDE // 2, y // 2 + 64, plane) for name, plane in halves.items()}
    ramp = np.asarray(_ramp(96, 128).convert("1").convert("L"))
    return {name: _rgb(plane) for name, plane in {"dithered ramp": ramp, **planes, **mixed}.items()}


def _ramp(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.tile((np.arange(width) * 256 // width).astype(np.uint8), (height, 1)))


def _rgb(plane: NDArray[np.integer]) -> Picture:
    return np.repeat(plane.astype(np.uint8)[..., None], 3, axis=2)


def measure(picture: Picture, model: str = api.DEFAULT_MODEL) -> dict[str, object]:
    """Code a picture at every quality and by JPEG.

    Args:
        picture: (H, W, 3) uint8.
        model: name of a released checkpoint.

    Returns:
        ``bpp_Q`` and ``psnr_Q`` in dB for each quality Q, ``fall_db``, the largest loss of PSNR from a quality to the
        next (0 if there is none), ``flat_db``, the PSNR of the picture's mean colour, ``jpeg_bytes`` and ``jpeg_db``,
        the width and the height of the picture in pixels, and the first digits of its SHA-256.

    Raises:
        WeconveneError: there is no such model.
    """
    height, width = picture.shape[:2]
    files = [api.encode(picture, quality, model) for quality in QUALITIES]
    psnr = np.array([_db(picture, api.decode(file)) for file in files])
    flat = np.broadcast_to(picture.mean((0, 1)).round().astype(np.uint8), picture.shape)
    jpeg = io.BytesIO()
    Image.fromarray(picture).save(jpeg, "JPEG", quality=JPEG_QUALITY)
    return {
        "width": width, "height": height, "pixels": hashlib.sha256(picture.tobytes()).hexdigest()[:8],
        **{f"bpp_{q:g}": bpp(len(file), width, height) for q, file in zip(QUALITIES, files, strict=True)},
        **{f"psnr_{q:g}": value for q, value in zip(QUALITIES, psnr.tolist(), strict=True)},
        "fall_db": max(0.0, float(-np.diff(psnr).min())), "flat_db": _db(picture, flat),
        "jpeg_bytes": jpeg.getbuffer().nbytes, "jpeg_db": _db(picture, Image.open(jpeg)),
    }  # fmt: skip


def _db(picture: Picture, decoded: Image.Image | Picture) -> float:
    return min(MOST_DB, psnr_rgb(picture, decoded.convert("RGB") if isinstance(decoded, Image.Image) else decoded))


def rows(chosen: Mapping[str, Picture], model: str = api.DEFAULT_MODEL) -> Iterator[dict[str, object]]:
    """Yield a row of the table for each picture: ``picture``, ``kind``, what :func:`measure` returns, ``weights``."""
    weights = FileCodec(model).weights()
    for name, picture in chosen.items():
        kind = name.rstrip("0123456789 ")
        yield {"picture": name, "kind": kind, **measure(picture, model), "weights": weights}


def summary(table: pd.DataFrame) -> str:
    """Say how many pictures fall, how many are below flat colour at some quality and at the finest, and the worst."""
    psnr = table[[f"psnr_{quality:g}" for quality in QUALITIES]]
    falls, gaps = table.fall_db > TOLERANCE_DB, psnr.sub(table.flat_db, axis=0)
    below, fallen, lowest = gaps < -TOLERANCE_DB, table.fall_db.idxmax(), gaps.min(axis=1).idxmin()
    return "\n".join([
        f"{falls.sum()} of {len(table)} pictures lose more than {TOLERANCE_DB} dB from a quality to the next; "
        f"worst: {table.picture[fallen]}, {table.fall_db[fallen]:.2f} dB",
        f"{below.any(axis=1).sum()} are more than {TOLERANCE_DB} dB below their mean colour at some quality, "
        f"{below.iloc[:, -1].sum()} at the finest; lowest: {table.picture[lowest]}, {gaps.loc[lowest].min():+.2f} dB",
        f"mean PSNR by quality: {', '.join(f'{value:.2f}' for value in psnr.mean())} dB; "
        f"JPEG {JPEG_QUALITY}: {table.jpeg_db.mean():.2f} dB",
    ])  # fmt: skip


def main() -> None:
    """Measure the pictures, write the table, and print its summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default=api.DEFAULT_MODEL, help="a released checkpoint")
    parser.add_argument("--output", type=Path, default=TABLE, help="the table (%(default)s)")
    options = parser.parse_args()
    chosen = pictures()
    table = pd.DataFrame(tqdm(rows(chosen, options.model), total=len(chosen), unit="picture", disable=None))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.output, index=False, float_format="%.3f", lineterminator="\n")
    print(summary(table))


if __name__ == "__main__":
    main()
