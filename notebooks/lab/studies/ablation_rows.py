"""The rows of the ablations as data: one switch each, and the training that all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lab.studies.recipe_trials import soap
from weconvene_core.training.config import Stage, TrainConfig

SEEDS = (0, 1)
RECIPE = soap(1e-2, 4e-3)
CONFIG = replace(RECIPE, stages=tuple(replace(p, steps=n) for p, n in zip(RECIPE.stages, (200, 400), strict=True)))
STEP_1 = Stage("step 1", 300, 4e-3, 1e-3, batch=8, crop=128)
STEP_2 = Stage("step 2", 100, 1e-3, 4e-4, batch=8, crop=128, warmup=0)


@dataclass(frozen=True)
class Row:
    """A variant, the fields of ``ModelConfig`` and the phases after the first that make it, and whom it is held to.

    ``reference`` names another variant; a reference without one of its own is held to its first seed, which shows what
    chance alone does. ``seeds`` counts the trainings: two for what carries a claim.
    """

    question: str
    variant: str
    model: Mapping[str, Any] = field(default_factory=dict)
    reference: str = ""
    seeds: int = 1
    then: tuple[Stage, ...] = CONFIG.stages[1:]

    def config(self, seed: int) -> TrainConfig:
        """The training of one seed."""
        return replace(CONFIG, model=dict(self.model), seed=SEEDS[seed], stages=(CONFIG.stages[0], *self.then))


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
