"""The trials of the training recipe as data: a base, and one change at a time.

Where a trial shows a gain, ``data/checkpoints/RUNS.md`` says whether the long run took it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from weconvene_core.entropy.distributions import SCALE_MIN
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.training.config import Stage, TrainConfig

ENTROPY = Stage("entropy model", 400, 1e-2, 1e-3, batch=8, crop=128, transforms=False)
JOINT = Stage("step 1", 600, 4e-3, 4e-4, batch=8, crop=128)
CONFIG = TrainConfig("tiny", (ENTROPY, JOINT), "", qualities=(1, 6), ema_decay=0.99)


@dataclass(frozen=True)
class Trial:
    """A question and the variant that is tried.

    ``config`` is its training, lengthened to ``share`` of the base's arithmetic; ``start`` changes the untrained model
    (see :meth:`begin`).
    """

    question: str
    variant: str
    config: TrainConfig = CONFIG
    start: Mapping[str, float] = field(default_factory=dict)
    share: float = 1.0

    @torch.no_grad()
    def begin(self, model: WeConvene) -> None:
        """Change the start: ``step`` multiplies the quantiser's steps, ``scale`` replaces scales taken from data."""
        for gain in (model.gain_lf, model.gain_hf):
            gain.gain.rows -= torch.tensor(self.start.get("step", 1.0)).log()
            gain.inverse_gain.rows += torch.tensor(self.start.get("step", 1.0)).log()
        if "scale" in self.start:
            for network in (*model.charm.ll_slices, *model.charm.slices):
                network.set_scale(torch.full_like(network.scale_bias, max(SCALE_MIN, self.start["scale"])))


def changed(**changes: Any) -> TrainConfig:
    """The base with other fields."""
    return replace(CONFIG, **changes)


def phases(entropy: Mapping[str, Any] | None = None, joint: Mapping[str, Any] | None = None) -> tuple[Stage, Stage]:
    """The base's phases with other fields."""
    return replace(ENTROPY, **(entropy or {})), replace(JOINT, **(joint or {}))


def soap(entropy: float, joint: float) -> TrainConfig:
    """SOAP at these learning rates, decayed tenfold."""
    rates = [{"learning_rate": rate, "final_rate": rate / 10} for rate in (entropy, joint)]
    return changed(optimizer="soap", stages=phases(*rates))


def both(**changes: Any) -> tuple[Stage, Stage]:
    """The base's phases, both changed alike."""
    return phases(changes, changes)


WIDER = {"blocks_a": 0, "blocks_s": 0, "narrow": 24, "wide": 48}
BASE = Trial("base", "Adam, 1e-2 then 4e-3, entropy model first")
TRIALS: tuple[Trial, ...] = (
    BASE,
    Trial("base", "another seed", changed(seed=1)),
    Trial("optimiser", "SOAP, 1e-2 then 4e-3", soap(1e-2, 4e-3)),
    Trial("optimiser", "SOAP, 1e-2 then 4e-3, 30 % fewer steps", soap(1e-2, 4e-3), share=0.7),
    Trial("optimiser", "SOAP, 4e-3 then 2e-3", soap(4e-3, 2e-3)),
    Trial("schedule", "everything from the start", changed(stages=(JOINT,))),
    Trial("quantiser", "noise in both", changed(quantiser="noise")),
    Trial("quantiser", "straight-through in both", changed(quantiser="straight")),
    Trial("shortcut", "none", changed(model={"shortcut": False})),
    Trial("batch and crop", "2 of 256x256", changed(stages=both(batch=2, crop=256))),
    Trial("slice order", "by subband", changed(model={"slice_order": "band", "hf_slices": (48, 48, 48)})),
    Trial("lambda weighting", "exponent 0", changed(lambda_exponent=0.0)),
    Trial("lambda weighting", "exponent 0.7", changed(lambda_exponent=0.7)),
    Trial("average", "over 1000 steps", changed(ema_decay=0.999)),
    Trial("start", "all scales 1", start={"scale": 1.0}),
    Trial("start", "steps 1.4 times larger", start={"step": 1.4}),
    Trial("width and depth", "deeper: 3 blocks", changed(model={"blocks_a": 3, "blocks_s": 3})),
    Trial("width and depth", "no blocks, wider (24, 48)", changed(model=WIDER)),
    Trial("learning rate", "entropy model at 3e-3", changed(stages=phases({"learning_rate": 3e-3}))),
    Trial("learning rate", "step 1 at 1e-3", changed(stages=phases(None, {"learning_rate": 1e-3}))),
    Trial("batch and crop", "32 of 64x64", changed(stages=both(batch=32, crop=64))),
    Trial("likelihood", "Gaussian", changed(model={"distribution": "gaussian"})),
    Trial("batch and crop", "4 of 128x128, twice the steps", changed(stages=both(batch=4))),
    Trial("width and depth", "wider slice networks (64)", changed(model={"slice_hidden": 64})),
    Trial("start", "steps 1.4 times smaller", start={"step": 1 / 1.4}),
    Trial("slice order", "coarsest LL band in four passes", changed(model={"ll_passes": True})),
    Trial("slice order", "luma before chroma in every slice", changed(model={"luma_first": True})),
    Trial("slices", "HF in two", changed(model={"hf_slices": 2})),
    Trial("slices", "HF in eight", changed(model={"hf_slices": 8})),
    Trial("crop scaling", "half of the crops shrunk by up to 2", changed(scale_min=0.5)),
    Trial("average", "none (last weights)", changed(ema_decay=0.0)),
    Trial("learning rate", "step 1 at 8e-3", changed(stages=phases(None, {"learning_rate": 8e-3}))),
    Trial("optimiser", "SOAP, 1e-2 then 8e-3", soap(1e-2, 8e-3)),
    Trial("wavelet layers", "plain 3x3 convolutions", changed(model={"wavelet_layers": False})),
    Trial("wavelet layers", "no channel DWT", changed(model={"channel_dwt": False})),
    Trial("wavelet layers", "residual blocks of 3DM-WeConv too", changed(model={"weconv_residual": True})),
)  # fmt: skip
