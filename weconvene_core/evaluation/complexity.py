"""What a codec costs in multiplications, counted while it really codes, and by formulas written out by hand.

A MAC is one multiplication with its addition. Convolutions and matrix products are counted by
``torch.utils.flop_counter`` during ``compress`` and ``decompress``. Lifting steps are slices and additions, which every
counter books as nothing, so :func:`lifting_flops` counts them from the filters' tables.
"""

from __future__ import annotations

import torch
from compressai.models import CompressionModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from weconvene_core.entropy.charm import LL_WAVELET
from weconvene_core.layers.shortcut import COLOURS, LEVELS, LF_SLICES, WAVELET
from weconvene_core.presets import ModelConfig
from weconvene_core.transforms import PATCH_CHANNELS
from weconvene_core.wavelets import scheme

FOLDING, OUTSIDE = "kernel folding", "outside the parts"
BOTH_SIDES = ("h_s", "charm")
"""Parts that run in the encoder and in the decoder: both must predict the same probabilities."""

Macs = dict[str, int]


class _Encoding(nn.Module):
    """``compress`` as a forward pass, because the counter names parts by the module that it enters."""

    def __init__(self, model: CompressionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> dict[str, object]:
        return self.model.compress(x)


class _Decoding(nn.Module):
    """``decompress`` as a forward pass."""

    def __init__(self, model: CompressionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, coded: dict[str, object]) -> dict[str, Tensor]:
        return self.model.decompress(coded["strings"], coded["shape"])


@torch.no_grad()
def count_macs(model: CompressionModel, x: Tensor) -> tuple[Macs, Macs]:
    """Code one image (1, 3, H, W) for real and return the MACs of encoding and of decoding by part.

    Parts are the model's direct children (g_a, h_s ...) with the convolutions inside them. ``kernel folding`` holds the
    matrix products inside (a cost per image, not per pixel), ``outside the parts`` the rest: the shortcut's colour
    transform, or CompressAI's serial context model.
    """
    with FlopCounterMode(display=False) as encoding:
        coded = _Encoding(model)(x)
    with FlopCounterMode(display=False) as decoding:
        _Decoding(model)(coded)
    return _by_part(encoding, _Encoding, model), _by_part(decoding, _Decoding, model)


def _by_part(counter: FlopCounterMode, root: type[nn.Module], model: CompressionModel) -> Macs:
    counts = counter.get_flop_counts()
    macs: Macs = {}
    folding = 0
    for name, _ in model.named_children():
        found = counts.get(f"{root.__name__}.model.{name}", {})
        convolutions = found.get(torch.ops.aten.convolution, 0) // 2
        folding += sum(found.values()) // 2 - convolutions
        if convolutions:
            macs[name] = convolutions
    rest = counter.get_total_flops() // 2 - sum(macs.values()) - folding
    return macs | {name: value for name, value in ((FOLDING, folding), (OUTSIDE, rest)) if value}


# --- by hand ---------------------------------------------------------------------------------------------------------


def macs_by_hand(config: ModelConfig, height: int, width: int) -> tuple[Macs, Macs]:
    """Return the same two tables from formulas alone, for sides that are multiples of 32 and of 8 * 2^levels."""
    n4, n8, n16, n32 = (height * width // s**2 for s in (4, 8, 16, 32))  # samples of a map at 1/4, 1/8, 1/16, 1/32
    n, w, c, z = config.narrow, config.wide, config.hyper, config.z_channels
    wide, narrow = _weconv(w, config.levels), _weconv(n, config.levels)
    g_a = n4 * (9 * PATCH_CHANNELS * n + config.blocks_a * 18 * n**2)
    g_a += n8 * (9 * n * w + wide + n * w + config.blocks_a * 18 * w**2 + w * 4 * PATCH_CHANNELS)
    h_a = n8 * 9 * 4 * PATCH_CHANNELS * c + n16 * (9 * c**2 + _weconv(c, 1) + c**2) + n32 * 9 * c * z
    h_s = n32 * (9 * z * c + 8 * c**2) + n16 * (_weconv(c, 1) + 8 * c**2) + n8 * _weconv(c, 1)
    g_s = n8 * (4 * PATCH_CHANNELS * w + config.blocks_s * 18 * w**2 + 8 * w * n)
    g_s += n4 * (narrow + 9 * PATCH_CHANNELS * n + config.blocks_s * 18 * n**2 + 9 * n * PATCH_CHANNELS)
    charm = sum(macs for _, _, _, macs in slice_macs(config, height, width))
    colour = {OUTSIDE: COLOURS**2 * height * width} if config.shortcut else {}
    encode = {"g_a": round(g_a), "h_a": round(h_a), "h_s": round(h_s), "charm": charm}
    decode = {"g_s": round(g_s), "h_s": round(h_s), "charm": charm}
    return (
        encode | _folding([(w, config.levels), (c, 1), (c, 1), (c, 1)], config) | colour,
        decode | _folding([(n, config.levels), (c, 1), (c, 1)], config) | colour,
    )


def slice_macs(config: ModelConfig, height: int, width: int) -> list[tuple[str, int, int, int]]:
    """Return (name, channels seen, channels coded, MACs) of every slice network of 3DWeChARM, in coding order."""
    layout, c = config.layout, config.hyper
    n8, levels, ll = height * width // 64, config.layout.ll_levels, layout.lf[0]
    rows = []
    for i in range(levels):
        context, coded = c + (ll if i else 0), (3 if i else 4) * ll
        positions = n8 // 4 ** (levels - i)
        rows.append((f"LL level {levels - i}", context, coded, positions * _slice(context, coded, config)))
    known = c + (ll if levels else 0)
    plain = layout.lf[1:] if levels else layout.lf
    names = [f"LF slice {i}" for i, _ in enumerate(plain, 1)] + [f"HF slice {i}" for i, _ in enumerate(layout.hf, 1)]
    for name, coded in zip(names, (*plain, *layout.hf), strict=True):
        rows.append((name, known, coded, n8 * _slice(known, coded, config)))
        known += coded
    return rows


def _weconv(channels: int, levels: int) -> float:
    """MACs per sample of 3DM-WeConv: 3x3 on the low band, a 4^-J share of all samples, and 1x1 on the others."""
    low = 4.0**-levels
    return channels**2 * (9 * low + (1 - low))


def _slice(context: int, coded: int, config: ModelConfig) -> int:
    """MACs per position of a slice network: 1x1, 3x3, 1x1 for mean and scale, and two 1x1 for the residual."""
    hidden, half = config.slice_hidden, config.slice_hidden // 2
    return context * hidden + 9 * hidden**2 + hidden * 2 * coded + (hidden + coded) * half + half * coded


def _folding(layers: list[tuple[int, int]], config: ModelConfig) -> Macs:
    """MACs of folding the channel DWT into the kernels, once per image: two C x C products per kernel position."""
    macs = sum(2 * channels**3 * (9 + 3 * levels) for channels, levels in layers)
    return {FOLDING: macs} if config.channel_dwt else {}


# --- lifting ---------------------------------------------------------------------------------------------------------


def lifting_flops(config: ModelConfig, height: int, width: int) -> tuple[int, int]:
    """Additions and multiplications of all wavelet transforms in encoding and in decoding; halve them for MACs.

    As :func:`macs_by_hand` for sides at which every band splits evenly.
    """
    n, (n4, n8, n16) = height * width, (height * width // s**2 for s in (4, 8, 16))
    layer, latent = config.wavelet, config.latent_wavelet
    up = 2 * config.hyper * (_levels(layer, n16, 1) + _levels(layer, n8, 1))
    shortcut = COLOURS * _levels(WAVELET, n, LEVELS) if config.shortcut else 0
    ll = LF_SLICES[0] * _levels(LL_WAVELET, n8, config.layout.ll_levels)
    volume = PATCH_CHANNELS * (_levels(latent, n4, 1) + _level(latent, n4))  # two spatial passes, one across channels
    g_a = 2 * config.wide * _levels(layer, n8, config.levels)
    g_s = 2 * config.narrow * _levels(layer, n4, config.levels)
    h_a = 2 * config.hyper * _levels(layer, n16, 1)
    return shortcut + g_a + volume + h_a + up + 2 * ll, shortcut + g_s + volume + up + ll


def _levels(wavelet: str, samples: float, levels: int) -> int:
    """Operations of a 2-D transform (or its inverse): along the height, then the width, then again on the low band."""
    return sum(2 * _level(wavelet, samples // 4**j) for j in range(levels))


def _level(wavelet: str, samples: int) -> int:
    """Operations of one 1-D level: a step changes every second sample, and both bands are scaled."""
    lifting = scheme(wavelet)
    per_pair = sum(step.neighbours + 1 for step in lifting.steps)  # add up the neighbours, multiply, add
    return samples // 2 * (per_pair + sum(gain != 1.0 for gain in lifting.gains("orthonormal")))
