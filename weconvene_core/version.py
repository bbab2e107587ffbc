"""Which release this is (the one place that says so), and which state of the repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

VERSION = "1.0.0rc1"


def git_version(root: Path) -> str:
    """Return ``git describe`` of the checkout, with ``-dirty`` if a file outside ``results/`` differs.

    ``unknown`` without git, without a commit, or if ``root`` is not itself a checkout.
    """
    if not (root / ".git").exists():
        return "unknown"
    try:
        commit = _git(root, "describe", "--always", "--tags")
        changed = _git(root, "status", "--porcelain", "--", ".", ":(exclude)results")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()
