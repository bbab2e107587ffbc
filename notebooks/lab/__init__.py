"""The laboratory: what the notebooks and the long experiments use, and nobody who codes or trains."""

from __future__ import annotations

MODES = ("quick", "full")


def check_mode(mode: str) -> None:
    """Refuse a notebook's ``mode`` that is neither ``quick`` nor ``full``: it would be taken for one of them.

    Raises
    ------
    ValueError
        It names both.
    """
    if mode not in MODES:
        raise ValueError(f"mode={mode!r} is unknown: use {' or '.join(map(repr, MODES))}.")
