"""The weights of the second training step, which nobody has published: a grid at equal budget, beside a control.

``python -m lab.studies.second_step_weights {tiny,lite}`` fine-tunes one model once per pair (w_LF, w_HF) and writes
``results/tables/step_two.csv`` (BD-rates against the control on validation photographs, by PSNR and by MS-SSIM, with
intervals) and ``results/tables/step_two_shares.csv`` (LF and HF shares of the rate by quality, before and after).
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace

import pandas as pd
import torch

from lab.rd.curve_difference import difference
from lab.studies.recipe_trials import soap
from lab.studies.training_recipe import measure, training_images
from weconvene_core.codec.api import load_model
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.paths import RESULTS
from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.images import ImagePool
from weconvene_core.training.trainer import Trainer

TABLE, SHARES = RESULTS / "tables" / "step_two.csv", RESULTS / "tables" / "step_two_shares.csv"
CONTROL = (1.0, 1.0)
GRID = (CONTROL, (0.9, 1.1), (1.1, 0.9), (0.8, 1.25), (1.25, 0.8), (0.6, 1.6), (1.6, 0.6))
SEEDS = (1, 2)
COLUMNS = [
    "model", "stage", "w_lf", "w_hf", "seed", "steps", "images", "bd_rate_pct", "low_pct", "high_pct",
    "ms_ssim_bd_rate_pct", "ms_ssim_low_pct", "ms_ssim_high_pct",
]  # fmt: skip


@dataclass(frozen=True)
class Study:
    """What is fine-tuned: the training of step 1 (None: released weights), and the phase of step 2."""

    first: TrainConfig | None
    second: Stage
    seeds: tuple[int, ...]


STUDIES = {
    "tiny": Study(soap(1e-2, 4e-3), Stage("step 2", 300, 1e-3, 5e-5, batch=8, crop=128, warmup=10), SEEDS),
    "lite": Study(None, Stage("step 2", 120, 2e-4, 1e-5, batch=8, crop=192, warmup=10), SEEDS[:1]),
}


def trained(config: TrainConfig, pool: ImagePool, start: WeConvene | None = None) -> WeConvene:
    """Train in a scratch folder, from given weights where there are some; return the average."""
    with tempfile.TemporaryDirectory() as scratch:
        quiet = replace(config, output=scratch, save_seconds=1e9, log_every=10**9, optimizer="soap", ema_decay=0.98)
        trainer = Trainer(quiet, pool)
        for network in (trainer.model, trainer.ema) if start else ():
            network.load_state_dict(start.state_dict())
        return trainer.run(resume=False)


def run(name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Do one study; return its rows of both tables."""
    study, pool = STUDIES[name], training_images()
    base = TrainConfig(name, (study.second,), "")
    start = trained(study.first, pool) if study.first else load_model(name)
    points = {("start", 0): measure(start, pool)}
    for seed in study.seeds:
        for w_lf, w_hf in GRID:
            phase = replace(study.second, w_lf=w_lf, w_hf=w_hf)
            found = trained(replace(base, stages=(phase,), seed=seed), pool, start)
            points[(w_lf, w_hf), seed] = measure(found, pool)
    return _compared(name, points, study), _shares(name, points)


def _compared(name: str, points: dict[tuple[object, int], pd.DataFrame], study: Study) -> pd.DataFrame:
    rows = []
    control = points[CONTROL, study.seeds[0]]
    for (pair, seed), table in points.items():
        if table is control:
            continue
        w_lf, w_hf = pair if isinstance(pair, tuple) else (None, None)
        begun = pair == "start"
        facts: dict[str, object] = {"stage": "start" if begun else "step 2", "w_lf": w_lf, "w_hf": w_hf, "seed": seed}
        facts |= {"steps": 0 if begun else study.second.steps, "images": table.image.nunique()}
        rows.append({"model": name, **facts, **difference(table, control)})
    return pd.DataFrame(rows, columns=COLUMNS)


def _shares(name: str, points: dict[tuple[object, int], pd.DataFrame]) -> pd.DataFrame:
    rows = []
    for (pair, seed), table in points.items():
        means = table.groupby("quality")[["bpp", "bpp_lf", "bpp_hf", "bpp_z", "psnr_db"]].mean().reset_index()
        means["lf_share_pct"], means["hf_share_pct"] = (100 * means[key] / means.bpp for key in ("bpp_lf", "bpp_hf"))
        w_lf, w_hf = pair if isinstance(pair, tuple) else (None, None)
        rows.append(means.assign(model=name, images=table.image.nunique(), w_lf=w_lf, w_hf=w_hf, seed=seed))
    return pd.concat(rows)


def main() -> None:
    """Do the named study and put its rows in place of its earlier ones."""
    parser = argparse.ArgumentParser(description="Measure the weights of the second training step.")
    parser.add_argument("model", choices=sorted(STUDIES))
    name = parser.parse_args().model
    torch.set_num_threads(1)
    for path, rows in zip((TABLE, SHARES), run(name), strict=True):
        earlier = pd.read_csv(path).query("model != @name") if path.is_file() else pd.DataFrame()
        pd.concat([earlier, rows]).to_csv(path, index=False, float_format="%.4f")
        print(rows.to_string(index=False))


if __name__ == "__main__":
    main()
