"""The complexity table: parameters, MACs, latency and memory of several models, measured in one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from compressai.models import CompressionModel
from tqdm import tqdm

from lab.complexity.count_macs import Macs, count_macs
from lab.complexity.latency import CODING, STAGES, give_memory_back, time_codec
from lab.complexity.models import ZOO, ZOO_HIGHEST, counted_model, ready_model, sample_image
from lab.complexity.peak_memory import label
from lab.paths import DATA
from weconvene_core.errors import WeconveneError
from weconvene_core.model.presets import preset
from weconvene_core.model.weconvene import WeConvene

COLUMNS = [
    *("model", "image", "params_m", "kmac_px_encode", "kmac_px_decode"),
    *("encode_ms", "decode_ms", "entropy_coding_ms", "peak_mb", "threads", "device"),
]
STAGE_COLUMNS = ["model", "image", "side", *STAGES, "total", "runs"]
COUNTING_SIZE = (256, 256)
"""(height, width) at which models are counted unless another size is asked for."""

CHANGES: tuple[dict[str, Any], ...] = (
    {"wavelet_layers": False},
    {"levels": 1},
    {"levels": 3},
    {"channel_dwt": False},
    {"high_kernel": 3},
    {"high_kernel": 3, "joint_high": True},
    {"gdn": True},
    {"weconv_residual": False},
    {"up_kernel": 3},
    {"residual_ends": True},
    {"patch_a": 1, "scales_a": 3},
    {"wavelet_entropy": False, "lf_slices": 8, "hf_slices": 0},
    {"lf_slices": 5, "hf_slices": 5},
    {"slice_attention": False},
    {"slice_network": "split"},
    {"hyper_blocks": 0},
)
"""Switches of the ledger that change the cost, as changes of the preset ``paper``."""

Size = tuple[int, int]


def parameters_m(model: CompressionModel | str) -> float:
    """Number of trained parameters in millions, of a model or of the one of this name."""
    if isinstance(model, str):
        return _counted(model, COUNTING_SIZE).params_m
    return sum(p.numel() for p in model.parameters()) / 1e6


class Count(NamedTuple):
    """Millions of parameters, and the MACs of both sides by part, which are for so many pixels."""

    params_m: float
    encode: Macs
    decode: Macs
    pixels: int

    @property
    def kmac_px(self) -> tuple[float, float, float]:
        """Thousands of MACs per pixel: encoding, decoding, and one pass as others publish it."""
        encode, decode, one_pass = (
            sum(macs.values()) / (1e3 * self.pixels) for macs in (self.encode, self.decode, self.encode | self.decode)
        )
        return encode, decode, one_pass


@lru_cache
def _counted(name: str, size: Size) -> Count:
    """Return what is counted of a model; only the numbers are kept."""
    return _count(counted_model(name), size)


def _count(model: CompressionModel, size: Size) -> Count:
    """Count at the padded size, and models of CompressAI, with a pure cost per pixel, at ``COUNTING_SIZE``."""
    padded = size = size if isinstance(model, WeConvene) else COUNTING_SIZE
    if isinstance(model, WeConvene):
        padded = tuple(-(-side // model.config.stride) * model.config.stride for side in size)
    return Count(parameters_m(model), *count_macs(model, *padded), size[0] * size[1])


def widest(name: str) -> tuple[float, float]:
    """Return parameters (millions) and decoder kMAC/px of the network of CompressAI for a codec's highest rate."""
    model = ZOO[name](quality=ZOO_HIGHEST[name], pretrained=False).eval()
    found = _count(model, COUNTING_SIZE)
    return found.params_m, found.kmac_px[1]


def parts_table(names: Sequence[str], size: Size = COUNTING_SIZE) -> pd.DataFrame:
    """Return ``model, side, part, macs, kmac_px`` of models of this project for an image (height, width)."""
    rows = [
        [name, side, part, macs, macs / (1e3 * size[0] * size[1])]
        for name in names
        for side in ("encode", "decode")
        for part, macs in getattr(_counted(name, size), side).items()
    ]
    return pd.DataFrame(rows, columns=["model", "side", "part", "macs", "kmac_px"])


def switch_costs(base: str, size: Size = COUNTING_SIZE) -> pd.DataFrame:
    """Return what each switch of a preset costs, one of :data:`CHANGES` a row: parameters, and counted kMAC/px."""
    rows = []
    for change in tqdm(({}, *CHANGES), desc="switches"):
        text = ", ".join(f"{name}={value}" for name, value in change.items()) or "as it is"
        found = _count(WeConvene(replace(preset(base), **change)), size)
        rows.append([base, text, found.params_m, *found.kmac_px[:2]])
    table = pd.DataFrame(rows, columns=["model", "change", "params_m", "kmac_px_encode", "kmac_px_decode"])
    for side in ("encode", "decode"):
        table[f"{side}_change_pct"] = 100 * (table[f"kmac_px_{side}"] / table[f"kmac_px_{side}"][0] - 1)
    return table


def kmac_per_pixel(name: str, size: Size) -> tuple[float, float, float]:
    """Return thousands of MACs per pixel of a model for an image (height, width): encoding, decoding, one pass.

    One pass is what others publish: both transforms, and once what both sides run.
    """
    return _counted(name, size).kmac_px


def measure_costs(
    names: Sequence[str], sizes: Sequence[Size], peaks: Mapping[str, Mapping[str, float]] | None = None, runs: int = 5
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Code the sample photograph with every model at every size (height, width), on the CPU.

    Parameters
    ----------
    peaks
        Those of :func:`lab.complexity.peak_memory.peak_memories`; sizes without a peak stay empty.

    Returns
    -------
    tuple of pd.DataFrame
        A table with ``COLUMNS`` (``entropy_coding_ms`` is the share of ``decode_ms`` spent in the entropy decoder), and
        one with ``STAGE_COLUMNS``: where the milliseconds of either side go.
    """
    rows, stages = [], []
    for name, size in tqdm([(name, size) for name in names for size in sizes], desc="models and sizes"):
        give_memory_back()  # of the model and the picture before
        times = time_codec(ready_model(name), sample_image(*size), runs)
        encode, decode, _ = kmac_per_pixel(name, size)
        peak = (peaks or {}).get(name, {}).get(label(size), float("nan"))
        rows.append(
            [name, label(size), parameters_m(name), encode, decode, *times.total, times[CODING]["decode"],
             peak, torch.get_num_threads(), "cpu"]
        )  # fmt: skip
        stages.append(times.reset_index().assign(model=name, image=label(size)))
    return pd.DataFrame(rows, columns=COLUMNS), pd.concat(stages, ignore_index=True)[STAGE_COLUMNS]


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
    """Return parameters (millions) and kMAC/px of one pass of several models, as others publish them."""
    rows = [[name, parameters_m(name), kmac_per_pixel(name, size)[2]] for name in names]
    return pd.DataFrame(rows, columns=["model", "params_m", "kmac_px"])


def bars_table(rows: Sequence[tuple[str, float, float]]) -> pd.DataFrame:
    """Return bounds with their verdicts from rows of (what, measured, at most)."""
    table = pd.DataFrame(rows, columns=["bound", "measured", "at most"])
    return table.assign(verdict=(table.measured <= table["at most"]).map({True: "met", False: "MISSED"}))


def published_complexity() -> pd.DataFrame:
    """Return the figures that other authors published: model, params_m_low, params_m_high, kmac_px, source, note."""
    return pd.read_csv(DATA / "published_complexity.csv")
