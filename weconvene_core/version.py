"""Which state of the repository this is."""

from __future__ import annotations

import subprocess
from pathlib import Path


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def git_version(root: Path) -> str:
    """Return ``git describe`` of the checkout, with ``-dirty`` when a file outside ``results/`` differs.

    ``unknown`` without git, without a commit, or when ``root`` is not itself a checkout.
    """
    commit = _git(root, "describe", "--always", "--tags") if (root / ".git").exists() else None
    if commit is None:
        return "unknown"
    changed = _git(root, "status", "--porcelain", "--", ".", ":(exclude)results")
    return f"{commit}-dirty" if changed else commit
