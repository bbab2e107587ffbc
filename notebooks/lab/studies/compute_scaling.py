"""BD-rate against compute: every measured checkpoint of a model, and the trend through them.

``python -m lab.studies.compute_scaling CHECKPOINT...`` codes Kodak into real streams with each checkpoint file
(released weights, or the state of a run, whose average counts): a row of ``results/tables/compute_curve.csv``.
``ms_ssim_bd_rate_pct`` is empty for early checkpoints, whose architecture is gone.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lab.paths import read_table, save_table
from lab.rd.bd_rate import bd_rate
from lab.rd.curves import METRIC_TITLES, Curve, Metric
from lab.rd.metrics import ms_ssim
from lab.rd.our_codec import code
from lab.rd.published_curves import anchor_curve
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import ImageSet, image_set
from weconvene_core.errors import WeconveneError
from weconvene_core.model.checkpoint import load_checked, load_weights, read_tensors, weights_hash
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.paths import CHECKPOINTS
from weconvene_core.training.config import TrainConfig
from weconvene_core.training.trainer import sidecar

TABLE = "compute_curve"
QUALITIES = tuple(np.linspace(1.0, 6.0, 8))


def compute_of(facts: Mapping[str, Any] | None) -> pd.Series:
    """Return steps, megapixels and minutes of a checkpoint's run and all that it started from, by its sidecar."""
    if not facts:
        return pd.Series({"steps": 0, "megapixels": 0.0, "minutes": 0.0})
    left, pixels, config = facts["steps"], 0, facts.get("config") or {}
    for stage in config.get("stages", config.get("phases", ())):  # older sidecars say phases
        done = min(left, stage["steps"])
        left, pixels = left - done, pixels + done * stage["batch"] * stage["crop"] ** 2
    own = pd.Series({"steps": facts["steps"], "megapixels": pixels / 1e6, "minutes": facts["seconds"] / 60})
    return own + compute_of(facts.get("started_from"))


def load(path: Path) -> tuple[WeConvene, pd.Series]:
    """Load released weights, or the average in the saved state of a run, with what they cost."""
    tensors, said = read_tensors(path)
    if "architecture" in said:
        return load_checked(path)[0], compute_of(said)
    config = TrainConfig.from_dict(said["config"])
    model = WeConvene(config.architecture).eval()
    load_weights(model, {n.removeprefix("ema/"): t for n, t in tensors.items() if n.startswith("ema/")}, path)
    model.update(force=True, update_quantiles=True)
    return model, compute_of(said | {"steps": said["step"], "started_from": sidecar(config.start_from)})


def curves(model: WeConvene, images: ImageSet) -> dict[Metric, Curve]:
    """Code all images at all qualities into real streams; return the mean rate and quality by both metrics."""
    means = []
    for quality in QUALITIES:
        rows = []
        for picture in (np.asarray(load_rgb(path)) for path in images.paths):
            coded = code(model, picture, quality)
            rows.append((coded.bpp, coded.psnr_db, ms_ssim(picture, coded.picture)))
        means.append(np.mean(rows, 0))
    rates, psnr_db, similar = np.stack(means, 1)
    name = model.config.name
    return {"psnr_rgb": Curve(name, rates, psnr_db), "ms_ssim_db": Curve(name, rates, similar, "ms_ssim").in_db()}


def measure(path: Path) -> dict[str, object]:
    """Return the row of one checkpoint file.

    Raises
    ------
    WeconveneError
        If the file is unusable, or Kodak is not available.
    """
    images = image_set("kodak")
    model, spent = load(path)
    measured = curves(model, images)
    found, similar = (bd_rate(anchor_curve("K-A", metric), measured[metric]) for metric in METRIC_TITLES)
    return {
        "weights": weights_hash(path).hex()[:12], "model": model.config.name, "steps": int(spent.steps),
        "megapixels": spent.megapixels, "minutes": spent.minutes, "images": len(images),
        "bd_rate_pct": found.bd_rate_pct, "overlap_pct": found.overlap_pct,
        "ms_ssim_bd_rate_pct": similar.bd_rate_pct,
    }  # fmt: skip


def trend(table: pd.DataFrame) -> tuple[float, float]:
    """Fit BD-rate = a + b log2(megapixels) through the checkpoints; return (a, b).

    Raises
    ------
    WeconveneError
        For fewer than three checkpoints.
    """
    if len(table) < 3:
        raise WeconveneError(f"a trend through {len(table)} checkpoints shows nothing; measure at least three.")
    slope, start = np.polyfit(np.log2(table.megapixels), table.bd_rate_pct, 1)
    return float(start), float(slope)


def later_half(table: pd.DataFrame) -> pd.DataFrame:
    """Return the checkpoints of the later half of the training, at least three: enough for a trend of their own."""
    return table.sort_values("megapixels").tail(max(3, (len(table) + 1) // 2))


def main() -> None:
    """Measure the named checkpoints, one row of the table for the same weights, in the order of compute."""
    parser = argparse.ArgumentParser(description="Add checkpoints to the curve of BD-rate against compute.")
    parser.add_argument("checkpoints", nargs="*", type=Path, default=[CHECKPOINTS / "lite.safetensors"])
    for path in parser.parse_args().checkpoints:
        row = pd.DataFrame([measure(path)])
        save_table(row, TABLE, 3, replaces="weights")
        save_table(read_table(TABLE).sort_values(["model", "megapixels"]), TABLE, 3)
        print(row.to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
