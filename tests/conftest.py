"""What several test files share."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import paths


@pytest.fixture
def own_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of results with nothing published, in place of the checkout's; return the one that runs write to."""
    monkeypatch.setattr(paths, "PUBLISHED", tmp_path / "results")
    monkeypatch.setattr(paths, "RUN", tmp_path / "results" / "run")
    return paths.RUN
