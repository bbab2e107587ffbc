"""The model family as data: one frozen record holds every switch of the architecture.

Why each switch exists, where its default comes from and what it was measured to do: ``data/fidelity.csv``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from weconvene_core.entropy.charm import SliceLayout
from weconvene_core.entropy.distributions import Distribution
from weconvene_core.entropy.slices import SliceNetworkKind
from weconvene_core.errors import WeconveneError
from weconvene_core.lambdas import QUALITY_MAX, QUALITY_MIN
from weconvene_core.layers.blocks import WeConvSpec
from weconvene_core.layers.wavelet_shortcut import (
    COLOURS,
    HF_SLICES,
    LEVELS,
    LF_CHANNELS,
    LF_SLICES,
    LL_CHANNELS,
    SliceOrder,
)
from weconvene_core.wavelets import SCHEMES

RENAMED = {"ll_phases": "ll_passes"}
"""What fields of older descriptions were called, and their names of today."""

Slices = int | tuple[int, ...]

PADDING = 32  # every model pads to multiples of at least this, so that a file's header fixes the size of z
LL_LEVELS = 2  # extra levels of the shortcut's LL band: with its own three the image has five in all


@dataclass(frozen=True)
class ModelConfig:
    """Everything that defines an architecture; a checkpoint carries it in its JSON sidecar.

    Core (g_a and g_s): images enter g_a as ``patch_a`` x ``patch_a`` pixel blocks (1: full resolution) and leave g_s as
    ``patch_s`` blocks. ``scales_a`` and ``scales_s`` scales follow each other, a factor of two apart; the finest has
    ``narrow`` channels, the others ``wide``; each has ``blocks_a`` or ``blocks_s`` residual blocks, made of 3DM-WeConv
    with ``weconv_residual``. ``residual_ends``: the first layers are residual blocks. ``up_kernel``: size of the
    sub-pixel kernels. The latent y has ``latent_channels`` channels at 1/``latent_stride`` of the image.

    3DM-WeConv layers: ``wavelet_layers`` False replaces each by a plain 3x3 convolution. Otherwise ``wavelet``,
    ``levels``, ``channel_dwt``, ``channel_levels``, ``channel_packets``, ``high_kernel``, ``joint_high`` and ``gdn``
    are those of :class:`WeConvSpec`; the hyper networks, whose maps are small, take at most one level.

    Entropy model: ``wavelet_entropy`` codes y in the wavelet domain of ``latent_wavelet``, with or without the channel
    DWT (``latent_channel_dwt``), LF slices first; False codes y itself, slice by slice. ``lf_slices`` and ``hf_slices``
    are widths in coding order, or a number of equal slices. ``slice_network``: ``joint`` predicts mean and scale by one
    network of ``slice_hidden`` channels, ``split`` by two, with hyper features of their own; ``slice_attention`` puts
    windowed attention in front. ``hyper`` and ``z_channels`` are the widths of the hyper networks and of z,
    ``hyper_blocks`` their residual blocks.

    Ours: ``shortcut`` adds the image's own wavelet pyramid to the latent; ``slice_order`` cuts its finer levels into
    polyphase components, whose neighbours are coded before, or into subbands; ``ll_passes`` codes its coarsest LL band
    in polyphase passes; ``luma_first`` codes luma before chroma in every slice. ``quality`` None makes one model serve
    every rate; a number from 0 to 7 fixes its lambda, and there are no gain tables.
    """

    name: str
    narrow: int
    wide: int
    hyper: int
    z_channels: int
    slice_hidden: int
    blocks_a: int
    blocks_s: int
    wavelet: str = "5/3"
    levels: int = 2
    channel_dwt: bool = True
    latent_wavelet: str = "haar"
    shortcut: bool = True
    slice_order: SliceOrder = "polyphase"
    ll_passes: bool = False
    luma_first: bool = False
    patch_a: int = 4
    patch_s: int = 4
    scales_a: int = 2
    scales_s: int = 2
    weconv_residual: bool = False
    residual_ends: bool = False
    up_kernel: int = 1
    latent_channels: int = 48
    latent_stride: int = 4
    wavelet_layers: bool = True
    channel_levels: int = 1
    channel_packets: bool = False
    high_kernel: int = 1
    joint_high: bool = False
    gdn: bool = False
    wavelet_entropy: bool = True
    latent_channel_dwt: bool = True
    lf_slices: Slices = LF_SLICES
    hf_slices: Slices = HF_SLICES
    slice_network: SliceNetworkKind = "joint"
    slice_attention: bool = False
    hyper_blocks: int = 0
    distribution: Distribution = "laplace"
    quality: float | None = None

    def __post_init__(self) -> None:
        """Refuse impossible values and contradictory switches with a ``WeconveneError`` that names the field."""
        for name in ("lf_slices", "hf_slices"):  # JSON has lists
            value = getattr(self, name)
            object.__setattr__(self, name, value if isinstance(value, int) else tuple(value))
        for met, message in _requirements(self):
            if not met:
                raise WeconveneError(message)
        _ = self.layout  # channels that do not divide

    # --- what follows from the fields --------------------------------------------------------------------------------

    @property
    def weconv(self) -> WeConvSpec:
        """The 3DM-WeConv layers of g_a and g_s."""
        if not self.wavelet_layers:
            return WeConvSpec(self.wavelet, 0, channel_dwt=False, gdn=self.gdn)
        return WeConvSpec(
            self.wavelet, self.levels, self.channel_dwt, self.channel_levels, self.channel_packets,
            self.high_kernel, self.joint_high, self.gdn,
        )  # fmt: skip

    @property
    def coarsest_a(self) -> int:
        """Stride of the coarsest scale of g_a against the image."""
        return self.patch_a * 2 ** (self.scales_a - 1)

    @property
    def coarsest_s(self) -> int:
        """Stride of the coarsest scale of g_s against the image."""
        return self.patch_s * 2 ** (self.scales_s - 1)

    @property
    def hyper_features(self) -> int:
        """Channels of the hyper features: one set, or one for the means and one for the scales."""
        return self.hyper * (2 if self.slice_network == "split" else 1)

    @property
    def coded_channels(self) -> int:
        """Channels of what is coded: four subbands of y, or y itself."""
        return self.latent_channels * (4 if self.wavelet_entropy else 1)

    @property
    def coded_stride(self) -> int:
        """Stride of what is coded against the image."""
        return self.latent_stride * (2 if self.wavelet_entropy else 1)

    @property
    def z_stride(self) -> int:
        """Stride of z against the image: the hyper networks have two stride-2 steps."""
        return 4 * self.coded_stride

    @property
    def stride(self) -> int:
        """Images must have sides that are multiples of this (all strides are powers of two)."""
        return max(PADDING, self.z_stride, self.coarsest_a, self.coarsest_s)

    @property
    def qualities(self) -> tuple[float, float]:
        """Lowest and highest quality that the model can be asked for."""
        return (QUALITY_MIN, QUALITY_MAX) if self.quality is None else (self.quality, self.quality)

    @property
    def layout(self) -> SliceLayout:
        """Widths of the slices; only the shortcut's LL band is image-like and is transformed further."""
        hf_channels = 3 * self.latent_channels if self.wavelet_entropy else 0
        return SliceLayout(
            _widths("lf_slices", self.lf_slices, self.latent_channels),
            _widths("hf_slices", self.hf_slices, hf_channels),
            ll_levels=LL_LEVELS if self.shortcut else 0,
            ll_passes=self.ll_passes,
        )

    @property
    def calls_per_slice(self) -> int:
        """How often a coding step is called for a slice, or for a pass over one."""
        return 2 if self.luma_first else 1

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Build a configuration from JSON values; fields that an older file lacks take their defaults.

        Raises
        ------
        WeconveneError
            If a field is missing or unknown.
        """
        values = {RENAMED.get(name, name): value for name, value in values.items()}
        names = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - names)
        if unknown:
            raise WeconveneError(
                f"the model configuration has unknown fields: {', '.join(unknown)}; "
                f"known are {', '.join(sorted(names))}."
            )
        try:
            return cls(**values)
        except TypeError as error:
            raise WeconveneError(f"the model configuration is incomplete: {error}.") from error


def _widths(name: str, slices: Slices, channels: int) -> tuple[int, ...]:
    """Return the widths of slices given as widths or as a number of equal ones."""
    if isinstance(slices, int):
        if slices < (1 if channels else 0) or (slices and channels % slices):
            raise WeconveneError(
                f"{name}={slices} does not divide {channels} channels into equal slices; use a divisor, or widths."
            )
        return (channels // slices,) * slices if slices else ()
    if sum(slices) != channels or any(width < 1 for width in slices):
        raise WeconveneError(f"{name}={slices} holds {sum(slices)} channels where {channels} are to be coded.")
    return slices


def _requirements(c: ModelConfig) -> Iterator[tuple[bool, str]]:
    """Yield whether each requirement is met, and the refusal: the field, its value and what is allowed."""
    positive = ("narrow", "wide", "hyper", "z_channels", "slice_hidden", "latent_channels", "channel_levels")
    least = dict.fromkeys(positive, 1) | dict.fromkeys(("blocks_a", "blocks_s", "hyper_blocks", "levels"), 0)
    for name, minimum in (least | {"scales_a": 2, "scales_s": 2}).items():
        yield getattr(c, name) >= minimum, f"{name}={getattr(c, name)} is impossible; use {minimum} or more."
    for name in ("high_kernel", "up_kernel"):
        size = getattr(c, name)
        yield size >= 1 and size % 2 == 1, f"{name}={size} is impossible; use an odd size such as 1 or 3."
    allowed = f"{QUALITY_MIN:g} to {QUALITY_MAX:g}, or None for a model of every rate"
    served = c.quality is None or QUALITY_MIN <= c.quality <= QUALITY_MAX
    yield served, f"quality={c.quality} is impossible; use {allowed}."
    kinds = {"slice_network": SliceNetworkKind, "distribution": Distribution, "slice_order": SliceOrder}
    choices = {name: get_args(kind) for name, kind in kinds.items()} | {"wavelet": SCHEMES, "latent_wavelet": SCHEMES}
    for name, known in (choices | dict.fromkeys(("patch_a", "patch_s", "latent_stride"), (1, 2, 4, 8, 16))).items():
        value = getattr(c, name)
        yield value in known, f"{name}={value!r} is impossible; use one of {', '.join(map(str, known))}."
    stride = c.latent_stride
    # g_a may end a step above or below the latent's resolution, g_s at it or a step below
    for side, coarsest, fits in (
        ("a", c.coarsest_a, (stride // 2, stride, 2 * stride)),
        ("s", c.coarsest_s, (stride, 2 * stride)),
    ):
        scales, patch = getattr(c, f"scales_{side}"), getattr(c, f"patch_{side}")
        yield (
            coarsest in fits,
            f"scales_{side}={scales} with patch_{side}={patch} ends at 1/{coarsest} of the image; "
            f"latent_stride={stride} needs {' or '.join(f'1/{one}' for one in fits if one)}.",
        )
    # switches that exclude or need each other
    yield (
        c.wavelet_entropy or c.hf_slices in (0, ()),
        f"hf_slices={c.hf_slices} contradicts wavelet_entropy=False: y itself has no HF; use hf_slices=0.",
    )
    needed = 2**c.channel_levels
    yield (
        not c.channel_packets or min(c.narrow, c.wide, c.hyper, c.latent_channels) >= needed,
        f"channel_levels={c.channel_levels} with channel_packets needs {needed} channels in every layer; "
        "use fewer levels or wider layers.",
    )
    joint = c.slice_network == "joint"
    yield (
        not c.ll_passes or (c.shortcut and joint),
        "ll_passes=True needs shortcut=True, whose LL band it codes, and slice_network='joint'; "
        f"this model has {c.shortcut} and {c.slice_network!r}.",
    )
    yield (
        not c.luma_first or (c.shortcut and joint and c.slice_order == "polyphase"),
        "luma_first=True needs shortcut=True with slice_order='polyphase', whose channels alternate in colour, and "
        f"slice_network='joint'; this model has {c.shortcut}, {c.slice_order!r} and {c.slice_network!r}.",
    )
    if not c.shortcut:
        return
    yield c.wavelet_entropy, "shortcut=True contradicts wavelet_entropy=False: it enters in the wavelet domain."
    stride = 2**LEVELS // 2
    yield (
        (c.latent_channels, c.latent_stride) == (LF_CHANNELS, stride),
        f"shortcut=True needs latent_channels={LF_CHANNELS} and latent_stride={stride}, one coefficient per sample of "
        f"the image; this model has {c.latent_channels} and {c.latent_stride}.",
    )
    widths = (*c.layout.lf, *c.layout.hf)
    yield (
        widths[0] == LL_CHANNELS,
        f"lf_slices={c.lf_slices} starts with {widths[0]} channels; with shortcut=True the first slice is the image's "
        f"LL band of {LL_CHANNELS}.",
    )
    yield (
        not c.luma_first or not any(width % COLOURS for width in widths),
        f"luma_first=True needs slices of whole positions, {COLOURS} colours each; this model has "
        f"lf_slices={c.lf_slices} and hf_slices={c.hf_slices}.",
    )
