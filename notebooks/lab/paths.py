"""Where the laboratory's files lie in the repository."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "data"
ANCHORS = DATA / "anchors"
TRAININGS = DATA / "checkpoints"
"""Configurations of trainings, their validation logs, and the model card; the weights lie in the package."""
NOTEBOOKS = ROOT / "notebooks"
RESULTS = ROOT / "results"
