"""What each part of 3DM-WeConvene is worth: one switch at a time, same data, steps, seeds and schedule for every row.

``python -m lab.studies.ablations [--trainings N]`` trains what is missing, `tiny` wide, and writes
``results/tables/ablations.csv``; a training that several rows need is done once. Steps are equal, not arithmetic:
parameters and kMAC/px stand beside. A wavelet shortcut needs the wavelet entropy model, so rows without the latter (and
the rungs that they are compared with) have no shortcut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import pandas as pd

from lab.complexity.count_macs import count_macs
from lab.complexity.tables import COUNTING_SIZE, parameters_m
from lab.rd.curve_difference import difference
from lab.studies import runner
from lab.studies.runner import MEASURED, Experiment, Study
from lab.studies.training_recipe import CONFIG as RECIPE
from lab.studies.training_recipe import soap
from weconvene_core.model.config import ModelConfig
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.training.config import Stage

SEEDS = (0, 1)
SOAP = replace(RECIPE, **soap(1e-2, 4e-3))
ENTROPY, JOINT = (replace(stage, steps=n) for stage, n in zip(SOAP.stages, (200, 400), strict=True))
STEP_1 = Stage("step 1", 300, 4e-3, 1e-3, batch=8, crop=128)
STEP_2 = Stage("step 2", 100, 1e-3, 4e-4, batch=8, crop=128, warmup=0)
COLUMNS = [
    "question", "variant", "reference", "seed", "steps", "images", "params_m", "kmac_px_encode", "kmac_px_decode",
    "bpp_q3", "psnr_q3_db", "ms_ssim_q3", "bd_rate_pct", "low_pct", "high_pct", "bd_psnr_db",
    "ms_ssim_bd_rate_pct", "ms_ssim_low_pct", "ms_ssim_high_pct", "paper_pct",
]  # fmt: skip
PAPER_PCT = {"baseline": -0.4, "+ wavelet layers, 2-D": -4.7, "both, 2-D": -8.2}
"""WeConvene's own ablation (Haar, Kodak): BD-rates against VVC as its abstract on arXiv states them."""


@dataclass(frozen=True)
class Row:
    """A variant, its fields of ``ModelConfig``, its reference, the number of its trainings, and its further stages.

    A row without a reference is held to its own first seed, which shows what chance alone does.
    """

    question: str
    variant: str
    model: Mapping[str, Any] = field(default_factory=dict)
    reference: str = ""
    seeds: int = 1
    then: tuple[Stage, ...] = (JOINT,)

    def training(self, seed: int) -> Experiment:
        """Return the training of one seed."""
        config = replace(SOAP, model=dict(self.model), seed=SEEDS[seed], stages=(ENTROPY, *self.then))
        return Experiment(self.question, self.variant, config)


SPATIAL = {"channel_dwt": False, "latent_channel_dwt": False}
PLAIN_LAYERS = {"wavelet_layers": False}
PLAIN_ENTROPY = {"wavelet_entropy": False, "lf_slices": 8, "hf_slices": 0}
BARE = {"shortcut": False}
BASE, LADDER = "all, with shortcut", "baseline"
ROWS: tuple[Row, ...] = (
    Row("parts, no shortcut", LADDER, BARE | PLAIN_LAYERS | PLAIN_ENTROPY, seeds=2),
    Row("parts, no shortcut", "+ wavelet layers, 2-D", BARE | SPATIAL | PLAIN_ENTROPY, LADDER, 2),
    Row("parts, no shortcut", "+ wavelet entropy model, 2-D", BARE | SPATIAL | PLAIN_LAYERS, LADDER, 2),
    Row("parts, no shortcut", "both, 2-D", BARE | SPATIAL, LADDER, 2),
    Row("parts, no shortcut", "both, 3-D", BARE, LADDER, 2),
    Row("parts, with shortcut", BASE, seeds=2),
    Row("parts, with shortcut", "plain 3x3 layers", PLAIN_LAYERS, BASE, 2),
    Row("parts, with shortcut", "both 2-D", SPATIAL, BASE, 2),
    Row("channel DWT", "off in the layers", {"channel_dwt": False}, BASE, 2),
    Row("channel DWT", "off in the entropy model", {"latent_channel_dwt": False}, BASE),
    Row("kernels on HF", "3x3 everywhere", {"high_kernel": 3}, BASE, 2),
    Row("wavelet of the layers", "Haar", {"wavelet": "haar"}, BASE),
    Row("wavelet of the layers", "9/7", {"wavelet": "9/7"}, BASE),
    Row("levels of the layers", "1", {"levels": 1}, BASE),
    Row("levels of the layers", "3", {"levels": 3}, BASE),
    Row("training", "two steps, LF 0.9 and HF 1.1", {}, BASE, 2, (STEP_1, replace(STEP_2, w_lf=0.9, w_hf=1.1))),
    Row("training", "two steps, weights 1 (control)", {}, BASE, 1, (STEP_1, STEP_2)),
    Row("shortcut", "off", BARE, BASE, 2),
)  # fmt: skip


def compared(points: pd.DataFrame) -> pd.DataFrame:
    """Hold every row that has been trained to its reference of the same seed; columns :data:`COLUMNS`.

    Where curves share no quality, BD-rates are empty, and ``bd_psnr_db`` (at equal rate) still tells their distance.
    """
    known = dict(tuple(points.groupby("settings")))
    by_variant = {row.variant: row for row in ROWS}
    found = []
    for row in ROWS:
        for seed in range(row.seeds):
            own = row.training(seed)
            reference = by_variant[row.reference].training(seed) if row.reference else row.training(0)
            mine, other = (known.get(training.identity) for training in (own, reference))
            if mine is None:
                continue
            at_three = mine[mine.quality == 3]
            facts = {
                "question": row.question, "variant": row.variant, "seed": own.config.seed,
                "steps": own.config.total_steps, "images": mine.image.nunique(), **costs(own.config.architecture),
                "bpp_q3": at_three.bpp.mean(), "psnr_q3_db": at_three.psnr_db.mean(),
                "ms_ssim_q3": at_three.ms_ssim.mean(), "paper_pct": published_gain(row.variant),
            }  # fmt: skip
            if other is not None and reference.identity != own.identity:
                facts |= {"reference": row.reference or f"{row.variant}, seed {SEEDS[0]}"} | difference(mine, other)
            found.append(facts)
    return pd.DataFrame(found, columns=COLUMNS)


@lru_cache
def costs(config: ModelConfig) -> dict[str, float]:
    """Return millions of parameters, and thousands of MACs per pixel of encoding and of decoding."""
    model, (height, width) = WeConvene(config), COUNTING_SIZE
    encode, decode = (sum(macs.values()) / (1e3 * height * width) for macs in count_macs(model, height, width))
    return {"params_m": parameters_m(model), "kmac_px_encode": encode, "kmac_px_decode": decode}


def published_gain(variant: str) -> float | None:
    """Return the BD-rate against the baseline (%) that published ones against VVC imply: exact for parallel curves."""
    if variant not in PAPER_PCT or variant == LADDER:
        return None
    return 100 * ((100 + PAPER_PCT[variant]) / (100 + PAPER_PCT[LADDER]) - 1)


# first seeds of all rows, then the second ones
TRAININGS = tuple(row.training(seed) for seed in range(len(SEEDS)) for row in ROWS if seed < row.seeds)
STUDY = Study("ablations", "ablation_points", TRAININGS, compared, ["settings", *MEASURED])

if __name__ == "__main__":
    runner.main(STUDY, "Ablations of 3DM-WeConvene at equal data, steps and schedule.")
