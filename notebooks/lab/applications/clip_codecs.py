"""Codecs of clips around the image model: every frame by itself, inter with motion and a prior, and a DWT along time.

All compute the entropy path in floating point: a clip is decoded where it was made.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from lab.applications import motion
from lab.applications.clips import Frames
from weconvene_core.codec.tile_coder import Latent, padded_length
from weconvene_core.entropy import DecodeMode, EncodeMode
from weconvene_core.entropy.cdf_tables import Tables
from weconvene_core.entropy.distributions import SCALE_LEVELS, ConditionalTables, scale_indexes
from weconvene_core.entropy.range_coder import Decoder, Encoder
from weconvene_core.errors import CorruptFileError, WeconveneError
from weconvene_core.image_tensors import from_8_bit, to_8_bit
from weconvene_core.layers.blocks import check_quality
from weconvene_core.model.weconvene import WeConvene, pad
from weconvene_core.wavelets import AxisDWT, Wavelet

GROUPS = ("y_lf", "y_hf")
LENGTH_BYTES = 3
HEADER = struct.Struct("<4sIHHHH")
"""Magic, key, frames, height, width, quality in thousandths."""


@dataclass(frozen=True)
class Context:
    """What both sides know of a frame; by default nothing, as in the image model.

    Attributes
    ----------
    base : predicted LF and HF in quantiser steps; it is subtracted before coding and added after.
    features : added to the hyperprior's, one tensor per resolution, coarsest first.
    """

    base: tuple[Tensor | float, Tensor | float] = (0.0, 0.0)
    features: Sequence[Tensor] = ()

    def residual(self, latent: Latent) -> Latent:
        """Take the prediction away."""
        return latent[0] - self.base[0], latent[1] - self.base[1]

    def restored(self, residual: Latent) -> Latent:
        """Add the prediction again."""
        return residual[0] + self.base[0], residual[1] + self.base[1]


NOTHING = Context()


@torch.no_grad()
def write(model: WeConvene, latent: Latent, quality: Tensor, context: Context = NOTHING) -> tuple[list[bytes], Latent]:
    """Code the latents of a frame; return the streams z, y_lf and y_hf, and the latents that a decoder will have."""
    mode = EncodeMode(model.tables)
    coded = model.code_latents(quality, mode, *context.residual(latent), context=context.features)
    streams = mode.streams()
    strings = [model.entropy_bottleneck.write(coded.z_hat), *(streams.get(group, b"") for group in GROUPS)]
    return strings, context.restored((coded.lf_hat, coded.hf_hat))


@torch.no_grad()
def read(
    model: WeConvene, streams: Sequence[bytes], size: Sequence[int], quality: Tensor, context: Context = NOTHING
) -> Latent:
    """Invert :func:`write`; ``size`` is height and width of the frame in pixels.

    Raises
    ------
    CorruptFileError
        If the streams cannot be those of such a frame.
    """
    z, *rest = streams
    shape = [padded_length(model, side) // model.config.z_stride for side in size]
    mode = DecodeMode(model.tables, dict(zip(GROUPS, rest, strict=True)))
    z_hat = model.entropy_bottleneck.read(z, shape)
    return context.restored(model.code_latents(quality, mode, z_hat=z_hat, context=context.features)[:2])


@torch.no_grad()
def latent_of(model: WeConvene, x: Tensor, quality: Tensor) -> Latent:
    """Analyse a frame (1, 3, H, W) of any size."""
    return model.analyse(pad(x, model.config.stride), quality)


@torch.no_grad()
def frame_of(model: WeConvene, latent: Latent, size: Sequence[int], quality: Tensor) -> Tensor:
    """Synthesise a frame of ``size`` (height, width), (1, 3, H, W) rounded to 8 bits: a reference is what is seen."""
    x = model.synthesise(*latent, quality)[..., : size[0], : size[1]]
    return (x.clamp(0, 1) * 255).round() / 255


@dataclass(frozen=True, eq=False)
class InterCodec:
    """Codes the first frame by the image model, then motion, and latents on top of their prediction.

    A frame is predicted from the decoded one before it by block motion, and the prediction goes through g_a as the
    frame itself does. The trained :class:`lab.applications.prior.Prior` reads those predicted latents and gives the
    :class:`Context`; without a prior every frame is coded by itself (intra).
    """

    name: str
    model: WeConvene
    prior: nn.Module | None = None

    MAGIC, CHUNKS = b"WCI1", 4

    def encode(self, frames: Frames, quality: float) -> bytes:
        """Compress frames (T, H, W, 3) uint8 of any size into the bytes of one file.

        Raises
        ------
        WeconveneError
            If there are no frames, too many or too large ones, or no model has this quality.
        """
        quality = _checked(frames, quality)
        at, reference, chunks = torch.tensor([quality]), None, []
        for frame in frames:
            x, context, packed = from_8_bit(frame), NOTHING, b""
            if self.prior is not None and reference is not None:
                vectors = motion.estimate(reference, x)
                context, packed = self._context(reference, vectors, at), pack_vectors(vectors)
            streams, latent = write(self.model, latent_of(self.model, x, at), at, context)
            chunks += [packed, *streams]
            reference = frame_of(self.model, latent, frame.shape[:2], at)
        return _pack_clip(self, frames, quality, chunks)

    def decode(self, data: bytes) -> Frames:
        """Decompress a file of the same codec into its frames (T, H, W, 3) uint8.

        Raises
        ------
        CorruptFileError
            If the data is no such file, is cut, or was made with other weights.
        """
        (_, *size), quality, chunks = _unpack_clip(self, data)
        at, reference, frames = torch.tensor([quality]), None, []
        for packed, *streams in chunks:
            context = NOTHING
            if packed and reference is not None:
                context = self._context(reference, unpack_vectors(packed, [-(-n // motion.BLOCK) for n in size]), at)
            reference = frame_of(self.model, read(self.model, streams, size, at, context), size, at)
            frames.append(to_8_bit(reference))
        return np.stack(frames)

    @property
    def key(self) -> int:
        """What encoder and decoder must share: a checksum of the prior's weights."""
        return 0 if self.prior is None else self.prior.checksum()

    @torch.no_grad()
    def _context(self, reference: Tensor, vectors: Tensor, at: Tensor) -> Context:
        return self.prior(torch.cat(latent_of(self.model, motion.compensate(reference, vectors), at), 1), at)


@dataclass(frozen=True, eq=False)
class TemporalCodec:
    """Codes clips as one group of frames through the DWT along time, on their latents; there is no motion compensation.

    Latents in quantiser steps are what the orthonormal DWT may be applied to: equal steps in all bands are then
    optimal. A low band of J levels is 2^(J/2) times as large as a frame's latents, as if coded at 2^J times the lambda;
    the entropy model is told so. What moves spreads over the bands.
    """

    name: str
    model: WeConvene
    wavelet: Wavelet = "haar"
    levels: int = 3

    MAGIC, CHUNKS = b"WCT1", 3

    def encode(self, frames: Frames, quality: float) -> bytes:
        """Compress frames (T, H, W, 3) uint8 of any size into the bytes of one file (see :meth:`InterCodec.encode`)."""
        quality = _checked(frames, quality)
        at, split = torch.tensor([quality]), AxisDWT(len(frames), self.wavelet, self.levels)
        latents = [latent_of(self.model, from_8_bit(frame), at) for frame in frames]
        groups = [torch.cat(split.split(torch.cat(group), 0)) for group in zip(*latents, strict=True)]
        chunks = []
        for number, told in enumerate(self._qualities(split, quality)):
            chunks += write(self.model, (groups[0][number, None], groups[1][number, None]), told)[0]
        return _pack_clip(self, frames, quality, chunks)

    def decode(self, data: bytes) -> Frames:
        """Decompress a file of the same codec into its frames (T, H, W, 3) uint8 (see :meth:`InterCodec.decode`)."""
        (count, *size), quality, chunks = _unpack_clip(self, data)
        split = AxisDWT(count, self.wavelet, self.levels)
        at, told = torch.tensor([quality]), self._qualities(split, quality)
        coded = [read(self.model, each, size, own) for each, own in zip(chunks, told, strict=True)]
        lf, hf = (split.merge(list(torch.cat(group).split(split.sizes)), 0) for group in zip(*coded, strict=True))
        return np.stack([to_8_bit(frame_of(self.model, (lf[i, None], hf[i, None]), size, at)) for i in range(count)])

    @property
    def key(self) -> int:
        """What encoder and decoder must share: a checksum of wavelet and levels."""
        return zlib.crc32(f"{self.wavelet} {self.levels}".encode())

    def _qualities(self, split: AxisDWT, quality: float) -> list[Tensor]:
        """What the entropy model is told of every band's frames: lambda doubles with every level and every step."""
        low, highest = split.sizes[0], self.model.config.qualities[1]
        told = [min(quality + self.levels, highest)] * low + [quality] * (split.size - low)
        return [torch.tensor([each]) for each in told]


def _pack_clip(codec: InterCodec | TemporalCodec, frames: Frames, quality: float, chunks: Sequence[bytes]) -> bytes:
    """Make a clip's file: a header, and the byte strings of all frames, each after its length."""
    header = HEADER.pack(codec.MAGIC, codec.key, *frames.shape[:3], round(1000 * quality))
    return header + b"".join(len(chunk).to_bytes(LENGTH_BYTES, "little") + chunk for chunk in chunks)


def _unpack_clip(
    codec: InterCodec | TemporalCodec, data: bytes
) -> tuple[tuple[int, int, int], float, list[tuple[bytes, ...]]]:
    """Return number, height and width of the frames, the quality, and the byte strings of every frame."""
    if len(data) < HEADER.size or not data.startswith(codec.MAGIC):
        raise CorruptFileError("This is not a clip of this codec: choose a file that its encode made.")
    _, made_with, count, height, width, thousandths = HEADER.unpack_from(data)
    if made_with != codec.key or not min(count, height, width):
        raise CorruptFileError("The clip was made with other settings: decode it with the codec that made it.")
    chunks, position = [], HEADER.size
    for _ in range(codec.CHUNKS * count):
        start = position + LENGTH_BYTES
        position = start + int.from_bytes(data[position:start], "little")
        chunks.append(data[start:position])
    if position != len(data):
        raise CorruptFileError("The clip is cut, or has bytes behind its end: get a fresh copy.")
    return (count, height, width), thousandths / 1000, list(zip(*[iter(chunks)] * codec.CHUNKS, strict=True))


def _checked(frames: Frames, quality: float) -> float:
    """Return the quality as the file keeps it, in thousandths; refuse frames that it cannot hold."""
    if frames.ndim != 4 or not 0 < min(frames.shape[:3]) <= max(frames.shape[:3]) < 2**16:
        raise WeconveneError(f"frames of shape {frames.shape} cannot be coded: give (T, H, W, 3), 1 to 65535 each.")
    return round(check_quality(quality), 3)


def pack_vectors(vectors: Tensor) -> bytes:
    """Code motion vectors (2, h, w) without loss: differences along the rows, by the Laplacian that fits them."""
    steps = torch.diff(vectors, dim=2, prepend=torch.zeros_like(vectors[:, :, :1]))
    index = max(1, int(scale_indexes(steps.float().square().mean().sqrt()[None])))
    encoder = Encoder()
    encoder.push(steps.flatten().int().numpy(), np.full(steps.numel(), index), _tables())
    return bytes([index]) + encoder.finish()


def unpack_vectors(data: bytes, size: Sequence[int]) -> Tensor:
    """Invert :func:`pack_vectors` for ``size`` (rows, columns) of blocks.

    Raises
    ------
    CorruptFileError
        If the data cannot be theirs.
    """
    if not data or not 0 < data[0] < SCALE_LEVELS:
        raise CorruptFileError("The clip's motion is damaged: get a fresh copy.")
    steps = Decoder(data[1:]).pop(np.full(2 * size[0] * size[1], data[0]), _tables())
    return torch.from_numpy(steps).long().reshape(2, *size).cumsum(2)


@lru_cache(maxsize=1)
def _tables() -> Tables:
    return ConditionalTables("laplace").tables
