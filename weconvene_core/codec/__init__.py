"""Codec: whole pictures to self-contained files and back.

The three calls are resolved on first use, so that the command line answers ``info`` without loading torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weconvene_core.codec.api import decode, encode, load_model

__all__ = ["decode", "encode", "load_model"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from weconvene_core.codec import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
