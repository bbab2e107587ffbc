"""What each part of 3DM-WeConvene is worth: one switch at a time, same data, steps, seeds and schedule for every row.

``python -m lab.studies.ablations [--trainings N]`` trains what is missing, `tiny` wide, and writes
``results/tables/ablations.csv``; a training that several rows need is done once. Steps are equal, not arithmetic:
parameters and kMAC/px stand beside. A wavelet shortcut needs the wavelet entropy model, so rows without the latter (and
the rungs that they are compared with) have no shortcut.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pandas as pd

from lab.complexity.mac_formulas import macs_by_hand
from lab.complexity.tables import COUNTING_SIZE, parameters_m
from lab.complexity.training_flops import total_flops
from lab.rd.curve_difference import difference
from lab.studies.ablation_rows import LADDER, ROWS, SEEDS, Row
from lab.studies.recipe_trials import Trial
from lab.studies.training_recipe import run_trial, settings
from weconvene_core.model.config import ModelConfig
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.paths import RESULTS
from weconvene_core.training.config import TrainConfig

TABLE = RESULTS / "tables" / "ablations.csv"
POINTS = RESULTS / "tables" / "ablation_points.csv"
COLUMNS = [
    "question", "variant", "reference", "seed", "steps", "images", "params_m", "kmac_px_encode", "kmac_px_decode",
    "bpp_q3", "psnr_q3_db", "ms_ssim_q3", "bd_rate_pct", "low_pct", "high_pct", "bd_psnr_db",
    "ms_ssim_bd_rate_pct", "ms_ssim_low_pct", "ms_ssim_high_pct", "paper_pct",
]  # fmt: skip
POINT_COLUMNS = ["settings", "image", "quality", "bpp", "psnr_db", "ms_ssim"]
PAPER_PCT = {"baseline": -0.4, "+ wavelet layers, 2-D": -4.7, "both, 2-D": -8.2}
"""WeConvene's own ablation (Haar, Kodak): BD-rates against VVC as its abstract on arXiv states them."""


class PlainStart(Trial):
    """A training that begins as the network was made (without HF there is no gain of its own to change)."""

    def begin(self, model: WeConvene) -> None:
        """Leave the start as it is."""


def trainings() -> Iterator[TrainConfig]:
    """Yield every training once: first seeds of all rows, then the second ones."""
    wanted = [row.config(seed) for seed in range(len(SEEDS)) for row in ROWS if seed < row.seeds]
    yield from {identity(config): config for config in wanted}.values()


def identity(config: TrainConfig) -> str:
    """What tells one training from another, whatever it is called."""
    return settings(PlainStart("", "", config))


def train_missing(most: int | None = None) -> Iterator[pd.DataFrame]:
    """Train what has no points yet, at most so many; write points and table after each, and yield the table."""
    points = known_points()
    missing = [config for config in trainings() if identity(config) not in set(points.get("settings", ()))]
    for config in missing[:most]:
        # its own arithmetic as budget: it takes as many steps as it says
        _, found = run_trial(PlainStart("", "", config), total_flops(config))
        found = found.assign(settings=identity(config))[POINT_COLUMNS]
        points = pd.concat([points, found])
        points.to_csv(POINTS, index=False, float_format="%.6f", lineterminator="\n")
        table = compared(points)
        table.to_csv(TABLE, index=False, float_format="%.4f", lineterminator="\n")
        yield table


def known_points() -> pd.DataFrame:
    """The points of earlier trainings that are still wanted and have all that is measured today."""
    points = pd.read_csv(POINTS) if POINTS.is_file() else pd.DataFrame()
    if not {*POINT_COLUMNS} <= {*points.columns}:
        return pd.DataFrame()
    return points[points.settings.isin([identity(config) for config in trainings()])]


def compared(points: pd.DataFrame) -> pd.DataFrame:
    """Hold every row that has been trained to its reference of the same seed; columns :data:`COLUMNS`.

    ``bd_rate_pct`` (PSNR) and ``ms_ssim_bd_rate_pct`` have intervals over the images; they are empty where the curves
    share no quality. ``bd_psnr_db`` (dB at equal rate) then still tells how far they are apart.
    """
    known = dict(tuple(points.groupby("settings")))
    rows = {row.variant: row for row in ROWS}
    found = []
    for row in ROWS:
        for seed in range(row.seeds):
            config = row.config(seed)
            reference = rows[row.reference].config(seed) if row.reference else row.config(0)
            mine, other = (known.get(identity(c)) for c in (config, reference))
            if mine is None:
                continue
            facts = _facts(row, config) | _means(mine)
            if other is not None and reference != config:
                facts |= {"reference": row.reference or f"{row.variant}, seed {SEEDS[0]}"} | difference(mine, other)
            found.append(facts)
    return pd.DataFrame(found, columns=COLUMNS)


def _facts(row: Row, config: TrainConfig) -> dict[str, object]:
    encode, decode = kmac_per_pixel(config.architecture)
    return {
        "question": row.question, "variant": row.variant, "seed": config.seed, "steps": config.total_steps,
        "params_m": parameters_m(WeConvene(config.architecture)), "kmac_px_encode": encode, "kmac_px_decode": decode,
        "paper_pct": published_gain(row.variant),
    }  # fmt: skip


def kmac_per_pixel(config: ModelConfig) -> tuple[float, float]:
    """Thousands of MACs per pixel of encoding and of decoding (:mod:`.by_hand`)."""
    height, width = COUNTING_SIZE
    encode, decode = (sum(macs.values()) / (1e3 * height * width) for macs in macs_by_hand(config, height, width))
    return encode, decode


def published_gain(variant: str) -> float | None:
    """BD-rate against the baseline (%) that the published ones against VVC imply; None where nothing is published.

    Exact only for curves that are shifted copies of each other: a direction to compare with, not a target.
    """
    if variant not in PAPER_PCT or variant == LADDER:
        return None
    return 100 * ((100 + PAPER_PCT[variant]) / (100 + PAPER_PCT[LADDER]) - 1)


def _means(points: pd.DataFrame) -> dict[str, object]:
    at_three = points[points.quality == 3]
    means = {f"{name}_q3": at_three[name].mean() for name in ("bpp", "ms_ssim")}
    return {"images": points.image.nunique(), "psnr_q3_db": at_three.psnr_db.mean(), **means}


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description="Ablations of 3DM-WeConvene at equal data, steps and schedule.")
    parser.add_argument("--trainings", type=int, metavar="N", help="stop after so many; the next call goes on")
    for table in train_missing(parser.parse_args().trainings):
        print(table.to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
