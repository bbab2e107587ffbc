"""Does the layer help in somebody else's codec: CompressAI's ``cheng2020-anchor`` with and without ``convert()``.

``python -m lab.studies.drop_in`` trains what is missing with CompressAI's own loss and writes
``results/tables/drop_in.csv``; question 2 of ``data/protocol.md``. Both networks see the same crops.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from compressai.losses import RateDistortionLoss
from compressai.models import Cheng2020Anchor, CompressionModel
from torch import Tensor

from lab.applications.study import STATE_FILE, fit
from lab.complexity.count_macs import count_macs
from lab.complexity.tables import COUNTING_SIZE, parameters_m
from lab.studies import runner
from lab.studies.runner import SIDE, Study, hashed, training_images
from weconvene_core.image_tensors import from_8_bit, middle
from weconvene_core.layers.convert_network import convert
from weconvene_core.training.config import Stage
from weconvene_core.training.images import ImagePool, cut, draw_crops, on_device

WIDTH, LAMBDA, SEEDS = 32, 0.013, (0, 1, 2)
STAGE = Stage("from scratch", 4000, 1e-3, 1e-5, batch=4, crop=128, warmup=100)
PLAIN, CONVERTED = "as CompressAI has it", "with 3DM-WeConv"
NETWORKS = (PLAIN, CONVERTED)
POINTS = ["settings", "network", "seed", "steps", "image", "loss", "bpp", "psnr_db"]
COLUMNS = [
    "network", "seed", "steps", "images", "loss", "bpp", "psnr_db", "loss_change_pct", "params_m", "kmac_px_encode",
    "kmac_px_decode",
]  # fmt: skip


@dataclass(frozen=True)
class Codec:
    """One training: which network, and the seed of its weights and crops."""

    network: str
    seed: int
    stage: Stage = STAGE
    question: str = "drop-in"

    @property
    def identity(self) -> str:
        """What tells it apart."""
        return hashed(self.network, self.seed, WIDTH, LAMBDA, asdict(self.stage))

    def points(self, budget: float | None, folder: Path) -> pd.DataFrame:
        """Train it, or go on with it, and measure it on the middles of the pictures that were kept out."""
        torch.set_num_threads(1)
        torch.manual_seed(self.seed)
        pool, model = training_images(), untrained(self.network)
        images = on_device(pool.train, self.stage.crop, torch.device("cpu"))

        def draw(rng: np.random.Generator) -> Tensor:
            return cut(images, draw_crops(images, self.stage.batch, self.stage.crop, rng), self.stage.crop)

        def loss(model: CompressionModel, x: Tensor) -> Tensor:
            return loss_of(model, x)["loss"] + model.aux_loss()

        fit(model, draw, loss, self.stage, self.seed, folder / STATE_FILE)
        return measure(model, pool).assign(
            network=self.network, seed=self.seed, steps=self.stage.steps, settings=self.identity
        )


def untrained(network: str) -> CompressionModel:
    """Return the codec, as it is or with every convolution replaced that 3DM-WeConv can stand for."""
    model = Cheng2020Anchor(N=WIDTH)
    if network == CONVERTED:
        convert(model, wavelet="9/7", levels=2, channel_dwt=True)
    return model


def loss_of(model: CompressionModel, x: Tensor) -> dict[str, Tensor]:
    """Return CompressAI's terms (loss, bpp_loss, mse_loss) for images (B, 3, H, W) in 0..1."""
    return RateDistortionLoss(lmbda=LAMBDA)(model(x), x)


@torch.no_grad()
def measure(model: CompressionModel, pool: ImagePool) -> pd.DataFrame:
    """Return loss, bpp and psnr_db of every picture that was kept out, of a model in evaluation mode."""
    pictures = [from_8_bit(middle(image, SIDE), torch.device("cpu")) for image in pool.validation]
    rows = [{key: float(value) for key, value in loss_of(model, x).items()} for x in pictures]
    table = pd.DataFrame(rows).rename(columns={"bpp_loss": "bpp"})
    return table.assign(psnr_db=-10 * np.log10(table.mse_loss), image=range(len(table)))


def compared(points: pd.DataFrame) -> pd.DataFrame:
    """Return one row per network and seed; ``loss_change_pct`` is against the unconverted one of the same seed."""
    means = {name: (name, "mean") for name in ("loss", "bpp", "psnr_db")}
    keys = points.groupby(["network", "seed"], sort=False)
    rows = keys.agg(steps=("steps", "first"), images=("image", "nunique"), **means).reset_index()
    plain = rows[rows.network == PLAIN].set_index("seed").loss
    rows["loss_change_pct"] = (100 * (rows.loss / rows.seed.map(plain) - 1)).where(rows.network != PLAIN)
    return pd.concat([rows, pd.DataFrame([costs(network) for network in rows.network])], axis=1)[COLUMNS]


@lru_cache
def costs(network: str) -> dict[str, float]:
    """Return millions of parameters, and thousands of MACs per pixel of encoding and of decoding."""
    model, (height, width) = untrained(network), COUNTING_SIZE
    encode, decode = (sum(macs.values()) / (1e3 * height * width) for macs in count_macs(model, height, width))
    return {"params_m": parameters_m(model), "kmac_px_encode": encode, "kmac_px_decode": decode}


TRAININGS = tuple(Codec(network, seed) for seed in SEEDS for network in NETWORKS)
STUDY = Study("drop_in", "drop_in_points", TRAININGS, compared, POINTS)

if __name__ == "__main__":
    runner.main(STUDY, "CompressAI's cheng2020-anchor with and without 3DM-WeConv.")
