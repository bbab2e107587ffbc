"""What each part of 3DM-WeConvene is worth in the paper's own form, without our shortcut: effects over training.

``python -m lab.studies.effects`` trains what is missing and writes ``results/tables/effects.csv``; what
was decided before the first run stands in ``data/protocol.md``. Every variant sees the same crops in the same order
for the same number of steps. Parameters and kMAC/px stand beside, since steps are equal and arithmetic is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from lab.complexity.count_macs import count_macs
from lab.complexity.tables import COUNTING_SIZE, parameters_m
from lab.rd.curve_difference import difference
from lab.studies import runner
from lab.studies.pooling_control import pool_layers
from lab.studies.runner import MEASURED, RATES, Experiment, Study
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.training.config import Stage, TrainConfig

# --- what is trained --------------------------------------------------------------------------------------------------

FORM: Mapping[str, Any] = {
    "narrow": 24, "wide": 24, "hyper": 32, "z_channels": 32, "slice_hidden": 48, "latent_channels": 96,
    "blocks_a": 1, "blocks_s": 1, "hyper_blocks": 0, "weconv_residual": False, "slice_attention": False,
    "quality": None,
}  # fmt: skip
"""The preset ``paper``, narrow: N = 24 and M = 96 for 128 and 320, one residual block a scale for three, no attention,
3DM-WeConv where the predecessor has it, and one model for every rate."""
PLAIN_LAYERS = {"wavelet_layers": False}
PLAIN_CHARM = {"wavelet_entropy": False, "lf_slices": 8, "hf_slices": 0}  # as many slices as the others have
LAYERS_2D = {"wavelet": "haar", "levels": 1, "channel_dwt": False, "high_kernel": 3, "joint_high": True}
CHARM_2D = {"latent_wavelet": "haar", "latent_channel_dwt": False}
SEEDS, SOME_SEEDS = (0, 1, 2, 3), (0, 1, 2)
MEASURED_AT = (1000, 2000, 5000, 10000)
MATTERS = 1.0
"""The smallest BD-rate that matters, in percent."""
RATE = 4e-3
CONSTANT = Stage("constant", 8000, RATE, RATE, batch=4, crop=128, warmup=100)
DECAY = Stage("decay", 2000, RATE, RATE / 40, batch=4, crop=128, warmup=0)
CONFIG = TrainConfig("paper", (CONSTANT, DECAY), "scratch", qualities=(1, 6), ema_decay=0.998, optimizer="soap")


def no_lf_for_hf(model: WeConvene) -> None:
    """Hide every LF slice from the HF slices: each is predicted from the hyper features and the HF slices before."""
    _hide_lf(model, len(model.config.layout.lf))


def half_of_lf_for_hf(model: WeConvene) -> None:
    """Hide the second half of the LF slices from the HF slices."""
    _hide_lf(model, len(model.config.layout.lf) // 2)


def _hide_lf(model: WeConvene, slices: int) -> None:
    """Set the last LF slices to zero in what the networks of the HF slices see; their sizes stay."""
    lf = model.config.layout.lf
    end = model.config.hyper_features + sum(lf)
    start = end - sum(lf[len(lf) - slices :])

    def hide(_: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        context: Tensor = inputs[0].clone()
        context[:, start:end] = 0
        return context, *inputs[1:]

    for network in model.charm.slices[len(lf) :]:
        network.register_forward_pre_hook(hide)


@dataclass(frozen=True)
class Variant:
    """A network of the study: its name, changes to :data:`FORM`, its seeds, and a change of the network itself.

    ``short`` ends after half of the steps, before the rate decays: up to there nothing differs from a whole training.
    """

    name: str
    model: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = SOME_SEEDS
    change: Callable[[WeConvene], None] | None = None
    short: bool = False

    def training(self, seed: int) -> Experiment:
        """Return the training of one seed."""
        at = MEASURED_AT[:-1] if self.short else MEASURED_AT
        stages = (replace(CONSTANT, steps=at[-1]),) if self.short else CONFIG.stages
        config = replace(CONFIG, model={**FORM, **self.model}, seed=seed, stages=stages)
        return Experiment("", self.name, config, change=self.change, measured_at=at)


PLAIN, BOTH_3D = "plain", "3-D layers, 3-D entropy model"
VARIANTS = (
    Variant(PLAIN, PLAIN_LAYERS | PLAIN_CHARM, SEEDS),
    Variant("2-D layers", LAYERS_2D | PLAIN_CHARM, SEEDS),
    Variant("3-D layers", PLAIN_CHARM, SEEDS),
    Variant("2-D entropy model", PLAIN_LAYERS | CHARM_2D, SEEDS),
    Variant("3-D entropy model", PLAIN_LAYERS, SEEDS),
    Variant("2-D layers, 2-D entropy model", LAYERS_2D | CHARM_2D, SEEDS),
    Variant(BOTH_3D, {}, SEEDS),
    Variant("plain, at the MACs of 3-D layers", PLAIN_LAYERS | PLAIN_CHARM | {"narrow": 22, "wide": 22}),
    Variant("averages for the DWT in the layers", {"channel_dwt": False} | PLAIN_CHARM, change=pool_layers),
    Variant("Haar in layers and entropy model", {"wavelet": "haar", "latent_wavelet": "haar"}, short=True),
    Variant("one level in the layers", {"levels": 1}, short=True),
    Variant("no channel DWT", {"channel_dwt": False, "latent_channel_dwt": False}, short=True),
    Variant("HF sees half of LF", change=half_of_lf_for_hf, short=True),
    Variant("HF sees no LF", change=no_lf_for_hf),
)
COMPARISONS = (
    ("layer", "2-D layers", PLAIN),
    ("layer", "3-D layers", PLAIN),
    ("layer", "3-D layers", "2-D layers"),
    ("layer", BOTH_3D, "3-D entropy model"),
    ("layer", "3-D layers", "plain, at the MACs of 3-D layers"),
    ("layer", "3-D layers", "averages for the DWT in the layers"),
    ("entropy model", "2-D entropy model", PLAIN),
    ("entropy model", "3-D entropy model", PLAIN),
    ("entropy model", "3-D entropy model", "2-D entropy model"),
    ("entropy model", BOTH_3D, "3-D layers"),
    ("both", "2-D layers, 2-D entropy model", PLAIN),
    ("both", BOTH_3D, PLAIN),
    ("both", BOTH_3D, "2-D layers, 2-D entropy model"),
    ("switches", BOTH_3D, "Haar in layers and entropy model"),
    ("switches", BOTH_3D, "one level in the layers"),
    ("switches", BOTH_3D, "no channel DWT"),
    ("LF as prior", BOTH_3D, "HF sees half of LF"),
    ("LF as prior", BOTH_3D, "HF sees no LF"),
)
"""A question, the variant that the paper is for, and what it is held to: with the same seed, after the same steps."""

# --- what is compared -------------------------------------------------------------------------------------------------

COLUMNS = [
    "question", "variant", "reference", "seed", "step", "images", "bd_rate_pct", "low_pct", "high_pct", "bd_psnr_db",
    "ms_ssim_bd_rate_pct", "ms_ssim_low_pct", "ms_ssim_high_pct", "hf_bits_pct", "bpp_q3", "psnr_q3_db",
    "params_m", "kmac_px_encode", "kmac_px_decode", "reference_params_m", "reference_kmac_px_encode",
    "reference_kmac_px_decode",
]  # fmt: skip


def compared(points: pd.DataFrame) -> pd.DataFrame:
    """Hold every variant to its references, seed by seed and step by step; columns :data:`COLUMNS`.

    Where curves share no quality, BD-rates are empty, and ``bd_psnr_db`` (at equal rate) still tells their distance.
    ``hf_bits_pct`` is the change of the bits of HF, mean over qualities and images.
    """
    known, by_name = dict(tuple(points.groupby(["settings", "step"]))), {variant.name: variant for variant in VARIANTS}
    rows = []
    for question, name, against in COMPARISONS:
        variant, reference = by_name[name], by_name[against]
        for seed in sorted({*variant.seeds} & {*reference.seeds}):
            own, other = variant.training(seed).identity, reference.training(seed).identity
            for step in MEASURED_AT:
                mine, theirs = known.get((own, step)), known.get((other, step))
                if mine is None or theirs is None:
                    continue
                at_three = mine[mine.quality == 3]
                facts = {"question": question, "variant": name, "reference": against, "seed": seed, "step": step}
                facts |= {"images": mine.image.nunique(), "bpp_q3": at_three.bpp.mean()}
                facts |= {"psnr_q3_db": at_three.psnr_db.mean()}
                if theirs.bpp_hf.any() and mine.bpp_hf.any():
                    facts |= {"hf_bits_pct": 100 * (mine.bpp_hf.mean() / theirs.bpp_hf.mean() - 1)}
                facts |= costs(name) | {f"reference_{key}": value for key, value in costs(against).items()}
                last = step == min(variant.training(seed).measured_at[-1], reference.training(seed).measured_at[-1])
                rows.append(facts | difference(mine, theirs, intervals=last))
    return pd.DataFrame(rows, columns=COLUMNS)


def verdict(low: float, high: float, matters: float = MATTERS) -> str:
    """Return what an interval of a change says where lower is better, by the rule of ``data/protocol.md``."""
    if high <= -matters:
        return "helps"
    if low >= matters:
        return "hurts"
    return "no effect that matters" if -matters < low and high < matters else "undecided"


def untrained(variant: Variant) -> WeConvene:
    """Return the network of a variant as it is before training."""
    model = WeConvene(variant.training(0).config.architecture)
    if variant.change:
        variant.change(model)
    return model


@lru_cache
def costs(name: str) -> dict[str, float]:
    """Return millions of parameters, and thousands of MACs per pixel of encoding and of decoding."""
    model, (height, width) = untrained(next(v for v in VARIANTS if v.name == name)), COUNTING_SIZE
    sides = count_macs(model, height, width)
    encode, decode = (sum(macs.values()) / (1e3 * height * width) for macs in sides)
    return {"params_m": parameters_m(model), "kmac_px_encode": encode, "kmac_px_decode": decode}


# first seeds of all variants, then the second ones
TRAININGS = tuple(variant.training(seed) for seed in SEEDS for variant in VARIANTS if seed in variant.seeds)
STUDY = Study("effects", "effect_points", TRAININGS, compared, ["settings", "step", *MEASURED, *RATES])

if __name__ == "__main__":
    runner.main(STUDY, "Effects of the parts of 3DM-WeConvene over training.")
