"""Codec: whole pictures to self-contained files and back; torch is loaded when a call is first used."""

from __future__ import annotations

from typing import Any

CALLS = ("decode", "decode_progressive", "encode", "load_model", "preview")


def __getattr__(name: str) -> Any:
    if name in CALLS:
        from weconvene_core.codec import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
