"""Codec: whole pictures to self-contained files and back.

The calls are resolved on first use, so that the command line answers ``info`` without loading torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weconvene_core.codec.api import decode, decode_progressive, encode, load_model, preview

__all__ = ["decode", "decode_progressive", "encode", "load_model", "preview"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from weconvene_core.codec import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
