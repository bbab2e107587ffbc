"""The model family as data: every switch of the architecture, and the sizes that ship."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from weconvene_core.entropy.charm import SliceLayout
from weconvene_core.errors import WeconveneError
from weconvene_core.layers import shortcut
from weconvene_core.wavelets import SCHEMES


@dataclass(frozen=True)
class ModelConfig:
    """Everything that defines an architecture; a checkpoint carries it in its JSON sidecar.

    ``wide`` channels live at 1/8 of the image, ``narrow`` ones at 1/4; ``blocks_a`` and ``blocks_s`` count the residual
    blocks of g_a and g_s at each of these two scales. ``wavelet``, ``levels`` and ``channel_dwt`` belong to the
    3DM-WeConv layers, ``latent_wavelet`` to the 3-D DWT between g_a and 3DWeChARM.
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

    def __post_init__(self) -> None:
        """Refuse impossible values with the name of the field.

        Raises
        ------
        WeconveneError
            For a channel count below 1, a negative level or block count, or an unknown wavelet.
        """
        for field in ("narrow", "wide", "hyper", "z_channels", "slice_hidden"):
            if getattr(self, field) < 1:
                raise WeconveneError(f"{field}={getattr(self, field)} is impossible; use 1 or more channels.")
        for field in ("blocks_a", "blocks_s", "levels"):
            if getattr(self, field) < 0:
                raise WeconveneError(f"{field}={getattr(self, field)} is impossible; use 0 or more.")
        for field in ("wavelet", "latent_wavelet"):
            if getattr(self, field) not in SCHEMES:
                raise WeconveneError(f"{field}={getattr(self, field)!r} is unknown; use one of {', '.join(SCHEMES)}.")

    @property
    def layout(self) -> SliceLayout:
        """Slices of the latent: four LF, then four HF; only the shortcut's LL band is image-like."""
        return SliceLayout(shortcut.LF_SLICES, shortcut.HF_SLICES, ll_levels=2 if self.shortcut else 0)

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Build a configuration from JSON values.

        Raises
        ------
        WeconveneError
            If a field is missing or unknown.
        """
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


PRESETS: dict[str, ModelConfig] = {
    "lite": ModelConfig(
        "lite", narrow=64, wide=128, hyper=128, z_channels=64, slice_hidden=128, blocks_a=2, blocks_s=3
    ),
    "tiny": ModelConfig("tiny", narrow=16, wide=32, hyper=24, z_channels=16, slice_hidden=32, blocks_a=1, blocks_s=1),
}


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
