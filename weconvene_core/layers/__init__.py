"""Layers: the 3DM-WeConv convolution, the blocks around it, and the wavelet shortcut."""

from weconvene_core.layers.blocks import (
    SLOPE,
    DownWeConvBlock,
    RateEmbedding,
    ResidualBlock,
    ResidualEntry,
    ResidualWeConvBlock,
    SubPixelConv,
    UpWeConvBlock,
    WeConvSpec,
    activation,
)
from weconvene_core.layers.wavelet_shortcut import WaveletShortcut
from weconvene_core.layers.weconv import Pointwise, WeConv3d, appended, layout_of

__all__ = [
    "SLOPE", "DownWeConvBlock", "WaveletShortcut", "Pointwise", "RateEmbedding", "ResidualBlock", "ResidualEntry",
    "ResidualWeConvBlock", "SubPixelConv", "UpWeConvBlock", "WeConv3d", "WeConvSpec", "activation", "appended",
    "layout_of",
]  # fmt: skip
