"""What a :class:`ModelConfig` must satisfy; every refusal names the field, its value and what is allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from weconvene_core.entropy.distributions import Distribution
from weconvene_core.entropy.slices import SliceNetworkKind
from weconvene_core.errors import WeconveneError
from weconvene_core.lambdas import QUALITY_MAX, QUALITY_MIN
from weconvene_core.layers.wavelet_shortcut import COLOURS, LEVELS, LF_CHANNELS, LL_CHANNELS, SliceOrder
from weconvene_core.wavelets import scheme

if TYPE_CHECKING:
    from weconvene_core.model.config import ModelConfig

POSITIVE = ("narrow", "wide", "hyper", "z_channels", "slice_hidden", "latent_channels", "channel_levels")
NOT_NEGATIVE = ("blocks_a", "blocks_s", "hyper_blocks", "levels")


def check(config: ModelConfig) -> None:
    """Refuse impossible values and contradictory switches.

    Raises
    ------
    WeconveneError
        For counts below their minimum, unknown choices, resolutions that do not meet, channels that do not divide into
        the slices, or switches that exclude each other.
    """
    _check_counts(config)
    _check_choices(config)
    _check_resolutions(config)
    _check_switches(config)
    _ = config.layout  # channels that do not divide


def _check_counts(config: ModelConfig) -> None:
    least = dict.fromkeys(POSITIVE, 1) | dict.fromkeys(NOT_NEGATIVE, 0) | {"scales_a": 2, "scales_s": 2}
    for name, minimum in least.items():
        if getattr(config, name) < minimum:
            raise WeconveneError(f"{name}={getattr(config, name)} is impossible; use {minimum} or more.")
    for name in ("high_kernel", "up_kernel"):
        if getattr(config, name) < 1 or getattr(config, name) % 2 == 0:
            raise WeconveneError(f"{name}={getattr(config, name)} is impossible; use an odd size such as 1 or 3.")
    if config.quality is not None and not QUALITY_MIN <= config.quality <= QUALITY_MAX:
        allowed = f"{QUALITY_MIN:g} to {QUALITY_MAX:g}, or None for a model of every rate"
        raise WeconveneError(f"quality={config.quality} is impossible; use {allowed}.")


def _check_choices(config: ModelConfig) -> None:
    for name in ("wavelet", "latent_wavelet"):
        value = getattr(config, name)
        try:
            integer = scheme(value).integer
        except WeconveneError as error:
            raise WeconveneError(f"{name}={value!r} is unknown: {error}") from error
        if integer:
            raise WeconveneError(f"{name}={value!r} is for integers; networks need one such as 5/3 or 9/7.")
    kinds = {"slice_network": SliceNetworkKind, "distribution": Distribution, "slice_order": SliceOrder}
    for name, choices in kinds.items():
        if getattr(config, name) not in get_args(choices):
            allowed = ", ".join(get_args(choices))
            raise WeconveneError(f"{name}={getattr(config, name)!r} is unknown; use one of {allowed}.")


def _check_resolutions(config: ModelConfig) -> None:
    for name in ("patch_a", "patch_s", "latent_stride"):
        if getattr(config, name) not in (1, 2, 4, 8, 16):
            raise WeconveneError(f"{name}={getattr(config, name)} is impossible; use 1, 2, 4, 8 or 16.")
    stride = config.latent_stride
    _check_reach(config, "a", config.coarsest_a, (stride // 2, stride, 2 * stride))
    _check_reach(config, "s", config.coarsest_s, (stride, 2 * stride))


def _check_reach(config: ModelConfig, side: str, coarsest: int, allowed: tuple[int, ...]) -> None:
    if coarsest not in allowed:
        scales, patch = getattr(config, f"scales_{side}"), getattr(config, f"patch_{side}")
        reach = " or ".join(f"1/{stride}" for stride in allowed if stride)
        raise WeconveneError(
            f"scales_{side}={scales} with patch_{side}={patch} ends at 1/{coarsest} of the image; "
            f"latent_stride={config.latent_stride} needs {reach}."
        )


def _check_switches(config: ModelConfig) -> None:
    if not config.wavelet_entropy and config.hf_slices not in (0, ()):
        raise WeconveneError(
            f"hf_slices={config.hf_slices} contradicts wavelet_entropy=False: y itself has no HF; use hf_slices=0."
        )
    needed = 2**config.channel_levels
    if config.channel_packets and min(config.narrow, config.wide, config.hyper, config.latent_channels) < needed:
        raise WeconveneError(
            f"channel_levels={config.channel_levels} with channel_packets needs {needed} channels in every layer; "
            "use fewer levels or wider layers."
        )
    if config.ll_passes and not (config.shortcut and config.slice_network == "joint"):
        raise WeconveneError(
            "ll_passes=True needs shortcut=True, whose LL band it codes, and slice_network='joint'; "
            f"this model has {config.shortcut} and {config.slice_network!r}."
        )
    if config.luma_first and not (
        config.shortcut and config.slice_network == "joint" and config.slice_order == "polyphase"
    ):
        raise WeconveneError(
            "luma_first=True needs shortcut=True with slice_order='polyphase', whose channels alternate in colour, and "
            f"slice_network='joint'; this model has {config.shortcut}, {config.slice_order!r} and "
            f"{config.slice_network!r}."
        )
    if config.shortcut:
        _check_shortcut(config)


def _check_shortcut(config: ModelConfig) -> None:
    if not config.wavelet_entropy:
        raise WeconveneError("shortcut=True contradicts wavelet_entropy=False: it enters in the wavelet domain.")
    stride = 2**LEVELS // 2
    if (config.latent_channels, config.latent_stride) != (LF_CHANNELS, stride):
        raise WeconveneError(
            f"shortcut=True needs latent_channels={LF_CHANNELS} and latent_stride={stride}, one coefficient per sample "
            f"of the image; this model has {config.latent_channels} and {config.latent_stride}."
        )
    if config.layout.lf[0] != LL_CHANNELS:
        raise WeconveneError(
            f"lf_slices={config.lf_slices} starts with {config.layout.lf[0]} channels; with shortcut=True the first "
            f"slice is the image's LL band of {LL_CHANNELS}."
        )
    if config.luma_first and any(width % COLOURS for width in (*config.layout.lf, *config.layout.hf)):
        raise WeconveneError(
            f"luma_first=True needs slices of whole positions, {COLOURS} colours each; this model has "
            f"lf_slices={config.lf_slices} and hf_slices={config.hf_slices}."
        )
