"""The weights of the second training step, which nobody has published: a grid at equal budget, beside a control.

``python -m lab.studies.second_step_weights {tiny,lite}`` fine-tunes one model once per pair (w_LF, w_HF) and writes
``results/tables/step_two.csv`` (BD-rates against the control on validation photographs, by PSNR and by MS-SSIM, with
intervals) and ``results/tables/step_two_shares.csv`` (LF and HF shares of the rate by quality, before and after).
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import pandas as pd

from lab.paths import save_table
from lab.rd.curve_difference import difference
from lab.studies.runner import measure, train, training_images
from lab.studies.training_recipe import CONFIG, soap
from weconvene_core.codec.api import load_model
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.images import ImagePool

TABLE, SHARES = "step_two", "step_two_shares"
CONTROL = (1.0, 1.0)
GRID = (CONTROL, (0.9, 1.1), (1.1, 0.9), (0.8, 1.25), (1.25, 0.8), (0.6, 1.6), (1.6, 0.6))
COLUMNS = [
    "model", "stage", "w_lf", "w_hf", "seed", "steps", "images", "bd_rate_pct", "low_pct", "high_pct",
    "ms_ssim_bd_rate_pct", "ms_ssim_low_pct", "ms_ssim_high_pct",
]  # fmt: skip


STEP_1 = replace(CONFIG, **soap(1e-2, 4e-3))
MODELS: dict[str, tuple[TrainConfig | None, Stage, tuple[int, ...]]] = {
    "tiny": (STEP_1, Stage("step 2", 300, 1e-3, 5e-5, batch=8, crop=128, warmup=10), (1, 2)),
    "lite": (None, Stage("step 2", 120, 2e-4, 1e-5, batch=8, crop=192, warmup=10), (1,)),
}
"""The training of step 1 (None: released weights), the stage of step 2, and its seeds."""


def trained(config: TrainConfig, pool: ImagePool, start: WeConvene | None = None) -> WeConvene:
    """Train with SOAP, from given weights where there are some; return the average."""
    weights = start.state_dict() if start else None
    config = replace(config, optimizer="soap", ema_decay=0.98)
    return train(config, pool, (lambda model: model.load_state_dict(weights)) if weights else None)


def run(name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fine-tune one model with every pair of weights and seed; return its rows of both tables."""
    (first, second, seeds), pool = MODELS[name], training_images()
    start = trained(first, pool) if first else load_model(name)
    rows = [{"stage": "start", "w_lf": None, "w_hf": None, "seed": 0, "steps": 0}]
    points = [measure(start, pool)]
    for seed in seeds:
        for w_lf, w_hf in GRID:
            stage = replace(second, w_lf=w_lf, w_hf=w_hf)
            rows.append({"stage": "step 2", "w_lf": w_lf, "w_hf": w_hf, "seed": seed, "steps": stage.steps})
            points.append(measure(trained(TrainConfig(name, (stage,), "scratch", seed=seed), pool, start), pool))
    control = points[1]  # of the first seed
    compared, shares = [], []
    for row, own in zip(rows, points, strict=True):
        facts = {"model": name, "images": own.image.nunique()}
        if own is not control:
            compared.append(row | facts | difference(own, control))
        means = own.groupby("quality")[["bpp", "bpp_lf", "bpp_hf", "bpp_z", "psnr_db"]].mean().reset_index()
        means["lf_share_pct"], means["hf_share_pct"] = (100 * means[key] / means.bpp for key in ("bpp_lf", "bpp_hf"))
        shares.append(means.assign(**facts, **{key: row[key] for key in ("w_lf", "w_hf", "seed")}))
    return pd.DataFrame(compared, columns=COLUMNS), pd.concat(shares)


def main() -> None:
    """Fine-tune the named model and put its rows in place of its earlier ones."""
    parser = argparse.ArgumentParser(description="Measure the weights of the second training step.")
    parser.add_argument("model", choices=sorted(MODELS))
    for name, rows in zip((TABLE, SHARES), run(parser.parse_args().model), strict=True):
        save_table(rows, name, 4, replaces="model")
        print(rows.to_string(index=False))


if __name__ == "__main__":
    main()
