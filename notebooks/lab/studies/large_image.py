"""A picture as large as asked through ``weconvene encode`` and ``decode`` under a memory limit: what they really take.

``python -m lab.studies.large_image 20000`` adds a row to ``results/tables/large_image.csv``. The picture
is a mosaic of the test photographs, each mirrored until it fills its cell. Both commands run in processes of their own,
which tell their peak of memory; ``limit_mib`` is what they may take by their own rules: the loaded program, the picture
(7 bytes a pixel: Pillow's copy and ours), and ``--max-memory``.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lab.complexity.peak_memory import peak_of_this_process
from weconvene_core.cli.main import main as command_line
from weconvene_core.codec import api
from weconvene_core.codec.container import MAX_PIXELS, unpack
from weconvene_core.codec.tile_grid import DEFAULT_MEMORY, MIB
from weconvene_core.datasets.image_sets import load_rgb, test_set
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import NOTEBOOKS, RESULTS

TABLE = RESULTS / "tables" / "large_image.csv"
INSIDE = "inside"
CELL = 1000  # pixels
STRIP = 256  # rows at a time
BYTES_PER_PIXEL = 7


def mosaic(side: int) -> Image.Image:
    """Return a picture of ``side`` x ``side`` pixels made of the test photographs.

    Raises
    ------
    WeconveneError
        If a file cannot hold so many pixels.
    """
    if not 1 <= side <= int(MAX_PIXELS**0.5):
        raise WeconveneError(f"side={side} is impossible: 1 to {int(MAX_PIXELS**0.5)} pixels fit into a file.")
    cells = [_mirrored(np.asarray(load_rgb(path))) for path in test_set().paths]
    picture = np.empty((side, side, 3), np.uint8)
    starts = [(top, left) for top in range(0, side, CELL) for left in range(0, side, CELL)]
    for i, (top, left) in enumerate(starts):
        part = picture[top : top + CELL, left : left + CELL]
        part[:] = cells[i % len(cells)][: part.shape[0], : part.shape[1]]
    return Image.fromarray(picture)


def _mirrored(photo: np.ndarray) -> np.ndarray:
    """Repeat a photograph, every second time mirrored, to CELL x CELL pixels."""
    lines = [np.arange(CELL) % (2 * length) for length in photo.shape[:2]]
    rows, columns = (np.minimum(at, 2 * n - 1 - at) for at, n in zip(lines, photo.shape[:2], strict=True))
    return photo[np.ix_(rows, columns)]


def psnr_in_strips(first: Path, second: Path) -> float:
    """Return the PSNR (dB) of two pictures of one size without another copy of either."""
    with Image.open(first) as a, Image.open(second) as b:
        squares = 0.0
        for top in range(0, a.height, STRIP):
            box = (0, top, a.width, min(top + STRIP, a.height))
            error = np.asarray(a.crop(box), np.int32) - np.asarray(b.crop(box))
            squares += float(np.square(error).sum())
        return float(10 * np.log10(255**2 * a.width * a.height * 3 / squares))


def inside(arguments: list[str]) -> int:
    """Run the command line in this process and print what it took: ``loaded`` is the peak before it."""
    api.decode(api.encode(np.zeros((64, 64, 3), np.uint8), 1))
    loaded, started = peak_of_this_process(), time.perf_counter()
    code = command_line(arguments)
    taken = {"seconds": time.perf_counter() - started, "peak_mib": peak_of_this_process(), "loaded_mib": loaded}
    print(json.dumps(taken))
    return code


def _command(*arguments: str) -> dict[str, float]:
    """Run ``weconvene`` with these arguments in a process of its own and return what it took.

    Raises
    ------
    WeconveneError
        If it fails; with its last words.
    """
    command = [sys.executable, "-W", "ignore", "-m", __spec__.name, INSIDE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=NOTEBOOKS)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it stopped without a word, perhaps for lack of memory"])[-1]
        raise WeconveneError(f"weconvene {arguments[0]} failed: {reason}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(side: int, quality: float, max_memory: int) -> dict[str, object]:
    """Code a mosaic through files and return a row of the table.

    Raises
    ------
    WeconveneError
        If either command fails, or the side is impossible.
    """
    with tempfile.TemporaryDirectory() as name:
        source, coded, decoded = (Path(name, file) for file in ("mosaic.bmp", "coded.wcv", "decoded.png"))
        mosaic(side).save(source)
        limit = "--max-memory", str(max_memory)
        encode = _command("encode", str(source), str(coded), "--quality", str(quality), *limit)
        Image.MAX_IMAGE_PIXELS = MAX_PIXELS
        decode = _command("decode", str(coded), str(decoded), *limit)
        size, container = coded.stat().st_size, unpack(coded.read_bytes())
        allowed = encode["loaded_mib"] + max_memory + BYTES_PER_PIXEL * side**2 / MIB
        return {
            "side": side, "quality": quality, "tile": container.tile, "tiles": math.prod(container.tiling),
            "max_memory_mib": max_memory, "bytes": size, "bpp": 8 * size / side**2,
            "psnr_db": psnr_in_strips(source, decoded),
            "encode_s": encode["seconds"], "decode_s": decode["seconds"],
            "encode_peak_mib": encode["peak_mib"], "decode_peak_mib": decode["peak_mib"], "limit_mib": allowed,
        }  # fmt: skip


def main() -> int:
    """Measure, and put the row into the table in place of an earlier one of the same side and limit."""
    if sys.argv[1:2] == [INSIDE]:
        return inside(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("side", type=int, help="pixels")
    parser.add_argument("--quality", type=float, default=3.0)
    parser.add_argument("--max-memory", type=int, default=DEFAULT_MEMORY, help="MiB")
    arguments = parser.parse_args()
    try:
        found = pd.DataFrame([measure(arguments.side, arguments.quality, arguments.max_memory)])
    except WeconveneError as error:
        print(error, file=sys.stderr)
        return 1
    known = pd.read_csv(TABLE) if TABLE.is_file() else found[:0]
    key = ["side", "quality", "max_memory_mib"]
    table = pd.concat([known, found]).drop_duplicates(key, keep="last").sort_values(key)
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(TABLE, index=False, float_format="%.5g")
    print(found.T.to_string(header=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
