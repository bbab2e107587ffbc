"""The wavelet way of coding clips: the DWT along time as well, on the latents of a group of frames.

Latents in quantiser steps are what the orthonormal DWT may be applied to: equal steps in all bands are then optimal.
A low band of J levels is 2^(J/2) times as large as a frame's latents, as if coded at 2^J times the lambda; the entropy
model is told so. There is no motion compensation: what moves spreads over the bands.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lab.applications.clips import Frames
from lab.applications.frame_coding import (
    checked,
    frame_of,
    latent_of,
    pack_clip,
    read,
    unpack_clip,
    write,
)
from weconvene_core.codec.tile_streams import Latent, padded_length
from weconvene_core.image_tensors import from_8_bit, to_8_bit
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.wavelets import AxisDWT, Wavelet

MAGIC, STREAMS = b"WCT1", 3


@dataclass(frozen=True, eq=False)
class TemporalCodec:
    """Codes clips as one group of frames through the DWT along time, in floating point.

    Attributes:
        name: what tables and figures call it.
        model: a released model, ``codec.load_model(name)``.
        wavelet: along time.
        levels: along time, 0 or more.
    """

    name: str
    model: WeConvene
    wavelet: Wavelet = "haar"
    levels: int = 3

    def encode(self, frames: Frames, quality: float) -> bytes:
        """Compress frames (T, H, W, 3) uint8 of any size into the bytes of one file.

        Raises:
            WeconveneError: no frames, too many or too large ones, or a quality that no model has.
        """
        quality = checked(frames, quality)
        at, split = torch.tensor([quality]), self._split(len(frames))
        latents = [latent_of(self.model, from_8_bit(frame), at) for frame in frames]
        groups = [torch.cat(split.split(torch.cat(group), 0)) for group in zip(*latents, strict=True)]
        chunks = []
        for number, told in enumerate(self._qualities(split, quality)):
            chunks += write(self.model, (groups[0][number, None], groups[1][number, None]), told)[0]
        return pack_clip(MAGIC, self._key(), frames, quality, chunks)

    def decode(self, data: bytes) -> Frames:
        """Decompress a file of the same codec into its frames (T, H, W, 3) uint8.

        Raises:
            CorruptFileError: the data is no such file, is cut, or was made with another wavelet or depth.
        """
        (count, height, width), quality, chunks = unpack_clip(data, MAGIC, self._key(), STREAMS)
        split, size = self._split(count), (padded_length(self.model, height), padded_length(self.model, width))
        at = torch.tensor([quality])
        streams = zip(*[iter(chunks)] * STREAMS, strict=True)
        coded = [read(self.model, each, size, told)
                 for each, told in zip(streams, self._qualities(split, quality), strict=True)]  # fmt: skip
        lf, hf = (split.merge(list(torch.cat(group).split(split.sizes)), 0) for group in zip(*coded, strict=True))
        latents: list[Latent] = [(lf[i, None], hf[i, None]) for i in range(count)]
        return np.stack([to_8_bit(frame_of(self.model, latent, (height, width), at)) for latent in latents])

    def _key(self) -> int:
        return zlib.crc32(f"{self.wavelet} {self.levels}".encode())

    def _split(self, count: int) -> AxisDWT:
        return AxisDWT(count, self.wavelet, self.levels)

    def _qualities(self, split: AxisDWT, quality: float) -> list[Tensor]:
        """What the entropy model is told of every band's frames: lambda doubles with every level and every step."""
        low, highest = split.sizes[0], self.model.config.qualities[1]
        told = [min(quality + self.levels, highest)] * low + [quality] * (split.size - low)
        return [torch.tensor([each]) for each in told]
