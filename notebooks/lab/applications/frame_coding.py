"""The latents of one frame to bytes and back, with or without a context that both sides know.

What the context predicts is subtracted before coding and added after, and what it knows beyond that joins the
hyperprior's features. Without a context this is what the image model does.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lab.applications.clips import Frames
from weconvene_core.codec.tile_streams import Latent
from weconvene_core.entropy import LIKELIHOODS, DecodeMode, EncodeMode, LikelihoodMode
from weconvene_core.errors import CorruptFileError, WeconveneError
from weconvene_core.layers.rate_conditioning import check_quality
from weconvene_core.model.weconvene import WeConvene, pad

GROUPS = ("y_lf", "y_hf")
LENGTH_BYTES = 3
HEADER = struct.Struct("<4sIHHHH")
"""Magic, key, frames, height, width, quality in thousandths."""


@dataclass(frozen=True)
class Context:
    """What both sides know of a frame: its predicted latents, and features beside those of the hyperprior.

    Attributes:
        base: LF and HF in quantiser steps.
        features: one tensor per resolution of the hyperprior's features, coarsest first.
    """

    base: Latent
    features: Sequence[Tensor]

    def residual(self, latent: Latent) -> Latent:
        """Take the prediction away."""
        return latent[0] - self.base[0], latent[1] - self.base[1]

    def restored(self, residual: Latent) -> Latent:
        """Add the prediction again."""
        return residual[0] + self.base[0], residual[1] + self.base[1]


@torch.no_grad()
def write(
    model: WeConvene, latent: Latent, quality: Tensor, context: Context | None = None
) -> tuple[list[bytes], Latent]:
    """Code the latents of a frame; return the streams z, y_lf and y_hf, and the latents that a decoder will have."""
    target = context.residual(latent) if context else latent
    mode = EncodeMode(model.tables)
    *decoded, z_hat, _ = model.code_latents(quality, mode, *target, context=context.features if context else ())
    streams = mode.streams()
    coded = [model.entropy_bottleneck.write(z_hat), *(streams.get(group, b"") for group in GROUPS)]
    return coded, context.restored(decoded) if context else tuple(decoded)


@torch.no_grad()
def read(
    model: WeConvene, streams: Sequence[bytes], padded: tuple[int, int], quality: Tensor, context: Context | None = None
) -> Latent:
    """Invert :func:`write`; ``padded`` is height and width of the frame in pixels, multiples of the model's stride.

    Raises:
        CorruptFileError: the streams cannot be those of such a frame.
    """
    z, *rest = streams
    shape = padded[0] // model.config.z_stride, padded[1] // model.config.z_stride
    mode, z_hat = (
        DecodeMode(model.tables, dict(zip(GROUPS, rest, strict=True))),
        model.entropy_bottleneck.read(z, shape),
    )
    decoded = model.code_latents(quality, mode, z_hat=z_hat, context=context.features if context else ())[:2]
    return context.restored(decoded) if context else decoded


def estimated_bits(model: WeConvene, latent: Latent, quality: Tensor, context: Context | None = None) -> Tensor:
    """Return the bits per image that the likelihoods promise: (), differentiable by what made the context.

    While gradients are recorded, noise stands for rounding as in training.
    """
    target, learning = context.residual(latent) if context else latent, torch.is_grad_enabled()
    mode = LikelihoodMode(LIKELIHOODS[model.config.distribution], "mixed" if learning else None)
    coded = model.code_latents(quality, mode, *target, context=context.features if context else ())
    likelihoods = [coded.z_likelihoods, *(part for group in GROUPS for part in mode.likelihoods.get(group, []))]
    return sum(-part.log().sum() for part in likelihoods) / (math.log(2) * len(coded.z_hat))


@torch.no_grad()
def latent_of(model: WeConvene, x: Tensor, quality: Tensor) -> Latent:
    """Analyse a frame (1, 3, H, W) of any size."""
    return model.analyse(pad(x, model.config.stride), quality)


@torch.no_grad()
def frame_of(model: WeConvene, latent: Latent, size: Sequence[int], quality: Tensor) -> Tensor:
    """Synthesise a frame of ``size`` (height, width), (1, 3, H, W) rounded to 8 bits: a reference is what is seen."""
    x = model.synthesise(*latent, quality)[..., : size[0], : size[1]]
    return (x.clamp(0, 1) * 255).round() / 255


def pack_clip(magic: bytes, key: int, frames: Frames, quality: float, chunks: Sequence[bytes]) -> bytes:
    """Make a clip's file: a header, and byte strings behind each other, each after its length.

    Args:
        magic: four bytes that name the codec.
        key: what the decoder must share with the encoder, as a checksum.
        frames: what was coded.
        quality: at which.
        chunks: as many for every frame.
    """
    header = HEADER.pack(magic, key, *frames.shape[:3], round(1000 * quality))
    return header + b"".join(len(chunk).to_bytes(LENGTH_BYTES, "little") + chunk for chunk in chunks)


def unpack_clip(data: bytes, magic: bytes, key: int, each: int) -> tuple[tuple[int, int, int], float, list[bytes]]:
    """Return number, height and width of the frames, the quality, and ``each`` byte strings per frame.

    Raises:
        CorruptFileError: the data is no such file, was made with another key, is cut, or too long.
    """
    if len(data) < HEADER.size or not data.startswith(magic):
        raise CorruptFileError("This is not a clip of this codec: choose a file that its encode made.")
    _, made_with, *shape, thousandths = HEADER.unpack_from(data)
    if made_with != key or not min(shape):
        raise CorruptFileError("The clip was made with other settings: decode it with the codec that made it.")
    chunks, position = [], HEADER.size
    for _ in range(each * shape[0]):
        start = position + LENGTH_BYTES
        position = start + int.from_bytes(data[position:start], "little")
        if max(start, position) > len(data):
            raise CorruptFileError("The clip is cut: its end is missing; get a fresh copy.")
        chunks.append(data[start:position])
    if position < len(data):
        raise CorruptFileError(f"The clip is {len(data) - position} bytes too long; get a fresh copy.")
    return (shape[0], shape[1], shape[2]), thousandths / 1000, chunks


def checked(frames: Frames, quality: float) -> float:
    """Return the quality as the file keeps it, in thousandths.

    Raises:
        WeconveneError: no frames, more or larger ones than the file can say, or a quality that no model has.
    """
    if frames.ndim != 4 or not 0 < min(frames.shape[:3]) <= max(frames.shape[:3]) < 2**16:
        raise WeconveneError(f"frames of shape {frames.shape} cannot be coded: give (T, H, W, 3), 1 to 65535 each.")
    return round(check_quality(quality), 3)
