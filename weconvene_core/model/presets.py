"""The sizes that ship: two published architectures, their plain baseline, and our two small ones."""

from __future__ import annotations

from dataclasses import replace

from weconvene_core.errors import WeconveneError
from weconvene_core.model.config import ModelConfig

__all__ = ["PRESETS", "ModelConfig", "preset"]

PAPER = ModelConfig(
    "paper", narrow=128, wide=128, hyper=192, z_channels=192, slice_hidden=224, blocks_a=3, blocks_s=3,
    wavelet="9/7", latent_wavelet="9/7", shortcut=False, patch_a=2, patch_s=2, scales_s=3, weconv_residual=True,
    latent_channels=320, latent_stride=8, lf_slices=4, hf_slices=4, slice_attention=True, hyper_blocks=3,
    distribution="gaussian", quality=3.0,
)  # fmt: skip
"""3DM-WeConvene (2025): N=128, M=320, two levels and a channel DWT in core and hyper networks, 4 LF slices first."""

PAPER_2D = replace(
    PAPER, name="paper-2d", wavelet="haar", levels=1, channel_dwt=False, high_kernel=3, joint_high=True, gdn=True,
    latent_wavelet="haar", latent_channel_dwt=False, lf_slices=5, hf_slices=5, slice_network="split",
    patch_a=1, scales_a=3, up_kernel=3, weconv_residual=False, residual_ends=True,
)  # fmt: skip
"""WeConvene (ECCV 2024), the two-dimensional predecessor, as its paper describes it."""

BASELINE = replace(
    PAPER, name="baseline", wavelet_layers=False, wavelet_entropy=False, lf_slices=8, hf_slices=0,
)  # fmt: skip
"""The backbone of ``paper`` without any wavelet: plain convolutions, channel-wise autoregression over y itself."""

PRESETS: dict[str, ModelConfig] = {
    "paper": PAPER,
    "paper-2d": PAPER_2D,
    "baseline": BASELINE,
    "lite": ModelConfig(
        "lite", narrow=64, wide=128, hyper=128, z_channels=64, slice_hidden=128, blocks_a=2, blocks_s=3,
        ll_passes=True, luma_first=True,
    ),
    "tiny": ModelConfig("tiny", narrow=16, wide=32, hyper=24, z_channels=16, slice_hidden=32, blocks_a=1, blocks_s=1),
}  # fmt: skip


def preset(name: str) -> ModelConfig:
    """Return the preset called ``name``.

    Raises
    ------
    WeconveneError
        If there is none.
    """
    if name not in PRESETS:
        raise WeconveneError(f"preset {name!r} is unknown; use one of {', '.join(PRESETS)}.")
    return PRESETS[name]
