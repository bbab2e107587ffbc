"""Blocks of text between two markers, filled from tables: what README and the model card share."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from weconvene_core.errors import WeconveneError
from weconvene_core.paths import CHECKPOINTS, RESULTS

EXPECTED, TABLES = RESULTS / "expected", RESULTS / "tables"
MODEL = "lite"
WEIGHTS = CHECKPOINTS / f"{MODEL}.safetensors"
# "live" is encoded by every run; "points kept" were, by a command of their own, since they take most of an hour
ANCHORS = {
    "K-A": "VTM-9.1 (published curve, K-A)",
    "K-B": "VTM-9.1 (independent run, K-B)",
    "JPEG 2000": "JPEG 2000 (live, OpenJPEG 9/7, `mct=1`)",
    "WebP": "WebP (live, method 6)",
    "AVIF speed 6": "AVIF (live, speed 6, 4:4:4, tuned for PSNR)",
    "AVIF speed 6, tune default": "AVIF (live, speed 6, 4:4:4, tuned for the eye, its default)",
    "VVC 4:2:0 (vvenc)": "VVC (points kept, vvenc medium, 4:2:0)",
    "HEVC 4:4:4 (x265)": "HEVC (points kept, x265 veryslow, 4:4:4)",
    "AV1 4:4:4 (libaom)": "AV1 (points kept, libaom speed 4, 4:4:4)",
    "JPEG XL": "JPEG XL (points kept, effort 7, made for visible difference)",
    "JPEG": "JPEG (live, optimised, 4:2:0 below quality 90, 4:4:4 above)",
}


def expected(name: str) -> pd.DataFrame:
    """Return one of the release's own tables."""
    return pd.read_csv(EXPECTED / f"{name}.csv")


def measured(name: str) -> pd.DataFrame:
    """Return the table of a long measurement with a command of its own, which no notebook writes."""
    return pd.read_csv(TABLES / f"{name}.csv")


def facts() -> dict[str, Any]:
    """Return what the shipped checkpoint says of its making."""
    return json.loads(WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))


def replaced(text: str, block: str, name: str) -> str:
    """Return a document's text with the block between the markers of ``name`` replaced.

    Raises
    ------
    WeconveneError
        If a marker is missing.
    """
    begin, end = (f"<!-- {name}:{edge} -->" for edge in ("begin", "end"))
    head, found_begin, rest = text.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not (found_begin and found_end):
        raise WeconveneError(f"the document lacks the markers {begin} and {end}; restore them.")
    return f"{head}{begin}\n{block}\n{end}{tail}"
