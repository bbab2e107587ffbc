"""Which training recipe pays: one change at a time against one base, at equal arithmetic, on photographs kept out.

``python -m lab.studies.training_recipe [QUESTION...]`` trains `tiny` once per trial and writes
``results/tables/recipe.csv``. Where a trial shows a gain, ``data/checkpoints/RUNS.md`` says whether the long run took
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from lab.rd.curve_difference import difference
from lab.studies import runner
from lab.studies.runner import KEYS, MEASURED, Experiment, Study
from weconvene_core.training.config import Stage, TrainConfig

FACTS = ["steps", "gflops", "kmac_px_step", "ms_step", "settings"]
COLUMNS = [
    "question", "variant", "seed", "steps", "images", "gflops", "kmac_px_step", "ms_step",
    "bd_rate_pct", "low_pct", "high_pct", "ms_ssim_bd_rate_pct", "ms_ssim_low_pct", "ms_ssim_high_pct",
    "bpp_q3", "psnr_q3_db", "settings",
]  # fmt: skip
ENTROPY = Stage("entropy model", 400, 1e-2, 1e-3, batch=8, crop=128, transforms=False)
JOINT = Stage("step 1", 600, 4e-3, 4e-4, batch=8, crop=128)
CONFIG = TrainConfig("tiny", (ENTROPY, JOINT), "scratch", qualities=(1, 6), ema_decay=0.99)


def trial(question: str, variant: str, share: float = 1.0, **changes: Any) -> Experiment:
    """The base training with other fields."""
    return Experiment(question, variant, replace(CONFIG, **changes), share=share)


def stages(entropy: Mapping[str, Any], joint: Mapping[str, Any]) -> tuple[Stage, Stage]:
    """The base's stages with other fields."""
    return replace(ENTROPY, **entropy), replace(JOINT, **joint)


def soap(entropy: float, joint: float) -> dict[str, Any]:
    """SOAP at these learning rates, decayed tenfold."""
    rates = [{"learning_rate": rate, "final_rate": rate / 10} for rate in (entropy, joint)]
    return {"optimizer": "soap", "stages": stages(*rates)}


WIDER = {"blocks_a": 0, "blocks_s": 0, "narrow": 24, "wide": 48}
BASE = trial("base", "Adam, 1e-2 then 4e-3, entropy model first")
TRIALS: tuple[Experiment, ...] = (
    BASE,
    trial("base", "another seed", seed=1),
    trial("optimiser", "SOAP, 1e-2 then 4e-3", **soap(1e-2, 4e-3)),
    trial("optimiser", "SOAP, 1e-2 then 4e-3, 30 % fewer steps", **soap(1e-2, 4e-3), share=0.7),
    trial("optimiser", "SOAP, 4e-3 then 2e-3", **soap(4e-3, 2e-3)),
    trial("schedule", "everything from the start", stages=(JOINT,)),
    trial("quantiser", "noise in both", quantiser="noise"),
    trial("quantiser", "straight-through in both", quantiser="straight"),
    trial("shortcut", "none", model={"shortcut": False}),
    trial("batch and crop", "2 of 256x256", stages=stages(*2 * [{"batch": 2, "crop": 256}])),
    trial("slice order", "by subband", model={"slice_order": "band", "hf_slices": (48, 48, 48)}),
    trial("lambda weighting", "exponent 0", lambda_exponent=0.0),
    trial("lambda weighting", "exponent 0.7", lambda_exponent=0.7),
    trial("average", "over 1000 steps", ema_decay=0.999),
    Experiment("start", "all scales 1", CONFIG, {"scale": 1.0}),
    Experiment("start", "steps 1.4 times larger", CONFIG, {"step": 1.4}),
    trial("width and depth", "deeper: 3 blocks", model={"blocks_a": 3, "blocks_s": 3}),
    trial("width and depth", "no blocks, wider (24, 48)", model=WIDER),
    trial("learning rate", "entropy model at 3e-3", stages=stages({"learning_rate": 3e-3}, {})),
    trial("learning rate", "step 1 at 1e-3", stages=stages({}, {"learning_rate": 1e-3})),
    trial("batch and crop", "32 of 64x64", stages=stages(*2 * [{"batch": 32, "crop": 64}])),
    trial("likelihood", "Gaussian", model={"distribution": "gaussian"}),
    trial("batch and crop", "4 of 128x128, twice the steps", stages=stages(*2 * [{"batch": 4}])),
    trial("width and depth", "wider slice networks (64)", model={"slice_hidden": 64}),
    Experiment("start", "steps 1.4 times smaller", CONFIG, {"step": 1 / 1.4}),
    trial("slice order", "coarsest LL band in four passes", model={"ll_passes": True}),
    trial("slice order", "luma before chroma in every slice", model={"luma_first": True}),
    trial("slices", "HF in two", model={"hf_slices": 2}),
    trial("slices", "HF in eight", model={"hf_slices": 8}),
    trial("crop scaling", "half of the crops shrunk by up to 2", scale_min=0.5),
    trial("average", "none (last weights)", ema_decay=0.0),
    trial("learning rate", "step 1 at 8e-3", stages=stages({}, {"learning_rate": 8e-3})),
    trial("optimiser", "SOAP, 1e-2 then 8e-3", **soap(1e-2, 8e-3)),
    trial("wavelet layers", "plain 3x3 convolutions", model={"wavelet_layers": False}),
    trial("wavelet layers", "no channel DWT", model={"channel_dwt": False}),
    trial("wavelet layers", "residual blocks of 3DM-WeConv too", model={"weconv_residual": True}),
)  # fmt: skip


def compared(points: pd.DataFrame) -> pd.DataFrame:
    """Hold every trial to the base, with intervals over the images; a curve that shares no quality has no BD-rate."""
    known = dict(tuple(points.groupby("settings")))
    base, rows = known.get(BASE.identity), []
    for trial in TRIALS:
        own = known.get(trial.identity)
        if own is None:
            continue
        at_three = own[own.quality == 3]
        row = dict(own.iloc[0][KEYS + FACTS]) | {
            "images": own.image.nunique(), "bpp_q3": at_three.bpp.mean(), "psnr_q3_db": at_three.psnr_db.mean()
        }  # fmt: skip
        rows.append(row | (difference(own, base) if trial is not BASE and base is not None else {}))
    return pd.DataFrame(rows, columns=COLUMNS)


STUDY = Study("recipe", "recipe_points", TRIALS, compared, MEASURED + KEYS, BASE, FACTS, ["ms_ssim"])

if __name__ == "__main__":
    runner.main(STUDY, "Compare training recipes at equal arithmetic.")
