"""Dependencies run in one direction: a room of the package imports from rooms before it, never from those after it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from weconvene_core.paths import ROOT

PACKAGE = ROOT / "weconvene_core"
ORDER = (
    *("errors", "version", "lambdas", "paths", "files"),
    *("wavelets", "layers", "entropy", "config_checks", "config", "presets"),
    *("bands", "inputs", "transforms", "model", "checkpoint", "datasets", "codec"),
    *("training", "evaluation", "applications", "reproduce", "figures"),
    *("file_commands", "commands", "cli"),
)
EXCEPTIONS = {
    ("config_checks.py", "config"): "the type that it checks, for type checkers alone",
    ("evaluation/large_image.py", "cli"): "measures the command line itself",
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Rooms that a module imports from, at its top or within functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            one_by_one = node.module == PACKAGE.name
            names |= {f"{node.module}.{alias.name}" for alias in node.names} if one_by_one else {node.module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith(f"{PACKAGE.name}.")}


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE or path.name != "__init__.py"]


def test_every_room_has_its_place() -> None:
    assert {room(path) for path in MODULES} == set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_nothing_that_comes_after_it(path: Path) -> None:
    name, place = str(path.relative_to(PACKAGE)), ORDER.index(room(path))
    later = {other for other in imported(path) if other in ORDER and ORDER.index(other) > place}
    assert {other for other in later if (name, other) not in EXCEPTIONS} == set()
