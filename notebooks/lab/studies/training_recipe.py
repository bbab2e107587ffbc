"""Which training recipe pays: one change at a time against one base, at equal arithmetic, on photographs kept out.

``python -m lab.studies.training_recipe [--workers N] [NAME...]`` trains `tiny` once per trial and writes
``results/tables/recipe.csv``; trials whose settings are already in the table are not repeated.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import fields, replace
from functools import lru_cache
from multiprocessing import get_context

import numpy as np
import pandas as pd
import torch

from lab.complexity.training_flops import total_flops
from lab.rd.curve_difference import difference
from lab.rd.metrics import ms_ssim
from lab.studies.recipe_trials import BASE, TRIALS, Trial
from weconvene_core.datasets.image_sets import STAND_IN, folder_set, training_folder
from weconvene_core.errors import WeconveneError
from weconvene_core.image_tensors import middle
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.paths import RESULTS
from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.images import ImagePool, load_pool
from weconvene_core.training.trainer import Trainer
from weconvene_core.training.validation import estimate

TABLE = RESULTS / "tables" / "recipe.csv"
POINTS = RESULTS / "tables" / "recipe_points.csv"
QUALITIES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
SIDE = 384  # of the middle of each validation photograph
COLUMNS = [
    "question", "variant", "seed", "steps", "images", "gflops", "kmac_px_step", "ms_step",
    "bd_rate_pct", "low_pct", "high_pct", "ms_ssim_bd_rate_pct", "ms_ssim_low_pct", "ms_ssim_high_pct",
    "bpp_q3", "psnr_q3_db", "settings",
]  # fmt: skip


def within_budget(trial: Trial, budget: float) -> TrainConfig:
    """Lengthen or shorten all phases of a trial alike, so that its networks cost its share of the base's budget."""
    config = trial.config
    scale = trial.share * budget / total_flops(config)
    return replace(config, stages=tuple(_scaled(stage, scale) for stage in config.stages))


def _scaled(phase: Stage, scale: float) -> Stage:
    steps = max(1, round(phase.steps * scale))
    return replace(phase, steps=steps, warmup=min(phase.warmup, steps // 4))


def settings(trial: Trial) -> str:
    """Identify what a trial does, so that a table knows which rows are of these settings.

    Fields at their defaults do not count: a new switch that a trial leaves alone makes no other training of it.
    """
    defaults = {field.name: field.default for field in fields(TrainConfig)}
    chosen = {name: value for name, value in trial.config.to_dict().items() if value not in (defaults[name], {})}
    text = json.dumps([chosen, trial.start, trial.share], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def train(trial: Trial, pool: ImagePool, budget: float) -> tuple[WeConvene, Trainer]:
    """Train one trial in a scratch folder; return the average that is measured, and its trainer."""
    torch.set_num_threads(1)  # trials side by side would only fight for more
    with tempfile.TemporaryDirectory() as scratch:
        config = replace(within_budget(trial, budget), output=scratch, save_seconds=1e9, log_every=10**9)
        trainer = Trainer(config, pool)
        for network in (trainer.model, trainer.ema):
            trial.begin(network)
        return trainer.run(resume=False), trainer


def measure(model: WeConvene, pool: ImagePool) -> pd.DataFrame:
    """Return image, quality, rates, psnr_db and ms_ssim of the middles of the validation photographs.

    Rates are estimated. MS-SSIM is empty where a side is under 161 pixels.
    """
    model.eval()
    rows = []
    for number, image in enumerate(middle(image, SIDE) for image in pool.validation):
        for quality in QUALITIES:
            numbers, picture = estimate(model, image, quality)
            rows.append({"image": number, "quality": quality, **numbers, "ms_ssim": ms_ssim(image, picture)})
    return pd.DataFrame(rows).drop(columns="loss")


@lru_cache
def training_images() -> ImagePool:
    """The training images, decoded once a process.

    Raises:
        WeconveneError: there is no training folder, and a study of the stand-in would take a real one's place.
    """
    folder = training_folder()
    if folder == STAND_IN:
        raise WeconveneError(
            "A study needs training photographs, and only four stand-ins are at hand: point WECONVENE_DATA to a folder "
            "with photographs in train/. Kept tables stay as they are."
        )
    return load_pool(folder_set(folder).paths)


def run_trial(trial: Trial, budget: float) -> tuple[dict[str, object], pd.DataFrame]:
    """Train and measure one trial: its row of the table, still without BD-rate, and its points."""
    pool = training_images()
    started = time.process_time()
    model, trainer = train(trial, pool, budget)
    seconds = time.process_time() - started
    points = measure(model, pool)[["image", "quality", "bpp", "psnr_db", "ms_ssim"]]
    points = points.assign(question=trial.question, variant=trial.variant, seed=trial.config.seed)
    at_three = points[points.quality == 3].mean(numeric_only=True)
    pixels = sum(phase.steps * phase.batch * phase.crop**2 for phase in trainer.config.stages)
    operations = total_flops(trainer.config)
    row = {
        "question": trial.question, "variant": trial.variant, "seed": trial.config.seed, "steps": trainer.step,
        "images": points.image.nunique(),
        "gflops": operations / 1e9, "kmac_px_step": operations / 2e3 / pixels, "ms_step": 1e3 * seconds / trainer.step,
        "bpp_q3": at_three.bpp, "psnr_q3_db": at_three.psnr_db, "settings": settings(trial),
    }  # fmt: skip
    return row, points


def points_of(points: pd.DataFrame, trial: Trial) -> pd.DataFrame:
    """The points of one trial."""
    return points[(points.question == trial.question) & (points.variant == trial.variant)]


def compared(rows: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Fill in every trial's BD-rates against the base, with their intervals over the images.

    A curve so far off that it shares no quality with the base has none.
    """
    base = points_of(points, BASE)
    for trial in TRIALS:
        at = (rows.question == trial.question) & (rows.variant == trial.variant)
        if not at.any() or trial is BASE:
            continue
        for name, value in difference(points_of(points, trial), base).items():
            if name in COLUMNS:
                rows.loc[at, name] = value
    order = {(t.question, t.variant): i for i, t in enumerate(TRIALS)}
    return rows.iloc[np.argsort([order[key] for key in zip(rows.question, rows.variant, strict=True)])][COLUMNS]


def _known() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows and points that are there and still of today's settings."""
    if not (TABLE.is_file() and POINTS.is_file()):
        return pd.DataFrame(columns=COLUMNS), pd.DataFrame()
    rows, points = pd.read_csv(TABLE).reindex(columns=COLUMNS), pd.read_csv(POINTS)
    rows = rows[rows.settings.isin([settings(trial) for trial in TRIALS])]
    keys = set(zip(rows.question, rows.variant, strict=True))
    return rows, points[[key in keys for key in zip(points.question, points.variant, strict=True)]]


def run(trials: Sequence[Trial], workers: int = 1) -> Iterator[pd.DataFrame]:
    """Train what is missing, ``workers`` at a time; write and yield the table after each."""
    rows, points = _known()
    budget = total_flops(BASE.config)
    missing = [trial for trial in trials if settings(trial) not in set(rows.settings)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
        for done in as_completed([executor.submit(run_trial, trial, budget) for trial in missing]):
            row, found = done.result()
            rows = pd.DataFrame([*rows.to_dict("records"), row], columns=COLUMNS)
            points = pd.concat([points, found])
            points.to_csv(POINTS, index=False, float_format="%.5f")
            table = compared(rows, points) if BASE.variant in set(rows.variant) else rows
            table.to_csv(TABLE, index=False, float_format="%.4f")
            yield table


def main() -> None:
    """Train the named trials, or all."""
    parser = argparse.ArgumentParser(description="Compare training recipes at equal arithmetic.")
    parser.add_argument("names", nargs="*", metavar="QUESTION", help="questions to answer (all)")
    parser.add_argument("--workers", type=int, default=1, help="trainings side by side, one thread each")
    options = parser.parse_args()
    chosen = [t for t in TRIALS if not options.names or t is BASE or t.question in options.names]
    for table in run(chosen, options.workers):
        print(table.iloc[-1:].to_string(header=False), flush=True)


if __name__ == "__main__":
    main()
