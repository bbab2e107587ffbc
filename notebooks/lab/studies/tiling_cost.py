"""What coding in tiles costs in rate, PSNR and MS-SSIM, and along the tiles' borders, beside the picture in one piece.

``python -m lab.studies.tiling_cost`` writes ``results/tables/tiles.csv``, from CLIC photographs with a side of 2048.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from lab.paths import save_table
from lab.rd.metrics import ms_ssim, psnr_rgb
from weconvene_core.codec import api
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.codec.tile_grid import spans
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import WeconveneError

TABLE = "tiles"
SIDE = 2048  # pixels: the longer side of a 2K photograph
QUALITIES, TILES = (1.0, 3.0, 6.0), (512, 1024)
MOST_LOSS = 0.02  # dB, of a whole picture
BESIDE = 2  # pixels on either side of a border that count as along it


def tile_costs(picture: Image.Image, quality: float, tiles: Sequence[int] = TILES) -> list[dict[str, object]]:
    """Code a picture in one piece, then in tiles of every size, each smaller than the picture.

    Returns
    -------
    Per tile size: the number of tiles, bytes, PSNR (dB) and MS-SSIM of both, ``rate_pct`` (more bytes), ``loss_db``
    (less PSNR), and ``border_loss_db``, the same over the pixels along the tiles' borders alone.
    """
    original, rows = np.asarray(picture), []
    whole = api.encode(picture, quality, tile=0)
    decoded = np.asarray(api.decode(whole))
    for tile in tiles:
        along = borders(picture.height, picture.width, tile)
        data = api.encode(picture, quality, tile=tile)
        back = np.asarray(api.decode(data))
        psnr = [psnr_rgb(original, each) for each in (decoded, back)]
        beside = [psnr_rgb(original[along][None], each[along][None]) for each in (decoded, back)]
        rows.append({
            "quality": quality, "tile": tile,
            "tiles": len(spans(picture.height, tile)) * len(spans(picture.width, tile)),
            "bytes_whole": len(whole), "bytes_tiled": len(data), "rate_pct": 100 * (len(data) / len(whole) - 1),
            "psnr_whole": psnr[0], "psnr_tiled": psnr[1], "loss_db": psnr[0] - psnr[1],
            "border_loss_db": beside[0] - beside[1],
            "ms_ssim_whole": ms_ssim(original, decoded), "ms_ssim_tiled": ms_ssim(original, back),
        })  # fmt: skip
    return rows


def borders(height: int, width: int, tile: int) -> np.ndarray:
    """Return which pixels (height, width) lie along a border between two tiles."""
    along = np.zeros((height, width), bool)
    for lines, length in ((along, height), (along.T, width)):
        for part in spans(length, tile)[1:]:
            lines[part.interior.start - BESIDE : part.interior.start + BESIDE] = True
    return along


def main() -> None:
    """Measure every photograph, then the means and the worst of every quality and tile size, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, help="only the first N photographs")
    limit = parser.parse_args().images
    paths = [path for path in image_set("clic").paths if max(Image.open(path).size) >= SIDE][:limit]
    if not paths:
        raise WeconveneError(f"The image set 'clic' holds no photograph with a side of {SIDE} pixels.")
    jobs = tqdm([*product(paths, QUALITIES)])
    table = pd.concat([pd.DataFrame(tile_costs(load_rgb(path), q)).assign(image=path.name) for path, q in jobs])
    table.insert(0, "image", table.pop("image"))
    groups = table.groupby(["quality", "tile"])[["rate_pct", "loss_db", "border_loss_db"]]
    sums = [found.reset_index().assign(image=name, bar_db=MOST_LOSS)
            for name, found in (("mean", groups.mean()), ("worst", groups.max()))]  # fmt: skip
    found = pd.concat([table, *sums], ignore_index=True)
    save_table(found, TABLE, "%.5g")
    print(found.to_string(index=False, float_format="%.4f"))


if __name__ == "__main__":
    main()
