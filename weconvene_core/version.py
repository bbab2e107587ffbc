"""Which state of the repository this is."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_version(root: Path) -> str:
    """Return ``git describe`` of the tree at ``root`` (with ``-dirty`` for uncommitted changes), or ``unknown``."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--tags"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
