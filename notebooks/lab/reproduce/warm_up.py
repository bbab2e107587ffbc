"""What a kernel imports while the notebook before its own still runs; it loads nothing else itself."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

Import = tuple[str, tuple[str, ...]]
"""A module and the names that are taken from it (none for a plain ``import``)."""


def imports_of(notebook: Path) -> list[Import]:
    """Return the imports at the top level of a notebook's code cells, in order; a cell that is no Python has none."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    found: list[Import] = []
    for source in ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"):
        try:
            lines = ast.parse(source).body
        except SyntaxError:  # the notebook itself says so when its turn comes
            continue
        for line in lines:
            if isinstance(line, ast.Import):
                found += [(alias.name, ()) for alias in line.names]
            elif isinstance(line, ast.ImportFrom) and line.module:
                found.append((line.module, tuple(alias.name for alias in line.names)))
    return found


def load(imports: Sequence[Import]) -> None:
    """Import in silence, binding no name; what cannot be imported is left for the notebook to complain about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module, names in imports:
            try:
                __import__(module, fromlist=names)
            except ImportError:
                continue
