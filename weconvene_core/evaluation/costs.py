"""The complexity table: parameters, MACs, latency and memory of several models, measured in one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from compressai.models import CompressionModel
from tqdm import tqdm

from weconvene_core.errors import WeconveneError
from weconvene_core.evaluation.complexity import Macs, count_macs
from weconvene_core.evaluation.contenders import ZOO, contender, sample_image
from weconvene_core.evaluation.latency import CODING, STAGES, Latency, time_codec
from weconvene_core.evaluation.peak_memory import label
from weconvene_core.paths import DATA

PUBLISHED = DATA / "published_complexity.csv"
COLUMNS = [
    *("model", "image", "params_m", "kmac_px_encode", "kmac_px_decode"),
    *("encode_ms", "decode_ms", "entropy_coding_ms", "peak_mb", "threads", "device"),
]
STAGE_COLUMNS = ["model", "image", "side", *STAGES, "total", "runs"]
COUNTING_SIZE = (256, 256)
"""CompressAI's models are counted at this size: theirs is a pure cost per pixel, and serial ones are slow to count."""

Size = tuple[int, int]


def parameters_m(model: CompressionModel) -> float:
    """Number of trained parameters in millions."""
    return sum(p.numel() for p in model.parameters()) / 1e6


def parts_table(counted: tuple[Macs, Macs], by_hand: tuple[Macs, Macs], size: Size) -> pd.DataFrame:
    """Set counted MACs of (encode, decode) of an image (height, width) beside those of the formulas, by part."""
    rows = []
    for side, found, formula in zip(("encode", "decode"), counted, by_hand, strict=True):
        for part in found | formula:
            n, m = found.get(part, 0), formula.get(part, 0)
            rows.append([side, part, n, m, "match" if n == m else "MISMATCH", n / (1e3 * size[0] * size[1])])
    return pd.DataFrame(rows, columns=["side", "part", "counted", "by hand", "verdict", "kmac_px"])


@lru_cache
def kmac_per_pixel(name: str, size: Size) -> tuple[float, float, float]:
    """Return thousands of MACs per pixel of a contender for an image (height, width): encoding, decoding, one pass.

    One pass is what others publish: both transforms, and once what both sides run.
    """
    height, width = COUNTING_SIZE if name in ZOO else size
    encode, decode = count_macs(contender(name), sample_image(height, width))
    unit = 1e3 * height * width
    return sum(encode.values()) / unit, sum(decode.values()) / unit, sum((encode | decode).values()) / unit


def measure_costs(
    names: Sequence[str], sizes: Sequence[Size], peaks: Mapping[str, Mapping[str, float]] | None = None, runs: int = 5
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Code the sample photograph with every model at every size (height, width), on the CPU.

    Returns
    -------
    A table with ``COLUMNS`` (``entropy_coding_ms`` is the share of ``decode_ms`` spent in the entropy decoder), and one
    with ``STAGE_COLUMNS``: where the milliseconds of either side go. ``peaks`` are those of
    :func:`weconvene_core.evaluation.peak_memory.peak_memories`; sizes without a peak stay empty.
    """
    rows, stages = [], []
    for name, size in tqdm([(name, size) for name in names for size in sizes], desc="models and sizes"):
        found = time_codec(contender(name), sample_image(*size), runs)
        encode, decode, _ = kmac_per_pixel(name, size)
        peak = (peaks or {}).get(name, {}).get(label(size), float("nan"))
        rows.append(
            [name, label(size), parameters_m(contender(name)), encode, decode, found.encode_ms, found.decode_ms,
             found.decode_stages[CODING], peak, torch.get_num_threads(), "cpu"]
        )  # fmt: skip
        stages += _stage_rows(name, size, found)
    return pd.DataFrame(rows, columns=COLUMNS), pd.DataFrame(stages, columns=STAGE_COLUMNS)


def _stage_rows(name: str, size: Size, found: Latency) -> list[list[object]]:
    sides = (("encode", found.encode_stages, found.encode_ms), ("decode", found.decode_stages, found.decode_ms))
    return [[name, label(size), side, *(parts[s] for s in STAGES), total, found.runs] for side, parts, total in sides]


def growth(table: pd.DataFrame, column: str) -> tuple[float, float, float]:
    """Fit ``column`` (ms) of a table of one model to a line over pixels.

    Returns (milliseconds per megapixel, milliseconds at zero pixels, coefficient of determination R^2).

    Raises
    ------
    WeconveneError
        If the table holds fewer than three sizes.
    """
    if len(table) < 3:
        raise WeconveneError(f"a line through {len(table)} sizes shows nothing; measure at least three.")
    x, y = megapixels(table), table[column].to_numpy(dtype=float)
    slope, start = np.polyfit(x, y, 1)
    residual = float(np.square(y - (slope * x + start)).sum())
    return float(slope), float(start), 1.0 - residual / float(np.square(y - y.mean()).sum())


def megapixels(table: pd.DataFrame) -> np.ndarray:
    """Return the millions of pixels of the ``image`` column, e.g. ``768x512``."""
    sides = table.image.str.split("x", expand=True).astype(float)
    return (sides[0] * sides[1] / 1e6).to_numpy()


def one_pass(names: Sequence[str], size: Size) -> pd.DataFrame:
    """Return parameters (millions) and kMAC/px of one pass of several contenders, as others publish them."""
    rows = [[name, parameters_m(contender(name)), kmac_per_pixel(name, size)[2]] for name in names]
    return pd.DataFrame(rows, columns=["model", "params_m", "kmac_px"])


def published_complexity() -> pd.DataFrame:
    """Return the figures that other authors published: model, params_m_low, params_m_high, kmac_px, source, note.

    Raises
    ------
    WeconveneError
        If the file is missing or unreadable.
    """
    try:
        return pd.read_csv(PUBLISHED)
    except (OSError, ValueError) as error:
        raise WeconveneError(f"data/{PUBLISHED.name} cannot be read ({error}); restore it, as with git.") from error
