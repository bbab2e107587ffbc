"""What layer, channel DWT and second step bring at the size that ships, with our shortcut: trained on from `lite`.

``python -m lab.studies.lite_effects [QUESTION...]`` trains what is missing, an hour of a core each, and writes
``results/tables/lite_effects.csv``; question 3 of ``data/protocol.md``. A part is drawn anew in both of a pair, so
that neither has an advance of a hundred thousand steps.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from lab.applications.study import interval
from lab.studies import runner
from lab.studies.runner import Experiment, Study
from weconvene_core.layers import WeConv3d, WeConvSpec
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.training.config import Stage, TrainConfig

STAGE = Stage("trained on", 2500, learning_rate=5e-4, final_rate=2.5e-5, batch=6, crop=192, warmup=50)
CONFIG = TrainConfig(
    "lite", (STAGE,), "scratch", start_from="lite", images=("train", "train_more"),
    validation="data/checkpoints/validation.csv", optimizer="soap", quantiser="split", scale_min=0.7, seed=111,
    ema_decay=0.998,
)  # fmt: skip
QUALITIES = (0.0, 1.0, 3.0, 6.0)
COLUMNS = ["question", "variant", "reference", "seed", "steps", "images", "loss_change_pct", "low_pct", "high_pct"]


def plain_layers(model: WeConvene) -> None:
    """Replace every 3DM-WeConv layer by a plain 3x3 convolution, drawn anew."""
    _replace_layers(model, WeConvSpec(levels=0, channel_dwt=False))


def new_layers(model: WeConvene) -> None:
    """Draw every 3DM-WeConv layer anew."""
    _replace_layers(model, None)


def _replace_layers(model: WeConvene, spec: WeConvSpec | None) -> None:
    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, WeConv3d):
                how = spec or WeConvSpec(layer.wavelet, layer.levels, layer.channel_dwt)
                setattr(parent, name, how.layer(layer.low_weight.shape[1], layer.low_weight.shape[0]))


def new_entropy_model(model: WeConvene) -> None:
    """Draw the networks of all slices anew; the hyperprior stays."""
    fresh = WeConvene(model.config).charm
    scales = {name: scale for name, scale in model.charm.state_dict().items() if name.endswith("scale_bias")}
    model.charm.load_state_dict(fresh.state_dict() | scales)


def _trained(question: str, variant: str, config: TrainConfig = CONFIG, **how: object) -> Experiment:
    return Experiment(question, variant, config, qualities=QUALITIES, **how)  # type: ignore[arg-type]


TWO_D = replace(CONFIG, model={"latent_channel_dwt": False})
PAIRS = (
    (_trained("layer", "3DM-WeConv", change=new_layers), _trained("layer", "plain 3x3", change=plain_layers)),
    (
        _trained("entropy model", "with the channel DWT", change=new_entropy_model),
        _trained("entropy model", "no channel DWT", TWO_D, change=new_entropy_model),
    ),
    (
        _trained("two steps", "LF 0.9, HF 1.1", replace(CONFIG, stages=(replace(STAGE, w_lf=0.9, w_hf=1.1),))),
        _trained("two steps", "equal weights"),
    ),
)
"""What the paper is for, and what it is held to."""


def compared(points: pd.DataFrame) -> pd.DataFrame:
    """Return the change of the loss of each pair, mean over qualities, with its interval over the pictures."""
    known, rows = dict(tuple(points.groupby("settings"))), []
    for own, other in PAIRS:
        mine, theirs = known.get(own.identity), known.get(other.identity)
        if mine is None or theirs is None:
            continue
        losses = [table.set_index(["image", "quality"]).loss for table in (mine, theirs)]
        change = (100 * (losses[0] / losses[1] - 1)).groupby("image").mean()
        low, high = interval(change.to_numpy())
        rows.append([
            own.question, own.variant, other.variant, own.config.seed, own.config.total_steps, len(change),
            change.mean(), low, high,
        ])  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


TRAININGS = tuple(training for pair in PAIRS for training in pair)
POINTS = ["settings", "image", "quality", "bpp", "psnr_db", "loss"]
STUDY = Study("lite_effects", "lite_effect_points", TRAININGS, compared, POINTS)

if __name__ == "__main__":
    runner.main(STUDY, "Layer, channel DWT and second step at the size of lite.")
