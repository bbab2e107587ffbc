"""An inter codec: the first frame by the image model, then motion, and latents coded on top of their prediction.

A frame is predicted from the decoded one before it by block motion, and the prediction goes through g_a as the frame
itself does. A small 3DM-WeConv network (the prior) reads those predicted latents: it says how much of each to trust and
adds features to the hyperprior's. The image model, its hyperprior and 3DWeChARM stay as they are; only the prior is
trained, on moved photographs. The entropy path computes in floating point: such a file is decoded where it was made.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.applications import motion
from lab.applications.clips import Clip, Frames, moving_pairs
from lab.applications.frame_coding import (
    Context,
    checked,
    estimated_bits,
    frame_of,
    latent_of,
    pack_clip,
    read,
    unpack_clip,
    write,
)
from lab.applications.study import fit
from weconvene_core.codec.tile_streams import Latent, padded_length
from weconvene_core.entropy.coding_steps import tables_of
from weconvene_core.entropy.distributions import SCALE_LEVELS, coding_tables, scale_indexes
from weconvene_core.entropy.range_coder import Decoder, Encoder, Tables
from weconvene_core.errors import CorruptFileError
from weconvene_core.image_tensors import from_8_bit, to_8_bit
from weconvene_core.layers import RateEmbedding
from weconvene_core.layers.blocks import ResidualBlock
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.training.config import Stage

MAGIC, CHUNKS = b"WCI1", 4
TRUST = 2.0
"""What the prior starts from: sigmoid(2), about nine tenths of the predicted latents, is believed."""
HIDDEN = 48


class Prior(nn.Module):
    """What a predicted frame's latents say about those of the frame: a :class:`Context`.

    All its convolutions at constant size are ``nn.Conv2d``, so that 3DM-WeConv can take their places (see ``pairs``).
    """

    def __init__(self, model: WeConvene, width: int = HIDDEN) -> None:
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
        """Say what to expect of a frame whose prediction has these latents, LF and HF (B, C, h, w) together.

        Without a quality the rate vector is left out (for counting multiplications).
        """
        h = self.head(predicted.sign() * predicted.abs().log1p())  # latents have heavy tails
        h = self.body(h if quality is None else h + self.rate(quality))
        lf, hf = (self.gate(h).sigmoid() * predicted).split(self.groups, 1)
        fine = self.features(h)
        return Context((lf, hf), [F.avg_pool2d(fine, 4), F.avg_pool2d(fine, 2), fine])

    def checksum(self) -> int:
        """Return a CRC of the weights, never 0, by which a file knows its prior."""
        weights = b"".join(value.detach().numpy().tobytes() for value in self.state_dict().values())
        return zlib.crc32(weights) or 1


@dataclass(frozen=True, eq=False)
class InterCodec:
    """Codes clips with an image model in floating point; without a prior every frame is coded by itself (intra).

    Attributes:
        name: what tables and figures call it.
        model: a released model, ``codec.load_model(name)``.
        prior: a trained :class:`Prior`.
    """

    name: str
    model: WeConvene
    prior: nn.Module | None = None

    def encode(self, frames: Frames, quality: float) -> bytes:
        """Compress frames (T, H, W, 3) uint8 of any size into the bytes of one file.

        Raises:
            WeconveneError: no frames, too many or too large ones, or a quality that no model has.
        """
        quality = checked(frames, quality)
        at, reference, chunks = torch.tensor([quality]), None, []
        for frame in frames:
            x = from_8_bit(frame)
            vectors = None if self.prior is None or reference is None else motion.estimate(reference, x)
            context = None if vectors is None else self._context(reference, vectors, at)
            streams, latent = write(self.model, latent_of(self.model, x, at), at, context)
            chunks += [b"" if vectors is None else pack_vectors(vectors), *streams]
            reference = frame_of(self.model, latent, frame.shape[:2], at)
        return pack_clip(MAGIC, self._key(), frames, quality, chunks)

    def decode(self, data: bytes) -> Frames:
        """Decompress a file of the same codec into its frames (T, H, W, 3) uint8.

        Raises:
            CorruptFileError: the data is no such file, is cut, or was made with other weights.
        """
        (_, height, width), quality, chunks = unpack_clip(data, MAGIC, self._key(), CHUNKS)
        at, reference, frames = torch.tensor([quality]), None, []
        size = padded_length(self.model, height), padded_length(self.model, width)
        for vectors, *streams in zip(*[iter(chunks)] * CHUNKS, strict=True):
            grid = -(-height // motion.BLOCK), -(-width // motion.BLOCK)
            known = None if not vectors or reference is None else unpack_vectors(vectors, grid)
            context = None if known is None else self._context(reference, known, at)
            reference = frame_of(self.model, read(self.model, streams, size, at, context), (height, width), at)
            frames.append(to_8_bit(reference))
        return np.stack(frames)

    def _key(self) -> int:
        return 0 if self.prior is None else self.prior.checksum()

    @torch.no_grad()
    def _context(self, reference: Tensor, vectors: Tensor, at: Tensor) -> Context:
        return self.prior(torch.cat(latent_of(self.model, motion.compensate(reference, vectors), at), 1), at)


def pack_vectors(vectors: Tensor) -> bytes:
    """Code motion vectors (2, h, w) without loss: differences along the rows, by the Laplacian that fits them."""
    steps = _row_steps(vectors)
    spread = steps.float().square().mean().sqrt()
    index = max(1, int(scale_indexes(spread[None])))
    encoder = Encoder()
    encoder.push(steps.flatten().int().numpy(), np.full(steps.numel(), index), _tables())
    return bytes([index]) + encoder.finish()


def unpack_vectors(data: bytes, size: tuple[int, int]) -> Tensor:
    """Invert :func:`pack_vectors` for ``size`` (rows, columns) of blocks.

    Raises:
        CorruptFileError: the data cannot be theirs.
    """
    if not data or not 0 < data[0] < SCALE_LEVELS:
        raise CorruptFileError("The clip's motion is damaged: get a fresh copy.")
    count = 2 * size[0] * size[1]
    steps = Decoder(data[1:]).pop(np.full(count, data[0]), _tables())
    return torch.from_numpy(steps).long().reshape(2, *size).cumsum(2)


def _row_steps(vectors: Tensor) -> Tensor:
    return torch.diff(vectors, dim=2, prepend=torch.zeros_like(vectors[:, :, :1]))


@lru_cache(maxsize=1)
def _tables() -> Tables:
    return tables_of(coding_tables())


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


def photograph_samples(
    model: WeConvene, images: Sequence[Tensor], count: int, side: int, seed: int = 0
) -> list[Sample]:
    """Return samples of moving photographs (see ``clips.moving_pairs``) at random qualities: what a prior learns from.

    Args:
        model: a released model.
        images: (H, W, 3) uint8 photographs, at least twice ``side`` long and wide.
        count: number of samples.
        side: of the frames in pixels, a multiple of the model's stride.
        seed: what all of them are drawn from.
    """
    rng = np.random.default_rng(seed)
    pairs = moving_pairs(images, count, side, rng)
    return [sample_of(model, *pair.split(1), float(rng.uniform(*model.config.qualities))) for pair in pairs]


def clip_samples(model: WeConvene, clip: Clip, qualities: Sequence[float]) -> list[Sample]:
    """Return a sample for every frame of a clip but the first, at every quality."""
    frames = [from_8_bit(frame) for frame in clip.frames]
    return [sample_of(model, *pair, quality) for quality in qualities for pair in pairwise(frames)]


def train_prior(prior: nn.Module, model: WeConvene, found: Sequence[Sample], phase: Stage, seed: int) -> None:
    """Train a prior to save bits; the image model stays as it is, and so does what it decodes."""
    model.requires_grad_(False)

    def draw(rng: np.random.Generator) -> Sample:
        chosen = [found[i] for i in rng.integers(len(found), size=phase.batch)]
        latent = torch.cat([s.latent[0] for s in chosen]), torch.cat([s.latent[1] for s in chosen])
        return Sample(latent, torch.cat([s.predicted for s in chosen]), torch.cat([s.quality for s in chosen]))

    def bits(network: nn.Module, sample: Sample) -> Tensor:
        positions = sample.latent[0][0, 0].numel()
        context = network(sample.predicted, sample.quality)
        return estimated_bits(model, sample.latent, sample.quality, context) / positions

    fit(prior, draw, bits, phase, seed)


@torch.no_grad()
def saving(prior: nn.Module, model: WeConvene, found: Sequence[Sample]) -> float:
    """Return the share of bits, in percent, that a prior saves over intra coding, estimated; without the motion's."""
    alone = sum(float(estimated_bits(model, s.latent, s.quality)) for s in found)
    known = sum(float(estimated_bits(model, s.latent, s.quality, prior(s.predicted, s.quality))) for s in found)
    return 100 * (1 - known / alone)
