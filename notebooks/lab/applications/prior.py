"""The prior of the inter codec: a small network that says what a predicted frame's latents tell of the frame's.

The image model, its hyperprior and 3DWeChARM stay as they are; only the prior is trained, on moved photographs.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.applications import motion
from lab.applications.clip_codecs import GROUPS, NOTHING, Context, frame_of, latent_of, write
from lab.applications.clips import Clip, moving_pairs
from lab.applications.study import fit
from weconvene_core.codec.tile_coder import Latent
from weconvene_core.entropy import LIKELIHOODS, LikelihoodMode
from weconvene_core.image_tensors import from_8_bit
from weconvene_core.layers import RateEmbedding
from weconvene_core.layers.blocks import ResidualBlock
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.training.config import Stage

TRUST = 2.0  # the prior starts from sigmoid(2): about nine tenths of the predicted latents are believed


class Prior(nn.Module):
    """Latents of a predicted frame, LF and HF (B, C, h, w) together -> the :class:`Context` of the frame.

    It says how much of each predicted latent to trust, and what to add to the hyperprior's features.
    """

    def __init__(self, model: WeConvene, width: int) -> None:
        super().__init__()
        self.groups = [sum(model.config.layout.lf), sum(model.config.layout.hf)]
        channels = sum(self.groups)
        self.head, self.rate = nn.Conv2d(channels, width, 1), RateEmbedding(width)
        self.body = nn.Sequential(ResidualBlock(width), ResidualBlock(width))
        self.gate, self.features = nn.Conv2d(width, channels, 1), nn.Conv2d(width, model.config.hyper_features, 1)
        for layer in (self.gate, self.features):
            nn.init.zeros_(layer.weight)
        nn.init.constant_(self.gate.bias, TRUST)
        nn.init.zeros_(self.features.bias)

    def forward(self, predicted: Tensor, quality: Tensor | None = None) -> Context:
        """Say what to expect; without a quality the rate vector is left out (for counting multiplications)."""
        h = self.head(predicted.sign() * predicted.abs().log1p())  # latents have heavy tails
        h = self.body(h if quality is None else h + self.rate(quality))
        lf, hf = (self.gate(h).sigmoid() * predicted).split(self.groups, 1)
        fine = self.features(h)
        return Context((lf, hf), [F.avg_pool2d(fine, 4), F.avg_pool2d(fine, 2), fine])

    def checksum(self) -> int:
        """Return a CRC of the weights, never 0, by which a file knows its prior."""
        weights = b"".join(value.detach().numpy().tobytes() for value in self.state_dict().values())
        return zlib.crc32(weights) or 1


@dataclass(frozen=True)
class Sample:
    """Latents of frames, those of their predictions (LF and HF together), and one quality each."""

    latent: Latent
    predicted: Tensor
    quality: Tensor


def sample_of(model: WeConvene, before: Tensor, now: Tensor, quality: float) -> Sample:
    """Send two frames (1, 3, H, W) in 0..1 through the codec, up to the point where the prior is asked."""
    at = torch.tensor([quality], dtype=torch.float32)
    reference = frame_of(model, write(model, latent_of(model, before, at), at)[1], before.shape[-2:], at)
    prediction = motion.compensate(reference, motion.estimate(reference, now))
    return Sample(latent_of(model, now, at), torch.cat(latent_of(model, prediction, at), 1), at)


def photograph_samples(model: WeConvene, images: Sequence[Tensor], count: int, side: int) -> list[Sample]:
    """Return samples of photographs (H, W, 3) uint8 moved by ``clips.moving_pairs``, at random qualities.

    ``side`` of the frames is in pixels, a multiple of the model's stride, and at most half a photograph's.
    """
    rng = np.random.default_rng(0)
    pairs = moving_pairs(images, count, side, rng)
    return [sample_of(model, *pair.split(1), float(rng.uniform(*model.config.qualities))) for pair in pairs]


def clip_samples(model: WeConvene, clip: Clip, qualities: Sequence[float]) -> list[Sample]:
    """Return a sample for every frame of a clip but the first, at every quality."""
    frames = [from_8_bit(frame) for frame in clip.frames]
    return [sample_of(model, *pair, quality) for quality in qualities for pair in pairwise(frames)]


def estimated_bits(model: WeConvene, sample: Sample, context: Context = NOTHING) -> Tensor:
    """Return the bits per image that the likelihoods promise: (), differentiable by what made the context.

    While gradients are recorded, noise stands for rounding as in training.
    """
    mode = LikelihoodMode(LIKELIHOODS[model.config.distribution], "mixed" if torch.is_grad_enabled() else None)
    coded = model.code_latents(sample.quality, mode, *context.residual(sample.latent), context=context.features)
    likelihoods = [coded.z_likelihoods, *(part for group in GROUPS for part in mode.likelihoods.get(group, []))]
    return sum(-part.log().sum() for part in likelihoods) / (math.log(2) * len(coded.z_hat))


def train_prior(prior: nn.Module, model: WeConvene, found: Sequence[Sample], stage: Stage, seed: int) -> None:
    """Train a prior to save bits; the image model stays as it is, and so does what it decodes."""
    model.requires_grad_(False)

    def draw(rng: np.random.Generator) -> Sample:
        chosen = [found[i] for i in rng.integers(len(found), size=stage.batch)]
        latent = torch.cat([s.latent[0] for s in chosen]), torch.cat([s.latent[1] for s in chosen])
        return Sample(latent, torch.cat([s.predicted for s in chosen]), torch.cat([s.quality for s in chosen]))

    def bits(network: nn.Module, sample: Sample) -> Tensor:
        positions = sample.latent[0][0, 0].numel()
        return estimated_bits(model, sample, network(sample.predicted, sample.quality)) / positions

    fit(prior, draw, bits, stage, seed)


@torch.no_grad()
def saving(prior: nn.Module, model: WeConvene, found: Sequence[Sample]) -> float:
    """Return the share of bits, in percent, that a prior saves over intra coding, estimated; without the motion's."""
    alone = sum(float(estimated_bits(model, s)) for s in found)
    known = sum(float(estimated_bits(model, s, prior(s.predicted, s.quality))) for s in found)
    return 100 * (1 - known / alone)
